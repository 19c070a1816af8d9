"""Attention written by hand: matmul, scale, mask, softmax, matmul become one attention operation.

So do `nn.MultiheadAttention` asked for its weights and transformers' eager attention. The matrix
of scores never reaches memory in the fused accounting; the baseline accounting writes it again.
"""

from __future__ import annotations

from .operands import RawTensor
from .recorder import RawOp, Trace

_PASSED = {"clone", "_to_copy", "masked_fill", "native_dropout", "dropout", "copy_"}
_REACH = 12  # operations between a matmul and the softmax; eager attention has at most six


def merge_eager_attention(trace: Trace) -> None:
    """Replace every matmul-softmax-matmul chain of `trace` by one attention operation, in place."""
    ops = trace.ops
    readers: dict[tuple[int, int], list[int]] = {}
    for i, op in enumerate(ops):
        for raw in op.reads:
            readers.setdefault(raw.value, []).append(i)
    gone: set[int] = set()
    merged: dict[int, RawOp] = {}
    becomes: dict[int, int] = {}
    for i, op in enumerate(ops):
        if op.kind != "softmax" or "dim" in op.attrs:
            continue
        before = _scores(ops, i)
        after = _values(ops, i, readers)
        if before and after:
            chain = (*before, i, *after[:-1])
            made = _attention(ops, before, i, after, trace.heads)
            kept: dict[int, RawTensor] = {}  # by storage: what is changed in place is written once, at last
            for writer in chain:  # weights that are handed on, such as to be averaged, or back are written as well
                raw = ops[writer].writes[0]
                if raw.value[0] in trace.outputs or not {*readers.get(raw.value, ())} <= {*chain, after[-1]}:
                    kept[raw.value[0]] = raw
            made.writes = [*made.writes, *kept.values()]
            merged[after[-1]] = made
            gone.update(chain)
            becomes.update(dict.fromkeys(chain, after[-1]))
    trace.ops = [merged.get(i, op) for i, op in enumerate(ops) if i not in gone]
    _renumber(trace, ops, gone, becomes)


def _scores(ops: list[RawOp], softmax: int) -> list[int]:
    """From the softmax back to the matmul that makes the scores; empty if there is none."""
    chain: list[int] = []
    raw = ops[softmax].reads[0]
    scores = _size(raw)
    for _ in range(_REACH):
        at = raw.value[1]
        if at < 0:
            return []
        op = ops[at]
        chain.append(at)
        if op.kind == "matmul":
            return chain[::-1] if _size(op.writes[0]) == scores else []
        following = [r for r in op.reads if _size(r) == scores]
        if not (op.pointwise or op.name in _PASSED) or not following:
            return []
        raw = max(following, key=lambda r: r.value[1])
    return []


def _values(ops: list[RawOp], softmax: int, readers: dict[tuple[int, int], list[int]]) -> list[int]:
    """From the softmax on to the matmul with the values; empty if the weights go elsewhere."""
    chain: list[int] = []
    value = ops[softmax].writes[0].value
    scores = _size(ops[softmax].writes[0])
    for _ in range(_REACH):
        users = [i for i in readers.get(value, []) if i > softmax]
        matmuls = [i for i in users if ops[i].kind == "matmul"]
        if matmuls:
            return [*chain, matmuls[0]] if ops[matmuls[0]].reads[0].value == value else []
        users = [i for i in users if _size(ops[i].writes[0]) == scores]
        if len(users) != 1 or not (ops[users[0]].pointwise or ops[users[0]].name in _PASSED):
            return []
        chain.append(users[0])
        value = ops[users[0]].writes[0].value
    return []


def _size(raw: RawTensor) -> int:
    total = 1
    for dim in raw.shape:
        total *= dim
    return total


def _attention(ops: list[RawOp], before: list[int], softmax: int, after: list[int], heads: dict[str, int]) -> RawOp:
    first, last = ops[before[0]], ops[after[-1]]
    inner = {ops[i].writes[0].value for i in (*before, softmax, *after[:-1])}
    extra = [r for i in (*before[1:], softmax, *after[:-1]) for r in ops[i].reads if r.value not in inner]
    q, k = first.reads[-2], first.reads[-1]
    extra += [r for r in first.reads[:-2] if _size(r) < _size(first.writes[0])]  # not baddbmm's target
    v = next(r for r in last.reads if r.value not in inner)
    batch = first.dims["b"]
    path = ops[softmax].path
    shape = ops[softmax].writes[0].shape
    count = shape[-3] if len(shape) > 3 else heads.get(path, 0)
    if count < 1 or batch % count:
        count = 1
    dims = {
        "b": batch // count, "heads": count, "kv_heads": count,
        "q": first.dims["m"], "kv": first.dims["n"], "d": first.dims["k"], "dv": last.dims["n"],
    }  # fmt: skip
    attrs = {"causal": False, "eager": True}
    return RawOp(
        path,
        last.visit,
        last.slot,
        "attention",
        "eager_attention",
        [q, k, v, *extra],
        last.writes,
        dims,
        attrs,
        False,
    )


def _renumber(trace: Trace, old: list[RawOp], gone: set[int], becomes: dict[int, int]) -> None:
    """Values name the operation that wrote them: give them the new numbers, none where it now comes later."""
    kept = (i for i in range(len(old)) if i not in gone)
    new = {i: n for n, i in enumerate(kept)}
    for at, op in enumerate(trace.ops):
        for raw in (*op.reads, *op.writes):
            writer = new.get(becomes.get(raw.value[1], raw.value[1]), -1)
            raw.value = (raw.value[0], writer if writer <= at else -1)
