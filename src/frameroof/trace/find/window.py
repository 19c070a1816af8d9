"""A stretch of a run by itself: its work, and the idle time inside it.

Which work it holds is told by `ranges`. Its busy time is what its work adds to the work before it, so that the windows
of all steps add up to the run. Its idle time are the gaps of the device that end with its work; the gap before its
first work, or before the first of each of its ranges, lies outside. Its span is the sum of both: time between in which
other work ran is no part of it, and is told by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...outside import quoted
from ...recorded.steps import Window
from ..intervals import covered, first_come, merged
from ..read.columns import Array
from ..resolve.attention_call import AttentionCall
from ..resolve.work_table import WorkTable
from .idle import Idle, explain_idle
from .ranges import ON_DEVICE, Range
from .stages import Stage
from .steps import MOST_NAMED, Step, Steps, find_steps, listed, occurrences, what_there_is

NOTHING = 255
"""A kind of event that nobody looks for."""


@dataclass
class Cut:
    """A window, and which work is in it."""

    asked: str
    pieces: Steps
    """Its ranges: one for a stretch of steps, one an occurrence."""
    piece: Array
    """For every row of the whole trace the place of its piece; -1 outside."""

    @property
    def rows(self) -> Array:
        """The rows of the whole trace that are in it."""
        return np.flatnonzero(self.piece >= 0)


def by_step(work_table: WorkTable, stages: Sequence[Stage], asked: str) -> Cut:
    """The window of `--step`: `N`, `last`, or `A..B` (everything launched from the start of A to the end of B; either
    may be missing). Raises `ValueError`, with what there is."""
    found = re.fullmatch(r"\s*(?:(last)|(\d{1,18})|(\d{1,18})?\s*\.\.\s*(\d{1,18})?)\s*", asked)
    if not found:
        raise ValueError(f"--step is a number, last, or A..B (such as 3, last or 2..5), not {quoted(asked)}")
    steps = find_steps(work_table, stages)
    if steps is None:
        raise ValueError(
            "the trace has no steps: no ProfilerStep, and no annotation, denoiser or other module that is called "
            f"again and again; --between takes the name of a range: {what_there_is(work_table, stages)}"
        )
    numbers = [step.number for step in steps.steps]
    least, most = (int(found[i]) if found[i] else None for i in (3, 4))
    if found[1]:
        least = most = numbers[-1]
    elif found[2]:
        least = most = int(found[2])
    chosen = [
        step
        for step in steps.steps
        if (least is None or step.number >= least) and (most is None or step.number <= most)
    ]
    if not chosen:
        there = listed(str(number) for number in numbers)
        calls = find_steps(work_table, stages, least=2)
        more = calls.steps if calls is not None and calls.named_by != steps.named_by else []
        others = f"; there are also {quoted(more[0].name)} to {quoted(more[-1].name)}, for --between" if more else ""
        said = f"the steps of the trace are {there}" if len(numbers) > 1 else f"the only step of the trace is {there}"
        raise ValueError(f"no step {asked.strip()}: {said} ({steps.named_by}){others}")
    return _cut(work_table, f"--step {asked.strip()}", replace(steps.chosen(chosen), steps=[_stretch(chosen)]))


def between(work_table: WorkTable, stages: Sequence[Stage], name: str) -> Cut:
    """The window of `--between`: every range of that name (`steps.occurrences`, with its errors)."""
    return _cut(work_table, f"--between {name}", occurrences(work_table, stages, name))


def _stretch(steps: Sequence[Step]) -> Step:
    """Several steps as one: on each thread from the start of the first to the end of the last."""
    if len(steps) == 1:
        return steps[0]
    ranges: dict[int, Range] = {}
    for one in (one for step in steps for one in step.ranges):
        known = ranges.setdefault(one.thread, one)
        ranges[one.thread] = Range(min(known.start, one.start), max(known.end, one.end), one.thread)
    return Step(steps[0].number, f"{steps[0].name} to {steps[-1].name}", list(ranges.values()))


def _cut(work_table: WorkTable, asked: str, pieces: Steps) -> Cut:
    cut = Cut(asked, pieces, pieces.of_work(work_table))
    if not (cut.piece >= 0).any():
        names = listed(quoted(step.name) for step in pieces.steps)
        what = "no operator began" if work_table.on_cpu else "no work of a device was launched"
        raise ValueError(f"{what} in {names}: there is nothing to account for")
    return cut


def cut_table(work_table: WorkTable, cut: Cut) -> WorkTable:
    """The work of a window; calls of the host outside its ranges are nobody's there."""
    host = work_table.trace.host
    ranges = [one for one in cut.pieces.ranges() if one.thread != ON_DEVICE]
    only = work_table.only(cut.rows)
    if not ranges:
        return only
    start, end = merged(*(np.array([one[i] for one in ranges], dtype=np.int64) for i in (0, 1)))
    at = np.searchsorted(start, host.end, side="left") - 1  # the last range that begins before the event ends
    inside = (at >= 0) & (end[np.maximum(at, 0)] > host.start)
    kind = np.where(inside, host.kind, NOTHING).astype(host.kind.dtype)
    return replace(only, trace=replace(only.trace, host=replace(host, kind=kind)))


def idle_inside(work_table: WorkTable, piece: Array, any_busy: tuple[Array, Array] | None = None) -> Idle:
    """The idle time of the work whose `piece` is not negative: its gaps and their causes, in rows of that work.

    `any_busy` is when any device worked, where `work_table` holds only one of them.
    """
    rows = np.flatnonzero(piece >= 0)
    busy, gap = first_come(work_table.start, work_table.end)
    only = work_table.only(rows)
    if len(rows) > 1:  # what is no gap of this work is closed: work before it is drawn out to its start
        inner = np.where(first_of_piece(piece)[rows], 0, gap[rows])
        closed = np.append(only.start[1:] - inner[1:], only.end[-1])
        only = replace(only, end=np.maximum(only.end, closed))
    idle = explain_idle(only, any_busy or merged(work_table.start, work_table.end))
    waited = idle.idle_ns
    idle.busy_ns = int(busy[rows].sum())
    idle.span_ns = idle.busy_ns + waited
    return idle


def first_of_piece(piece: Array) -> Array:
    """Which rows are the first of their piece."""
    first = np.zeros(len(piece), dtype=bool)
    rows, begins = _by_piece(piece)
    first[rows[begins]] = True
    return first


def _by_piece(piece: Array) -> tuple[Array, Array]:
    """(the rows that have a piece, those of each together and in order; where each piece begins among them)."""
    rows = np.flatnonzero(piece >= 0)
    rows = rows[np.argsort(piece[rows], kind="stable")]
    fresh = np.ones(len(rows), dtype=bool)
    fresh[1:] = np.diff(piece[rows]) != 0
    return rows, np.flatnonzero(fresh)


def attention_inside(calls: Sequence[AttentionCall], cut: Cut) -> list[AttentionCall]:
    """The calls of attention of a window (all of a call belongs where its first work does), in rows of its work."""
    place = np.cumsum(cut.piece >= 0) - 1

    def here(rows: Sequence[int]) -> list[int]:
        return [int(place[row]) for row in rows if cut.piece[row] >= 0]

    return [
        replace(call, rows=here(call.rows), around=here(call.around)) for call in calls if cut.piece[call.rows[0]] >= 0
    ]


def ends(work_table: WorkTable, cut: Cut, idle: Idle) -> Window:
    """What a window is; sets in its `idle` what lies at the ends of its ranges."""
    begun, ended = (
        np.array([function(one[i] for one in step.ranges) for step in cut.pieces.steps], dtype=np.int64)
        for i, function in ((0, min), (1, max))
    )
    at, first, last = spans(work_table, cut.piece)
    idle.before_ns = int(np.maximum(first - begun[at], 0).sum())
    idle.after_ns = int(np.maximum(ended[at] - last, 0).sum())
    return Window(
        asked=cut.asked,
        names=[step.name for step in cut.pieces.steps[:MOST_NAMED]],
        count=len(cut.pieces),
        host_ns=int((ended - begun).sum()),
        other_ns=covered(first, last) - idle.span_ns,
        past_ns=int(np.maximum(last - ended[at], 0).sum()),
    )


def spans(work_table: WorkTable, piece: Array) -> tuple[Array, Array, Array]:
    """(the pieces that hold work, the first start and the last end of each)."""
    rows, begins = _by_piece(piece)
    return piece[rows[begins]], work_table.start[rows[begins]], np.maximum.reduceat(work_table.end[rows], begins)
