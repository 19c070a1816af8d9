"""What the order of operations tells: self or cross attention, and what is held when.

Both follow values (a storage and the operation that wrote it) through one trace.
"""

from __future__ import annotations

from ..dtypes import BITS
from .recorder import RawOp, Trace

Value = tuple[int, int]
SMALL = 0.01  # of the parameters' bytes: constant buffers below that are left out of the memory held


def mark_roles(trace: Trace) -> None:
    """Give every attention its role: self if queries and keys come from a common source."""
    known: dict[Value, frozenset[Value]] = {}
    for op in trace.ops:
        if op.kind == "attention":
            q, k = (_sources(trace.ops, raw.value, known) for raw in op.reads[:2])
            op.attrs["role"] = "self" if q & k else "cross"


def _sources(ops: list[RawOp], value: Value, known: dict[Value, frozenset[Value]]) -> frozenset[Value]:
    """The values that projections turned into `value`: the inputs of the nearest linears behind it."""
    stack = [value]
    while stack:
        current = stack[-1]
        if current in known:
            stack.pop()
            continue
        writer = current[1]
        if writer < 0:
            known[current] = frozenset([current])
            continue
        op = ops[writer]
        if op.kind in ("linear", "conv1d", "conv2d", "conv3d"):
            known[current] = frozenset([op.reads[0].value])
            continue
        inputs = [r.value for r in op.reads if r.value != current and not r.weight]
        waiting = [v for v in inputs if v not in known]
        if waiting:
            stack.extend(waiting)
            continue
        known[current] = frozenset().union(*(known[v] for v in inputs))
    return known[value]


def mark_buffers(trace: Trace) -> None:
    """Let buffers count as held throughout: caches and other state, and constants of noticeable size.

    State is what the forward writes or reads as keys or values; it is no weight. Constant tables of
    less than `SMALL` of the parameters' bytes are left out.
    """
    state = {raw.value[0] for op in trace.ops for raw in op.writes}
    state |= {raw.value[0] for op in trace.ops if op.kind == "attention" for raw in op.reads[1:3]}
    bits = {uid: trace.storages[uid].elements * BITS[trace.storages[uid].dtype] for uid in trace.buffers}
    trace.tables = trace.buffers - state
    constant = sum(bits[uid] for uid in trace.tables)
    large = constant > SMALL * sum(n * BITS[dtype] for dtype, n in trace.params.items())
    for uid in trace.buffers & state:
        trace.storages[uid].fixed = False
    hold_tables(trace, large)
    for op in trace.ops:
        for raw in op.reads:
            raw.weight = raw.weight and raw.value[0] not in state & trace.buffers


def hold_tables(trace: Trace, held: bool) -> None:
    """Whether the constant tables of a trace are part of the memory held.

    One answer for all traces of a record, that of its default sizes: a table that grows with the sizes would
    otherwise come and go between them.
    """
    trace.tables_held = held
    for uid in trace.tables:
        trace.storages[uid].fixed = not held


def lifetimes(trace: Trace) -> list[tuple[int, int, int]]:
    """(storage, first operation, last operation) of every allocation that is not fixed.

    Given tensors live throughout (the caller holds them); results live to the end; everything else
    from its first write to its last use.
    """
    end = len(trace.ops)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, op in enumerate(trace.ops):
        for raw in (*op.reads, *op.writes):
            first.setdefault(raw.value[0], i)
            last[raw.value[0]] = i
    spans = [(uid, 0, end) for uid in trace.buffers if uid not in first and not trace.storages[uid].fixed]
    for uid, start in first.items():
        storage = trace.storages[uid]
        if storage.fixed:
            continue
        given = storage.by is None
        stop = end if given or uid in trace.outputs else last[uid]
        spans.append((uid, 0 if given else start, stop))
    return spans


def given_caches(trace: Trace) -> set[int]:
    """Storages that were given and hold keys or values of an attention: key-value caches."""
    caches: set[int] = set()
    for op in trace.ops:
        if op.kind == "attention":
            for raw in op.reads[1:3]:
                storage = trace.storages[raw.value[0]]
                if storage.by is None and not storage.fixed:
                    caches.add(raw.value[0])
    return caches
