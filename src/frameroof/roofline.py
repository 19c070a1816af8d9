"""The roofline: one limit of one operation and one choice of peak, for all that speak of limits.

The limit is the longest of three times on one device: matrix FLOPs over the dense peak of the unit that does them, all
other arithmetic over the fp32 rate outside of matrix units, and bytes over a bandwidth (Williams, Waterman and
Patterson, "Roofline", 2009). Everything here is of one device; how several share work is a pass (`passes.parallel`).
Quantities may be numbers or NumPy arrays; FLOPs, bytes and seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .dtypes import DTYPES

if TYPE_CHECKING:  # a script that measures a GPU has no msgspec, which devices need
    from .hardware import Device

Bound = Literal["compute", "memory"]


class Limit(NamedTuple):
    """What an operation needs of the compute units and of memory, in seconds; numbers or arrays."""

    compute_s: Any
    memory_s: Any

    @property
    def seconds(self) -> Any:
        """The longer of the two."""
        return larger(self.compute_s, self.memory_s)

    @property
    def bound(self) -> Bound:
        """Which of the two it is (of numbers)."""
        return bound_of(self.compute_s, self.memory_s)


def bound_of(compute_s: float, memory_s: float) -> Bound:
    """ "compute" or "memory", whichever takes longer; the first where they are equal."""
    return "compute" if compute_s >= memory_s else "memory"


class Roofline:
    """The limits of a device, and in `assumptions` what had to be assumed to state them.

    `ran` says that the work was seen to run there: a unit without a peak then has that of a near one, or the largest,
    for such a limit is never too long. Without it, work for a unit that the device states no peak of is refused.
    """

    def __init__(self, device: Device, *, ran: bool = False) -> None:
        self.device = device
        self.ran = ran
        self.bandwidth = device.bandwidth
        self.vector_peak = device.vector_peak
        self.assumptions: dict[str, None] = {}
        self._peaks: dict[str, float] = {}
        if self.vector_peak is None:
            self._assume(f"{device.name} states no fp32 rate outside of matrix units: elementwise arithmetic is free")

    def _assume(self, text: str) -> None:
        self.assumptions[text] = None

    def peak(self, unit: str) -> float:
        """The dense peak in FLOP/s of a unit (see `dtypes.unit_of`).

        Raises `ValueError`, a sentence, for a unit without a peak, unless the work ran there.
        """
        if unit not in self._peaks:
            self._peaks[unit] = self._made(unit) or (self._seen(unit) if self.ran else self._stated(unit))
        return self._peaks[unit]

    def states(self, unit: str) -> bool:
        """Whether the device states a peak for a unit, or for what its products are made of."""
        row = DTYPES.get(unit)
        return (row.times[0] if row and row.times else unit) in self.device.dense_flops

    def _made(self, unit: str) -> float | None:
        """The peak of a unit whose products are several of another, or the type's own where that is higher."""
        row = DTYPES.get(unit)
        if not row or not row.times or row.times[0] not in self.device.dense_flops:
            return None
        return max(self.device.dense_flops[row.times[0]] / row.times[1], self.device.dense_flops.get(row.held, 0.0))

    def _seen(self, unit: str) -> float:
        peaks = self.device.dense_flops
        names = (unit, *(DTYPES[unit].near if unit in DTYPES else ()))
        return next((peaks[name] for name in names if name in peaks), max(peaks.values()))

    def _stated(self, unit: str) -> float:
        try:
            return self.device.peak(unit)
        except ValueError:
            other = DTYPES[unit].counted_as if unit in DTYPES else ""
            if not other:
                raise
            if other != "fp32":  # a device without TF32 computes in fp32: that is no assumption
                name = self.device.name
                self._assume(f"{name} states no {unit} matrix peak: {unit} matrix work is limited at its {other} peak")
            return self.peak(other)

    def limit(
        self,
        *,
        flops: Any = 0.0,
        unit: str = "",
        vector_flops: Any = 0.0,
        bytes: Any = 0.0,
        bandwidth: float | None = None,
    ) -> Limit:  # five quantities, all of them the work
        """The limit of work with so many matrix FLOPs (executed by `unit`), other FLOPs and bytes.

        `bandwidth` is that of a link in place of the device's memory, in bytes per second. Raises as `peak`.
        """
        compute: Any = 0.0
        if not isinstance(flops, (float, int)) or flops:
            compute = flops / self.peak(unit)
        if self.vector_peak is not None:
            compute = larger(compute, vector_flops / self.vector_peak)
        return Limit(compute, bytes / (bandwidth or self.bandwidth))

    def inverse(self, units: Sequence[str]) -> tuple[list[float], float, float]:
        """Seconds per matrix FLOP of each of `units` ("" = no matrix work), per other FLOP, and per byte."""
        vector = 0.0 if self.vector_peak is None else 1 / self.vector_peak
        return [1 / self.peak(unit) if unit else 0.0 for unit in units], vector, 1 / self.bandwidth


def larger(a: Any, b: Any) -> Any:
    """The larger of two numbers, or of each pair in arrays."""
    if type(a) is type(b) is float:
        return a if a >= b else b
    if isinstance(a, (float, int)) and isinstance(b, (float, int)):
        return a if a >= b else b
    import numpy as np

    return np.maximum(a, b)


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two numbers, or of each pair in arrays."""
    if type(a) is type(b) is float:
        return a if a <= b else b
    if isinstance(a, (float, int)) and isinstance(b, (float, int)):
        return a if a <= b else b
    import numpy as np

    return np.minimum(a, b)
