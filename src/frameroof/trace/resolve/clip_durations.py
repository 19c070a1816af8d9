"""Impossible durations: a kernel that lasts longer than thousands of later kernels on its own stream.

Some ROCm writers overflow a duration (github.com/AMD-AGI/TraceLens/issues/669: 1.6 s in a trace of 3.9 ms). Kernels of
one stream may overlap a little by design (programmatic dependent launch, up to some microseconds), so only what is
absurd is clipped.
"""

from __future__ import annotations

import numpy as np

from ..read.columns import Array, Problem, Trace

OVERLAP_NS = 100_000
"""No legal overlap on one stream comes near this; up to 3.7 us were seen."""
FACTOR = 10
"""And the duration must be this many times the time to its successor's start."""


def clip_absurd(trace: Trace) -> Array:
    """The end of every row of work, absurd ones cut at the start of their successor on that stream.

    Adds a problem to the trace for what was clipped.
    """
    work = trace.work
    end = work.end.copy()
    if not len(end):
        return end
    order = np.lexsort((work.start, work.stream, work.device))
    same = (np.diff(work.stream[order]) == 0) & (np.diff(work.device[order]) == 0)
    rows, following = order[:-1][same], order[1:][same]
    until = work.start[following] - work.start[rows]
    length = work.end[rows] - work.start[rows]
    absurd = (length - until > OVERLAP_NS) & ((length - 1) // FACTOR >= np.maximum(until, 1))
    absurd &= work.end[following] < work.end[rows]  # a successor that ends inside it is proof
    if absurd.any():
        end[rows[absurd]] = work.start[following[absurd]]
        lost = int((length - until)[absurd].sum())
        action = f"cut where the next one on that stream starts ({lost / 1e6:.3f} ms taken off)"
        trace.problems.append(Problem("kernels of absurd duration", int(absurd.sum()), action))
    return end
