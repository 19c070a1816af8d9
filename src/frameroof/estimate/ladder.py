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

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Literal, NamedTuple, get_args

from ..roofline import Roofline, larger, smaller
from ..workload.table import Kernels, Operands, Table

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
    """Seconds of all calls of every distinct row of a table, at the peaks and the bandwidth; numbers, or arrays.

    `memory_s` has the cache taken off what passes between regions, `cold_s` nothing; `given_s` is in both.
    """

    matrix_s: list[Any]
    vector_s: list[Any]
    memory_s: list[Any]
    cold_s: list[Any]
    given_s: list[Any]


def amounts_of(table: Table, values: Sequence[Any], rates: Rates, apart: bool) -> Amounts:
    """At the values of a table, of rows as parts of their regions or `apart`; nothing of a collective.

    Raises `ValueError` as `Roofline.peak`.
    """
    columns, rows, of = table.columns[apart], table.distinct, values.__getitem__
    per_bit_s, per_vector_s = rates.per_bit_s, rates.per_vector_s
    times = [values[row.at.times] for row in rows]
    per_flop_s = [rates.per_flop_s(row.unit) if row.unit else 0.0 for row in rows]
    given_s = [bits * per_bit_s * n for bits, n in zip(map(of, columns.given), times, strict=True)]
    memory_s = cold_s = [bits * per_bit_s * n for bits, n in zip(map(of, columns.moved), times, strict=True)]
    if rates.cached:
        passed = _passed(table, columns.passed, values, rates)
        memory_s = [g + bits * per_bit_s * n for g, bits, n in zip(given_s, passed, times, strict=True)]
    return Amounts(
        [flops * each * n for flops, each, n in zip(map(of, columns.executed), per_flop_s, times, strict=True)],
        [flops * per_vector_s * n for flops, n in zip(map(of, columns.vector), times, strict=True)],
        memory_s,
        cold_s,
        given_s,
    )


def _passed(table: Table, operands: Sequence[Operands], values: Sequence[Any], rates: Rates) -> list[Any]:
    """Of every distinct row the bits of one call beyond the cache, or of all calls where sizes are sums over them."""
    beyond: dict[int, Any] = {}
    found = []
    for row, sizes in zip(table.distinct, operands, strict=True):
        passed: Any = 0.0
        for size, n in sizes:
            if row.op.attrs.get("total"):
                passed = passed + n * larger(0.0, values[size] - rates.cache_bits * values[row.at.calls])
                continue
            if size not in beyond:
                beyond[size] = larger(0.0, values[size] - rates.cache_bits)
            passed = passed + n * beyond[size]
        found.append(passed)
    return found


class Region(NamedTuple):
    """One region: seconds of its compute, of its memory, of the longer, and what a cache may take off that."""

    compute_s: Any
    memory_s: Any
    seconds: Any
    room_s: Any


def region_of(matrix_s: Any, vector_s: Any, memory_s: Any, given_s: Any, numbers: bool = False) -> Region:
    """From the sums over its members; `numbers`: known to be no arrays, which takes half the time."""
    most, least = (max, min) if numbers else (larger, smaller)
    compute_s = most(matrix_s, vector_s)
    seconds = most(compute_s, memory_s)
    return Region(compute_s, memory_s, seconds, least(given_s, seconds - compute_s))


class Parts(NamedTuple):
    """Of every member of the distinct kernels, one kernel after another, its part of the region's compute, its memory,
    and its part of the whole; and of the whole with a cold cache."""

    compute_s: list[Any]
    memory_s: list[Any]
    limit_s: list[Any]
    cold_s: list[Any]


class Level:
    """One rung that is a sum over kernels: the whole, and of the distinct ones each row's part of it."""

    def __init__(self, kernels: Kernels, rows: Amounts, off_s: Any, numbers: bool) -> None:
        self.kernels, self.rows = kernels, rows
        self.sums = sums = Amounts(*map(kernels.summed, rows))
        each = zip(sums.matrix_s, sums.vector_s, sums.memory_s, sums.given_s, strict=True)
        self.regions = [region_of(*one, numbers) for one in each]
        room_s = self._all([region.room_s for region in self.regions])
        off_s = smaller(off_s, room_s)
        self.seconds = self._all([region.seconds for region in self.regions]) - off_s
        self._kept = off_s / larger(room_s, TINY)
        """The share of the room that the cache takes off."""

    def _all(self, column: Sequence[Any]) -> Any:
        """The sum over all kernels of values of the distinct ones."""
        return sum(map(mul, self.kernels.many, column), 0.0)

    def all(self) -> tuple[Any, Any, Any]:
        """Over all kernels: matrix work, other arithmetic, and given bytes."""
        return self._all(self.sums.matrix_s), self._all(self.sums.vector_s), self._all(self.sums.given_s)

    def parts(self) -> Parts:
        """What the cache takes off inputs and weights is taken off the memory of regions that it shortens."""
        rows, sums, made = self.rows, self.sums, Parts([], [], [], [])
        for at, (group, region) in enumerate(zip(self.kernels.members, self.regions, strict=True)):
            whole_s, beside_s, _, room_s = region
            by_matrix = sums.matrix_s[at] >= sums.vector_s[at]
            by_compute, by_compute_cold = whole_s >= beside_s, whole_s >= sums.cold_s[at]
            off = self._kept * room_s / larger(sums.given_s[at], TINY)
            for row in group:
                compute_s = _either(by_matrix, rows.matrix_s[row], rows.vector_s[row])
                memory_s = rows.memory_s[row] - off * rows.given_s[row]
                made.compute_s.append(compute_s)
                made.memory_s.append(memory_s)
                made.limit_s.append(_either(by_compute, compute_s, memory_s))
                made.cold_s.append(_either(by_compute_cold, compute_s, rows.cold_s[row]))
        return made


def ladder_of(fused: Level, unfused: Level, rates: Rates) -> tuple[Any, Any, Any, Any]:
    """Seconds of each rung of one pass, in the order of `RUNGS`."""
    matrix_s, vector_s, given_s = fused.all()
    compulsory_s = larger(0.0, given_s - rates.off_s)
    light_s = larger(compulsory_s, larger(matrix_s, vector_s))
    return compulsory_s, light_s, fused.seconds, unfused.seconds


def _either(first: Any, one: Any, other: Any) -> Any:
    """One where `first`, else the other: of numbers, or one by one."""
    if first is True or first is False or not first.ndim:
        return one if first else other
    import numpy as np

    return np.where(first, one, other)
