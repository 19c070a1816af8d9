"""The part of each gap in which the device waited for the host: what the host did in it, and which cause that is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..intervals import merged, overlap
from ..read.columns import Array, Trace, distinct
from ..read.events import Kind
from ..resolve.copies import TO_HOST
from ..resolve.work_table import WorkTable
from .host_activity import Events, Pieces, activity

HOST_CAUSES = ("host_launch", "synchronization", "copy", "profiler", "dependency")
"""Causes of what the host did; it does something, too, while launched work waits in the device's queue."""
_LAUNCH, _WAIT, _COPY, _PROFILER, _QUEUE = range(5)

BLOCKING_SYNC = re.compile(r"Synchronize|^(cuda|hip)Free(Host)?(_v\d+)?$|^(ur|pi)(QueueFinish|EventWait|EventsWait)$")
"""Calls that return only when the device has caught up; freeing memory is one of them."""
COPY_CALL = re.compile(r"Memcpy|memcpy|MemcpyWithStream|AppendMemoryCopy|MemBuffer(Read|Write|Copy)")
MEMORY_CALL = re.compile(
    r"Malloc|MemAlloc|HostAlloc|HostRegister|MemCreate|MemMap|MemUnmap|Free|USM\w*Alloc|ModuleLoad"
)
"""Calls that are told by name, however short."""
_PROFILERS = re.compile(
    r"torch/profiler/profiler\.py\(\d+\): (?:__(?:enter|exit)__|start\w*|stop\w*|step|prepare_trace|_transit\w*)$"
)
"""Frames in which the profiler is started, stopped or stepped."""

DRIVERS = ("Driver Compiler", "Runtime Triggered Module Loading", "Lazy Function Loading", "Command Buffer Full")
"""Overhead rows that are the driver's own time, with the profiler or without it (CUPTI, CUpti_ActivityOverheadKind)."""

RESTART_NS = 1_000_000
"""What the host needs from the end of a wait to its next launch is still the wait's, up to this much: without the wait
the launch would have been queued before. What takes longer is work of the host's own."""


LONG_NS = 1_000_000
"""If launched work waits so long on an idle device, the host is looked at, too: a call that holds the host as long
(a copy, a module load, an allocation) and began when the device was idle already holds the driver, not the queue."""


@dataclass(frozen=True)
class Waiting:
    """For every gap, the part in which the device waited for the host, and its end."""

    lo: Array
    hi: Array
    until: Array  # the end of the gap; hi where what follows is not known to be the queue
    launch: Array  # host row of the call that ended it; -1 unknown, then lo == hi
    before: Array  # host row of the call that had launched the work before it; -1 unknown


@dataclass(frozen=True)
class HostPart:
    """What one thread did while the device waited for it, piece by piece."""

    events: Events
    pieces: Pieces  # their intervals are numbers of gaps
    cause: Array  # index into `HOST_CAUSES`, of each piece
    length: Array  # of each piece in ns, without the profiler's overhead rows
    queued: bool = False  # the work had been launched: the device did not wait for the host


def host_parts(work_table: WorkTable, waiting: Waiting, busy: tuple[Array, Array]) -> list[HostPart]:
    """What the host did in every nanosecond of these parts; `busy` is when any device worked.

    Of all threads the one that launches what ends the gap tells; where it has no event, the one that launched before
    it (a forward pass hands over to the thread of the backward pass).
    """
    trace = work_table.trace
    gaps = np.flatnonzero(waiting.hi > waiting.lo)
    queued = np.flatnonzero(waiting.until - waiting.hi >= LONG_NS)
    if not len(gaps) and not len(queued):
        return []
    causes = _Causes(work_table, busy)
    always = causes.copy | causes.wait
    always[calls(work_table, MEMORY_CALL)] = True
    always[waiting.launch[gaps]] = True
    parts = []
    for number, here in _by_thread(trace, waiting, gaps):
        events, pieces = _of_thread(trace, number, waiting, here, always)
        for found in ((events, pieces), *_handed_over(trace, number, waiting, pieces, always)):
            parts.append(causes.part(*found, waiting))
    for number, here in _by_thread(trace, waiting, queued):
        events, inner = activity(trace, number, waiting.hi[here], waiting.until[here], always)
        pieces = Pieces(here[inner.interval], inner.start, inner.end, inner.event)
        for found in ((events, pieces), *_handed_over(trace, number, waiting, pieces, always)):
            parts.append(causes.queued(*found, waiting))
    return [part for part in parts if len(part.length)]


def _by_thread(trace: Trace, waiting: Waiting, gaps: Array) -> Iterator[tuple[int, Array]]:
    """(thread, its gaps) for each thread that launched what ends one of them."""
    thread = trace.host.thread[waiting.launch[gaps]]
    for number in np.flatnonzero(np.bincount(thread)).tolist():
        yield number, gaps[thread == number]


def _of_thread(trace: Trace, number: int, waiting: Waiting, gaps: Array, always: Array) -> tuple[Events, Pieces]:
    """What a thread did before its launches. Once the call has returned nothing else of the thread's holds the work
    up: the rest, the latency of a launch, is the call's."""
    lo, hi, launch = waiting.lo[gaps], waiting.hi[gaps], waiting.launch[gaps]
    returned = np.clip(trace.host.end[launch], lo, hi)
    events, pieces = activity(trace, number, lo, returned, always)
    late = np.flatnonzero(returned < hi)
    by_row = np.argsort(events.row, kind="stable")
    call = by_row[np.searchsorted(events.row[by_row], launch[late])]
    event = np.concatenate([pieces.event, call])
    start, end = np.concatenate([pieces.start, returned[late]]), np.concatenate([pieces.end, hi[late]])
    return events, Pieces(gaps[np.concatenate([pieces.interval, late])], start, end, event)


def _handed_over(
    trace: Trace, number: int, waiting: Waiting, pieces: Pieces, always: Array
) -> list[tuple[Events, Pieces]]:
    """Where a thread has no event, what the thread did that had launched before; takes those pieces from `pieces`."""
    none = np.flatnonzero(pieces.event < 0)
    none = none[waiting.before[pieces.interval[none]] >= 0]
    thread = trace.host.thread[waiting.before[pieces.interval[none]]]
    found = []
    for other in np.flatnonzero(np.bincount(thread)).tolist():
        at = none[thread == other]
        if other == number:
            continue
        at = at[np.argsort(pieces.start[at], kind="stable")]
        events, inner = activity(trace, other, pieces.start[at], pieces.end[at], always)
        found.append((events, Pieces(pieces.interval[at][inner.interval], inner.start, inner.end, inner.event)))
        pieces.end[at] = pieces.start[at]
    return found


class _Causes:
    """Tells the cause of a piece from the event that fills it."""

    def __init__(self, work_table: WorkTable, busy: tuple[Array, Array]) -> None:
        trace = self.trace = work_table.trace
        self.busy = busy
        inside = {name for name in set(work_table.kernel) if "DtoD" in name or "Device -> Device" in name}
        within = [row for row, name in enumerate(work_table.kernel) if name in inside] if inside else []
        self.copy = self._rows(calls(work_table, COPY_CALL))
        self.copy[work_table.launch[within]] = False  # launched like a kernel
        self.wait = self._rows(waits(work_table))
        self.waits_too = self.wait | self._rows(work_table.launch[work_table.launch >= 0])
        """With the launches: where work is queued already, one that takes long waits for room in the queue."""
        self.profilers = [number for number, name in enumerate(trace.names) if _PROFILERS.search(name)]
        own = trace.host.kind == int(Kind.OVERHEAD)
        own[own] = ~np.isin(trace.host.name[own], [n for n, name in enumerate(trace.names) if name in DRIVERS])
        self.overhead = merged(trace.host.start[own], trace.host.end[own])

    def _rows(self, rows: Array) -> Array:
        mask = np.zeros(len(self.trace.host), dtype=bool)
        mask[rows] = True
        return mask

    def part(self, events: Events, pieces: Pieces, waiting: Waiting) -> HostPart:
        """The pieces of one thread with their causes."""
        host = self.trace.host
        cause = np.zeros(len(pieces.event), dtype=np.int64)
        call = np.full(len(pieces.event), -1, dtype=np.int64)  # host row of the wait or copy
        told = np.flatnonzero(pieces.event >= 0)
        for number, wanted in (
            (_COPY, self.copy[events.row]),
            (_WAIT, self.wait[events.row]),
            (_PROFILER, np.isin(host.name[events.row], self.profilers)),
        ):
            if not wanted.any():
                continue
            around = events.around(wanted)[pieces.event[told]]
            here, row = told[around >= 0], events.row[around[around >= 0]]
            if number == _WAIT:  # for nothing, where no device worked since the call began
                real = overlap(host.start[row], pieces.start[here], *self.busy) > 0
                real &= ~self.copy[row] | (
                    pieces.length[here] < LONG_NS
                )  # so long after the copy: the driver's staging
            else:  # the latency of a launch is not the copy's
                real = pieces.start[here] < host.end[row]
            cause[here[real]], call[here[real]] = number, row[real]
        pieces, cause = self._restarted(pieces, cause, call, waiting)
        return self._kept(events, pieces, cause)

    def queued(self, events: Events, pieces: Pieces, waiting: Waiting) -> HostPart:
        """Pieces of one thread in which launched work waited on an idle device."""
        host = self.trace.host
        pieces = pieces.only(np.flatnonzero(pieces.event >= 0))
        cause = np.full(len(pieces.event), _QUEUE)
        row = events.row[pieces.event]
        holds = (host.kind[row] == int(Kind.RUNTIME)) & (host.end[row] - host.start[row] >= LONG_NS)
        holds &= (host.start[row] >= waiting.lo[pieces.interval]) & (self.copy[row] | ~self.waits_too[row])
        cause[holds] = np.where(self.copy[row[holds]], _COPY, _LAUNCH)
        return replace(self._kept(events, pieces, cause), queued=True)

    def _kept(self, events: Events, pieces: Pieces, cause: Array) -> HostPart:
        kept = np.flatnonzero(pieces.end > pieces.start)
        pieces = pieces.only(kept)
        length = pieces.length - overlap(pieces.start, pieces.end, *self.overhead)
        return HostPart(events, pieces, cause[kept], length)

    def _restarted(self, pieces: Pieces, cause: Array, call: Array, waiting: Waiting) -> tuple[Pieces, Array]:
        """Of gaps that began inside a wait or a copy and ended soon after it, as much is its own as it took."""
        host = self.trace.host
        first = np.flatnonzero((pieces.start == waiting.lo[pieces.interval]) & (call >= 0))
        first = first[waiting.hi[pieces.interval[first]] - host.end[call[first]] <= RESTART_NS]
        if not len(first):
            return pieces, cause
        gap, row = pieces.interval[first], call[first]
        until, of = np.zeros(len(waiting.lo), dtype=np.int64), np.zeros(len(waiting.lo), dtype=np.int64)
        until[gap], of[gap] = waiting.lo[gap] + host.end[row] - host.start[row], cause[first]
        limit = until[pieces.interval]
        across = np.flatnonzero((pieces.start < limit) & (limit < pieces.end))
        pieces = pieces.split(across, limit[across])
        cause = np.concatenate([cause, cause[across]])
        mine = (cause == _LAUNCH) & (pieces.end <= until[pieces.interval])
        return pieces, np.where(mine, of[pieces.interval], cause)


def copies_to_host(work_table: WorkTable) -> list[int]:
    """Work rows that copy from the device to the host."""
    back = {name for name in set(work_table.kernel) if TO_HOST.search(name)}
    return [row for row, name in enumerate(work_table.kernel) if name in back] if back else []


def calls(work_table: WorkTable, pattern: re.Pattern[str]) -> Array:
    """Host rows of the runtime calls whose name matches."""
    host, names = work_table.trace.host, work_table.trace.names
    rows = np.flatnonzero(host.kind == int(Kind.RUNTIME))
    called = np.flatnonzero(np.bincount(host.name[rows], minlength=len(names))).tolist()
    wanted = np.zeros(len(names), dtype=bool)
    wanted[[name for name in called if pattern.search(names[name])]] = True
    return rows[wanted[host.name[rows]]]


def waits(work_table: WorkTable) -> Array:
    """Host rows of the calls that return only when the device has caught up, ascending."""
    copied = work_table.launch[copies_to_host(work_table)]
    return distinct(np.concatenate([calls(work_table, BLOCKING_SYNC), copied[copied >= 0]]))
