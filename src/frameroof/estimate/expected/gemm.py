"""Expected seconds of a matrix product: tiles in waves over the multiprocessors, and bytes beside them.

    t = launch + (compute^4 + memory^4)^(1/4)

compute is the least, over tiles and over splits of k, of as many waves as the tiles make, each of (k / splits + fill)
steps of one tile at its share of the peak, plus what a split costs; a product that runs long is slowed down by heat.
memory is the bytes over a share of the bandwidth. Nine numbers of a device and a type, fitted to measured products.
"""

from __future__ import annotations

from functools import reduce
from math import ceil, log2
from typing import Any

import msgspec

from .chip import Chip

TILES = (("256x128", 256, 128), ("256x128", 128, 256), ("128x128", 128, 128))
SMALL = (("128x64", 128, 64), ("128x64", 64, 128), ("64x64", 64, 64))
SPLITS = (1, 2, 4, 8)
FEW_WAVES = 8
"""Up to which waves are whole; more of them run into each other, and half of the last is lost on average."""
LONG_S = 1e-4
"""From which on a product is slowed down by heat."""
JOIN = 4.0


class Gemm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one device and type; microseconds, shares in (0, 1], elements of k.

    `shares` are those of the dense peak of the unit `peak` that a tile reaches, by its sides. `rows` were measured, and
    `error_median`, `error_p90` are what the curve missed of products whose n or k it had not seen.
    """

    peak: str
    launch_us: float
    memory: float
    fill: float
    split_us: float
    heat: float
    shares: dict[str, float]
    source: str
    date: str
    rows: int
    error_median: float
    error_p90: float

    def seconds(self, chip: Chip, sizes: tuple[Any, Any, Any, Any], moved: Any) -> Any:
        """Of one call of b products (m x k) (k x n) that moves `moved` bytes; `sizes` are (b, m, n, k).

        Numbers or arrays of one shape. Raises `ValueError` where the device states no peak of the unit.
        """
        b, m, n, k = sizes
        rate = chip.peak(self.peak)
        flops_s = 2.0 * b * m * n * k / rate
        memory_s = moved / (chip.bandwidth * self.memory)
        sms = chip.sms or 1
        if any(hasattr(each, "shape") for each in (b, m, n, k, moved)):
            return self._arrays((b, m, n, k), flops_s, memory_s, (sms, rate))
        best = min(
            _waves(ceil(m / tm) * ceil(n / tn) * b * s, sms)
            * (k / s + self.fill)
            * (2 * tm * tn * sms / (rate * share))
            + self.split_us * 1e-6 * log2(s)
            for share, tm, tn in self._tiles
            for s in SPLITS
        )
        best *= 1.0 + self.heat * max(0.0, log2(max(flops_s, LONG_S) / LONG_S))
        return self.launch_us * 1e-6 + (best**JOIN + memory_s**JOIN) ** (1 / JOIN)

    @property
    def _tiles(self) -> list[tuple[float, int, int]]:
        return [(self.shares[name], tm, tn) for name, tm, tn in (*TILES, *SMALL)]

    def _arrays(self, sizes: tuple[Any, Any, Any, Any], flops_s: Any, memory_s: Any, device: tuple[int, float]) -> Any:
        import numpy as np

        b, m, n, k = sizes
        sms, rate = device
        found = []
        for share, tm, tn in self._tiles:
            tiles = np.ceil(m / tm) * np.ceil(n / tn) * b
            step_s = 2 * tm * tn * sms / (rate * share)
            for s in SPLITS:
                waves = tiles * s / sms
                waves = np.where(waves <= FEW_WAVES, np.ceil(waves), waves + 0.5)
                found.append(waves * (k / s + self.fill) * step_s + self.split_us * 1e-6 * log2(s))
        best = reduce(np.minimum, found)
        best = best * (1.0 + self.heat * np.log2(np.maximum(flops_s, LONG_S) / LONG_S))
        return self.launch_us * 1e-6 + (best**JOIN + memory_s**JOIN) ** (1 / JOIN)


def _waves(tiles: float, sms: int) -> float:
    waves = tiles / sms
    return ceil(waves) if waves <= FEW_WAVES else waves + 0.5
