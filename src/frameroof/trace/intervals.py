"""Unions of time intervals: busy time is the union, never the sum (kernels may overlap)."""

from __future__ import annotations

import numpy as np

from .read.columns import Array


def merged(start: Array, end: Array) -> tuple[Array, Array]:
    """Disjoint intervals that cover the same time; both arrays sorted by start. Inputs need no order."""
    if not len(start):
        return start[:0], end[:0]
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)
    fresh = np.concatenate([[True], start[1:] > reach[:-1]])
    first = np.flatnonzero(fresh)
    last = np.concatenate([first[1:] - 1, [len(start) - 1]])
    return start[first], reach[last]


def covered(start: Array, end: Array) -> int:
    """Length of the union, in the unit of the inputs."""
    a, b = merged(start, end)
    return int((b - a).sum())


def overlap(lo: Array, hi: Array, start: Array, end: Array) -> Array:
    """For each interval [lo, hi): how much of it the disjoint, sorted intervals [start, end) cover."""
    if not len(start):
        return np.zeros(len(lo), dtype=np.int64)
    total = np.concatenate([[0], np.cumsum(end - start)])

    def before(t: Array) -> Array:
        at = np.searchsorted(start, t, side="right")
        inside = np.where(at > 0, np.minimum(t, end[np.maximum(at - 1, 0)]) - start[np.maximum(at - 1, 0)], 0)
        return np.where(at > 0, total[np.maximum(at - 1, 0)] + inside, 0)

    return before(hi) - before(lo)


def first_come(start: Array, end: Array) -> tuple[Array, Array]:
    """What each interval adds to the union of those before it, and the gap between that union and its start.

    Inputs are sorted by start. So every moment belongs to the interval that covered it first: the first sums to the
    length of the union, the second (0 for the first interval) to its gaps, however the intervals are shared out.
    """
    if not len(start):
        return start, start
    reach = np.concatenate([start[:1], np.maximum.accumulate(end)[:-1]])
    return np.maximum(end - np.maximum(start, reach), 0), np.maximum(start - reach, 0)
