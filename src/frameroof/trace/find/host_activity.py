"""What a thread of the host did during some intervals: the innermost event at every moment, so that idle time of the
device can be given to the function, the range or the call that filled it.

Nothing here loops over events: a recording with stacks holds millions of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...annotations import STEP
from ..read.columns import Array, Trace
from ..read.events import Kind

SHARE = 0.05
"""Share of an interval from which on an event counts by itself, ..."""
MOST_SHARE_NS = 1_000_000
"""... and the length from which on it does in any case."""
TOLERANCE_NS = 10_000
"""An event that outlives the one around it by no more is closed with it."""
MOST_CUTS = 2
"""Ranges that overlap in part are cut apart until there are this many times as many: no real file comes near."""


@dataclass(frozen=True)
class Pieces:
    """Intervals cut wherever the innermost event changes; together they cover every interval exactly once."""

    interval: Array  # number of the interval that each piece lies in
    start: Array  # int64 ns
    end: Array  # int64 ns
    event: Array  # index into `Events`; -1: the thread has no event there

    @property
    def length(self) -> Array:
        """Of each piece, in ns."""
        return self.end - self.start

    def only(self, which: Array) -> Pieces:
        """Some of them."""
        return Pieces(self.interval[which], self.start[which], self.end[which], self.event[which])

    def split(self, which: Array, at: Array) -> Pieces:
        """Some of them cut in two at a moment inside; the second halves stand last."""
        end = self.end.copy()
        end[which] = at
        rest = self.only(which)
        return Pieces(
            np.concatenate([self.interval, rest.interval]),
            np.concatenate([self.start, at]),
            np.concatenate([end, rest.end]),
            np.concatenate([self.event, rest.event]),
        )


@dataclass(frozen=True)
class Events:
    """Events of one thread that reach into some intervals, in order of start, each with the one around it."""

    row: Array  # host row
    kind: Array  # as in the host's rows
    start: Array
    end: Array
    parent: Array  # index into these; -1 none

    def around(self, wanted: Array) -> Array:
        """For each event the nearest wanted one, itself or around it; -1 for none."""
        if not len(wanted):
            return self.parent
        at = np.where(wanted, np.arange(len(wanted)), self.parent)
        while not (done := (at < 0) | wanted[at]).all():
            at = np.where(done, at, at[at])  # each round doubles the way
        return at


def activity(trace: Trace, thread: int, lo: Array, hi: Array, always: Array) -> tuple[Events, Pieces]:
    """What `thread` did in the disjoint, ascending intervals [lo, hi); of an event without length, its first ns.

    Where Python frames tell what called what, an event that fills too little of an interval (`SHARE`, `MOST_SHARE_NS`)
    counts as its caller's, unless `always` (a mask of the host rows) wants it. Steps of the profiler's schedule are
    left out: that a step went on says nothing of what the host did in it.
    """
    host = trace.host
    first, beyond = np.searchsorted(host.thread, (thread, thread + 1))
    start, kind = host.start[first:beyond], host.kind[first:beyond]
    end = np.maximum(host.end[first:beyond], start + 1)
    at = np.minimum(np.searchsorted(hi, start, side="right"), len(hi) - 1)  # the first that ends after the start
    reach = (lo[at] < end) & (hi[at] > start) & (kind != int(Kind.OVERHEAD))
    if (kind == int(Kind.PYTHON)).any():
        further = (at + 1 < len(lo)) & (lo[np.minimum(at + 1, len(lo) - 1)] < end)
        reach &= further | (end - start >= np.minimum(SHARE * (hi - lo), MOST_SHARE_NS)[at])
    reach |= always[first:beyond]
    steps = [number for number, name in enumerate(trace.names) if name.startswith(STEP)]
    if steps:
        reach &= ~np.isin(host.name[first:beyond], steps)
    found = np.flatnonzero(reach)
    events = _nested(found + first, host.kind, start[found], end[found])
    return events, _cut(events, lo, hi)


def _nested(row: Array, kind: Array, start: Array, end: Array) -> Events:
    """Events with their parents; of two that overlap in part, the rest of the later one is an event of its own.

    `kind` is that of all host rows.
    """
    most = MOST_CUTS * len(row) + 1000
    while True:
        parent = _parents(start, end)
        beyond = np.flatnonzero((parent >= 0) & (end > end[parent]) & (start < end[parent]))
        if not len(beyond) or len(row) > most:
            return Events(row, kind[row], start, end, parent)
        slight = end[beyond] - end[parent[beyond]] <= TOLERANCE_NS
        if slight.all():
            end = end.copy()
            end[beyond] = end[parent[beyond]]
            continue
        cut, moments = [], []
        for event in beyond.tolist():
            at, reached = int(parent[event]), int(start[event])
            while at >= 0 and end[at] < end[event]:
                if end[at] > reached:
                    reached = int(end[at])
                    cut.append(event)
                    moments.append(reached)
                at = int(parent[at])
        rest, begins = np.array(cut), np.array(moments)
        ends = np.where(np.append(np.diff(rest) == 0, False), np.append(begins[1:], 0), end[rest])
        end = end.copy()
        once = np.append(True, np.diff(rest) != 0)
        end[rest[once]] = begins[once]
        where = np.searchsorted(start, begins)
        order = np.argsort(begins, kind="stable")
        row = np.insert(row, where[order], row[rest][order])
        start, end = np.insert(start, where[order], begins[order]), np.insert(end, where[order], ends[order])


def _parents(start: Array, end: Array) -> Array:
    """The last event one level further out that begins before each; -1 at the outermost level."""
    parent = np.full(len(start), -1, dtype=np.int64)
    if not len(start):
        return parent
    depth = np.arange(len(start)) - np.searchsorted(np.sort(end), start, side="right")
    by_depth = np.argsort(depth.astype(np.int16 if depth.max() < 2**15 else np.int64), kind="stable")
    border = np.searchsorted(depth[by_depth], np.arange(depth.max() + 2))
    levels = [by_depth[border[d] : border[d + 1]] for d in range(len(border) - 1)]
    for outer, inner in pairwise(levels):
        parent[inner] = outer[np.searchsorted(outer, inner) - 1]
    return parent


def _cut(events: Events, lo: Array, hi: Array) -> Pieces:
    time, event = _changes(events)
    first = np.searchsorted(time, lo, side="right") - 1
    beyond = np.searchsorted(time, hi, side="left")
    count = np.where(hi > lo, beyond - first, 0)
    interval = np.repeat(np.arange(len(lo)), count)
    at = np.arange(len(interval)) - np.repeat(np.cumsum(count) - count - first, count)
    start = np.maximum(time[at], lo[interval])
    end = np.minimum(time[at + 1], hi[interval])
    kept = end > start
    return Pieces(interval[kept], start[kept], end[kept], event[at[kept]])


def _changes(events: Events) -> tuple[Array, Array]:
    """The moments at which the innermost event changes, and which it is from then on; from -inf to inf."""
    count = len(events.row)
    last = np.argsort(events.end[::-1], kind="stable")
    ending = count - 1 - last  # of events that end together the inner ones, which begin later, end first
    ends = events.end[ending]
    time = np.empty(2 * count + 2, dtype=np.int64)
    event = np.full(2 * count + 2, -1, dtype=np.int64)
    time[0], time[-1] = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    begun = 1 + np.arange(count) + np.searchsorted(ends, events.start, side="right")
    ended = 1 + np.arange(count) + np.searchsorted(events.start, ends, side="left")
    time[begun], event[begun] = events.start, np.arange(count)
    time[ended], event[ended] = ends, events.parent[ending]
    return time, event
