"""Attention as one thing: fused kernels and the eager pattern alike, with batch, heads, lengths and head dimension.

Eager attention is found from its softmax over (.., Q, K): the product before it that makes that matrix, the product
after it that uses it, and whatever in between works on the matrix itself (scale, mask, cast, dropout).
Legend: B batch, H heads, Q query length, K key length, D head dimension.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .classify import ATTENTION, LINEAR, SOFTMAX, classify
from .placed import Placed
from .schema import Kind
from .shapes import Dims, Inputs, matmul

REACH = 64
"""How many pieces of work of one stream may stand between a softmax and its two products (the first layer of T5 makes
its position bias there); never another softmax."""


@dataclass
class Attention:
    """One call of attention: which work it is made of, and its geometry (0: not recorded)."""

    rows: list[int]
    fused: bool
    batch: int = 0
    heads: int = 0
    query_len: int = 0
    key_len: int = 0
    head_dim: int = 0
    causal: bool | None = None
    kv_heads: int = 0
    """Heads of keys and values where they are fewer (grouped queries); 0: as many."""
    item: int = 2
    """Bytes of an element of q, k and v."""
    module: str = ""
    start: int = 0
    duration: int = 0
    kind: str = field(default="self")
    """self, cross, temporal or spatial."""

    @property
    def geometry(self) -> tuple[int, int, int, int, int]:
        """(batch, heads, query length, key length, head dimension)."""
        return self.batch, self.heads, self.query_len, self.key_len, self.head_dim

    @property
    def flops(self) -> int:
        """Two products over the full square, causal or not (torch's convention)."""
        return 4 * math.prod(self.geometry)

    @property
    def bytes(self) -> int:
        """q, k, v and the output once each: what a fused kernel must move."""
        rows = 2 * self.heads * self.query_len + 2 * (self.kv_heads or self.heads) * self.key_len
        return self.batch * self.head_dim * self.item * rows


def find_attention(placed: Placed) -> list[Attention]:
    """All calls of attention in a trace, in order of start; `kind` is told apart over the whole run."""
    found = [*_fused(placed), *_eager(placed)]
    for call in found:
        call.start = int(placed.start[call.rows[0]])
        call.duration = int(sum(placed.duration[row] for row in call.rows))
        call.module = placed.module[call.rows[0]]
    found.sort(key=lambda call: call.start)
    found = _with_helpers(placed, found)
    _tell_apart(found)
    return found


_HELPER = re.compile(r"quant|combine|splitkv_reduce|preprocess|convert_dq", re.I)


def _with_helpers(placed: Placed, calls: list[Attention]) -> list[Attention]:
    """Kernels that only prepare or finish an attention (quantise its inputs, combine its parts) join that call."""
    joined: list[Attention] = []
    pending: list[int] = []
    for call in calls:
        name = placed.kernel[call.rows[0]]
        if len(call.rows) == 1 and call.fused and _HELPER.search(name):
            if re.search("combine|reduce", name) and joined:
                _join(placed, joined[-1], call.rows)
            else:
                pending += call.rows
            continue
        if pending:
            _join(placed, call, pending)
            pending = []
        joined.append(call)
    if pending and joined:
        _join(placed, joined[-1], pending)
    return joined


def _join(placed: Placed, call: Attention, rows: list[int]) -> None:
    call.rows += rows
    call.duration += int(sum(placed.duration[row] for row in rows))


# ---------------------------------------------------------------------------------------------- fused

_LAYOUTS: dict[str, tuple[str, int]] = {
    "aten::_flash_attention_forward": ("BNHD", 8),
    "aten::_efficient_attention_forward": ("BNHD", -1),
    "aten::_cudnn_attention_forward": ("BHND", -1),
    "aten::_scaled_dot_product_flash_attention": ("BHND", 4),
    "aten::_scaled_dot_product_efficient_attention": ("BHND", 6),
    "aten::_scaled_dot_product_cudnn_attention": ("BHND", 6),
    "aten::_scaled_dot_product_fused_attention_overrideable": ("BHND", 5),
    "aten::_scaled_dot_product_flash_attention_for_cpu": ("BHND", 4),
    "aten::scaled_dot_product_attention": ("BHND", 5),
    "aten::_flash_attention_backward": ("BNHD", -1),
}
"""Operator -> (layout of q, k and v, position of `is_causal` among its inputs, -1: not told)."""


def _fused(placed: Placed) -> Iterator[Attention]:
    calls: dict[int, Attention] = {}
    outer: dict[int, int] = {}
    for row, name in enumerate(placed.classes):
        if name != ATTENTION:
            continue
        at = _outermost(placed, row, outer)
        call = calls.get(at)
        inputs = placed.input(row)
        if call is not None:
            call.rows.append(row)
            if not call.query_len and inputs is not None:
                _measure(call, placed.operator[row], inputs)
            continue
        call = Attention([row], fused=True)
        if inputs is not None:
            _measure(call, placed.operator[row], inputs)
        if at >= 0:
            calls[at] = call
        else:
            yield call
    yield from calls.values()


def _outermost(placed: Placed, row: int, known: dict[int, int]) -> int:
    """The outermost attention operator around a row's call: `scaled_dot_product_attention` holds the kernel's own
    operator, and both are one attention. The call itself where its operator stands in another trace."""
    call = int(placed.call[row])
    if call < 0 or call != placed.operator_row[row]:
        return call
    if call not in known:
        trace, parent = placed.trace, placed.links.parent
        best = at = call
        while at >= 0:
            kind = int(trace.host.kind[at])
            if kind == Kind.MODULE:
                break
            if kind == Kind.OPERATOR and classify(trace.names[trace.host.name[at]], "", kind) == ATTENTION:
                best = at
            at = int(parent[at])
        known[call] = best
    return known[call]


def _measure(call: Attention, operator: str, inputs: Inputs) -> None:
    tensors = [dims for i in range(len(inputs.dims)) if (dims := inputs.tensor(i)) is not None and len(dims) >= 3]
    if len(tensors) < 2:
        return
    q, k = tensors[0], tensors[1]
    layout, flag = _LAYOUTS.get(operator, ("BNHD" if _is_bnhd(q, k) else "BHND", -1))
    if len(q) == 3:  # variable length: (tokens, heads, head dimension), the batch is folded into the tokens
        call.batch, call.query_len, call.heads, call.head_dim, call.key_len = 1, q[0], q[1], q[2], k[0]
        call.kv_heads = k[1] if len(k) == 3 else q[1]
    elif len(q) == 4 and len(k) == 4:
        n, h = (1, 2) if layout == "BNHD" else (2, 1)
        call.batch, call.query_len, call.heads, call.head_dim, call.key_len = q[0], q[n], q[h], q[3], k[n]
        call.kv_heads = k[h]
    call.item = inputs.tensors[0][1] if inputs.tensors else 2
    if flag >= 0 and inputs.value(flag) in ("True", "False"):
        call.causal = inputs.value(flag) == "True"


def _is_bnhd(q: Dims, k: Dims) -> bool:
    """Whether tokens stand before heads: keys share the heads of the queries, or have a part of them (grouped queries);
    where both fit, the shorter are heads."""
    if len(q) != 4 or len(k) != 4:
        return True
    if q[1] == k[1] and q[2] == k[2]:
        return q[2] < q[1]
    if q[2] == k[2]:  # heads at 2, or grouped heads at 1 over as many tokens
        return not (q[1] % max(1, k[1]) == 0 and q[2] > max(q[1], k[1]))
    if q[1] == k[1]:
        return q[2] % max(1, k[2]) == 0 and q[1] > max(q[2], k[2])
    return not (q[1] > k[1] and q[2] < k[2])  # grouped heads and fewer queries than keys


# ---------------------------------------------------------------------------------------------- eager


def _eager(placed: Placed) -> Iterator[Attention]:
    streams: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(placed.device.tolist(), placed.stream.tolist(), strict=True)):
        streams.setdefault(key, []).append(row)
    for rows in streams.values():
        taken: set[int] = set()
        softmaxes = [at for at, row in enumerate(rows) if placed.classes[row] == SOFTMAX]
        for i, at in enumerate(softmaxes):
            if rows[at] in taken:
                continue
            low = max(at - REACH, softmaxes[i - 1] + 1 if i else 0)
            high = min(at + 1 + REACH, len(rows))
            for s in softmaxes[i + 1 : i + 3]:  # on the processor the next one may be the inner half of this one
                if not _holds(placed, rows[at], rows[s]):
                    high = min(high, s)
                    break
            call = _around(placed, rows, at, (low, high))
            if call is not None and taken.isdisjoint(call.rows):
                taken.update(call.rows)
                yield call


def _holds(placed: Placed, outer: int, inner: int) -> bool:
    """Whether one row lies inside another: on the processor `softmax` holds `_softmax`, `matmul` holds `bmm`."""
    return placed.on_cpu and bool(placed.end[inner] <= placed.end[outer])


def _around(placed: Placed, rows: list[int], at: int, reach: tuple[int, int]) -> Attention | None:
    """The attention around the softmax at `rows[at]`, if the two products are there within `reach`."""
    inputs = placed.input(rows[at])
    matrix = inputs.tensor(0) if inputs else None
    if matrix is None or len(matrix) < 3:
        return None
    q_len, k_len, groups = matrix[-2], matrix[-1], math.prod(matrix[:-2])
    low, high = reach
    before = _product(placed, rows[low:at][::-1], (groups, q_len, None, k_len))
    after = _product(placed, rows[at + 1 : high], (groups, q_len, k_len, None))
    if before is None or after is None:
        return None
    (first, product), (last, _) = before, after
    lo, hi = rows.index(first, low), rows.index(last, at)
    inside = [r for r in rows[lo + 1 : hi] if r == rows[at] or _on_matrix(placed, r, matrix)]
    heads = matrix[-3] if len(matrix) >= 4 else 0
    call = Attention([first, *inside, last], fused=False, query_len=q_len, key_len=k_len, head_dim=product[2])
    call.heads = heads or 1
    call.batch = groups // call.heads
    call.item = inputs.tensors[0][1] if inputs and inputs.tensors else 2
    return call


def _product(
    placed: Placed, rows: list[int], wanted: tuple[int, int, int | None, int | None]
) -> tuple[int, tuple[int, int, int, int]] | None:
    """The first of `rows` that is a batched matrix product with the sizes wanted (None: any)."""
    found = None
    for row in rows:
        if found and not _holds(placed, found[0], row):
            break
        inputs = placed.input(row)
        if inputs is None or placed.classes[row] != LINEAR:
            continue
        product = matmul(placed.operator[row].removeprefix("aten::"), inputs)
        if product and all(w is None or w == p for w, p in zip(wanted, product, strict=True)):
            found = row, product
    return found


def _on_matrix(placed: Placed, row: int, matrix: Dims) -> bool:
    """Whether a piece of work reads or writes the similarity matrix (in any grouping of batch and heads)."""
    inputs = placed.input(row)
    if inputs is None:
        return False
    size = math.prod(matrix)
    return any(len(d) >= 2 and d[-1] == matrix[-1] and math.prod(d) == size for d, _ in inputs.tensors)


# ---------------------------------------------------------------------------------------------- kinds

_CROSS = ("cross", "attn2", "encoder_attn", "EncDecAttention")
_TEMPORAL = ("temporal", "motion", "time_attn", "Temporal")


def _tell_apart(calls: list[Attention]) -> None:
    """Set `kind` of every call: cross by its lengths or module, temporal and spatial by how they share the tokens.

    The same tokens regrouped, many short sequences beside few long ones, are a video seen along time and along
    space: batch x length agree (to a class token or so), the lengths do not.
    """
    geometries = {(c.batch, c.query_len) for c in calls if c.query_len == c.key_len and c.query_len}
    for call in calls:
        path = call.module.rsplit("/", 2)[-2:]
        if any(word in part for word in _CROSS for part in path):
            call.kind = "cross"
        elif any(word in part for word in _TEMPORAL for part in path):
            call.kind = "temporal"
        elif call.query_len != call.key_len:
            call.kind = "self" if call.causal or call.query_len == 1 else "cross"
        elif call.query_len:
            call.kind = _axis(call.batch, call.query_len, geometries)


def _axis(batch: int, length: int, geometries: set[tuple[int, int]]) -> str:
    tokens = batch * length
    for other_batch, other_length in geometries:
        near = abs(other_batch * other_length - tokens) <= 0.02 * tokens
        if near and max(length, other_length) >= 4 * min(length, other_length):
            return "temporal" if length < other_length else "spatial"
    return "self"
