"""What each piece of work computed and moved, from the recorded inputs of its operator.

FLOPs: 2 per multiply-add of matrix products, convolutions and attention. Bytes: every input and the output once, the
least that the operator can move; a kernel that moves more shows as a lower achieved bandwidth. A call that launched
several kernels is accounted to the first of them, and a call inside another one (`linear` is `addmm`) to the inner
one. -1 stands for "not known": inputs that were not recorded, and matrix work that no rule counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..read.columns import Array
from ..read.events import Kind
from .attention_call import AttentionCall
from .classify import ATTENTION, CONVOLUTION, LINEAR, is_region
from .copies import TO_DEVICE, TO_HOST, WITHIN
from .operator_cost import ADDITIONS, Cost, adds_bias, cost
from .recorded_inputs import element_of
from .work_table import WorkTable

_COPIES = (int(Kind.MEMCPY), int(Kind.MEMSET))
MATRIX = (ATTENTION, CONVOLUTION, LINEAR)
"""The classes whose FLOPs are counted."""


def account(work_table: WorkTable, attention: list[AttentionCall]) -> tuple[Array, Array]:
    """(FLOPs, bytes) of every row; the rows of an eager attention keep their own products and bytes."""
    flops, moved = [-1.0] * len(work_table), [-1.0] * len(work_table)  # lists: one number at a time is slow in arrays
    known = _costs(work_table)
    copies = [kind in _COPIES for kind in work_table.kind]
    matrix = [name in MATRIX for name in work_table.classes]
    payers = []
    for rows in _calls(work_table):
        row = rows[0] if len(rows) == 1 else next((r for r in rows if not copies[r]), rows[0])
        payers.append(row)
        found = known(row)
        if copies[row] and (found is None or not found.flops):
            flops[row], moved[row] = 0, _copied(work_table, row)
        elif found is not None:
            flops[row], moved[row] = found.flops, found.bytes
        if len(rows) > 1:
            _share(work_table, rows, row, found, flops, moved)
        if found is None or found.flops <= 0:
            _fill(flops, [r for r in rows if matrix[r] and not copies[r]], -1)
    _count_once(work_table, payers, flops, moved)
    for one in attention:
        if one.fused and one.packed and not one.measured:  # its inputs are new tokens or a pool, not what it reads
            _fill(flops, one.rows, -1)
            _fill(moved, one.rows, -1)
    for one, works in _fused(work_table, attention):
        _fill(flops, one.rows, 0)
        _fill(moved, one.rows, 0 if one.bytes is not None else -1)
        flops[works], moved[works] = _known(one.flops), _known(one.bytes)
    return np.array(flops, dtype=np.float64), np.array(moved, dtype=np.float64)


def _costs(work_table: WorkTable) -> Callable[[int], Cost | None]:
    """The cost of the call of a row, found once for all calls alike."""
    lists: dict[int, bool] = {}
    costs: dict[tuple[str, int, int | None], Cost | None] = {}

    def known(row: int) -> Cost | None:
        at = work_table.arguments[row]
        inputs = work_table.inputs[at] if at >= 0 else None
        if inputs is None:
            return None
        if at not in lists:
            lists[at] = any(map(inputs.is_list, range(len(inputs))))
        item = element_of(work_table.kernel[row]) if lists[at] else None  # the file holds no type of lists
        key = work_table.operator[row], at, item
        if key not in costs:
            costs[key] = cost(key[0], replace(inputs, list_item=item) if item else inputs)
        return costs[key]

    return known


def hidden(work_table: WorkTable, attention: list[AttentionCall]) -> Array:
    """FLOPs of every row that are counted and not computed: a fused attention skips what its causal mask hides."""
    found = np.zeros(len(work_table))
    for one, works in _fused(work_table, attention):
        found[works] = (one.flops or 0) - (one.executed_flops or 0)
    return found


def _fused(work_table: WorkTable, attention: list[AttentionCall]) -> Iterator[tuple[AttentionCall, int]]:
    """Every fused attention of known sizes, and the row that works: its others call, prepare or finish."""
    for one in attention:
        if one.fused and one.measured:
            yield one, max(one.rows, key=lambda row: work_table.duration[row])


def _known(amount: int | None) -> float:
    return -1 if amount is None else amount


def _calls(work_table: WorkTable) -> list[list[int]]:
    """The rows of every call, in order; work whose call is unknown stands for itself."""
    calls: dict[int, list[int]] = {}
    for row, call in enumerate(work_table.call.tolist()):
        calls.setdefault(call if call >= 0 else -2 - row, []).append(row)
    return list(calls.values())


def _share(
    work_table: WorkTable, rows: list[int], payer: int, found: Cost | None, flops: list[float], moved: list[float]
) -> None:  # six: a call of several rows and the two columns that it is written to
    """What the other rows of a call have: nothing, where its payer has all of it."""
    others = [row for row in rows if row != payer]
    if found is not None:
        _fill(flops, others, 0 if found.flops >= 0 else -1)
        _fill(moved, others, 0 if found.bytes >= 0 else -1)
    if len({work_table.classes[row] for row in rows if work_table.kind[row] not in _COPIES}) > 1:
        _fill(moved, rows, -1)  # several classes under one operator: which moves what is not told


def _fill(values: list[float], rows: Iterable[int], value: float) -> None:
    for row in rows:
        values[row] = value


def _count_once(work_table: WorkTable, rows: list[int], flops: list[float], moved: list[float]) -> None:
    """Take from every call what the calls inside it already account for.

    `aten::linear` holds `aten::addmm`, `aten::conv2d` three more: on the processor each of them is a row. On a device a
    call that holds others has a row only for kernels of its own, which move what it needs: the others are passes of
    theirs, such as a convolution's bias, which is added to its result. Where they multiply for it, what its own kernels
    do is not told.
    """
    call, operator = work_table.call.tolist(), work_table.operator_row.tolist()
    payer = {operator[r]: r for r in rows if 0 <= call[r] == operator[r]}
    around = work_table.links.around
    inner: dict[int, tuple[float, float]] = {}
    adding: dict[int, int] = {}
    for at in sorted(payer, reverse=True):  # inner calls stand after the ones that enclose them
        row = payer[at]
        own = max(0.0, flops[row]), max(0.0, moved[row])
        inside = inner.get(at)
        if inside is not None:
            # on the processor the rest of an unknown call is overhead; on a device, and in what was compiled, it is
            # work, still unknown
            rest = work_table.on_cpu and not is_region(work_table.operator[row])
            if flops[row] >= 0 or (rest and inside[0]):
                flops[row] = max(0.0, own[0] - inside[0])
            if work_table.on_cpu and (moved[row] >= 0 or (rest and inside[1])):
                moved[row] = max(0.0, own[1] - inside[1])
            elif moved[row] >= 0:
                moved[row] = -1 if inside[0] else moved[row] - _bias(work_table, row, adding.get(at, -1))
            own = max(own[0], inside[0]), max(own[1], inside[1])
        above = around(at)
        while above >= 0 and above not in payer:
            above = around(above)
        if above >= 0:
            before = inner.get(above, (0.0, 0.0))
            inner[above] = before[0] + own[0], before[1] + own[1]
            if work_table.operator[row] in ADDITIONS:
                adding[above] = row


def _bias(work_table: WorkTable, row: int, adder: int) -> int:
    """Bytes of the bias of a convolution that the addition in row `adder` (-1: none) adds to its result."""
    inputs, given = work_table.input(row), work_table.input(adder) if adder >= 0 else None
    return adds_bias(work_table.operator[row], inputs, given) if inputs and given else 0


def over_link(work_table: WorkTable) -> list[bool]:
    """Of every row, whether it is a copy between host and device."""
    named = {name: bool(TO_HOST.search(name) or TO_DEVICE.search(name)) for name in set(work_table.kernel)}
    copy = int(Kind.MEMCPY)
    return [kind == copy and named[name] for kind, name in zip(work_table.kind, work_table.kernel, strict=True)]


def _copied(work_table: WorkTable, row: int) -> float:
    """Bytes that a copy or fill moves through the device's memory: twice those of a copy within it."""
    size = int(work_table.bytes[row])
    twice = work_table.kind[row] == int(Kind.MEMCPY) and bool(WITHIN.search(work_table.kernel[row]))
    return size * (2 if twice else 1) if size >= 0 else -1


def reclassify(work_table: WorkTable, attention: list[AttentionCall]) -> None:
    """Put every row of an attention into that class: the products and softmax of the eager pattern too."""
    for one in attention:
        for row in one.rows:
            work_table.classes[row] = ATTENTION
