"""What a curve of expected times asks of a device: its multiprocessors, their clock, its bandwidth and its peaks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ...roofline import Roofline

if TYPE_CHECKING:
    from ...hardware import Device


@dataclass(frozen=True)
class Chip:
    """One device. FLOP/s, bytes per second, Hz, bytes; `sms` are multiprocessors or compute units.

    `generation` is a word such as ``hopper``, "" where none is known. What a device does not state is None.
    """

    name: str
    generation: str
    sms: int | None
    clock_hz: float | None
    bandwidth: float
    vector: float | None
    cache_bytes: int | None
    roofline: Roofline

    def peak(self, unit: str) -> float:
        """Dense FLOP/s of a unit (`dtypes.unit_of`); raises `ValueError` as `Roofline.peak`."""
        return self.roofline.peak(unit)

    @property
    def ticks(self) -> float | None:
        """Clocks of all multiprocessors together, per second; None where one of them is not known."""
        return self.sms * self.clock_hz if self.sms and self.clock_hz else None


@lru_cache(maxsize=256)
def chip_of(device: Device) -> Chip:
    """What is known of a device."""
    return Chip(
        device.name,
        device.generation,
        device.units,
        device.clock_hz,
        device.bandwidth,
        device.vector_peak,
        device.cache_bytes,
        Roofline(device),
    )
