"""The steps of a run side by side: how long each took, which are warm-up or cut off, which was slow and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...recorded.steps import PARTIAL, WARM_UP, Spread, StepRow, StepSummary
from ...units import format_seconds
from ..grouped import numbered
from ..intervals import first_come
from ..read.columns import Array, percentiles
from ..read.events import Kind
from ..resolve.work_table import WorkTable
from .idle import Idle
from .steps import Steps
from .window import first_of_piece

LONG = 1.5
"""The first steps are warm-up where each takes this many times the median of the steps that follow."""
AS_LONG = 0.8
"""And where no more later steps than `SELDOM` take this share of the shortest of them: else the run only varies."""
SELDOM = 0.1
FEW = 0.8
"""The first or last step is partial where the recording begins or ends in it and it has less than this share of the
median number of kernels."""
SLOW = 1.1
"""A step is slow from so many times the median on."""


MOST_WARM_UP = 100
"""Nobody records more of it."""
EXPLAINED = 200
"""So many slow steps, the longest, have a reason."""


def step_table(work_table: WorkTable, steps: Steps, idle: Idle) -> tuple[list[StepRow], StepSummary]:
    """A row for each step, and all of them side by side. `idle` is that of the whole trace."""
    own = steps.of_work(work_table)
    rows = _rows(work_table, steps, own, idle)
    if steps.alike:
        for i in _partial(work_table, steps, rows) if not steps.modules else ():
            rows[i].kind = PARTIAL
        whole = [i for i, row in enumerate(rows) if row.kind != PARTIAL]
        for i in _warm_up([rows[i].length_ns for i in whole], lambda: _again(work_table, own, len(rows))):
            rows[whole[i]].kind = WARM_UP
    steady = [row for row in rows if not row.kind] or rows
    median = _median([row.length_ns for row in steady])
    slow = [i for i, row in enumerate(rows) if row.length_ns > SLOW * median and row.kind != PARTIAL]
    reasons = _Reasons(work_table, own, rows, steady)
    for i in sorted(slow, key=lambda i: -rows[i].length_ns)[:EXPLAINED]:
        rows[i].why = reasons.why(i)
    busy, _ = first_come(work_table.start, work_table.end)
    summary = StepSummary(
        named_by=steps.named_by,
        count=len(rows),
        steady=len(steady),
        wall=_spread([row.wall_ns for row in steady]),
        busy=_spread([row.busy_ns for row in steady]),
        idle=_spread([row.idle_ns for row in steady]),
        slowest=max(rows, key=lambda row: row.length_ns).number,
        outside_ns=int(busy[own < 0].sum()),
    )
    summary.said = _said(rows, median, "operator" if work_table.on_cpu else "kernel")
    return rows, summary


def _rows(work_table: WorkTable, steps: Steps, own: Array, idle: Idle) -> list[StepRow]:
    count = len(steps)
    busy, gap = first_come(work_table.start, work_table.end)
    first = first_of_piece(own)
    kinds = np.array(work_table.kind)
    kernels = kinds == (int(Kind.OPERATOR) if work_table.on_cpu else int(Kind.KERNEL))

    def by_step(values: Array) -> list[int]:
        sums = np.zeros(count + 1, dtype=np.int64)
        np.add.at(sums, own, values)  # -1, outside of all, is the last
        return sums[:count].tolist()  # type: ignore[no-any-return]

    sums = busy, np.where(first, 0, gap), np.where(first, gap, 0), kernels * 1, work_table.duration
    columns = list(map(by_step, sums))
    classes = _by_name(work_table.classes, own, work_table.duration, count)
    ended = np.zeros(len(own), dtype=bool)
    ended[idle.gap_row] = True
    ended &= ~first
    inside = ended[idle.gap_row]
    causes = [cause for cause, wanted in zip(idle.gap_cause, inside.tolist(), strict=True) if wanted]
    waited = _by_name(causes, own[idle.gap_row][inside], (idle.gap_end - idle.gap_start)[inside], count)
    return [
        StepRow(
            step.number,
            step.name,
            max(one.end - one.start for one in step.ranges),
            busy_ns=columns[0][i],
            idle_ns=columns[1][i],
            before_ns=columns[2][i],
            kernels=columns[3][i],
            time_ns=columns[4][i],
            classes=classes[i],
            idle=waited[i],
        )
        for i, step in enumerate(steps.steps)
    ]


def _by_name(names: Sequence[str], own: Array, values: Array, count: int) -> list[dict[str, int]]:
    """For each of `count` steps the sums of `values` by name, the largest first."""
    number, code = numbered(names)
    sums = np.zeros((count + 1, max(1, len(number))), dtype=np.int64)
    np.add.at(sums, (own, code), values)
    named = list(number)
    return [
        {named[at]: int(row[at]) for at in np.argsort(-row, kind="stable").tolist() if row[at]} for row in sums[:count]
    ]


def _median(values: Sequence[int]) -> int:
    return int(percentiles(np.array(values, dtype=np.int64), 50)[0]) if values else 0


def _spread(values: Sequence[int]) -> Spread:
    return Spread(min(values), _median(values), max(values))


def _again(work_table: WorkTable, own: Array, count: int) -> list[int]:
    """Of each of `count` steps the time of those kernels, with those inputs, that the last step has too."""
    number, code = numbered(list(zip(work_table.kernel, work_table.arguments, strict=True)))
    recur = np.zeros(max(1, len(number)), dtype=bool)
    recur[code[own == count - 1]] = True
    sums = np.zeros(count + 1, dtype=np.int64)
    np.add.at(sums, own, np.where(recur[code], work_table.duration, 0))
    return sums[:count].tolist()  # type: ignore[no-any-return]


def _warm_up(lengths: Sequence[int], again: Callable[[], list[int]]) -> Sequence[int]:
    """The places of the first steps that take much longer than what follows; as many as there are such.

    `again` gives the time of work that later steps do too: steps that only did more of it, or did other work on other
    inputs, are no warm-up. Prefilling a cache is such.
    """
    for count in range(min(len(lengths) - 1, MOST_WARM_UP), 0, -1):
        least, rest, usual = min(lengths[:count]), np.array(lengths[count:]), _median(lengths[count:])
        if least > LONG * usual and (rest >= AS_LONG * least).mean() <= SELDOM:
            times = again()
            work = _median(times[count:])
            if all(work / 2 <= times[i] < work + (lengths[i] - usual) / 2 for i in range(count)):
                return range(count)
    return ()


def _partial(work_table: WorkTable, steps: Steps, rows: Sequence[StepRow]) -> list[int]:
    """The places of the first and last step, where the recording cuts them off."""
    host = work_table.trace.host
    begun = host.start[host.kind == int(Kind.OPERATOR)]
    if len(rows) < 2 or not len(begun):
        return []
    kernels = [row.kernels for row in rows]
    found = []
    if begun.min() >= min(one.start for one in steps.steps[0].ranges) and kernels[0] < FEW * _median(kernels[1:]):
        found.append(0)
    if begun.max() < max(one.end for one in steps.steps[-1].ranges) and kernels[-1] < FEW * _median(kernels[:-1]):
        found.append(len(rows) - 1)
    return found


class _Reasons:
    """What slow steps have more of than the median of the steady ones."""

    def __init__(self, work_table: WorkTable, own: Array, rows: Sequence[StepRow], steady: Sequence[StepRow]) -> None:
        self.work_table, self.own, self.rows = work_table, own, rows
        self.steady = steady
        self.usual: dict[tuple[str, str], int] = {}
        self.operators: dict[str, tuple[list[dict[str, int]], dict[str, int]]] = {}

    def why(self, at: int) -> str:
        """In words, what differs most; "" where nothing does."""
        row = self.rows[at]
        parts = {("class", name): time for name, time in row.classes.items()}
        parts |= {("idle", cause): time for cause, time in row.idle.items()}
        parts["host", ""] = _on_host(row)
        (what, name), most = max(
            ((key, time - self._median(key)) for key, time in parts.items()), key=lambda item: item[1]
        )
        if most <= 0:
            return ""
        if what == "host":
            return f"{_ms(most)} more on the host after its work"
        if what == "idle":
            return f"{_ms(most)} more idle ({name})"
        times, usual = self._operators(name)
        operator = max(times[at], key=lambda each: times[at][each] - usual.get(each, 0))
        return f"{_ms(most)} more {name} ({operator})"

    def _median(self, key: tuple[str, str]) -> int:
        if key not in self.usual:
            self.usual[key] = _median([_part(one, *key) for one in self.steady])
        return self.usual[key]

    def _operators(self, name: str) -> tuple[list[dict[str, int]], dict[str, int]]:
        """(time by operator of each step, the median of the steady ones) in a class."""
        if name not in self.operators:
            p = self.work_table
            inside = np.array([each == name for each in p.classes], dtype=bool) & (self.own >= 0)
            called = [p.operator[r] or p.kernel[r] for r in np.flatnonzero(inside).tolist()]
            times = _by_name(called, self.own[inside], p.duration[inside], len(self.rows))
            steady = [one for one, row in zip(times, self.rows, strict=True) if not row.kind]
            usual = {each: _median([one.get(each, 0) for one in steady]) for each in dict.fromkeys(called)}
            self.operators[name] = times, usual
        return self.operators[name]


def _part(row: StepRow, what: str, name: str) -> int:
    if what == "host":
        return _on_host(row)
    return (row.classes if what == "class" else row.idle).get(name, 0)


def _on_host(row: StepRow) -> int:
    """Time on the host beyond that of the device."""
    return row.length_ns - row.busy_ns - row.idle_ns


def _said(rows: Sequence[StepRow], median: int, work: str) -> list[str]:
    said = []
    warm = [row for row in rows if row.kind == WARM_UP]
    if warm:
        which = f"{warm[0].name} is" if len(warm) == 1 else f"{warm[0].name} to {warm[-1].name} are"
        first = "step" if len(warm) == 1 else f"{len(warm)} steps"
        steady = sum(not row.kind for row in rows)
        rest = f"the median of the {steady} after" if steady > 1 else "the one after"
        said.append(
            f"{which} warm-up: at least {_ms(min(row.length_ns for row in warm))} each, {rest} "
            f"{_ms(median)}. Record after the first {first}, or look at the others alone (--step "
            f"{rows[len(warm)].number}..{rows[-1].number})."
        )
    for row in rows:
        if row.kind == PARTIAL:
            usual = _median([one.kernels for one in rows if one.kind != PARTIAL])
            where = "begins" if row is rows[0] else "ends"
            said.append(
                f"{row.name} is partial: the recording {where} in it, and it has {row.kernels:,} {work}s where others "
                f"have {usual:,}. Leave it out."
            )
    return said


def _ms(ns: int) -> str:
    return format_seconds(ns / 1e9, 4)
