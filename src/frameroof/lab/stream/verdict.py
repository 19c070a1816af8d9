"""Whether a change made a stream faster, from pairs of before and after that were made in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

FEW = 8  # pairs; of fewer, all must lie on one side, for of five, four do so by chance once in five times


@dataclass(frozen=True)
class Saved:
    """Before less after: lower quartile, median and upper quartile, in the unit of what was given; 0 holds neither."""

    quartiles: tuple[float, float, float]
    faster: bool
    slower: bool


def saved(before: Sequence[float], after: Sequence[float]) -> Saved:
    """Pairs in the order in which they were made. The middle half tells, or all of fewer than eight."""
    each = [b - a for b, a in zip(before, after, strict=True)]
    low, middle, high = quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    least, most = (min(each), max(each)) if len(each) < FEW else (low, high)
    return Saved((low, middle, high), least > 0, most < 0)
