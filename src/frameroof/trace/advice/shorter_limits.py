"""What a change of precision brings: the share by which the limit of a call falls, of the time that the call takes.

A call that reaches a third of its limit reaches a third of the new one, too: its inefficiency is no gain of the
precision. So a call gains its time, times one less the new limit over the old. Where FLOPs limit it, that is by the
ratio of the peaks; where bytes do, by half the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...dtypes import BITS
from ...hardware import Device
from ...roofline import Roofline
from ...run import Run, ShapeRow
from ..find.row_limits import RowLimit, limit_of_shape
from .words import ms

MEMORY = "limited by bandwidth"
COMPUTE = "limited by compute"
TURNS = "limited by the one before and by the other after"


class Part(NamedTuple):
    """Calls whose limit falls alike."""

    why: str
    time_ns: float
    gain_ns: float

    @property
    def ratio(self) -> float:
        """How many times shorter they become."""
        return self.time_ns / (self.time_ns - self.gain_ns)


def shortened(rows: Iterable[ShapeRow], run: Run, device: Device, dtype: str) -> list[Part]:
    """The parts of some rows that gain by computing in `dtype`, the longest first.

    A row without a limit that moves numbers alone (no FLOPs) moves fewer bytes.
    """
    roofline = Roofline(device, ran=True)
    sums: dict[tuple[str, float], tuple[float, float]] = {}
    for row in rows:
        fewer = BITS[dtype] / BITS[row.dtype] if row.dtype in BITS else 0.5
        limit = limit_of_shape(row, roofline, run.maths)
        why, share = _left(limit, dtype, roofline, fewer) if row.flops else (MEMORY, fewer)
        if share >= 1 or not row.time_ns:  # rounded to nothing
            continue
        key = why, round(share, 6) if why != TURNS else 0.0
        time, gain = sums.get(key, (0.0, 0.0))
        sums[key] = time + row.time_ns, gain + row.time_ns * (1 - share)
    parts = [Part(why, time, gain) for (why, _), (time, gain) in sums.items()]
    return sorted(parts, key=lambda part: -part.time_ns)


def _left(limit: RowLimit | None, dtype: str, roofline: Roofline, fewer: float) -> tuple[str, float]:
    """(why, the new limit over the old) of a product in another type, whose bytes shrink to the share `fewer`."""
    if limit is None or not limit.ns:
        return COMPUTE, 1.0
    needed, _, moved = limit.amounts
    after = roofline.limit(flops=needed, unit=dtype, bytes=(moved or 0.0) * fewer, bandwidth=limit.bandwidth)
    why = TURNS if limit.bound != after.bound else COMPUTE if after.bound == "compute" else MEMORY
    return why, after.seconds * 1e9 / limit.ns


def arithmetic(parts: list[Part]) -> str:
    """How the gain follows: ``26.00 s limited by compute x (1 - 1/2.4) = 15.17 s``."""
    terms = [f"{ms(part.time_ns)} {part.why} x (1 - 1/{part.ratio:.4g})" for part in parts]
    return f"{' + '.join(terms)} = {ms(sum(part.gain_ns for part in parts))}"
