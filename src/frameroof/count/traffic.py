"""What every operand has to do with memory where each region is one kernel: see `Tensor.traffic`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import BITS
from ..workload.records import AGAIN, CHIP, GIVEN
from .flow import Flow, Value, bits_of, disjoint
from .operands import RawTensor
from .recorder import RawOp, Trace
from .regions import mark_regions


def mark_traffic(traces: Sequence[Trace]) -> None:
    """Mark the regions of traces, what nobody needs, and the part of every operand in the traffic.

    Traces of one module that do the same at other sizes are marked alike, as the last of them, which is the largest.
    """
    known: dict[Any, Trace] = {}
    for trace in reversed(traces):
        like = known.setdefault(_structure(trace), trace)
        if like is trace:
            _mark(trace)
        else:
            _copy(like, trace)


def _mark(trace: Trace) -> None:
    flow = Flow(trace)
    for op, unused in zip(trace.ops, flow.unused, strict=True):
        _set_unused(op, unused)
        for raw in (*op.reads, *op.writes):
            raw.traffic = ""
    mark_regions(flow)
    _mark_writes(flow)
    _mark_reads(flow)


def _set_unused(op: RawOp, unused: bool) -> None:
    op.attrs.pop("unused", None)
    if unused:
        op.attrs["unused"] = True


def _structure(trace: Trace) -> tuple[Any, ...]:
    """What the dataflow of a trace depends on, but for its sizes: operations, values, and which are written whole."""
    sizes = [storage.elements * BITS[storage.dtype] for storage in trace.storages]
    return tuple(
        (op.name, op.kind, tuple((raw.value, bits_of(raw) == sizes[raw.value[0]]) for raw in (*op.reads, *op.writes)))
        for op in trace.ops
    )


def _copy(like: Trace, trace: Trace) -> None:
    for known, op in zip(like.ops, trace.ops, strict=True):
        op.region = known.region
        _set_unused(op, "unused" in known.attrs)
        for marked, raw in zip((*known.reads, *known.writes), (*op.reads, *op.writes), strict=True):
            raw.traffic = marked.traffic


def _mark_writes(flow: Flow) -> None:
    for _, op in flow.used():
        for raw in op.writes:
            if raw.value in flow.handed:
                raw.traffic = GIVEN
            elif all(flow.ops[reader].region == op.region for reader, _ in flow.readers.get(raw.value, ())):
                raw.traffic = CHIP
    for i in flow.parts:
        for raw in (*flow.ops[i].reads, *flow.ops[i].writes):
            raw.traffic = CHIP


def _mark_reads(flow: Flow) -> None:
    """Largest first, so that a part of what a region reads already is the one that costs nothing."""
    read: dict[tuple[int, Value], list[RawTensor]] = {}
    first: dict[int, list[RawTensor]] = {}
    for i, raw, values in sorted(flow.reads(), key=lambda found: -bits_of(found[1])):
        region = flow.ops[i].region
        left = flow.given(raw) and flow.left_of(raw, values)
        inside = not left and bool(values) and all(flow.ops[writer].region == region for _, writer in values)
        seen = flow.read_as(raw)
        here = read.setdefault((region, seen.value), [])
        if inside or not all(disjoint(seen, other) for other in here):
            raw.traffic = CHIP
            continue
        here.append(seen)
        if left:
            before = first.setdefault(seen.value[0], [])
            raw.traffic = GIVEN if all(disjoint(seen, other) for other in before) else AGAIN
            before.append(seen)
