"""Which range of the host launched each piece of work: the rule by which steps and windows share out a trace.

Work belongs to a range if it was launched in it: the launch call began inside. A launch of the range's own thread
counts, and of every thread of its process that has no such range of its own (autograd launches the backward pass from
another thread). Where the launch is not in the file, the start of its operator counts, else its own start on the
device. On the processor an operator belongs where it began. Nothing belongs to two ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..read.columns import Array, Trace
from ..resolve.work_table import WorkTable

ON_DEVICE = -1
"""The thread of a range that is drawn over the device's work."""


class Range(NamedTuple):
    """A stretch of time [start, end) in ns, on a thread (its number in `Trace.threads`) or `ON_DEVICE`."""

    start: int
    end: int
    thread: int


def host_ranges(trace: Trace, rows: Sequence[int]) -> list[Range]:
    """The ranges of host rows, given in the order of `Host`; not those inside another one of them."""
    host, found = trace.host, list[Range]()
    for row in rows:
        one = Range(int(host.start[row]), int(host.end[row]), int(host.thread[row]))
        if not found or found[-1].thread != one.thread or one.end > found[-1].end:
            found.append(one)
    return found


def device_ranges(trace: Trace, rows: Sequence[int]) -> list[Range]:
    """The ranges of rows drawn over the device, those that overlap (one a stream) as one."""
    found = list[Range]()
    spans = trace.device_spans
    for start, end in sorted((int(spans.start[row]), int(spans.end[row])) for row in rows):
        if found and start < found[-1].end:
            found[-1] = found[-1]._replace(end=max(end, found[-1].end))
        else:
            found.append(Range(start, end, ON_DEVICE))
    return found


def owners(work_table: WorkTable, ranges: Sequence[Range]) -> Array:
    """For every row of work the place in `ranges` of the one that it belongs to; -1 for none."""
    found = np.full(len(work_table), -1, dtype=np.int64)
    moment, thread = _launched(work_table)
    by_thread: dict[int, list[int]] = {}
    for place, one in enumerate(ranges):
        by_thread.setdefault(one.thread, []).append(place)
    for number, places in by_thread.items():
        if number == ON_DEVICE:
            _fill(found, work_table.start, np.ones(len(found), dtype=bool), ranges, places)
        else:
            _fill(found, moment, thread == number, ranges, places)
    has = np.isin(thread, list(by_thread))
    process = np.array([*_processes(work_table.trace.threads), -1], dtype=np.int64)
    for number, places in by_thread.items():
        if number != ON_DEVICE:
            elsewhere = ~has & ((thread < 0) | (process[thread] == process[number]))
            _fill(found, moment, elsewhere, ranges, places)
    return found


def _processes(threads: Sequence[tuple[str, str]]) -> list[int]:
    """The number of each thread's process."""
    known: dict[str, int] = {}
    return [known.setdefault(process, len(known)) for process, _ in threads]


def _launched(work_table: WorkTable) -> tuple[Array, Array]:
    """(when each row of work was launched, by which thread: -1 unknown)."""
    host = work_table.trace.host
    if not len(host):
        return work_table.start, np.full(len(work_table), -1, dtype=np.int64)
    at = np.where(work_table.launch >= 0, work_table.launch, work_table.operator_row)
    known, safe = at >= 0, np.maximum(at, 0)
    return np.where(known, host.start[safe], work_table.start), np.where(known, host.thread[safe], -1)


def _fill(found: Array, moment: Array, wanted: Array, ranges: Sequence[Range], places: Sequence[int]) -> None:
    """Give the wanted rows without an owner the range of one thread that their moment is in."""
    order = sorted(places, key=lambda place: ranges[place].start)
    start, end = (np.array([ranges[place][i] for place in order], dtype=np.int64) for i in (0, 1))
    at = np.searchsorted(start, moment, side="right") - 1
    inside = wanted & (found < 0) & (at >= 0) & (moment < end[np.maximum(at, 0)])
    found[inside] = np.array(order, dtype=np.int64)[at[inside]]
