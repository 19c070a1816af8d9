"""The tables of another analyser, TraceLens, of the same traces: counts, times, FLOPs and bytes of every operator.

Where it differs, the difference is derived by a rule, and the guide tells it (docs/guide/traces.rst).
"""

from __future__ import annotations

import ast
import csv
import json
import math
from collections import Counter
from functools import cache

import pytest
from trace_made import REAL, SHARED, real

from frameroof.dtypes import TRACE_BYTES
from frameroof.trace.read.decode import read
from frameroof.trace.read.events import Kind
from frameroof.trace.resolve.operator_cost import cost
from frameroof.trace.resolve.recorded_inputs import Inputs, parse
from frameroof.trace.resolve.work_table import make_work_table

pytestmark = pytest.mark.shared
TABLES = SHARED / "cases" / "tracelens"
TRACES = sorted(path.name for path in TABLES.iterdir() if path.is_dir()) if TABLES.is_dir() else []
WITH_OPERATORS = [name for name in TRACES if (TABLES / name / "unified_perf_summary.csv").is_file()]


def rows(trace, table):
    path = TABLES / trace / table
    return list(csv.DictReader(path.read_text("utf-8").splitlines())) if path.is_file() else []


@cache
def table_of(trace):
    return make_work_table(read(REAL / f"{trace}.json.gz"))


def inputs_of(row, suffix=""):
    """The inputs of a row of the peer's tables."""
    dims, types, values = (
        ast.literal_eval(row[f"{n}{suffix}"]) for n in ("Input Dims", "Input type", "Concrete Inputs")
    )
    found = tuple(tuple(tuple(d) if isinstance(d, (list, tuple)) else d for d in each) for each in dims)
    return Inputs(found, tuple(types), tuple(values))


def key(name, inputs):
    """What tells calls apart: strides, which the peer's rows have too, are not recorded here."""
    dims = [[list(d) if isinstance(d, tuple) else d for d in each] for each in inputs.dims]
    types = [kind if each or kind in TRACE_BYTES else "" for each, kind in zip(dims, inputs.types, strict=True)]
    return json.dumps([name, dims, types, inputs.concrete])


@cache
def calls(trace):
    """Calls of every operator that launched something itself or inside itself, by `key`."""
    table = table_of(trace)
    host, parent = table.trace.host, table.links.parent
    launched = set()
    for row in {int(at) for at in table.operator_row if at >= 0}:
        at = row
        while at >= 0 and at not in launched:
            launched.add(at)
            at = int(parent[at])
    parsed = [parse(each) for each in table.trace.arguments]
    keys = {
        at: key(table.trace.names[host.name[at]], parsed[host.args[at]])
        for at in launched
        if host.kind[at] == int(Kind.OPERATOR) and host.args[at] >= 0 and parsed[host.args[at]]
    }
    return Counter(k for at, k in keys.items() if keys.get(int(parent[at])) != k)  # an overload calls another


@pytest.mark.parametrize("trace", WITH_OPERATORS)
def test_counts(trace):
    """As many calls of every operator at every shape; rows that differ in strides alone are one here."""
    theirs = Counter()
    for row in rows(trace, "unified_perf_summary.csv"):
        theirs[key(row["name"], inputs_of(row))] += int(row["operation_count"])
    ours = calls(trace)
    assert {k: (n, ours[k]) for k, n in theirs.items() if ours[k] != n} == {}


def elements(shape):
    return math.prod(shape)


def flops_of_peer(category, row, inputs, ours):
    """What the peer makes of FLOPs: it adds the bias of `addmm`, and halves causal attention."""
    if row["name"] == "aten::addmm":
        return ours + inputs.tensor(1)[0] * inputs.tensor(2)[1]
    if category == "SDPA_fwd" and "'causal': True" in row["perf_params"]:
        return ours // 2
    return ours


def attention_of(trace, inputs):
    """(FLOPs, bytes) a call, and calls, of the report's attention with the sizes of q and k."""
    q, k = inputs.tensor(0), inputs.tensor(1)
    sizes = (q[0], q[1], q[2], k[2], q[3])
    found = [
        a for a in real(f"{trace}.json.gz").attention if (a.batch, a.heads, a.query_len, a.key_len, a.head_dim) == sizes
    ]
    count = sum(a.count for a in found)
    return sum(a.flops for a in found) / count, sum(a.bytes for a in found) / count, count


@pytest.mark.parametrize("trace", WITH_OPERATORS)
def test_flops_of_products_convolutions_and_attention(trace):
    """Equal to the last digit, in the operator's own row and, of attention, in the report."""
    seen = 0
    for row in rows(trace, "unified_perf_summary.csv"):
        category, inputs = row["op category"], inputs_of(row)
        if category not in ("GEMM", "CONV_fwd", "SDPA_fwd"):
            continue
        if category == "SDPA_fwd":
            ours, moved, count = attention_of(trace, inputs)
            assert count == int(row["operation_count"])
        else:
            found = cost(row["name"], inputs)
            ours, moved = found.flops, found.bytes
        assert round(float(row["GFLOPS"]) * 1e9) == flops_of_peer(category, row, inputs, ours), row["name"]
        assert moved == pytest.approx(float(row["Data Moved (MB)"]) * 2**20, rel=0.01), row["name"]
        seen += 1
    assert seen


def kernel_bytes(inputs):
    """The peer's bytes of a compiled kernel: its tensors once, none of fp32, and of a pointwise one the first
    once more, whether the kernel works in place or not."""
    return sum(elements(dims) * size for dims, size in inputs.tensors if size != 4)


def bytes_of_peer(name, inputs, ours):
    """What the peer makes of bytes, from what is counted here."""
    if name.startswith("triton_poi"):
        first, last = inputs.types[0], int(next(v for v in reversed(inputs.concrete) if v))
        return kernel_bytes(inputs) + (0 if first == "float" else last * TRACE_BYTES[first])
    if name.startswith("triton_"):
        return kernel_bytes(inputs)
    if "norm" in name.rpartition("::")[2] and name != "aten::linalg_vector_norm":
        return ours + 8 * inputs.elements(
            2
        )  # a mean and a variance for each channel; there is one for each row or group
    if name in ("aten::min", "aten::mean"):  # it takes every reduction to end in one number, and two tensors for one
        return inputs.size(0) + inputs.item(0)
    if name == "aten::mul" and inputs.types[0] == "float" and not inputs.dims[0]:  # a number widens no tensor in torch
        return inputs.size(1) + inputs.elements(1) * 4
    return ours


@pytest.mark.parametrize("trace", WITH_OPERATORS)
def test_bytes(trace):
    """Within 1 % where the peer has any; what is unknown here, a part of a tensor read, it counts in full.

    A number without dimensions has no bytes here.
    """
    seen, unknown = 0, []
    for row in rows(trace, "unified_perf_summary.csv"):
        name, inputs = row["name"], inputs_of(row)
        if not row["Data Moved (MB)"] or row["op category"] == "SDPA_fwd":
            continue
        ours = cost(name, inputs).bytes
        if ours < 0:
            unknown.append(name)
        theirs = float(row["Data Moved (MB)"]) * 2**20
        assert bytes_of_peer(name, inputs, ours) == pytest.approx(theirs, rel=0.01, abs=16), (name, inputs.dims)
        seen += 1
    assert seen
    assert all("_slice_" in name for name in unknown)


@pytest.mark.parametrize("trace", WITH_OPERATORS)
def test_tables_of_products_convolutions_and_norms(trace):
    """The peer's tables of one category hold the same rows: sizes as their names say, counts and amounts."""
    seen = 0
    for name in ("GEMM", "CONV_fwd", "Normalization", "Normalization_fwd", "SDPA_fwd"):
        for row in rows(trace, f"{name}.csv"):
            inputs = inputs_of(row, "_first")
            assert calls(trace)[key(row["name"], inputs)] >= int(row["name_count"])
            if name == "GEMM":
                sizes = [int(row[f"param: {size}"]) for size in "BMNK"]
                bias = sizes[1] * sizes[2] if row["param: bias"] == "True" else 0
                assert cost(row["name"], inputs).flops == 2 * math.prod(sizes)
                assert round(float(row["GFLOPS_first"]) * 1e9) == 2 * math.prod(sizes) + bias
            elif name != "SDPA_fwd":
                theirs = float(row["Data Moved (MB)_first"]) * 2**20
                ours = cost(row["name"], inputs).bytes
                assert bytes_of_peer(row["name"], inputs, ours) == pytest.approx(theirs, rel=0.01)
            seen += 1
    assert seen


def dropped(table, row):
    """Whether the peer drops some work: it links by arrows, of which ROCm draws none to a fill."""
    return table.trace.is_rocm and table.kind[row] == int(Kind.MEMSET)


@pytest.mark.parametrize("trace", WITH_OPERATORS)
def test_times_of_operators(trace):
    """Time of every operator by itself, to a microsecond; without the fills of ROCm, as `dropped` says."""
    theirs, ours = Counter(), Counter()
    for row in rows(trace, "ops_summary.csv"):
        theirs[row["name"]] += float(row["total_direct_kernel_time_sum"])
    table = table_of(trace)
    for row, name in enumerate(table.operator):
        ours[name] += 0 if dropped(table, row) else int(table.duration[row]) / 1000
    wrong = {n: (t, ours[n]) for n, t in theirs.items() if t and not abs(t - ours[n]) < max(1, 1e-6 * t)}
    assert wrong == {}


@pytest.mark.parametrize("trace", TRACES)
def test_times_of_the_device(trace):
    """Busy and idle time and their sum, to the rounding of the peer's doubles."""
    theirs = {row["type"]: float(row["time ms"]) * 1e6 for row in rows(trace, "gpu_timeline.csv")}
    summary, table = real(f"{trace}.json.gz").summary, table_of(trace)
    fills = sum(int(table.duration[row]) for row in range(len(table)) if dropped(table, row))
    found = (summary.busy_ns - fills, summary.idle_ns + fills, summary.span_ns)
    assert found == pytest.approx([theirs[f"{what}_time"] for what in ("busy", "idle", "total")], abs=1_000)
