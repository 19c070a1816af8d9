"""Copies that a batch of one, or a size of one, does not need, and padding that some sizes do not need.

A slice of a batch of one is often contiguous where that of a larger batch is not, so PyTorch skips
the copy. The table is then fitted over the larger batches, and what a batch of one leaves out is
counted ``b1 = min(b-1, 1)`` times: never for one, always for more. `Conditions` are the same for sizes that a
builder does not declare: names of 0 or 1, of which the table is fitted where all are 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import prod
from typing import Any

from ..dtypes import BITS
from ..workload.expr import Poly
from .align import Row, StructureChanges, align
from .fit import Fitter
from .recorder import RawOp, Trace

Conditions = Mapping[str, str]
INDICATOR = "b1"
INDICATOR_LET = "min(b-1, 1)"


def align_batches(
    traces: list[Trace], points: Sequence[Mapping[str, int]], squared: Sequence[str] = ()
) -> tuple[list[Row], list[Trace], Fitter, bool]:
    """Rows, the traces they were fitted over, the fitter, and whether the indicator is used.

    Raises `StructureChanges` where a batch of one leaves out other operations at other sizes.
    """
    try:
        fitter = Fitter(points, squared)
        return align(traces, fitter), traces, fitter, False
    except StructureChanges as error:
        first = error
        many = [i for i, point in enumerate(points) if point.get("b", 1) > 1]
        if len(many) < 4 or len(many) == len(points):
            raise
    fitter = Fitter([points[i] for i in many], squared)
    try:
        rows = align([traces[i] for i in many], fitter)
    except StructureChanges:
        raise first from None  # the batch is not the cause
    ones = [i for i in range(len(points)) if i not in many]
    absent = [_absent(rows, traces[i], points[i]) for i in ones]
    if any(found != absent[0] for found in absent):
        raise StructureChanges("a batch of one leaves out other operations at other sizes")
    rows = [_sometimes(row) if at in absent[0] else row for at, row in enumerate(rows)]
    return rows, [traces[i] for i in many], fitter, True


def align_sometimes(
    traces: list[Trace], points: Sequence[Mapping[str, int]], squared: Sequence[str], conditions: Conditions
) -> tuple[list[Row], list[Trace], Fitter]:
    """Rows, the traces they were fitted over and the fitter, where some rows occur only if a condition is 1.

    `points` hold the values of the conditions beside those of the variables.
    Raises `StructureChanges` where the rows that are missing follow no condition.
    """
    plain = [{n: v for n, v in point.items() if n not in conditions} for point in points]
    whole = [i for i, point in enumerate(points) if all(point[c] for c in conditions)]
    if len(whole) < 4:
        raise StructureChanges("too few sizes tell when an operation occurs")
    fitter = Fitter([plain[i] for i in whole], squared)
    rows = align([traces[i] for i in whole], fitter)
    rest = [i for i in range(len(points)) if i not in whole]
    absent = {i: _absent(rows, traces[i], plain[i]) for i in rest}
    for at in set().union(*absent.values()):
        occurs = {i: at not in absent[i] for i in rest}
        factor = next((c for c in _products(conditions) if all(_all(points[i], c) == occurs[i] for i in rest)), None)
        if factor is None:
            row = rows[at].op
            raise StructureChanges(f"{row.path or 'the module'}: {row.name} occurs at some sizes only, by no rule")
        rows[at] = replace(rows[at], op=replace(rows[at].op, count=rows[at].op.count * Poly({factor: 1})))
    return rows, [traces[i] for i in whole], fitter


def _products(conditions: Conditions) -> list[tuple[str, ...]]:
    return [*((c,) for c in conditions), *(tuple(sorted(pair)) for pair in combinations(conditions, 2))]


def _all(point: Mapping[str, int], names: tuple[str, ...]) -> bool:
    return all(point[name] for name in names)


def _sometimes(row: Row) -> Row:
    return replace(row, op=replace(row.op, count=row.op.count * Poly({(INDICATOR,): 1})))


def _absent(rows: list[Row], trace: Trace, point: Mapping[str, int]) -> set[int]:
    """Rows that do not occur in a trace with a batch of one; everything else must agree exactly."""
    actual = Counter(_seen(op) for op in trace.ops)
    absent = set()
    for at, row in enumerate(rows):
        if row.op.attrs.get("total"):
            continue
        signature, calls = _predicted(row, point), int(row.op.count(point))
        if actual[signature] >= calls:
            actual[signature] -= calls
        elif row.op.kind == "copy" and not actual[signature]:
            absent.add(at)
        else:
            raise _differs(row)
    for at, row in enumerate(rows):
        if row.op.attrs.get("total"):
            left = [s for s in actual.elements() if s[:2] == (row.op.path, row.op.name)]
            calls = len(left)
            for signature in set(left):
                del actual[signature]
            if calls == 0 and row.op.kind == "copy":
                absent.add(at)
            elif calls != row.op.count(point) or _moved(left) != _moved([_predicted(row, point)]):
                raise _differs(row)
    for path, name, *_ in +actual:
        raise StructureChanges(f"{path or 'the module'}: {name} occurs for a batch of one only")
    return absent


def _differs(row: Row) -> StructureChanges:
    return StructureChanges(f"{row.op.path or 'the module'}: {row.op.name} differs for a batch of one")


def _moved(signatures: list[tuple[Any, ...]]) -> int:
    return sum(prod(shape) * BITS[dtype] for s in signatures for shape, dtype in s[2])


def _seen(op: RawOp) -> tuple[Any, ...]:
    shapes = tuple((raw.touched, raw.dtype) for raw in (*op.reads, *op.writes))
    return op.path, op.name, shapes, tuple(sorted(op.dims.items()))


def _predicted(row: Row, point: Mapping[str, int]) -> tuple[Any, ...]:
    op = row.op
    shapes = tuple((tuple(d(point) for d in t.shape), t.dtype) for t in (*op.reads, *op.writes))
    return op.path, op.name, shapes, tuple(sorted((n, d(point)) for n, d in op.dims.items()))
