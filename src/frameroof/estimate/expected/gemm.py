"""Expected seconds of a matrix product: tiles in waves over the multiprocessors, and bytes beside them.

    t = launch + (compute^4 + memory^4)^(1/4) + quantize

compute is the least, over tiles and over splits of k, of as many waves as the tiles make, each of (k / splits + fill)
steps of one tile at its share of the peak, plus what a split costs; a product that runs long is slowed down by heat.
memory is the bytes over a share of the bandwidth; quantize is what it takes to write the input in a type of eight bits
or less before. Nine numbers of a device and a type, and one more where inputs are quantized, fitted to measured
products.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log2
from typing import Any

import msgspec

from ...dtypes import BITS
from .chip import Chip
from .forms import FEW_WAVES, joined, whole

TILES = (("256x128", 256, 128), ("256x128", 128, 256), ("128x128", 128, 128))
SMALL = (("128x64", 128, 64), ("128x64", 64, 128), ("64x64", 64, 64))
SIDES = tuple(dict.fromkeys(name for name, _, _ in (*TILES, *SMALL)))
"""Names of the tiles; one stands for both ways to lay it."""
SPLITS = (1, 2, 4, 8)
LONG_S, HOT_S = 1e-4, 1e-2
"""From which time at the peak on a product is slowed down by heat, and from which on no further."""
INPUT_BYTES = 2.0
"""Of an element of the input before it is quantized: sixteen bits."""
RANGES = {
    "launch_us": (0.0, 1e6),
    "memory": (1e-4, 1.0),
    "fill": (0.0, 1e6),
    "split_us": (0.0, 1e6),
    "heat": (0.0, 1.0),
    "quantize": (0.0, 1e3),
}
"""What the numbers may be; a share of a peak or of the bandwidth is at most 1."""


class Gemm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one device and type; microseconds, shares in (0, 1], elements of k.

    `shares` are those of the dense peak of the unit `peak` that a tile reaches, by its sides. `quantize` is how many
    times its bytes, read in sixteen bits and written in the type, the input passes the memory before the product; 0
    where it is as it comes. `rows` were measured, and `error_median`, `error_p90` are what the curve missed, as shares
    of the time, of products whose n or k it had not seen; of a curve that was `derived_from` another device's or type's
    ("" is measured), what such curves missed where there was something to hold them against.
    """

    peak: str
    launch_us: float
    memory: float
    fill: float
    split_us: float
    heat: float
    shares: dict[str, float]
    quantize: float = 0.0
    source: str
    date: str
    rows: int
    error_median: float
    error_p90: float
    derived_from: str = ""

    def seconds(self, chip: Chip, sizes: tuple[Any, Any, Any, Any], moved: Any, quantized: bool = False) -> Any:
        """Of one call of b products (m x k) (k x n) that moves `moved` bytes; `sizes` are (b, m, n, k).

        Numbers or arrays of one shape. `quantized` says that the input comes in the type already, so that nothing is
        spent on that. Raises `ValueError` where the device states no peak of the unit.
        """
        b, m, n, k = sizes
        rate = chip.peak(self.peak)
        flops_s = 2.0 * b * m * n * k / rate
        memory_s = moved / (chip.bandwidth * self.memory)
        sms = chip.sms or 1
        before_s = self.launch_us * 1e-6 + (0.0 if quantized else self.quantize_s(chip, b * m * k))
        if any(hasattr(each, "shape") for each in (b, m, n, k, moved)):
            return before_s + self._arrays(sizes, flops_s, memory_s, (sms, rate))
        best = float("inf")
        fill, split_s = self.fill, self.split_us * 1e-6
        for share, tm, tn in self._tiles:
            tiles = ceil(m / tm) * ceil(n / tn) * b / sms
            step_s = 2 * tm * tn * sms / (rate * share)
            for s in SPLITS:
                waves = tiles * s
                best = min(best, whole(waves) * (k / s + fill) * step_s + split_s * log2(s))
        best *= 1.0 + self.heat * log2(min(max(flops_s, LONG_S), HOT_S) / LONG_S)
        return before_s + joined(best, memory_s)

    def quantize_s(self, chip: Chip, elements: Any) -> Any:
        """Seconds to write so many elements of the input, a number or an array, in the type, from sixteen bits."""
        if not self.quantize:
            return 0.0
        passed = elements * (INPUT_BYTES + BITS[self.peak] / 8)
        return self.quantize * chip.roofline.limit(bytes=passed).memory_s

    def faults(self) -> Iterator[str]:
        """What of it cannot be, as ends of a sentence."""
        if self.peak not in BITS:
            yield f"has the peak {self.peak!r}, which is no type"
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                yield f"has {name} {getattr(self, name):g}; it is from {least:g} to {most:g}"
        if set(self.shares) != set(SIDES):
            yield f"has shares of other tiles than {', '.join(SIDES)}"
        for name, share in self.shares.items():
            if not RANGES["memory"][0] <= share <= 1:
                yield f"has the share {share:g} of {name}; nothing runs above its peak: it is above 0 and at most 1"
        if self.rows < 1 or not (0 <= self.error_median <= self.error_p90):
            yield "has no rows that it was fitted to, or an error that cannot be"

    @property
    def _tiles(self) -> list[tuple[float, int, int]]:
        return [(self.shares[name], tm, tn) for name, tm, tn in (*TILES, *SMALL)]

    def _arrays(self, sizes: tuple[Any, Any, Any, Any], flops_s: Any, memory_s: Any, device: tuple[int, float]) -> Any:
        import numpy as np

        b, m, n, k = sizes
        sms, rate = device
        best = np.full(np.shape(flops_s), np.inf)
        waves, found = np.empty_like(best), np.empty_like(best)
        rows, columns = ({side: np.ceil(each / side) for side in (64, 128, 256)} for each in (m, n))
        for share, tm, tn in self._tiles:
            once = rows[tm] * columns[tn] * b / sms
            step_s = 2 * tm * tn * sms / (rate * share)
            for s in SPLITS:
                np.multiply(once, s, out=waves)
                np.ceil(waves, out=found)
                many = waves > FEW_WAVES
                waves += 0.5
                np.copyto(found, waves, where=many)
                found *= (k / s + self.fill) * step_s
                found += self.split_us * 1e-6 * log2(s)
                np.minimum(best, found, out=best)
        best *= 1.0 + self.heat * np.log2(np.clip(flops_s, LONG_S, HOT_S) / LONG_S)
        return joined(best, memory_s)
