"""Files that are no trace of PyTorch's profiler or Nsight Systems, by what they begin with, and what to do."""

from __future__ import annotations

import re

_BEGINNINGS = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x89PNG": "a picture",
    b"\x7fELF": "a program",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_PLAIN = "a trace is JSON text, plain or compressed with gzip"
_RECORD = "record with torch.profiler and export_chrome_trace"
_WRITERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"NVR\0"), "a report of Nsight Compute, which is about single kernels", _RECORD + " or nsys profile"),
    (re.compile(rb"\x80[\x02-\x05]"), "a pickle, such as PyTorch's snapshot of memory", _RECORD),
    (
        re.compile(rb"\x0a[\x00-\x08\x0b-\xff]"),
        "a protocol buffer, such as Perfetto's or XLA's traces (.pftrace, .xplane.pb)",
        _RECORD,
    ),
    (re.compile(rb'\s*\{(?s:.){0,4096}?"rocprofiler-sdk-tool"\s*:'), "the output of rocprofv3", _RECORD),
    (re.compile(rb'\s*\{(?s:.){0,4096}?speedscope'), "a profile of speedscope, which samples the host alone", _RECORD),
    (
        re.compile(rb'\s*\{(?s:.){0,65536}?"nodes"\s*:\s*\[(?s:.){0,65536}?"(?:ctrl_deps|rf_id|attrs)"\s*:'),
        "an execution trace of PyTorch, a graph of operators without times",
        _RECORD,
    ),
    (
        re.compile(rb'\s*\{(?s:.){0,65536}?"(?:segments|device_traces|allocator_settings)"\s*:'),
        "a snapshot of memory",
        _RECORD,
    ),
    (
        re.compile(rb'(?:==PROF==|"ID","Process ID"|(?:"?[\w .()#-]+"?,){3})'),
        "a table of text (CSV), such as ncu, nvprof or rocprof write",
        _RECORD,
    ),
)  # fmt: skip
"""(how a file begins, what it is, what to do)."""


def described(beginning: bytes) -> str | None:
    """What a file is and what to do, as the end of a sentence that begins with its path; None where that is unknown."""
    for magic, name in _BEGINNINGS.items():
        if beginning.startswith(magic):
            return f"is {name}; {_PLAIN}"
    for pattern, name, remedy in _WRITERS:
        if pattern.match(beginning):
            return f"is {name}; {remedy}"
    return None
