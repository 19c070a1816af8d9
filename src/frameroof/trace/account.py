"""What each piece of work computed and moved, from the recorded inputs of its operator.

FLOPs: 2 per multiply-add of matrix products, convolutions and attention. Bytes: every input and the output once, the
least that the operator can move; a kernel that moves more shows as a lower achieved bandwidth. A call that launched
several kernels is accounted to the first of them. -1 stands for "not recorded".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .attention import Attention
from .classify import ATTENTION
from .columns import Array
from .placed import Placed
from .schema import Kind
from .shapes import Cost, cost


def account(placed: Placed, attention: list[Attention]) -> tuple[Array, Array]:
    """(FLOPs, bytes) of every row; the rows of an eager attention keep their own products and bytes."""
    count = len(placed)
    flops = np.full(count, -1, dtype=np.float64)
    moved = np.full(count, -1, dtype=np.float64)
    costs: dict[tuple[str, int], Cost | None] = {}
    for row, others in _payers(placed):
        key = placed.operator[row], placed.arguments[row]
        if key not in costs:
            inputs = placed.input(row)
            costs[key] = cost(key[0], inputs) if inputs is not None else None
        found = costs[key]
        if _is_copy(placed, row) and (found is None or not found.flops):
            flops[row], moved[row] = 0, _copied(placed, row)
        elif found is not None:
            flops[row], moved[row] = found.flops, found.bytes
        if found is not None:
            flops[others] = moved[others] = 0
    for one in attention:
        if one.fused and one.query_len:
            flops[one.rows], moved[one.rows] = 0, 0
            flops[one.rows[0]], moved[one.rows[0]] = one.flops, one.bytes
    return flops, moved


def _payers(placed: Placed) -> Iterator[tuple[int, list[int]]]:
    """(the row that stands for a call, its other rows): its first kernel, or its first copy if it has no kernel."""
    calls: dict[int, list[int]] = {}
    for row, call in enumerate(placed.call.tolist()):
        if call < 0:
            yield row, []
        else:
            calls.setdefault(call, []).append(row)
    for rows in calls.values():
        first = next((row for row in rows if not _is_copy(placed, row)), rows[0])
        yield first, [row for row in rows if row != first]


def _is_copy(placed: Placed, row: int) -> bool:
    return placed.kind[row] in (int(Kind.MEMCPY), int(Kind.MEMSET))


def _copied(placed: Placed, row: int) -> float:
    """Bytes that a copy or fill moves through the device's memory: twice those of a copy within it."""
    size = int(placed.bytes[row])
    twice = placed.kind[row] == int(Kind.MEMCPY) and ("DtoD" in placed.kernel[row] or "Device -> Device" in placed.kernel[row])
    return size * (2 if twice else 1) if size >= 0 else -1


def reclassify(placed: Placed, attention: list[Attention]) -> None:
    """Put every row of an attention into that class: the products and softmax of the eager pattern too."""
    for one in attention:
        for row in one.rows:
            placed.classes[row] = ATTENTION
