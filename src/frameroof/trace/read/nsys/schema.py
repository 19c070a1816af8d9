"""What an SQLite export of Nsight Systems holds, as far as frameroof reads it, and the names it stands for.

Sources, read 2026-11-21:
- NVIDIA, Nsight Systems User Guide, "SQLite Schema Reference" and "Common SQLite Examples":
  https://docs.nvidia.com/nsight-systems/UserGuide/index.html#exporter-sqlite-schema and, for an older layout,
  https://docs.nvidia.com/nsight-systems/2021.5/nsys-exporter/exported_data.html ("Tables are created lazily").
- The `.schema` of an export by Nsight Systems 2024.6.2, schema 3.16.1, kept as a fixture in a public repository: the
  values of the ENUM_ tables below.
- CUPTI, graph records (0 for both times: not collected):
  https://docs.nvidia.com/cupti/api/structCUpti__ActivityGraphTrace2.html
- PyTorch, torch/csrc/profiler/util.cpp, `getNvtxStr` and `shapesToStr`: the names of ranges under
  `torch.autograd.profiler.emit_nvtx` (and `nsys profile --pytorch=autograd-shapes-nvtx`).

Times are nanoseconds since the session began. A column may be missing in an older or newer export; NULL and, before
2022, a default value stand for "none".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ....annotations import COLLECTIVE, MODULE, STAGE
from ..events import Kind

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
COPIES = "CUPTI_ACTIVITY_KIND_MEMCPY"
FILLS = "CUPTI_ACTIVITY_KIND_MEMSET"
GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
SYNCS = "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"
CALLS = ("CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_DRIVER")
OVERHEADS = ("PROFILER_OVERHEAD", "CUPTI_ACTIVITY_KIND_OVERHEAD")
RANGES = "NVTX_EVENTS"
NODES = "CUDA_GRAPH_NODE_EVENTS"
STRINGS = "StringIds"
EVENTS = (KERNELS, COPIES, FILLS, GRAPHS, SYNCS, *CALLS, *OVERHEADS, RANGES)
"""The tables whose rows become rows of a trace."""
MARKS = (STRINGS, "META_DATA_EXPORT", "TARGET_INFO_SESSION_START_TIME", "ANALYSIS_DETAILS", "PROCESSES")
"""Tables that only Nsight Systems writes together."""
UNREAD = re.compile(
    r"CUPTI_ACTIVITY_KIND_\w+|OSRT_API|CUDNN_EVENTS|CUBLAS_EVENTS|CUDA_HOST_CALLBACK|(MPI|UCP|NCCL|NVSHMEM)_\w*EVENTS"
)
"""Tables of events that are counted and not read."""

VERSIONED = re.compile(r"_V\d+$")
"""What some versions write behind the name of a table: the number of CUPTI's record."""
OTHERS = {
    "rocpd_": "a database of rocprofv3 (rocpd)",
    "kernel_dispatch": "a database of rocprofv3 (rocpd)",
    "StringTable": "a database of nvprof",
}
"""Tables of other writers, by how their names begin, and what such a file is."""
OF_DEVICE = re.compile(r"CUPTI_ACTIVITY_KIND_\w*(?:KERNEL|MEMCPY|MEMSET|GRAPH_TRACE)\w*")
"""Tables of work: where these alone hold rows, and are not read, nothing can be said of the device."""

PUSH_POP, START_END = 59, 60
OPEN_PUSH, OPEN_START = 35, 37
"""Halves of a range whose end was not recorded."""
RANGE_TYPES = (PUSH_POP, START_END, OPEN_PUSH, OPEN_START)

GRAPH_REPLAY = "CUDA graph"
"""The name of a whole replay, recorded as one piece of work."""

_COPY = {
    0: "Unknown", 1: "HtoD", 2: "DtoH", 3: "HtoA", 4: "AtoH", 5: "AtoA", 6: "AtoD", 7: "DtoA", 8: "DtoD", 9: "HtoH",
    10: "PtoP", 11: "HtoD", 12: "DtoH", 13: "DtoD",
}  # fmt: skip
_MANAGED_COPIES = (11, 12, 13)
_MEMORY = {
    0: "Pageable", 1: "Pinned", 2: "Device", 3: "Array", 4: "Managed", 5: "Device Static", 6: "Managed Static",
}  # fmt: skip
_SYNC = {1: "Event Sync", 2: "Stream Wait Event", 3: "Stream Sync", 4: "Context Sync"}

_USERS = (STAGE, COLLECTIVE)
"""Ranges that are never operators."""

_VERSION = re.compile(r"(?:_pt[ds][sz])?_v\d{4,}$")
_ATEN = re.compile(r"(?:aten|prims?|quantized|torchvision|c10d|sparse|mkldnn|profiler)::\w[\w.]*$")
_QUALIFIED = re.compile(r"[A-Za-z_]\w*::|triton_|record_param_comms$")
_SUFFIXES = {
    "input_op_ids": re.compile(r", input_op_ids = \[[\d(), -]*\]"),
    "sizes": re.compile(r", sizes = (\[[\d\[\], ]*\])"),
    "op_id": re.compile(r", op_id = (\d{1,18})"),
}
"""What `emit_nvtx` writes behind a name, the last first."""
_SEQUENCE = re.compile(r", (?:stashed )?seq ?= ?-?\d+")


def process(global_id: int) -> int:
    """The process of a serialized GlobalId (hardware 8 bits, machine 8, process 24, thread 24)."""
    return (global_id >> 24) & 0xFFFFFF


def thread(global_id: int) -> int:
    """The thread of a serialized GlobalId."""
    return global_id & 0xFFFFFF


def call_name(text: str) -> str:
    """A runtime call as Kineto writes it: `cudaLaunchKernel_v7000` -> `cudaLaunchKernel`; `cuMemcpyAsync_v2` stays."""
    return _VERSION.sub("", text)


def copy_name(copy: int, source: int, target: int) -> str:
    """A copy as Kineto writes it: `Memcpy HtoD (Pageable -> Device)`."""
    if copy in _MANAGED_COPIES:
        return f"Memcpy {_COPY[copy]} (Managed)"
    between = f" ({_MEMORY.get(source, 'Unknown')} -> {_MEMORY.get(target, 'Unknown')})"
    return f"Memcpy {_COPY.get(copy, 'Unknown')}{between if source >= 0 and target >= 0 else ''}"


def fill_name(memory: int) -> str:
    """A fill as Kineto writes it: `Memset (Device)`."""
    return f"Memset ({_MEMORY.get(memory, 'Unknown')})"


def sync_name(sort: int) -> str:
    """A wait as Kineto writes it: `Stream Sync`."""
    return _SYNC.get(sort, "Unknown Sync")


@dataclass(frozen=True)
class Range:
    """An NVTX range: what its text says it is."""

    kind: Kind
    name: str
    number: int = -1
    """The operator's own number (`op_id`)."""
    sizes: str = ""
    """The dimensions of its inputs, as JSON."""


def read_range(text: str) -> Range:
    """Operators (as `emit_nvtx` writes them), module calls (`mod::…`), and everything else: annotations."""
    name, said, numbered = _peeled(text)
    if name.startswith(MODULE):
        return Range(Kind.MODULE, name)
    if len(name) < len(text):
        # a range of the user's own has neither a sequence number nor inputs, save those around collectives
        operator = (numbered or "sizes" in said or bool(_QUALIFIED.match(name))) and not name.startswith(_USERS)
        kind = Kind.OPERATOR if operator else Kind.ANNOTATION
        return Range(kind, name, int(said.get("op_id") or -1), said.get("sizes", ""))
    return Range(Kind.OPERATOR if _ATEN.match(name) else Kind.ANNOTATION, name)


def _peeled(text: str) -> tuple[str, dict[str, str], bool]:
    """(the name, what stands behind it by its key, whether a sequence number does): from the end, in linear time."""
    end, said, numbered = len(text), dict[str, str](), False
    for key, pattern in _SUFFIXES.items():
        at = text.rfind(f", {key} = ", 0, end)
        found = pattern.fullmatch(text, at, end) if at >= 0 else None
        if found:
            said[key], end = found[1] if found.re.groups else "", at
    while (at := text.rfind(", ", 0, end)) >= 0 and _SEQUENCE.fullmatch(text, at, end):
        numbered, end = True, at
    return text[:end], said, numbered
