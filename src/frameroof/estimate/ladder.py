"""The ladder of bounds: the formulas of compulsory, light, fused and unfused, for numbers and for arrays.

Each rung is of one *pass*: a run of a stage's forward on one device. Operands are *given* (the first read of an input
or a weight, the write of what is handed back), *between* regions, or on *chip*. C is the device's last-level cache.

- compulsory: max(0, given bytes - C) over the bandwidth;
- light: the largest of that, of all matrix work and of all other arithmetic, each at its peak;
- fused: the sum over regions of the larger of compute c and memory m, where an operand between regions costs
  max(0, bytes - C); inputs and weights have C taken off once, where it counts: min(C / bandwidth, the sum over regions
  of min(given seconds, max(0, m - c)));
- unfused: the same with every operation a region of its own, and nothing on chip.

So compulsory <= light <= fused <= unfused (docs/design/0007-limits.rst). A device that does the share s of a stage
moves s of every tensor: of the whole work its cache holds C / s. A program may run the n items of a batch one after
another, each with the whole cache: of all their work it holds n C, so that no batch takes longer than its items do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from ..roofline import Roofline, larger, smaller
from ..workload.table import Kernels, Row

Rung = Literal["compulsory", "light", "fused", "unfused"]
RUNGS: tuple[Rung, ...] = get_args(Rung)
TINY = 1e-300
"""Seconds that are none, to divide by."""


@dataclass(frozen=True)
class Ladder:
    """Seconds by rung; each is at most the next."""

    compulsory_s: float = 0.0
    light_s: float = 0.0
    fused_s: float = 0.0
    unfused_s: float = 0.0

    def at(self, rung: Rung) -> float:
        """Seconds of one rung."""
        return float(getattr(self, f"{rung}_s"))

    def __add__(self, other: Ladder) -> Ladder:
        return Ladder(*(self.at(rung) + other.at(rung) for rung in RUNGS))


@dataclass(frozen=True)
class Asked:
    """Which rung is *the* limit, and whether it is that of a cold cache, from which nothing is taken off.

    Raises `ValueError`, a sentence, for a rung that is none.
    """

    bound: Rung = "fused"
    cold: bool = False

    def __post_init__(self) -> None:
        if self.bound not in RUNGS:
            raise ValueError(f"a bound is {', '.join(RUNGS[:-1])} or {RUNGS[-1]}, not {self.bound!r}")

    @property
    def apart(self) -> bool:
        """Whether rows and expected times are those of operations each on its own."""
        return self.bound == "unfused"


FUSED = Asked()


class Rates:
    """One device's rates for its share of a stage, per unit of the whole stage's work.

    `items` are those of the batch: a number, or one of each configuration of a grid. `cached`: whether a cache takes
    anything off; `cache_bits` are for operands (an array has configurations as its rows), `off_bits` and `off_s` for
    sums over them.
    """

    def __init__(self, roofline: Roofline, share: float, cold: bool = False, items: Any = 1) -> None:
        self._roofline = roofline
        self._per_flop_s: dict[str, float] = {}
        self.share = share
        _, self.per_vector_s, per_byte_s = roofline.inverse([])
        self.per_bit_s = per_byte_s / 8
        self.cached = bool(roofline.device.cache_bytes) and not cold
        self.off_bits: Any = 0.0
        if self.cached:
            self.off_bits = 8 * (roofline.device.cache_bytes or 0) / share * items
        self.cache_bits: Any = self.off_bits[:, None] if getattr(self.off_bits, "ndim", 0) else self.off_bits
        self.off_s = self.off_bits * self.per_bit_s

    def per_flop_s(self, unit: str) -> float:
        """Seconds per matrix FLOP of a unit; `ValueError` as `Roofline.peak`."""
        if unit not in self._per_flop_s:
            (self._per_flop_s[unit],), _, _ = self._roofline.inverse([unit])
        return self._per_flop_s[unit]


class Amounts(NamedTuple):
    """Seconds of all calls of one operation, at the peaks and the bandwidth; numbers, or arrays over turns.

    `memory_s` has the cache taken off what passes between regions, `cold_s` nothing; `given_s` is in both.
    """

    matrix_s: Any = 0.0
    vector_s: Any = 0.0
    memory_s: Any = 0.0
    cold_s: Any = 0.0
    given_s: Any = 0.0


def amounts_of(row: Row, values: Sequence[Any], rates: Rates, apart: bool) -> Amounts:
    """Of one row at the values of its table, as a part of its region or `apart`.

    Raises `ValueError` as `Roofline.peak`.
    """
    if row.op.unused and not apart:
        return Amounts()
    at, per_bit_s = row.at, rates.per_bit_s
    times = values[at.times]
    given_s = values[at.given_apart if apart else at.given] * per_bit_s * times
    memory_s = cold_s = values[at.every if apart else at.moved] * per_bit_s * times
    if rates.cached:
        kept = rates.cache_bits * (values[at.calls] if row.op.attrs.get("total") else 1)
        operands = row.between + row.chip if apart else row.between
        passed = sum((n * larger(0.0, values[size] - kept) for size, n in operands), 0.0)
        memory_s = given_s + passed * per_bit_s * times
    return Amounts(
        matrix_s=values[at.executed] * rates.per_flop_s(row.unit) * times if row.unit else 0.0,
        vector_s=values[at.vector] * rates.per_vector_s * times,
        memory_s=memory_s,
        cold_s=cold_s,
        given_s=given_s,
    )


class Region(NamedTuple):
    """One region: seconds of its compute, of its memory, of the longer, and what a cache may take off that."""

    compute_s: Any
    memory_s: Any
    seconds: Any
    room_s: Any


def region_of(matrix_s: Any, vector_s: Any, memory_s: Any, given_s: Any) -> Region:
    """From the sums over its members."""
    compute_s = larger(matrix_s, vector_s)
    seconds = larger(compute_s, memory_s)
    return Region(compute_s, memory_s, seconds, smaller(given_s, seconds - compute_s))


class Level:
    """One rung that is a sum over kernels: the whole, and of the distinct ones each row's part of it.

    `rows` are those of the first of each; `cold`: nothing is taken off for a cache.
    """

    def __init__(self, kernels: Kernels, rows: Mapping[int, Amounts], cache_s: float, cold: bool) -> None:
        self.kernels, self.rows, self.cold = kernels, rows, cold
        self.sums = [_sum([rows[at] for at in group]) for group in kernels.first]
        self.regions = [
            region_of(s.matrix_s, s.vector_s, s.cold_s if cold else s.memory_s, s.given_s) for s in self.sums
        ]
        room_s = sum((n * region.room_s for n, region in zip(kernels.many, self.regions, strict=True)), 0.0)
        off_s = 0.0 if cold else smaller(cache_s, room_s)
        whole_s = sum((n * region.seconds for n, region in zip(kernels.many, self.regions, strict=True)), 0.0)
        self.seconds = whole_s - off_s
        self._kept = off_s / larger(room_s, TINY)
        """The share of the room that the cache takes off."""

    def all(self) -> Amounts:
        """The sum over all kernels."""
        each = zip(self.kernels.many, self.sums, strict=True)
        return _sum([Amounts(*(n * part for part in found)) for n, found in each])

    def parts(self, group: int) -> list[tuple[Any, Any, Any]]:
        """Of each member of a distinct kernel: its part of the region's compute, its memory, and its part of the whole.

        What the cache takes off inputs and weights is taken off the memory of regions that it shortens.
        """
        region, whole = self.regions[group], self.sums[group]
        by_matrix = whole.matrix_s >= whole.vector_s
        by_compute = region.compute_s >= region.memory_s
        off = self._kept * region.room_s / larger(whole.given_s, TINY)
        found = []
        for at in self.kernels.first[group]:
            row = self.rows[at]
            compute_s = _either(by_matrix, row.matrix_s, row.vector_s)
            memory_s = (row.cold_s if self.cold else row.memory_s) - off * row.given_s
            found.append((compute_s, memory_s, _either(by_compute, compute_s, memory_s)))
        return found


def ladder_of(fused: Level, unfused: Level, rates: Rates) -> tuple[Any, Any, Any, Any]:
    """Seconds of each rung of one pass, in the order of `RUNGS`."""
    whole = fused.all()
    compulsory_s = larger(0.0, whole.given_s - rates.off_s)
    light_s = larger(compulsory_s, larger(whole.matrix_s, whole.vector_s))
    return compulsory_s, light_s, fused.seconds, unfused.seconds


def _sum(parts: Sequence[Amounts]) -> Amounts:
    if len(parts) == 1:
        return parts[0]
    return Amounts(*(sum(each, 0.0) for each in zip(*parts, strict=True))) if parts else Amounts()


def _either(first: Any, one: Any, other: Any) -> Any:
    """One where `first`, else the other: of numbers, or one by one."""
    if not getattr(first, "ndim", 0):
        return one if first else other
    import numpy as np

    return np.where(first, one, other)
