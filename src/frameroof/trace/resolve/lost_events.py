"""Events that cannot have been: at time 0, without a length, before their own launch, hours from everything else, or
written twice.

Writers lose the time of some events (github.com/pytorch/kineto/issues/109) and keep the event. Such an event is taken
out of the trace before anything is linked, counted and reported, so that no number comes from it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np

from ..read.columns import Array, Host, Problem, Trace, Work
from ..read.events import Kind
from .link import find_launches

EARLY_NS = 100_000
"""Work starts after its launch call began; the clocks of host and device agree to some microseconds."""
FAR_NS = 3_600 * 10**9
"""No recording has an hour without any event in it, and no work waits so long for its turn."""
COARSE_NS = 2_000
"""In files of whole microseconds, work of this length may be two pieces that share one."""
OUTSIDE_NS = 10**9
"""No work begins so long after all other work, plus the length of the recording on the host, outside of it."""
OTHER_CLOCK = 0.9
"""If so much of the work starts before its launch, no event is wrong but the clock of the device."""
SECOND_PART = 0.1
"""A part of a recording, hours from the rest, holds at least so many of its events."""
LOST = "lost: left out of every number; where they ran, the device may seem idle"

Columns = TypeVar("Columns", Host, Work)


def without_lost(trace: Trace) -> tuple[Trace, Array]:
    """(the trace without the events that cannot be, the launch of all work that is left).

    The problems of the trace say how many were taken out, and why.
    """
    trace = _without(trace, "recorded at time 0", *_at_zero(trace))
    trace = _without(trace, "recorded without a length", np.zeros(len(trace.host), dtype=bool), _no_length(trace))
    trace = _without(trace, "hours away from all others", *_far(trace))
    trace = _without(trace, "that claim to last for hours", _endless(trace), np.zeros(len(trace.work), dtype=bool))
    trace = _once(trace)
    launch = find_launches(trace)
    early, late = _before_launch(trace, launch), _outside(trace, launch)
    if early.any() or late.any():
        none = np.zeros(len(trace.host), dtype=bool)
        late &= ~early
        trace = _without(trace, "that start before their own launch", none, early)
        trace = _without(trace, "far outside the recording on the host", none, late[~early])
        launch = launch[~(early | late)]
    return trace, launch


def _both(trace: Trace) -> tuple[Host, Work]:
    return trace.host, trace.work


def _without(trace: Trace, why: str, host: Array, work: Array) -> Trace:
    """Without the marked rows, which a problem counts; the trace itself where none is marked."""
    for what, bad in (("pieces of work", work), ("events of the host", host)):
        if count := int(bad.sum()):
            action = LOST if what == "pieces of work" else "lost: left out"
            trace.problems.append(Problem(f"{what} {why}", count, action))
    return _kept(trace, host, work)


def _kept(trace: Trace, host: Array, work: Array) -> Trace:
    if host.any():
        trace = replace(trace, host=_rows(trace.host, ~host))
    if work.any():
        trace = replace(trace, work=_rows(trace.work, ~work))
    return trace


def _rows(columns: Columns, mask: Array) -> Columns:
    return replace(columns, **{f.name: getattr(columns, f.name)[mask] for f in fields(columns)})


def _at_zero(trace: Trace) -> tuple[Array, Array]:
    """Host and work rows that start at 0 and are over long before anything else begins."""
    both = _both(trace)
    later = [int(rows.start[rows.start > 0].min()) for rows in both if (rows.start > 0).any()]
    least = min(later, default=OUTSIDE_NS) - OUTSIDE_NS
    host, work = ((rows.start == 0) & ((rows.end == 0) | (rows.end < least)) for rows in both)
    return host, work


def _no_length(trace: Trace) -> Array:
    """Kernels that took no time by a clock that would have seen it: one of nanoseconds, or one by which every other
    kernel of that name took microseconds."""
    work = trace.work
    none: Array = (work.end == work.start) & (work.kind == int(Kind.KERNEL))
    timed = (work.end > work.start) & (work.kind == int(Kind.KERNEL))
    if not none.any() or not timed.any():  # of a file without any times nothing is told
        return np.zeros(len(work), dtype=bool)
    if trace.nanosecond:
        return none
    never = np.iinfo(np.int64).max
    shortest = np.full(len(trace.names), never, dtype=np.int64)
    np.minimum.at(shortest, work.name[timed], (work.end - work.start)[timed])
    shortest[shortest == never] = 0  # no other of that name
    lost: Array = none & (shortest[work.name] > COARSE_NS)
    return lost


def _far(trace: Trace) -> tuple[Array, Array]:
    """Host and work rows that stand hours away from the part of the file that holds most events of the host."""
    host, work = _both(trace)
    start = np.concatenate([host.start, work.start])
    if not len(start) or int(start.max()) - int(start.min()) <= FAR_NS:
        return np.zeros(len(host), dtype=bool), np.zeros(len(work), dtype=bool)
    order = np.argsort(start, kind="stable")
    part = np.empty(len(start), dtype=np.int64)
    part[order] = np.concatenate([[0], np.cumsum(np.diff(start[order]) > FAR_NS)])
    every = np.bincount(part)
    of_host = np.bincount(part[: len(host)], minlength=len(every)) if len(host) else every
    believed = (of_host > 0) & (every >= SECOND_PART * len(start))
    believed[int(of_host.argmax())] = True
    far = ~believed[part]
    return far[: len(host)], far[len(host) :]


def _endless(trace: Trace) -> Array:
    """Host rows that end hours after anything else began; work of such length is cut (`clip_durations`)."""
    host, work = _both(trace)
    if not len(host):
        return np.zeros(0, dtype=bool)
    last = max(int(rows.start.max()) for rows in (host, work) if len(rows))
    endless: Array = host.end > last + FAR_NS
    return endless


def _before_launch(trace: Trace, launch: Array) -> Array:
    """Work that starts long before the call that launched it; nothing where nearly all does (another clock)."""
    linked = launch >= 0
    early = np.zeros(len(launch), dtype=bool)
    early[linked] = trace.work.start[linked] < trace.host.start[launch[linked]] - EARLY_NS
    if early.sum() > OTHER_CLOCK * linked.sum():
        what = "the clock of the device differs from that of the host: work seems to start before its launch"
        trace.problems.append(Problem(what, int(early.sum()), "counted; causes of idle time cannot be relied on"))
        early[:] = False
    return early


def _outside(trace: Trace, launch: Array) -> Array:
    """Work that starts hours after its launch, or far from the host's recording with no other work on the way."""
    host, work = _both(trace)
    found = np.zeros(len(work), dtype=bool)
    if not len(host) or not len(work):
        return found
    linked = launch >= 0
    found[linked] = work.start[linked] > host.start[launch[linked]] + FAR_NS
    first, last = int(host.start.min()), int(host.start.max())
    slack = OUTSIDE_NS + last - first
    if int(work.start[-1]) > last + slack:
        reach = np.maximum.accumulate(np.append(last, np.where(found, last, np.maximum(work.end, last))))[:-1]
        broken = (work.start > reach + slack) & (work.start > last)
        if broken.any():
            found[int(broken.argmax()) :] = True
    if int(work.end.min()) < first - slack:
        reach = np.minimum.accumulate(np.append(first, np.minimum(work.start, first)[::-1]))[:-1][::-1]
        broken = (work.end < reach - slack) & (work.end < first)
        if broken.any():
            found[: len(work) - int(broken[::-1].argmax())] = True
    return found


def _once(trace: Trace) -> Trace:
    """Every event once; equal ones count as one only where two such events could not have been."""
    host, work = _both(trace)
    calls = _equal(host, (host.thread, host.start, host.end))
    calls = calls[host.kind[calls] != int(Kind.PYTHON)]  # a function may call itself, and both be cut to the recording
    numbered = (host.external > 0) | (host.correlation > 0)
    sure = numbered | ((host.end > host.start) & trace.nanosecond)
    pieces = _equal(work, (work.start, work.end))
    timed = work.end > work.start + (0 if trace.nanosecond else COARSE_NS)  # one stream does nothing twice at a time
    twice_host, twice_work = _copies(host, calls, sure), _copies(work, pieces, timed | _alone(work, pieces))
    count = int(twice_host.sum() + twice_work.sum())
    if count:
        trace.problems.append(Problem("events written twice", count, "counted once"))
    return _kept(trace, twice_host, twice_work)


def _equal(columns: Host | Work, keys: tuple[Array, ...]) -> Array:
    """Rows that stand beside a row with the same keys."""
    same = np.ones(max(0, len(columns) - 1), dtype=bool)
    for key in keys:
        same &= key[1:] == key[:-1]
    return np.flatnonzero(np.append(same, False) | np.append(False, same))


def _alone(work: Work, rows: Array) -> Array:
    """Work whose number all its equals, and nothing else, carry: a launch of one piece of work, written twice."""
    alone = np.zeros(len(work), dtype=bool)
    if len(rows):
        numbered = rows[work.correlation[rows] > 0]
        carried = Counter(work.correlation.tolist())
        equals = Counter(work.correlation[numbered].tolist())
        alone[numbered] = [carried[n] == equals[n] for n in work.correlation[numbered].tolist()]
    return alone


def _copies(columns: Host | Work, rows: Array, sure: Array) -> Array:
    """Those of some rows that say in every column what an earlier one says."""
    copies = np.zeros(len(columns), dtype=bool)
    said: set[tuple[Any, ...]] = set()
    rows = rows[sure[rows]]
    values = [getattr(columns, f.name)[rows].tolist() for f in fields(columns) if f.name != "after"]
    for row, value in zip(rows.tolist(), zip(*values, strict=True), strict=True):
        copies[row] = value in said
        said.add(value)
    return copies
