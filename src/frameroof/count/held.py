"""How much is allocated while each operation runs, as polynomials: the candidates for the peak.

The set of live allocations is read off one trace, its size is summed symbolically from the fitted
sizes of the operations that made them, and the sum is checked against every other trace. Where the
set itself changes with the sizes (a decoder that collects frames) the sum is fitted instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ..dtypes import item_bytes
from ..workload.expr import Poly
from ..workload.records import Held
from .align import Row
from .dataflow import lifetimes
from .fit import Fitter, NoPolynomial
from .recorder import RawOp, Trace

Amount = tuple[int, int]  # elements of the pipeline's dtype, bytes of other dtypes
Amounts = tuple[Poly, Poly]
ZERO: Amounts = (Poly(), Poly())


def held_candidates(traces: list[Trace], rows: list[Row], fitter: Fitter, dtype: str) -> tuple[list[Held], bool]:
    """Held amounts that no other row's covers, and whether they reach the peak of every trace.

    Attention rows are compared among themselves, because the baseline accounting adds the
    similarity matrix to them.
    """
    measured = [_measured(t, dtype) for t in traces]
    symbolic = _symbolic(traces, rows, fitter, dtype)
    found: dict[tuple[bool, Amounts], Held] = {}
    for i, row in enumerate(rows):
        attention = row.op.kind == "attention"
        for amounts in _amounts(row.raws, measured, symbolic, fitter):
            found.setdefault((attention, amounts), Held(i, *amounts))
    kept = _undominated(found)
    return kept, all(_reached(kept, e, table) for e, table in zip(fitter.points, measured, strict=True))


def _reached(kept: list[Held], env: Mapping[str, int], table: dict[int, Amount]) -> bool:
    """Whether the candidates come to the largest measured amount (in bytes of a sixteen-bit pipeline)."""
    peak = max((2 * elements + fixed for elements, fixed in table.values()), default=0)
    return max((2 * h.elements(env) + h.fixed_bytes(env) for h in kept), default=0) >= peak


def _amounts(
    raws: list[list[RawOp]], measured: list[dict[int, Amount]], symbolic: dict[int, Amounts], fitter: Fitter
) -> Sequence[Amounts]:
    samples = [max((table[id(op)] for op in ops), default=(0, 0)) for table, ops in zip(measured, raws, strict=True)]
    last = max(raws[-1], key=lambda op: measured[-1][id(op)], default=None)
    guess = symbolic.get(id(last)) if last is not None else None
    if guess and all((guess[0](e), guess[1](e)) == s for e, s in zip(fitter.points, samples, strict=True)):
        return [guess]
    try:
        return [(fitter.fit([s[0] for s in samples]), fitter.fit([s[1] for s in samples]))]
    except NoPolynomial:
        return []


def _measured(trace: Trace, dtype: str) -> dict[int, Amount]:
    """What is alive during every operation of one trace."""
    own, other = [0] * (len(trace.ops) + 2), [0] * (len(trace.ops) + 2)
    for uid, start, stop in lifetimes(trace):
        storage = trace.storages[uid]
        is_own = storage.dtype == dtype
        line, amount = (own, storage.elements) if is_own else (other, storage.elements * _bytes(storage.dtype))
        line[start] += amount
        line[min(stop, len(trace.ops)) + 1] -= amount
    table: dict[int, Amount] = {}
    elements = fixed = 0
    for i, op in enumerate(trace.ops):
        elements, fixed = elements + own[i], fixed + other[i]
        table[id(op)] = (elements, fixed)
    return table


def _bytes(dtype: str) -> int:
    return item_bytes(dtype)


def _symbolic(traces: list[Trace], rows: list[Row], fitter: Fitter, dtype: str) -> dict[int, Amounts]:
    """For operations of the last trace: the sum of the fitted sizes of what is alive."""
    trace = traces[-1]
    row_of = {id(op): row for row in rows if not row.op.attrs.get("total") for op in row.raws[-1]}
    sizes: dict[int, Amounts] = {}
    for uid, elements in _given(traces, fitter).items():
        sizes[uid] = _as_amounts(elements, trace.storages[uid].dtype, dtype)
    for op in trace.ops:
        for at, raw in enumerate(op.writes):
            row = row_of.get(id(op))
            if raw.value[0] not in sizes and row is not None:
                sizes[raw.value[0]] = _as_amounts(row.op.writes[at].elements, raw.dtype, dtype)
    events: list[list[tuple[int, int]]] = [[] for _ in range(len(trace.ops) + 2)]
    for uid, start, stop in lifetimes(trace):
        events[start].append((uid, 1))
        events[min(stop, len(trace.ops)) + 1].append((uid, -1))
    alive, table = ZERO, {}
    for i, op in enumerate(trace.ops):
        for uid, sign in events[i]:
            size = sizes.get(uid, ZERO)
            alive = (alive[0] + size[0] * sign, alive[1] + size[1] * sign)
        table[id(op)] = alive
    return table


def _given(traces: list[Trace], fitter: Fitter) -> dict[int, Poly]:
    """Sizes of the tensors that the module is given, which every trace adopts in the same order."""
    lists = [[uid for uid, s in enumerate(t.storages) if s.by is None and not s.fixed] for t in traces]
    if len({len(found) for found in lists}) != 1:
        return {}
    out: dict[int, Poly] = {}
    for at, uid in enumerate(lists[-1]):
        same = [t.storages[found[at]] for t, found in zip(traces, lists, strict=True)]
        if len({len(s.shape) for s in same}) != 1 or any(prod(s.shape) != s.elements for s in same):
            continue
        try:
            dims = [fitter.fit([s.shape[d] for s in same]) for d in range(len(same[0].shape))]
        except NoPolynomial:
            continue
        total = Poly({(): 1})
        for dim in dims:
            total = total * dim
        out[uid] = total
    return out


def _as_amounts(elements: Poly, dtype: str, own: str) -> Amounts:
    return (elements, Poly()) if dtype == own else (Poly(), elements * _bytes(dtype))


def _undominated(found: dict[tuple[bool, Amounts], Held]) -> list[Held]:
    kept: list[tuple[bool, Held]] = []
    for (attention, _), held in found.items():
        if any(a == attention and _covers(h, held) for a, h in kept):
            continue
        kept = [(a, h) for a, h in kept if a != attention or not _covers(held, h)]
        kept.append((attention, held))
    return [h for _, h in kept]


def _covers(big: Held, small: Held) -> bool:
    left = big.elements - small.elements, big.fixed_bytes - small.fixed_bytes
    return all(c >= 0 for difference in left for c in difference.terms.values())
