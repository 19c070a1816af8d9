"""The limit of a row of a run's tables: the one rule for `gap`, for slow kernels and for what a precision can bring.

The limit of a call is the roofline at the sizes that were recorded: FLOPs over the dense peak of the unit that did
them, or inputs and output once over a bandwidth, whichever takes longer. A row of unknown sizes has none.
"""

from __future__ import annotations

from typing import NamedTuple

from ...dtypes import DTYPES, unit_of
from ...roofline import Bound, Roofline, bound_of
from ...run import AttentionRow, ShapeRow
from ..resolve.classify import ATTENTION

_PRODUCTS = ("aten::bmm", "aten::baddbmm", "aten::mm", "aten::addmm", "aten::matmul", "aten::einsum")
"""Operators of eager attention that multiply as any product does."""


class Amounts(NamedTuple):
    """What all calls of a row needed, what they computed (an eager mask hides some of it), and what they moved."""

    needed: float | None
    computed: float | None
    bytes: float | None


class RowLimit(NamedTuple):
    """The limit of all calls of a row, in ns; `bandwidth` in bytes per second is that of what its bytes cross."""

    compute_ns: float
    memory_ns: float
    unit: str
    amounts: Amounts
    bandwidth: float

    @property
    def ns(self) -> float:
        """The longer of the two times."""
        return max(self.compute_ns, self.memory_ns)

    @property
    def bound(self) -> Bound:
        """Which of the two it is."""
        return bound_of(self.compute_ns, self.memory_ns)


def limit_of_shape(row: ShapeRow, roofline: Roofline, maths: str) -> RowLimit | None:
    """The limit of a row of shapes; copies between host and device are limited by the link, where it is known."""
    kind = "matmul" if row.class_ == ATTENTION and row.name in _PRODUCTS else row.class_
    link = roofline.device.pcie_bandwidth if row.over_link else None
    amounts = Amounts(row.flops, row.flops, row.bytes)
    return _limit(roofline, amounts, unit_of(row.dtype, kind, maths), row.time_ns, link)


def limit_of_attention(row: AttentionRow, roofline: Roofline, maths: str) -> RowLimit | None:
    """The limit of a row of attention: of the pairs that its mask leaves."""
    if row.executed_flops is None:  # its size is unknown
        return None
    needed = float(row.executed_flops)
    amounts = Amounts(needed, needed if row.fused else row.flops, row.bytes)
    kind = ATTENTION if row.fused else "matmul"
    return _limit(roofline, amounts, unit_of(row.dtype, kind, maths), row.time_ns, None)


def _limit(roofline: Roofline, amounts: Amounts, unit: str, time_ns: int, link: float | None) -> RowLimit | None:
    """None where the amounts are not known.

    Where the bytes of a product are not known, its FLOPs alone limit it: that is no longer than its true limit.
    """
    needed, computed, moved = amounts
    if needed is None or (moved is None and not needed):
        return None
    faster = DTYPES[unit].faster if unit in DTYPES else ""
    if faster and (computed or 0.0) > roofline.peak(unit) * time_ns / 1e9:
        unit = faster  # nothing else is as fast on such operands
    found = roofline.limit(flops=needed, unit=unit, bytes=moved or 0.0, bandwidth=link)
    return RowLimit(found.compute_s * 1e9, found.memory_s * 1e9, unit, amounts, link or roofline.bandwidth)
