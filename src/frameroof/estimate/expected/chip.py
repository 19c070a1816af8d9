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

    `generation` is a word such as ``hopper``, "" where none is known. A clock that is not stated is that of another
    device of the generation (`CLOCK_OF`); what else a device does not state is None.
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


CLOCK_OF = {"ampere": "A10", "ada": "L40S", "hopper": "H100-SXM5-80GB", "blackwell": "B200-SXM-180GB"}
CLOCK_OF |= {"blackwell-rtx": "RTX PRO 6000 Blackwell (Workstation)", "cdna2": "MI250X (2 GCDs)"}
"""Whose clock a device is taken to have that states none, by generation."""


def _clock_hz(device: Device) -> float | None:
    if device.clock_hz or device.generation not in CLOCK_OF:
        return device.clock_hz
    from ...hardware import device as known

    return known(CLOCK_OF[device.generation]).clock_hz


@lru_cache(maxsize=256)
def chip_of(device: Device) -> Chip:
    """What is known of a device."""
    return Chip(
        device.name,
        device.generation,
        device.units,
        _clock_hz(device),
        device.bandwidth,
        device.vector_peak,
        device.cache_bytes,
        Roofline(device),
    )
