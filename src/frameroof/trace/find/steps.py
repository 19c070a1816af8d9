"""The steps of a run, and the stretch of it that a user names: which ranges of the host they are.

Steps are, first, the ranges `ProfilerStep#N`, by their number. A file without them is divided by what repeats in it:
the calls of the denoiser, else the annotation that most of the work lies in (numbers in its name aside), else the
module that does; these are counted from 1. The table of steps passes over a lone `ProfilerStep` for what repeats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np

from ...annotations import COLLECTIVE, MODULE, STAGE, STEP, module_of
from ...outside import quoted
from ..read.columns import Array, distinct
from ..read.events import Kind
from ..resolve.work_table import WorkTable
from .ranges import Range, device_ranges, host_ranges, owners
from .stages import Stage

MOST_OF = 0.5
"""An annotation or module that repeats is a step if its ranges launched at least so much of the work's time."""
TRIED = 3
"""So many annotations, those with the longest ranges, are looked at."""
MOST_NAMED = 10
"""Names in a sentence that says what there is."""
DENOISER = re.compile(r"denois", re.IGNORECASE)


@dataclass
class Step:
    """One step, or one occurrence of a range; in a file of several processes it has a range in each."""

    number: int
    name: str
    ranges: list[Range] = field(default_factory=list)


@dataclass
class Steps:
    """The steps of a run, in order of time."""

    named_by: str
    """The profiler's own name for them, or what repeats, in words."""
    steps: list[Step] = field(default_factory=list)
    others: list[Range] = field(default_factory=list)
    """The ranges of those that were not chosen: their work is theirs."""
    modules: bool = False
    """Whether they are calls of a module: the recording holds these whole or not at all."""
    alike: bool = True
    """Whether they are expected to do the same: not so where only their names, but for numbers, are alike."""

    def __len__(self) -> int:
        return len(self.steps)

    def ranges(self) -> list[Range]:
        """All ranges of all steps."""
        return [one for step in self.steps for one in step.ranges]

    def of_work(self, work_table: WorkTable) -> Array:
        """For every row of work the place of its step in `steps`; -1 outside of all."""
        place = [i for i, step in enumerate(self.steps) for _ in step.ranges] + [-1] * (len(self.others) + 1)
        return np.array(place, dtype=np.int64)[owners(work_table, self.ranges() + self.others)]

    def chosen(self, steps: Sequence[Step]) -> Steps:
        """Some of them."""
        kept = {step.number for step in steps}
        others = [one for step in self.steps if step.number not in kept for one in step.ranges]
        return replace(self, steps=list(steps), others=others)


def find_steps(work_table: WorkTable, stages: Sequence[Stage], least: int = 1) -> Steps | None:
    """The steps of a run; None where nothing repeats. `least`: so many `ProfilerStep` must there be to be taken."""
    counted = _profiler_steps(work_table)
    if counted is not None and len(counted) >= least:
        return counted
    return _denoiser(work_table, stages) or _repeated(work_table, Kind.ANNOTATION) or _repeated(work_table, Kind.MODULE)


def occurrences(work_table: WorkTable, stages: Sequence[Stage], name: str) -> Steps:
    """The ranges called `name`: annotations, else modules, else stages, else operators; all of them.

    `*` stands for any text, and `NAME#2` for the second range of that name where no name is so. Prefixes of our own
    (`stage::`, `mod::`, `nn.Module: `) may be left out. Raises `ValueError`, with what there is, for no range.
    """
    found = Steps(name, _called(work_table, stages, name))
    counted = re.fullmatch(r"(.+)#(\d+)", name)
    if not len(found) and counted:
        every = Steps(name, _called(work_table, stages, counted[1]))
        if len(every) and not 1 <= int(counted[2]) <= len(every):
            raise ValueError(f"no range {quoted(name)}: {quoted(counted[1])} was entered {len(every)} times")
        found = every.chosen(every.steps[int(counted[2]) - 1 : int(counted[2])])
    if not len(found):
        raise ValueError(f"no annotation {quoted(name)} in the trace; {what_there_is(work_table, stages)}")
    return found


def _profiler_steps(work_table: WorkTable) -> Steps | None:
    trace = work_table.trace
    number = {
        i: int(found[1])
        for i, name in enumerate(trace.names)
        if name.startswith(STEP) and (found := re.match(r"(\d{1,18})\b", name[len(STEP) :]))
    }
    if not number:
        return None
    steps: dict[int, Step] = {}
    for name, one in _ranges(work_table, list(number), Kind.ANNOTATION):
        step = steps.setdefault(number[name], Step(number[name], trace.names[name]))
        step.ranges.append(one)
    return Steps(STEP.removesuffix("#"), [steps[n] for n in sorted(steps)]) if steps else None


def _ranges(work_table: WorkTable, names: Sequence[int], *kinds: Kind) -> list[tuple[int, Range]]:
    """(number of its name, range) of all ranges with one of those names, in order of their start; on the host, or
    where it has none those drawn over the device. A range inside another of them is left out."""
    trace = work_table.trace
    host, spans = trace.host, trace.device_spans
    rows = np.flatnonzero(np.isin(host.name, names) & np.isin(host.kind, [int(kind) for kind in kinds]))
    if len(rows):
        names_at = {(int(host.thread[r]), int(host.start[r])): int(host.name[r]) for r in reversed(rows.tolist())}
        found = [(names_at[one.thread, one.start], one) for one in host_ranges(trace, rows.tolist())]
    else:
        found = []
        for name in names:
            drawn = np.flatnonzero(spans.name == name).tolist() if Kind.ANNOTATION in kinds else []
            found += [(name, one) for one in device_ranges(trace, drawn)]
    return sorted(found, key=lambda each: each[1].start)


def _denoiser(work_table: WorkTable, stages: Sequence[Stage]) -> Steps | None:
    found = [s for s in stages if s.source and DENOISER.search(s.name) and len(s.calls) > 1]
    return _calls(work_table, found[0]) if found else None


def _calls(work_table: WorkTable, stage: Stage) -> Steps | None:
    rows = sorted(row for row in stage.ranges if row >= 0)
    ranges = sorted(host_ranges(work_table.trace, rows), key=lambda one: one.start)
    steps = [Step(i, f"{stage.name}#{i}", [one]) for i, one in enumerate(ranges, 1)]
    return Steps(f"calls of {stage.name}", steps, modules=True) if len(steps) > 1 else None


def _repeated(work_table: WorkTable, kind: Kind) -> Steps | None:
    """The annotation or module that repeats and holds most of the work."""
    trace = work_table.trace
    host, total = trace.host, work_table.duration.sum()
    rows = np.flatnonzero(host.kind == int(kind))
    names = host.name[rows]
    times = np.bincount(names, host.end[rows] - host.start[rows]) if len(rows) else names
    groups: dict[str, list[int]] = {}
    for at in distinct(names).tolist():
        if not trace.names[at].startswith((COLLECTIVE, STEP)):
            alike = re.sub(r"\d+", "#", trace.names[at]) if kind == Kind.ANNOTATION else trace.names[at]
            groups.setdefault(alike, []).append(at)
    long = sorted(groups, key=lambda name: -sum(times[at] for at in groups[name]))
    for name in long[:TRIED]:
        found = sorted(host_ranges(trace, rows[np.isin(names, groups[name])].tolist()), key=lambda one: one.start)
        if len(found) > 1 and work_table.duration[owners(work_table, found) >= 0].sum() >= MOST_OF * total > 0:
            told = module_of(trace.names[groups[name][0]]) if len(groups[name]) == 1 else name
            what = "annotation" if kind == Kind.ANNOTATION else "module"
            steps = [Step(i, f"{told}#{i}", [one]) for i, one in enumerate(found, 1)]
            return Steps(f"{what} {told}", steps, modules=kind == Kind.MODULE, alike=len(groups[name]) == 1)
    return None


def _called(work_table: WorkTable, stages: Sequence[Stage], name: str) -> list[Step]:
    trace = work_table.trace
    named = [i for i, given in enumerate(trace.names) if name in _short(given) or _alike(given, name)]
    for kind in (Kind.ANNOTATION, Kind.MODULE):
        if found := _ranges(work_table, named, kind):
            return [Step(i, trace.names[at], [one]) for i, (at, one) in enumerate(found, 1)]
    for stage in stages:
        if stage.source and stage.name == name:
            rows = sorted(row for row in stage.ranges if row >= 0)
            ranges = sorted(host_ranges(trace, rows), key=lambda one: one.start)
            return [Step(i, f"{name}#{i}", [one]) for i, one in enumerate(ranges, 1)]
    found = _ranges(work_table, named, Kind.OPERATOR)
    return [Step(i, trace.names[at], [one]) for i, (at, one) in enumerate(found, 1)]


def _short(given: str) -> tuple[str, ...]:
    """The name of a range as it stands, and without the prefixes of our own."""
    return given, given.removeprefix(STAGE), given.removeprefix(MODULE), module_of(given)


def _alike(given: str, name: str) -> bool:
    return "*" in name and fnmatchcase(given, re.sub(r"([\[?])", r"[\1]", name))


def what_there_is(work_table: WorkTable, stages: Sequence[Stage]) -> str:
    """Which ranges the trace has, for a sentence."""
    trace = work_table.trace
    host = trace.host
    rows = np.flatnonzero(host.kind == int(Kind.ANNOTATION))
    names = [trace.names[i] for i in distinct(host.name[rows]).tolist()]
    names += [trace.names[i] for i in distinct(trace.device_spans.name).tolist() if trace.names[i] not in names]
    names += [stage.name for stage in stages if stage.source and stage.name not in names]
    return f"it has {listed(map(quoted, names))}" if names else "it has none"


def listed(names: Iterator[str]) -> str:
    """Some names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + more
