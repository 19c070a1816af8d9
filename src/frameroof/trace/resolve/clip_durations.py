"""Impossible durations: work that lasts beyond what its stream, or the host, shows to have been its end.

Some ROCm writers overflow a duration (github.com/AMD-AGI/TraceLens/issues/669: 1.6 s in a trace of 3.9 ms). The work of
one stream runs in order, so work is over where a later piece on its stream has run; and it is over where the host
returns from waiting for the whole device. Kernels of one stream may overlap a little by design (programmatic dependent
launch, up to some microseconds) or by the clock, and the branches of one graph may overlap at will.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from ..read.columns import Array, Problem, Trace, distinct_with_places
from ..read.events import Kind

OVERLAP_NS = 10_000
"""No legal overlap on one stream comes near this; up to 3.7 us were seen."""
BRANCH_NS = 100_000
"""In graphs, whose branches may share a stream, and on streams that are not in order, it takes this much, ..."""
FACTOR = 10
"""... and that the duration is this many times the time to its successor's start."""
EQUAL_FACTOR = 2
"""The same kernel on equal inputs takes no longer than this many times its longest."""
WAIT_NS = 100_000
"""Work that ends so long after the host's wait for it was over has a false duration; less may be the clocks."""
BEYOND_NS = 10**9
"""Nothing is recorded that lasts so long, plus the length of the recording on the host, beyond it."""
FEW = 0.1
"""A stream on which more of the work overlaps is not in order, whatever it is called."""
SEEN = 4
"""And so many pieces of work are few on any stream."""
WAITS_FOR_DEVICE = re.compile(r"^(cuda|hip)(DeviceSynchronize|CtxSynchronize)|^cuCtxSynchronize")
WAITS_FOR_STREAM = re.compile(r"^(cuda|hip)StreamSynchronize|^cuStreamSynchronize")


class _Order(NamedTuple):
    """The rows of work stream by stream, in order of start."""

    rows: Array
    stream: Array  # number of the stream of each
    last: Array  # bool: nothing follows on that stream


def clip_absurd(trace: Trace, launch: Array, arguments: Array) -> Array:
    """The end of every row of work, impossible ones cut where the row must have been over.

    If what is left is more than twice the longest time of other work of that name on equal inputs, it gets that time;
    where no inputs are recorded, if it is many times the longest of that name. `launch` is the launch of each row,
    `arguments` the number of its inputs (-1: none). Adds a problem to the trace for what was clipped.
    """
    work = trace.work
    end = work.end.copy()
    if not len(end):
        return end
    order = _in_order(trace)
    over = _by_successor(trace, order, launch, arguments)
    beside = over < end
    over = np.minimum(over, _by_wait(trace, launch, over))
    over = np.minimum(over, _by_recording(trace, over))
    false = over < end
    if not false.any():
        return end
    end[false] = over[false]
    rows = np.flatnonzero(false)
    still = np.zeros(len(rows), dtype=bool)
    for group, factor in ((_equals(work.name, arguments), EQUAL_FACTOR), (work.name, FACTOR)):
        longest = _longest(group, end - work.start, false)[rows]
        told = (arguments[rows] >= 0) if factor == EQUAL_FACTOR else ~still
        long = told & (longest > 0) & (end[rows] - work.start[rows] > factor * longest)
        end[rows[long]] = work.start[rows[long]] + longest[long]
        still |= long
    _report(trace, end, beside, still)
    return end


def _report(trace: Trace, end: Array, beside: Array, still: Array) -> None:
    work = trace.work
    false = end < work.end
    where = "cut where the next one on that stream starts"
    if (false & ~beside).any():
        by_host = "where the host had waited for it, or ended its recording"
        where = f"{where}, or {by_host}" if beside.any() else f"cut {by_host}"
    if still.any():
        where += f"; {int(still.sum())} of them, still too long, to the longest time of their likes"
    off = int((work.end - end)[false].sum())
    action = f"{where} ({off / 1e6:.3f} ms taken off)"
    trace.problems.append(Problem("kernels of absurd duration", int(false.sum()), action))


def _in_order(trace: Trace) -> _Order:
    work = trace.work
    rows = np.lexsort((work.start, work.stream, work.device))
    fresh = np.ones(len(rows), dtype=bool)
    fresh[1:] = (np.diff(work.stream[rows]) != 0) | (np.diff(work.device[rows]) != 0)
    return _Order(rows, np.cumsum(fresh) - 1, np.append(fresh[1:], True))


def _by_successor(trace: Trace, order: _Order, launch: Array, arguments: Array) -> Array:
    """The start of the next work of a row's stream where work of that stream was over before the row claims to be.

    Many such rows are no errors but those of a stream that is not in order, unless most of their equals took less.
    """
    work, rows = trace.work, order.rows
    start, end = work.start[rows], work.end[rows]
    first_over = _first_end_behind(order, end)
    follows = np.append(start[1:], 0)
    overlap = np.where(order.last, 0, end - follows)
    proof = (overlap > OVERLAP_NS) & (first_over <= end) & (work.stream[rows] >= 0)
    out = work.end.copy()
    if not proof.any():
        return out
    gross = (overlap > BRANCH_NS) & ((end - start - 1) // FACTOR >= np.maximum(follows - start, 1))
    of_graph = _shares_launch(trace, launch)[rows]
    size = np.bincount(order.stream)
    few = np.bincount(order.stream[proof & ~gross], minlength=len(size)) <= np.maximum(SEEN, FEW * size)
    odd = _unlike_equals(_equals(work.name, arguments)[rows], end - start, proof) & (arguments[rows] >= 0)
    false = proof & (gross | ((few[order.stream] | odd) & ~of_graph))
    out[rows[false]] = follows[false]
    return out


def _unlike_equals(group: Array, length: Array, proof: Array) -> Array:
    """Rows that claim far more time than those of their group that overlap nothing, if these are most of it."""
    _, number = np.unique(group, return_inverse=True)
    mostly = 2 * np.bincount(number, weights=proof) <= np.bincount(number)
    longest = _longest(group, length, proof)
    unlike: Array = mostly[number] & (longest > 0) & (length > EQUAL_FACTOR * longest)
    return unlike


def _first_end_behind(order: _Order, end: Array) -> Array:
    """The earliest end of all later work of the same stream; the largest number for the last one."""
    never = np.iinfo(np.int64).max
    out = np.full(len(end), never, dtype=np.int64)
    borders = np.flatnonzero(order.last) + 1
    for first, beyond in zip([0, *borders[:-1].tolist()], borders.tolist(), strict=True):
        if beyond - first > 1:
            out[first : beyond - 1] = np.minimum.accumulate(end[first + 1 : beyond][::-1])[::-1]
    return out


def _shares_launch(trace: Trace, launch: Array) -> Array:
    """Whether a row has its launch, or the number of one, in common with others: a replay of a graph."""
    number = np.where(launch >= 0, launch, -1)
    several = np.bincount(number[number >= 0], minlength=len(trace.host) + 1) > 1
    shared: Array = (trace.work.graph_node > 0) | ((number >= 0) & several[number])
    return shared


def _by_wait(trace: Trace, launch: Array, end: Array) -> Array:
    """The end of the host's first wait for all work, begun after a row's launch, where the row claims to last beyond.

    A wait for one stream counts only where all work is on one.
    """
    host, work, names = trace.host, trace.work, trace.names
    rows = np.flatnonzero((host.kind == int(Kind.RUNTIME)) & _named(trace, WAITS_FOR_DEVICE))
    streams = (work.stream == work.stream[0]) & (work.device == work.device[0])
    if streams.all():
        rows = np.append(rows, np.flatnonzero((host.kind == int(Kind.RUNTIME)) & _named(trace, WAITS_FOR_STREAM)))
    none = np.full(len(work), np.iinfo(np.int64).max, dtype=np.int64)
    if not len(rows) or not len(names):
        return none
    begin, back = host.start[rows], host.end[rows]
    order = np.argsort(begin, kind="stable")
    begin, back = begin[order], np.minimum.accumulate(back[order][::-1])[::-1]
    given = np.where(launch >= 0, host.end[np.maximum(launch, 0)], work.start)
    at = np.searchsorted(begin, np.maximum(given, 0), side="left")
    waited = at < len(begin)
    until = np.where(waited, back[np.minimum(at, len(begin) - 1)], none)
    late = waited & (end > until + WAIT_NS) & (work.start < until)
    if late.sum() > max(SEEN, FEW * len(work)):
        return none  # the clocks differ, or the wait was for something else
    return np.where(late, until, none)


def _by_recording(trace: Trace, end: Array) -> Array:
    """The end of the recording on the host, for rows that claim to last far beyond it."""
    host, start = trace.host, trace.work.start
    none = np.full(len(end), np.iinfo(np.int64).max, dtype=np.int64)
    if not len(host):
        return none
    last = int(host.end.max())
    beyond = (end > last + BEYOND_NS + last - int(host.start.min())) & (start <= last)
    return np.where(beyond, np.maximum(last, start), none)


def _named(trace: Trace, pattern: re.Pattern[str]) -> Array:
    wanted = [i for i, name in enumerate(trace.names) if pattern.search(name)]
    return np.isin(trace.host.name, wanted)


def _equals(name: Array, arguments: Array) -> Array:
    """A number for every pair of the two."""
    return name.astype(np.int64) * (int(arguments.max(initial=-1)) + 2) + arguments + 1


def _longest(group: Array, length: Array, false: Array) -> Array:
    """The longest time of the sound rows of the same group; 0 where there is none."""
    _, number = distinct_with_places(group)
    longest = np.zeros(int(number.max()) + 1, dtype=np.int64)
    np.maximum.at(longest, number[~false], length[~false])
    found: Array = longest[number]
    return found
