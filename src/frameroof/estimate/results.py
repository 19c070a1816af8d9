"""What an estimate says: rows, stages and the whole, each with its counts, its seconds and its ladder of bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from ..hardware import Node
from ..roofline import Bound, bound_of
from ..workload.records import Op, Workload
from .expected import Expected, Spent
from .ladder import FUSED, TINY, Asked, Ladder


class OpEstimate(msgspec.Struct, frozen=True):
    """One row of a stage's table over the whole stage, repeats included: counts, FLOPs, bytes, seconds.

    `bytes` are those that leave the chip: in fused regions, or of operations apart where *unfused* was asked for.
    `compute_s` and `limit_s` are its part of its region's; `memory_s` has the last-level cache taken off. `bound` is
    its region's.
    """

    op: Op
    count: int
    flops: int
    vector_flops: int
    bytes: int
    compute_s: float
    memory_s: float
    limit_s: float
    expected_s: float
    bound: Bound


@dataclass(frozen=True)
class StageEstimate:
    """One stage, repeats included. `repeat` counts its runs (loop iterations among them).

    `bounds` is its ladder, and `asked` the rung of it that is its limit. Without a ladder it is a part of a stage,
    whose limit is that of its rows. `times` are what its expected seconds are made of, and the ends of their interval.
    """

    name: str
    repeat: int
    ops: tuple[OpEstimate, ...]
    bounds: Ladder | None = None
    asked: Asked = FUSED
    times: tuple[Spent, float | None, float | None] = (Spent(0.0), None, None)

    def _sum(self, name: str) -> Any:
        return sum(getattr(op, name) for op in self.ops)

    @cached_property
    def flops(self) -> int:
        """Matrix FLOPs: matmul, convolution and attention."""
        return int(self._sum("flops"))

    @cached_property
    def vector_flops(self) -> int:
        """All other arithmetic."""
        return int(self._sum("vector_flops"))

    @cached_property
    def bytes(self) -> int:
        """Bytes read and written by its regions, or by operations apart where *unfused* was asked for."""
        return int(self._sum("bytes"))

    @cached_property
    def compute_s(self) -> float:
        """Seconds at the compute peaks, region by region."""
        return self._within(float(self._sum("compute_s")))

    @cached_property
    def memory_s(self) -> float:
        """Seconds at the memory bandwidth, with the last-level cache taken off where that is part of the limit."""
        return self._within(float(self._sum("memory_s")))

    def _within(self, seconds: float) -> float:
        """What is at most the sum over regions, which is added up in another order: despite rounding."""
        return (
            seconds if self.bounds is None else min(seconds, self.bounds.at("unfused" if self.asked.apart else "fused"))
        )

    @cached_property
    def limit_s(self) -> float:
        """The rung that was asked for: of fused and unfused the sum of its rows."""
        return float(self._sum("limit_s")) if self.bounds is None else self.bounds.at(self.asked.bound)

    @cached_property
    def expected_s(self) -> float:
        """The sum of what is expected of each."""
        return float(self._sum("expected_s"))

    @property
    def spent(self) -> Spent:
        """Expected seconds of the device, of its host and between devices; the first two pass side by side."""
        return self.times[0]

    @property
    def low_s(self) -> float | None:
        """The shorter end of the interval of its expected seconds (80 %), at least its limit; None where unknown."""
        low_s = self.times[1]
        return None if low_s is None else max(low_s, self._least_s)

    @property
    def high_s(self) -> float | None:
        """The longer end."""
        high_s = self.times[2]
        return None if high_s is None else max(high_s, self._least_s)

    @property
    def _least_s(self) -> float:
        """What nothing is faster than: the rung that was asked for where it is a bound, as unfused is not."""
        return min(self.limit_s, self.bounds.fused_s) if self.bounds else 0.0

    @property
    def intensity(self) -> float:
        """Matrix FLOPs per byte moved."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def bound(self) -> Bound:
        """What the limit is bound by: of regions, whichever takes longer in sum."""
        if self.bounds is None or self.asked.bound in ("fused", "unfused"):
            return bound_of(self.compute_s, self.memory_s)
        beyond_s = self.bounds.light_s - self.bounds.compulsory_s if self.asked.bound == "light" else 0.0
        return bound_of(beyond_s, TINY)


@dataclass(frozen=True)
class Estimate:
    """A whole workload on a node at one set of sizes; its limits are those that were `asked` for."""

    workload: Workload
    node: Node
    sizes: Mapping[str, int]
    expected: Expected
    stages: tuple[StageEstimate, ...]
    assumptions: tuple[str, ...]
    asked: Asked = FUSED

    @cached_property
    def total(self) -> StageEstimate:
        """The sum of the stages, as one."""
        bounds = sum((stage.bounds for stage in self.stages if stage.bounds), Ladder())
        ops = tuple(op for stage in self.stages for op in stage.ops)
        return StageEstimate("total", 1, ops, bounds, self.asked, self._times())

    def _times(self) -> tuple[Spent, float | None, float | None]:
        spent = [stage.spent for stage in self.stages]
        whole = Spent(*(sum(getattr(each, name) for each in spent) for name in ("device_s", "host_s", "between_s")))
        run = [stage for stage in self.stages if stage.repeat]
        if any(stage.low_s is None or stage.high_s is None for stage in run):
            return whole, None, None
        return whole, sum(stage.low_s or 0.0 for stage in run), sum(stage.high_s or 0.0 for stage in run)
