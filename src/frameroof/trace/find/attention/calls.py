"""Attention as one thing: fused kernels and the eager pattern alike, with batch, heads, lengths and head dimension.

Eager attention is found from its softmax over (.., Q, K): the product before it that makes that matrix, the product
after it that uses it, and whatever in between works on the matrix itself (scale, mask, cast, dropout).
Legend: B batch, H heads, Q query length, K key length, D head dimension.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from ....dtypes import TRACE_BYTES
from ....rules import UPPER_LEFT
from ...read.columns import Array
from ...read.events import Kind
from ...resolve.attention_call import AttentionCall
from ...resolve.classify import ATTENTION, LINEAR, SOFTMAX, classify
from ...resolve.kernel_classes import telling_name
from ...resolve.operator_cost import matmul
from ...resolve.recorded_inputs import Dims, Inputs
from ...resolve.work_table import WorkTable
from .kinds import tell_apart
from .packed import is_backward
from .sizes import SDPA, Sizes, measure
from .steps import Step, Steps

REACH = 64
"""How many pieces of work of one stream may stand between a softmax and its two products (the first layer of T5 makes
its position bias there); never another softmax."""


def find_attention(work_table: WorkTable) -> list[AttentionCall]:
    """All calls of attention in a trace, in order of start; `kind` is told apart over the whole run."""
    found = [*_fused(work_table), *_eager(work_table)]
    spent: list[int] = work_table.duration.tolist()
    for call in found:
        call.start = int(work_table.start[call.rows[0]])
        call.duration = sum(spent[row] for row in call.rows)
        call.module = work_table.module[call.rows[0]]
        if not call.fused:
            _tell_causal(work_table, call)
    found.sort(key=lambda call: call.start)
    found = _with_work_around(work_table, _with_helpers(work_table, found))
    tell_apart(work_table, found)
    return found


_HELPER = re.compile(
    r"quant|combine|reduce|merge_?(attn_)?state|preprocess|dot_do_o|OGradDotO|convert_?(dq|QGrad)|prepare_varlen|_stage2|metadata|indptr",
    re.I,
)
"""Of the own names of kernels of attention: those that prepare its inputs, or put the parts of its output together."""
_FINISHES = re.compile("combine|reduce|merge_?(attn_)?state|convert_?(dq|QGrad)|_stage2", re.I)


def _with_helpers(work_table: WorkTable, calls: list[AttentionCall]) -> list[AttentionCall]:
    """Kernels that only prepare or finish an attention (quantize its inputs, combine its parts) join that call."""
    joined: list[AttentionCall] = []
    pending: list[int] = []
    helpers = {
        name for name in {work_table.kernel[call.rows[0]] for call in calls} if _HELPER.search(telling_name(name))
    }
    for call in calls:
        name = work_table.kernel[call.rows[0]]
        if len(call.rows) == 1 and call.fused and name in helpers:
            if _FINISHES.search(telling_name(name)) and joined:
                _join(work_table, joined[-1], call.rows)
            else:
                pending += call.rows
            continue
        if pending:
            _join(work_table, call, pending)
            pending = []
        joined.append(call)
    if pending and joined:
        _join(work_table, joined[-1], pending)
    return joined


def _join(work_table: WorkTable, call: AttentionCall, rows: list[int]) -> None:
    call.rows += rows
    call.duration += int(sum(work_table.duration[row] for row in rows))


# ---------------------------------------------------------------------------------------------- around

_WRAPS = re.compile(
    r"^aten::(matmul|einsum|(_safe_)?softmax|_?scaled_dot_product\w*|_(flash|efficient|cudnn)_attention_forward)$"
)
"""Operators that are one piece of an attention, or all of it, with all that is inside them."""


def _with_work_around(work_table: WorkTable, calls: list[AttentionCall]) -> list[AttentionCall]:
    """Fill `around`. An eager pattern inside an operator of attention is one attention with what it is in."""
    if not calls or not len(work_table.trace.host):
        return calls
    calls = _unwrapped(work_table, calls)
    of = {row: call for call in calls for row in call.rows}
    own = [row for row, call in of.items() if call.fused or work_table.classes[row] != ATTENTION]  # not what holds it
    owner = {top: of[row] for row, top in zip(own, _tops(work_table, np.array(own)), strict=True) if top >= 0}
    host, at = work_table.trace.host, work_table.operator_row
    tops = np.array(_disjoint(sorted(owner), host.thread, host.end), dtype=np.int64)
    if not len(tops):
        return calls
    last = tops[np.maximum(np.searchsorted(tops, at, side="right") - 1, 0)]
    inside = (last <= at) & (host.thread[at] == host.thread[last]) & (host.end[at] <= host.end[last])
    for row in np.flatnonzero(inside & (work_table.call == at)).tolist():
        call = owner[int(last[row])]
        if row not in of and not (call.fused and work_table.classes[row] == LINEAR):
            call.around.append(row)
    return calls


def _unwrapped(work_table: WorkTable, calls: list[AttentionCall]) -> list[AttentionCall]:
    """The calls without those that only hold an eager one: PyTorch's plain fallback, `nn.MultiheadAttention`."""
    if all(call.fused for call in calls):
        return calls
    parent = work_table.links.parent
    here = work_table.call == work_table.operator_row  # not where the call stands in another trace
    operator = np.where(here, work_table.call, -1).tolist()
    outer = {operator[row]: call for call in calls if call.fused for row in call.rows if operator[row] >= 0}
    gone: set[int] = set()
    for call in calls:
        at = -1 if call.fused else operator[call.rows[0]]
        while at >= 0:
            around = outer.get(at)
            if around is not None and id(around) not in gone:
                gone.add(id(around))
                _join(work_table, call, around.rows)
                call.start = around.start
                if around.packed is None and (around.query_len, around.key_len) == (call.query_len, call.key_len):
                    call.batch, call.heads, call.kv_heads = around.batch, around.heads, around.kv_heads
                    call.causal, call.align = around.causal, around.align
            at = int(parent[at])
    return [call for call in calls if id(call) not in gone]


def _tell_causal(work_table: WorkTable, call: AttentionCall) -> None:
    """Whether an eager attention is causal, where it is the plain fallback of an operator that says so."""
    host, at = work_table.trace.host, int(work_table.operator_row[call.rows[0]])
    if at != work_table.call[call.rows[0]]:  # in another trace
        return
    while at >= 0 and work_table.trace.names[host.name[at]] != SDPA:
        at = int(work_table.links.parent[at])
    inputs = work_table.inputs[host.args[at]] if at >= 0 and host.args[at] >= 0 else None
    found = measure(SDPA, inputs) if inputs else None
    if found and (found.query_len, found.key_len) == (call.query_len, call.key_len):
        call.causal, call.align = found.causal, found.align


def _tops(work_table: WorkTable, rows: Array) -> list[int]:
    """Of every row, the host row of the outermost operator that is a piece of the same attention; -1 unknown."""
    host, parent, names = work_table.trace.host, work_table.links.parent, work_table.trace.names
    at = np.where(work_table.call[rows] == work_table.operator_row[rows], work_table.operator_row[rows], -1)
    wraps, asked = np.zeros(len(names), dtype=bool), set[int]()
    while True:
        above = np.where(at >= 0, parent[at], -1)
        name = host.name[above]
        for new in set(name[above >= 0].tolist()) - asked:
            wraps[new] = bool(_WRAPS.match(names[new]))
            asked.add(new)
        up = (above >= 0) & wraps[name]
        if not up.any():
            found: list[int] = at.tolist()
            return found
        at = np.where(up, above, at)


def _disjoint(rows: list[int], thread: Array, end: Array) -> list[int]:
    """Those of some host rows, in order, that lie in no other one of them."""
    found: list[int] = []
    for row in rows:
        if not found or thread[row] != thread[found[-1]] or end[row] > end[found[-1]]:
            found.append(row)
    return found


# ---------------------------------------------------------------------------------------------- fused


def _fused(work_table: WorkTable) -> Iterator[AttentionCall]:
    calls: dict[int, AttentionCall] = {}
    outer: dict[int, int] = {}
    measured = _Measured(work_table)
    for row, name in enumerate(work_table.classes):
        if name != ATTENTION:
            continue
        at = _outermost(work_table, row, outer)
        call = calls.get(at)
        if call is not None:
            call.rows.append(row)
        else:
            call = AttentionCall([row], fused=True)
        if not call.heads:
            measured.set_sizes(call, row, at)
        if at >= 0:
            calls[at] = call
        else:
            yield call
    yield from calls.values()


_LAYER = re.compile(r"unified_(mla_)?attention")
"""Operators of a serving engine that hold the kernels for prompts and those that generate: the whole tells the size."""


class _Measured:
    """What the recorded inputs of attention operators tell, each looked at once for every sort of step."""

    def __init__(self, work_table: WorkTable) -> None:
        self.work_table, self.steps = work_table, Steps(work_table)
        self.cached_item = _cached_item(work_table)
        self._sizes: dict[tuple[str, int, Step | None], Sizes | None] = {}

    def set_sizes(self, call: AttentionCall, row: int, outermost: int) -> None:
        """Give a call the sizes that the operator of one of its rows tells, or the layer around it."""
        trace, step = self.work_table.trace, self.steps.around(row)
        name, arguments = self.work_table.operator[row], self.work_table.arguments[row]
        around = outermost if 0 <= outermost < len(trace.host) else -1
        top = trace.names[trace.host.name[around]] if around >= 0 else ""
        if _LAYER.search(top):
            name, arguments = top, int(trace.host.args[around])
        found = self._measure(name, arguments, step)
        if found is None:
            return
        call.batch, call.heads, call.kv_heads, call.query_len, call.key_len, call.head_dim = found[:6]
        call.item, call.causal, call.align, call.packed, call.value_dim = found[6:]
        call.backward = is_backward(name)
        if call.packed:
            call.kv_item = self.cached_item
        if call.causal and top == SDPA:
            call.align = UPPER_LEFT  # whatever kernel it chose

    def _measure(self, name: str, arguments: int, step: Step | None) -> Sizes | None:
        key = name, arguments, step
        if key not in self._sizes:
            inputs = self.work_table.inputs[arguments] if arguments >= 0 else None
            self._sizes[key] = measure(name, inputs, step) if inputs else None
        return self._sizes[key]


def _cached_item(work_table: WorkTable) -> int:
    """Bytes of an element of the cache of keys, from the operator that stores into it; 0 where none is seen."""
    names, host = work_table.trace.names, work_table.trace.host
    stores = [number for number, name in enumerate(names) if "reshape_and_cache" in name]
    if not stores:
        return 0
    for at in set(host.args[np.isin(host.name, stores)].tolist()):
        inputs = work_table.inputs[at] if at >= 0 else None
        if inputs and len(inputs.types) > 2 and inputs.tensor(2):
            return TRACE_BYTES.get(inputs.types[2], 0)
    return 0


def _outermost(work_table: WorkTable, row: int, known: dict[int, int]) -> int:
    """The outermost attention operator around a row's call: `scaled_dot_product_attention` holds the kernel's own
    operator, and both are one attention. The call itself where its operator stands in another trace."""
    call = int(work_table.call[row])
    if call < 0 or call != work_table.operator_row[row]:
        return call
    if call not in known:
        trace, parent = work_table.trace, work_table.links.parent
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


# ---------------------------------------------------------------------------------------------- eager


def _eager(work_table: WorkTable) -> Iterator[AttentionCall]:
    is_softmax = np.array([name == SOFTMAX for name in work_table.classes], dtype=bool)
    streams = set(zip(work_table.device[is_softmax].tolist(), work_table.stream[is_softmax].tolist(), strict=True))
    for device, stream in sorted(streams):
        at_work = np.flatnonzero((work_table.device == device) & (work_table.stream == stream))
        rows, softmaxes = at_work.tolist(), np.flatnonzero(is_softmax[at_work]).tolist()
        taken: set[int] = set()
        for i, at in enumerate(softmaxes):
            if rows[at] in taken:
                continue
            low = max(at - REACH, softmaxes[i - 1] + 1 if i else 0)
            high = min(at + 1 + REACH, len(rows))
            for s in softmaxes[i + 1 : i + 3]:  # on the processor the next one may be the inner half of this one
                if not _holds(work_table, rows[at], rows[s]):
                    high = min(high, s)
                    break
            call = _around(work_table, rows, at, (low, high))
            if call is not None and taken.isdisjoint(call.rows):
                taken.update(call.rows)
                yield call


def _holds(work_table: WorkTable, outer: int, inner: int) -> bool:
    """Whether one row lies inside another: on the processor `softmax` holds `_softmax`, `matmul` holds `bmm`."""
    return work_table.on_cpu and bool(work_table.end[inner] <= work_table.end[outer])


def _around(work_table: WorkTable, rows: list[int], at: int, reach: tuple[int, int]) -> AttentionCall | None:
    """The attention around the softmax at `rows[at]`, if the two products are there within `reach`."""
    inputs = work_table.input(rows[at])
    matrix = inputs.tensor(0) if inputs else None
    if matrix is None or len(matrix) < 3:
        return None
    q_len, k_len, groups = matrix[-2], matrix[-1], math.prod(matrix[:-2])
    low, high = reach
    before = _product(work_table, rows[low:at][::-1], (groups, q_len, None, k_len))
    after = _product(work_table, rows[at + 1 : high], (groups, q_len, k_len, None))
    if before is None or after is None:
        return None
    (first, product), (last, _) = before, after
    lo, hi = rows.index(first, low), rows.index(last, at)
    among = rows[lo + 1 : hi]
    sizes = {a: work_table.inputs[a] for a in {work_table.arguments[r] for r in among} if a >= 0}
    whole = {a for a, given in sizes.items() if given and _has_matrix(given, matrix)}
    inside = [r for r in among if r == rows[at] or work_table.arguments[r] in whole]
    call = AttentionCall([first, *inside, last], fused=False, query_len=q_len, key_len=k_len, head_dim=product[2])
    call.heads = (
        matrix[-3] if len(matrix) >= 4 else _heads(work_table, rows[hi + 1 : hi + 1 + REACH], groups, q_len, product[2])
    )
    call.batch = groups // call.heads
    call.item = inputs.tensors[0][1] if inputs and inputs.tensors else 2
    return call


def _heads(work_table: WorkTable, rows: list[int], groups: int, q_len: int, head_dim: int) -> int:
    """Heads where the matrix has them in its batch (G, Q, K): the layer that follows takes them side by side."""
    for row in rows:
        inputs = work_table.input(row)
        product = matmul(work_table.operator[row].removeprefix("aten::"), inputs) if inputs else None
        if product:
            one, m, k, _ = product
            fits = one == 1 and m * k == groups * q_len * head_dim and m % q_len == k % head_dim == 0
            return k // head_dim if fits else 1
    return 1


def _product(
    work_table: WorkTable, rows: list[int], wanted: tuple[int, int, int | None, int | None]
) -> tuple[int, tuple[int, int, int, int]] | None:
    """The first of `rows` that is a batched matrix product with the sizes wanted (None: any)."""
    found = None
    for row in rows:
        if found and not _holds(work_table, found[0], row):
            break
        inputs = work_table.input(row)
        if inputs is None or work_table.classes[row] != LINEAR:
            continue
        product = matmul(work_table.operator[row].removeprefix("aten::"), inputs)
        if product and all(w is None or w == p for w, p in zip(wanted, product, strict=True)):
            found = row, product
    return found


def _has_matrix(inputs: Inputs, matrix: Dims) -> bool:
    """Whether the similarity matrix is among some inputs (in any grouping of batch and heads)."""
    size = math.prod(matrix)
    return any(len(d) >= 2 and d[-1] == matrix[-1] and math.prod(d) == size for d, _ in inputs.tensors)
