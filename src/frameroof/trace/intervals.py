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
