"""Match the operations of several traces of one module, and write their sizes as polynomials.

Operations meet by module path, call number and place within the call. Where the number of calls
grows with a size (a decoder that runs frame by frame), the first calls are matched one by one and
the rest must repeat: they become rows whose count is a polynomial. A row whose size changes
from call to call (a growing concatenation) keeps the exact sum over its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ..workload.expr import ONE, Poly
from ..workload.groups import Groups
from ..workload.records import AGAIN, CHIP, GIVEN, Op, Tensor
from .fit import Fitter, NoPolynomial
from .operands import RawTensor
from .recorder import RawOp, Trace

LONGEST_PERIOD = 4  # a module called up to this often within one turn of a loop


class StructureChanges(ValueError):
    """The operations or their sizes do not follow one rule over the sampled sizes."""


@dataclass
class Row:
    """One operation of the fitted table and the raw operations it stands for, per trace."""

    op: Op
    raws: list[list[RawOp]]


def align(traces: list[Trace], fitter: Fitter) -> list[Row]:
    """The table of operations with polynomial sizes, in the order of the first trace."""
    order = {id(op): i for i, op in enumerate(traces[0].ops)}
    rows = [row for key, lists in _grouped(traces) for row in _split(key, lists, fitter)]
    places: list[int] = []
    for row in rows:  # what does not occur in the first trace stands after what it was found beside
        places.append(order[id(row.raws[0][0])] if row.raws[0] else places[-1] if places else 0)
    rows = [rows[at] for at in sorted(range(len(rows)), key=places.__getitem__)]
    return _with_regions(rows, len(traces))


def _with_regions(rows: list[Row], traces: int) -> list[Row]:
    """The rows with their regions: those whose operations share a region in some trace are of one."""
    together = Groups(len(rows))
    for t in range(traces):
        first: dict[int, int] = {}
        for at, row in enumerate(rows):
            for raw in row.raws[t]:
                if raw.region:
                    together.join(first.setdefault(raw.region, at), at)
    numbers = together.numbers()
    for row, number in zip(rows, numbers, strict=True):
        row.op = replace(row.op, region=0 if row.op.attrs.get("unused") else number)
    return rows


def _grouped(traces: list[Trace]) -> Iterator[tuple[tuple[Any, ...], list[list[RawOp]]]]:
    by_place = [_collect(t, lambda op: (op.path, op.slot, op.name)) for t in traces]
    uneven = {key[0] for table in by_place for key in table if any(key not in other for other in by_place)}
    by_name = [_collect(t, lambda op: (op.path, "", op.name), uneven) for t in traces]
    for key in by_place[0]:
        if key[0] not in uneven:
            yield key, [table[key] for table in by_place]
    for key in dict.fromkeys(k for table in by_name for k in table):
        yield key, [table.get(key, []) for table in by_name]


def _collect(
    trace: Trace, key: Callable[[RawOp], tuple[Any, ...]], only: set[str] | None = None
) -> dict[tuple[Any, ...], list[RawOp]]:
    table: dict[tuple[Any, ...], list[RawOp]] = {}
    for op in trace.ops:
        if only is None or op.path in only:
            table.setdefault(key(op), []).append(op)
    return table


def _split(key: tuple[Any, ...], lists: list[list[RawOp]], fitter: Fitter) -> list[Row]:
    """Rows of calls of one name at one path; those that follow no rule together, by the weights that they read.

    A recurrent layer multiplies its input once and its state at every step: one path, one name, two weights.
    """
    try:
        return list(_rows(key, lists, fitter))
    except StructureChanges:
        parts = [_by_weights(ops) for ops in lists]
        names = dict.fromkeys(weights for part in parts for weights in part)
        if len(names) < 2:
            raise
        return [row for name in names for row in _rows(key, [part.get(name, []) for part in parts], fitter)]


def _by_weights(ops: list[RawOp]) -> dict[tuple[int, ...], list[RawOp]]:
    found: dict[tuple[int, ...], list[RawOp]] = {}
    for op in ops:
        found.setdefault(tuple(raw.value[0] for raw in op.reads if raw.weight), []).append(op)
    return found


def _rows(key: tuple[Any, ...], lists: list[list[RawOp]], fitter: Fitter) -> Iterator[Row]:
    lengths = [len(ops) for ops in lists]
    if len(set(lengths)) == 1:
        try:
            yield from [_row([[ops[j]] for ops in lists], fitter) for j in range(lengths[0])]
            return
        except StructureChanges:
            if lengths[0] == 1 and lists[0][0].dims:
                raise
    head, period = _repetition(lists) if max(lengths) > 1 else (0, 0)
    if period:
        try:
            yield from [
                *(_row([[ops[j]] for ops in lists], fitter) for j in range(head)),
                *(_row([ops[head + k :: period] for ops in lists], fitter, lists) for k in range(period)),
            ]
            return
        except StructureChanges:  # such as a concatenation of as many tensors as the loop has turns
            if any(op.dims for ops in lists for op in ops):
                raise
    yield _total(key, lists, fitter)


def _repetition(lists: list[list[RawOp]]) -> tuple[int, int]:
    """After how many first calls the rest repeats, and with which period; period 0 if it does not.

    What repeats is the sizes, and if that can be what operands move: the first turn of a loop reads the weights first.
    A loop of one turn alone then has no other.
    """
    alike = all(ops and _repeats_from(ops, 1, False) == 0 for ops in lists)
    for traffic in (True, False):
        for period in range(1, LONGEST_PERIOD + 1):
            head = max(_repeats_from(ops, period, traffic) for ops in lists)
            rest = 0 if traffic and alike and period == 1 else period
            if all(len(ops) >= head + rest and (len(ops) - head) % period == 0 for ops in lists):
                return head, period
    return 0, 0


def _signature(op: RawOp, traffic: bool) -> tuple[Any, ...]:
    shapes = tuple((raw.shape, raw.dtype, raw.traffic if traffic else "") for raw in (*op.reads, *op.writes))
    return shapes, tuple(op.dims.items())


def _repeats_from(ops: list[RawOp], period: int, traffic: bool) -> int:
    """The first index from which every call has the sizes of the call `period` before it."""
    signatures = [_signature(op, traffic) for op in ops]
    at = len(ops)
    while at > 0 and (at - 1 + period >= len(ops) or signatures[at - 1] == signatures[at - 1 + period]):
        at -= 1
    return at


def _row(raws: list[list[RawOp]], fitter: Fitter, alike: list[list[RawOp]] | None = None) -> Row:
    """One row for the last call of each trace; `alike` has calls of the same sizes for those without one."""
    first = next(ops[0] for ops in raws if ops)
    samples = [ops[-1] if ops else other[-1] for ops, other in zip(raws, alike or raws, strict=True)]
    for other in samples:
        same = (other.kind, other.name, len(other.reads), len(other.writes)) == (
            first.kind, first.name, len(first.reads), len(first.writes)
        )  # fmt: skip
        if same and _attrs(other) != _attrs(first):
            changed = {k: (first.attrs.get(k), other.attrs.get(k)) for k in {*first.attrs, *other.attrs}}
            changed = {k: v for k, v in changed.items() if v[0] != v[1]}
            raise StructureChanges(f"{first.path or 'the module'}: {first.name} is not alike at every size: {changed}")
        if not same:
            raise StructureChanges(f"{first.path or 'the module'}: {first.name} is not the same at every size")
    try:
        reads = tuple(_tensor([s.reads[i] for s in samples], raws, i, "reads", fitter) for i in range(len(first.reads)))
        writes = tuple(
            _tensor([s.writes[i] for s in samples], raws, i, "writes", fitter) for i in range(len(first.writes))
        )
        dims = {name: fitter.fit([s.dims[name] for s in samples]) for name in first.dims}
        count = fitter.fit([len(ops) for ops in raws])
    except NoPolynomial as error:
        raise StructureChanges(
            f"{first.path or 'the module'}: a size of {first.name} is no polynomial of the sizes: {error}"
        ) from error
    return Row(Op(first.path, first.kind, first.name, reads, writes, dims, _attrs_of(raws), count), raws)


def _attrs(op: RawOp) -> dict[str, Any]:
    return {name: value for name, value in op.attrs.items() if name != "unused"}


def _attrs_of(raws: list[list[RawOp]]) -> dict[str, Any]:
    """What is said of all calls alike; that nobody needs them only where nobody needs any."""
    every = [op for ops in raws for op in ops]
    return {**_attrs(every[0]), **({"unused": True} if all(op.attrs.get("unused") for op in every) else {})}


def _tensor(seen: list[RawTensor], raws: list[list[RawOp]], at: int, side: str, fitter: Fitter) -> Tensor:
    first = seen[0]
    if any(len(raw.shape) != len(first.shape) or raw.dtype != first.dtype for raw in seen):
        raise StructureChanges("an operand has another rank or dtype at another size")
    shape = tuple(fitter.fit([raw.shape[d] for raw in seen]) for d in range(len(first.shape)))
    if all(raw.most for raw in seen):
        shape = _chosen(shape, fitter.fit([raw.most for raw in seen]))
    traffic = least({getattr(op, side)[at].traffic for ops in raws for op in ops})
    return Tensor(shape, first.dtype, first.weight, _said(first.weight, traffic))


def _chosen(shape: tuple[Poly, ...], most: Poly) -> tuple[Poly, ...]:
    """The shape of what is chosen of so many elements: no more than all of them."""
    chosen = prod(shape, start=ONE)
    return (chosen.smaller(most),)


def least(seen: set[str]) -> str:
    """What an operand moves at the least, where it is not the same in all of its calls."""
    return next(traffic for traffic in (CHIP, AGAIN, "", GIVEN) if traffic in seen)


def _said(weight: bool, traffic: str) -> str:
    """The mark that is written: a weight without one is read first."""
    return "" if weight and traffic == GIVEN else traffic


def _total(key: tuple[Any, ...], lists: list[list[RawOp]], fitter: Fitter) -> Row:
    """One row for calls of differing sizes: its tensors are the sums over the calls."""
    every = [op for ops in lists for op in ops]
    first = every[0]
    if any(op.dims or op.kind != first.kind for op in every):
        raise StructureChanges(f"{key[0] or 'the module'}: the calls of {first.name} differ in a way that has no rule")
    try:
        sides = {}
        for side in ("reads", "writes"):
            sorts = sorted({_sort(raw) for op in every for raw in getattr(op, side)})
            sides[side] = tuple(
                Tensor((fitter.fit([_elements(ops, side, sort) for ops in lists]),), *sort) for sort in sorts
            )
        count = fitter.fit([len(ops) for ops in lists])
    except NoPolynomial as error:
        raise StructureChanges(
            f"{key[0] or 'the module'}: the sum over the calls of {first.name} is no polynomial of the sizes: {error}"
        ) from error
    attrs = {**_attrs_of(lists), "total": True}
    return Row(Op(first.path, first.kind, first.name, sides["reads"], sides["writes"], {}, attrs, count), lists)


def _sort(raw: RawTensor) -> tuple[str, bool, str]:
    return raw.dtype, raw.weight, _said(raw.weight, raw.traffic)


def _elements(ops: list[RawOp], side: str, sort: tuple[str, bool, str]) -> int:
    return sum(prod(raw.touched) for op in ops for raw in getattr(op, side) if _sort(raw) == sort)
