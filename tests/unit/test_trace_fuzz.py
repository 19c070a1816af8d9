"""No file, however broken, gives a traceback: a trace with its problems, or one sentence."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_trace_read import event

from frameroof.trace.read import file
from frameroof.trace.read.decode import read
from frameroof.trace.read.file import TraceError

bounded = settings(
    max_examples=120, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
WORKDIR = Path(tempfile.mkdtemp(prefix="frameroof-fuzz-"))

INPUTS = {"Input Dims": [[2, 2], []], "Input type": ["float"]}
HOST = [
    event("aten::mm", "cpu_op", 0.5, 9, 1, 1, **{"External id": 4}, **INPUTS),
    event("cudaLaunchKernel", "cuda_runtime", 1.25, 2, 1, 1, correlation=9),
    event("nn.Module: Linear_0", "python_function", 0, 10, 1, 1, **{"Python id": 1}),
    {"ph": "s", "cat": "ac2g", "id": 9, "name": "ac2g", "pid": 1, "tid": 1, "ts": 1.25},
    {"ph": "B", "cat": "cpu_op", "name": 'B "quoted"\n', "pid": 1, "tid": 1, "ts": 3},
    {"ph": "E", "pid": 1, "tid": 1, "ts": 4},
]
SEED = {
    "schemaVersion": 1,
    "deviceProperties": [{"id": 0, "name": "GPU"}],
    "traceEvents": [*HOST, event(correlation=9, device=0, stream=7), *[event(f"k{i}", ts=i * 10.5) for i in range(9)]],
    "distributedInfo": {"rank": 1},
    "baseTimeNanoseconds": 17,
}
TEXTS = [json.dumps(SEED).encode(), json.dumps(SEED, indent=1).encode()]
BITS = [bytes([sign]) for sign in b'"{}[],:\\\n\0\xff']
BITS += [b'}, {"ph"', b"], ", b"NaN", b"1e999", b"9" * 30]

numbers = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.just(10**400), st.just(1.7e15))
texts = st.one_of(st.text(max_size=6), st.sampled_from(["12", "stream 7", "nan"]))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
heads = st.dictionaries(st.sampled_from(list(SEED)), values, max_size=3)
phases = st.sampled_from(["X", "B", "E", "s", "f", "i", "M"])
categories = st.sampled_from(["kernel", "cpu_op", "cuda_runtime", "python_function", "gpu_memcpy", "ac2g", "cuda_sync"])
arguments = st.dictionaries(
    st.sampled_from(["correlation", "External id", "device", "stream", "bytes", "Input Dims", "Input type", "kernel",
                     "Concrete Inputs", "Collective name", "Module Hierarchy"]),
    values, max_size=4,
)  # fmt: skip
odd_events = st.fixed_dictionaries(
    {"ph": phases | values, "cat": categories | values, "name": st.text(max_size=4) | values},
    optional={"pid": values, "tid": values, "ts": values, "dur": values, "id": values, "args": arguments | values},
)


def survives(data: bytes, piece: int = file.PIECE_BYTES) -> None:
    """Reading ends in a `Trace` whose columns are sane and of one length, or in a `TraceError` of one line."""
    path = WORKDIR / "trace.json"
    path.write_bytes(data)
    before, file.PIECE_BYTES = file.PIECE_BYTES, piece
    try:
        trace = read(path, limit_bytes=1 << 24)
    except TraceError as error:
        message = str(error)
    else:
        message = ""
    finally:
        file.PIECE_BYTES = before
    assert "\n" not in message
    if message:
        return
    for table in (trace.host, trace.work, trace.device_spans):
        assert {len(column) for column in vars(table).values()} == {len(table)}
        assert (table.end >= table.start).all()
        assert (table.name >= 0).all()
        assert (table.name < len(trace.names)).all()
        assert np.abs(table.end.astype(float)).max(initial=0) < 2**63
    assert all(problem.count > 0 for problem in trace.problems)
    assert len(trace.host) + len(trace.work) <= trace.events
    json.dumps([problem.to_dict() for problem in trace.problems] + trace.names).encode()


pieces = st.sampled_from([40, 700, file.PIECE_BYTES])


@bounded
@given(st.sampled_from(TEXTS), st.data(), pieces)
def test_mutated_text(text, data, piece):
    for _ in range(data.draw(st.integers(1, 4))):
        at, width = data.draw(st.integers(0, len(text))), data.draw(st.sampled_from([0, 1, 5, 60]))
        text = text[:at] + data.draw(st.sampled_from(BITS)) + text[at + width :]
    survives(text[: data.draw(st.sampled_from([len(text), len(text) // 2]))], piece)


@bounded
@given(st.lists(odd_events | values, max_size=5), heads, pieces)
def test_values_of_every_type(events, head, piece):
    survives(json.dumps({**head, "traceEvents": [*HOST, *events]}).encode(), piece)
    survives(json.dumps({"traceEvents": [*events, *HOST], **head}).encode(), piece)


@bounded
@given(values, st.binary(max_size=80))
def test_any_json_and_any_bytes(value, data):
    for text in (json.dumps(value).encode(), data, b"[" + data, b'{"traceEvents": [' + data, b"\x1f\x8b\x08\0" + data):
        survives(text)


@bounded
@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 40))
def test_mutated_gzip(at, byte, cut):
    packed = bytearray(gzip.compress(TEXTS[0], mtime=0))
    packed[at % len(packed)] = byte
    survives(bytes(packed[: len(packed) - cut]))


@pytest.mark.parametrize("depth", [100, 5_000, 300_000])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting(depth, opened, closed):
    deep = opened * depth + b"1" + closed * depth
    good = json.dumps(event()).encode()
    for text in (
        deep,
        b'{"traceEvents": [' + good + b', {"ph": "X", "args": {"x": ' + deep + b"}}, " + good + b"]}",
        b'{"traceEvents": [' + good + b'], "x": ' + deep + b"}",
        b'{"x": ' + deep + b', "traceEvents": [' + good + b"]}",
        b'{"traceEvents": [' + good + b', {"ph": ' + deep[: len(deep) // 2],
    ):
        survives(text)
