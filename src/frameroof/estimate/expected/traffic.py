"""Expected seconds of what moves bytes: compiled, as fused kernels, or eager, operation by operation; and convolutions.

A fused kernel reaches a share of the bandwidth. An eager one also issues its elements at a rate that multiprocessors
and clock set, whatever the memory could do, which is why eager code gains little from faster memory; the longer of the
two counts. Copies issue fewer bytes in a clock, a group norm passes its input again for its moments.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...dtypes import BITS
from ...roofline import larger, smaller
from ...workload.records import Op
from .chip import Chip
from .forms import JOIN, joined

READ_AGAIN = 0.5
"""Of what a norm moves: it reads a row for its moments and again to write it (PyTorch's layer norm)."""
BLOCKS = 16
"""Rows that a multiprocessor has in work at once: 2,048 threads, 128 a row."""
NEAR, FAR = 0.35, 0.7
"""Shares of the cache that rows in work fill, from which on some, and all, are read from memory again: by NeuSight's
layer norms of rows of 3 to 64 KB (github.com/sitar-lab/NeuSight) on A100, L4 and V100."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one device, or of all: shares of bandwidth, and microseconds of a kernel.

    `issued` are bytes that a multiprocessor issues in a clock in elements of 16 bits, twice as many in those of 32;
    `norms` and `copies` are shares of that. `moments` is how often a group norm passes what others pass once.
    """

    compiled: float
    eager: float
    issued: float
    norms: float
    copies: float
    moments: float
    launch_us: float
    source: str
    date: str

    def seconds(self, chip: Chip, moved: Any, op: Op, fused: bool, row_bytes: Any = 0.0) -> Any:
        """Of a call of an operation that moves `moved` bytes, a number or an array; a norm's rows have `row_bytes`."""
        if fused:
            return moved / (chip.bandwidth * self.compiled)
        if op.kind == "norm" and "group_norm" in op.name:
            moved = moved * self.moments
        elif op.kind == "norm":
            moved = moved * (1 + READ_AGAIN * far_rows(chip, row_bytes))
        # what the last kernel wrote is still in the cache where all of it fits
        far = larger(0.0, smaller(moved, 2.0 * (moved - (chip.cache_bytes or 0))))
        found = far / (chip.bandwidth * self.eager)
        if chip.ticks:
            share = self.norms if op.kind in ("norm", "softmax") else self.copies if op.kind == "copy" else 1.0
            found = joined(found, moved / (self.issued * share * chip.ticks * widest(op) / 16))
        return self.launch_us * 1e-6 + found


def far_rows(chip: Chip, row_bytes: Any) -> Any:
    """Which share of a norm's rows have left the cache when they are read for the second time."""
    if not chip.cache_bytes:
        return 0.0
    held = (chip.sms or 1) * BLOCKS * row_bytes / chip.cache_bytes
    return smaller(1.0, larger(0.0, (held - NEAR) / (FAR - NEAR)))


def widest(op: Op) -> int:
    """Bits of the widest elements that an operation reads or writes, weights aside; 16 where it has none."""
    return max((BITS[t.dtype] for t in (*op.reads, *op.writes) if not t.weight and t.dtype in BITS), default=16)


class Convolution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a convolution reaches of a matrix product of its sizes, and of bandwidth where it is depthwise.

    `eager` and `compiled` (channels last) are of two dimensions, `three` of three, all of units that do `reference`
    FLOPs of a multiprocessor in a clock or more; slower units hide more of what keeps a convolution below a product.
    Convolutions in TF32 do `tf32` FLOPs in a clock whatever the units could.
    """

    eager: float
    compiled: float
    three: float
    tf32: float
    depthwise: float
    reference: float
    source: str
    date: str

    def longer(self, chip: Chip, kind: str, unit: str, last: bool) -> float:
        """By what factor it takes longer than a product; `last`: channels last. Errors as `Chip.peak`."""
        share = self.three if kind == "conv3d" else self.compiled if last else self.eager
        per_clock = chip.peak(unit) / chip.ticks if chip.ticks else self.reference
        if unit == "tf32":
            return float(joined(1.0, per_clock / self.tf32))
        return 1 / slower_units(share, min(1.0, per_clock / self.reference))


MOST_SHARE = 0.95
"""Of a peak, where matrix units are slow and everything else keeps up with them."""


def slower_units(share: float, ratio: float) -> float:
    """The share of a peak where the units do `ratio` times as much in a clock as where `share` was seen.

    What keeps work below the peak, its instructions and its power, is of the multiprocessor: slower units hide it.
    """
    if share >= MOST_SHARE:
        return share
    return min(MOST_SHARE, 1 / float(joined(1.0, (share**-JOIN - 1) ** (1 / JOIN) * ratio)))
