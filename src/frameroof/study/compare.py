"""Two runs side by side: what became faster, what slower, what appeared, what vanished. Pure: data in, data out."""

from __future__ import annotations

import os
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from ..recorded import Environment
from ..run import AttentionRow, Run
from ..trace.runs import run_of
from .advice_outcomes import AdviceOutcome, advice_outcomes, has_ids
from .comparable import incomparable
from .samples import judge

GROUPS = ("run", "measured", "idle", "class", "stage", "call", "operator", "attention", "kernel")
"""What a change can be about: `call` is the median call of a stage, the rest is as in a run."""
SINGLE = "one measurement each: no spread to judge by"


@dataclass(frozen=True)
class Change:
    """One quantity in both runs; `None` where a run does not have it."""

    group: str
    name: str
    unit: str
    """ns, bytes, flops or count."""
    before: float | None
    after: float | None
    note: str = ""
    """What changed beside the number, such as "eager -> fused"."""
    judged: str = SINGLE
    """Whether the change is more than the spread of repetitions."""

    @property
    def difference(self) -> float:
        """After less before; what a run does not have counts as 0."""
        return (self.after or 0) - (self.before or 0)

    @property
    def ratio(self) -> float | None:
        """After over before; `None` where before is nothing."""
        return (self.after or 0) / self.before if self.before else None

    @property
    def state(self) -> str:
        """changed, same, appeared or vanished."""
        if not self.before and self.after:
            return "appeared"
        if self.before and not self.after:
            return "vanished"
        return "changed" if self.difference else "same"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("group", "name", "unit", "before", "after", "difference", "ratio", "state", "note", "judged")
        return {name: getattr(self, name) for name in names}


@dataclass
class Side:
    """Which run it is: its file, and its device as the run and as `frameroof hardware` name it."""

    path: str
    device: str | None
    hardware: str | None


@dataclass(frozen=True)
class Comparison:
    """All changes, each group by size of the change, the largest first; `run` in its own order."""

    before: Side
    after: Side
    changes: list[Change]
    brought: list[AdviceOutcome]
    notes: list[str] = field(default_factory=list)
    """What makes the two runs less than comparable."""
    incomparable: list[str] = field(default_factory=list)
    """Why they cannot be compared at all (`comparable`); empty where they can."""

    def of(self, group: str) -> list[Change]:
        """The changes of one group."""
        return [change for change in self.changes if change.group == group]

    def find(self, group: str, name: str) -> Change | None:
        """One change, if either run has it."""
        return next((c for c in self.changes if (c.group, c.name) == (group, name)), None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: form frameroof.compare/1."""
        return {
            "schema": "frameroof.compare/1",
            "before": asdict(self.before),
            "after": asdict(self.after),
            "changes": [change.to_dict() for change in self.changes],
            "advice": [
                {
                    "id": b.id,
                    "title": b.title,
                    "concerns": b.concerns,
                    "max_gain_s": b.bound_ns / 1e9,
                    "before_ns": b.before_ns,
                    "after_ns": b.after_ns,
                    "brought_ns": b.brought_ns,
                    "noise_ns": b.noise_ns,
                }
                for b in self.brought
            ],
            "notes": self.notes,
            "incomparable": self.incomparable,
        }


def compare(before: Run | str | os.PathLike[str], after: Run | str | os.PathLike[str]) -> Comparison:
    """Compare `after` with `before`: what became faster or slower, what appeared or vanished, what advice brought.

    Each is a `Run` or a path: a run's folder, its JSON, or a trace. Times are nanoseconds. Raises `ValueError`, a
    sentence, where a path holds none of these.
    """
    found = _compared(run_of(before), run_of(after))
    for side, given in ((found.before, before), (found.after, after)):
        if not isinstance(given, Run):
            side.path = os.fspath(given)
    return found


def _compared(before: Run, after: Run) -> Comparison:
    changes = [*_whole(before, after), *_measured(before, after)]
    on_cpu = before.summary.on_cpu and after.summary.on_cpu  # there the operators are the kernels
    for group in GROUPS[2:-1] if on_cpu else GROUPS[2:]:
        rows = list(_paired(group, _times(before, group), _times(after, group)))
        changes += sorted(rows, key=lambda change: -abs(change.difference))
    notes, why = list(_notes(before, after)), incomparable(before, after)
    outcomes = [] if why else advice_outcomes(before, after)
    return Comparison(_side(before), _side(after), changes, outcomes, notes, why)


def _side(run: Run) -> Side:
    return Side(run.source.path, run.summary.device, run.summary.hardware)


def _whole(before: Run, after: Run) -> Iterator[Change]:
    """The run as a whole."""
    for name, unit, field_name in (
        ("total", "ns", "span_ns"),
        ("busy", "ns", "busy_ns"),
        ("idle", "ns", "idle_ns"),
        ("kernels", "count", "kernels"),
        ("short kernels", "count", "short_kernels"),
        ("copies", "count", "copies"),
        ("flops", "flops", "flops"),
    ):
        yield Change("run", name, unit, getattr(before.summary, field_name), getattr(after.summary, field_name))
    exposed = [run.communication.get("exposed_ns") for run in (before, after)]
    if any(value is not None for value in exposed):
        yield Change("run", "exposed communication", "ns", exposed[0], exposed[1])


def _measured(before: Run, after: Run) -> Iterator[Change]:
    """What a clock said in both runs; medians are judged by their repetitions."""
    first, second = _clocked(before), _clocked(after)
    for name, (unit, value, samples) in first.items():
        if name in second:
            _, other, others = second[name]
            verdict = judge(samples, others) if samples and others else SINGLE
            yield Change("measured", name, unit, value, other, judged=verdict)


CLOCKED = {"median_ns": "median", "cold_ns": "first call", "compile_ns": "compiling", "pipeline_ns": "whole pipeline"}
"""Field of `Measured` -> what it is."""


def _clocked(run: Run) -> dict[str, tuple[str, float, list[int]]]:
    """Name -> (unit, value, the repetitions that it is the median of)."""
    measured = run.measured
    found: dict[str, tuple[str, float, list[int]]] = {}
    for field_name, name in CLOCKED.items():
        value = getattr(measured, field_name)
        if isinstance(value, int):
            found[name] = "ns", value, (measured.samples_ns or []) if field_name == "median_ns" else []
    for stage in measured.stages or ():
        if stage.median_ns is not None:
            found[f"stage {stage.name}"] = "ns", stage.median_ns, stage.samples_ns or []
    memory = measured.memory
    if memory is not None and memory.peak_bytes is not None:
        found[f"memory peak ({memory.of or 'unknown'})"] = "bytes", memory.peak_bytes, []
    return found


Times = dict[str, tuple[float, str]]
"""Name -> (ns, how)."""


def _times(run: Run, group: str) -> Times:
    """The times of one group by name, those of one name added up."""
    rows: Iterable[tuple[str, float, str]]
    if group == "idle":
        rows = ((cause, ns, "") for cause, ns in run.idle.items())
    elif group == "class":
        rows = ((c.name, c.time_ns, "") for c in run.classes)
    elif group == "stage":
        rows = ((s.name, s.time_ns, f"{s.count} call" + ("s" if s.count != 1 else "")) for s in run.stages)
    elif group == "call":
        rows = ((s.name, statistics.median(s.call_ns), "") for s in run.stages if s.source and s.call_ns)
    elif group == "operator":
        rows = ((o.name, o.time_ns, o.dtype or "") for o in run.operators)
    elif group == "attention":
        rows = ((_label(a), a.time_ns, "fused" if a.fused else "eager") for a in run.attention)
    else:
        rows = ((k.name, k.time_ns, "") for k in run.kernels)
    times: dict[str, float] = defaultdict(float)
    how: dict[str, list[str]] = defaultdict(list)
    for name, ns, detail in rows:
        times[name] += ns
        if detail and detail not in how[name]:
            how[name].append(detail)
    return {name: (ns, " and ".join(how[name])) for name, ns in times.items()}


def _label(row: AttentionRow) -> str:
    kind = row.kind + (" backward" if row.backward else "")
    return f"{kind}{' ' if row.query_len else ', size '}{row.size}"


def _paired(group: str, before: Times, after: Times) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        first, second = before.get(name), after.get(name)
        note = f"{first[1]} -> {second[1]}" if first and second and first[1] != second[1] else ""
        yield Change(group, name, "ns", first and first[0], second and second[0], note)


def _notes(before: Run, after: Run) -> Iterator[str]:
    """What else differs, so that a change may not be the change's doing."""
    devices = [run.summary.device or "an unknown device" for run in (before, after)]
    if devices[0] != devices[1]:
        yield f"The devices differ: {devices[0]} before, {devices[1]} after."
    flops = [run.summary.flops for run in (before, after)]
    if flops[0] and flops[1] and abs(flops[1] / flops[0] - 1) > 0.01:
        yield f"The work differs: {flops[1] / flops[0]:.3g} times the FLOPs (as far as shapes were recorded)."
    calls = {s.name: s.count for s in after.stages if s.source}
    for stage in before.stages:
        if calls.get(stage.name, stage.count) != stage.count:
            yield f"Stage {stage.name} ran {stage.count} x before and {calls[stage.name]} x after."
    if not (before.idle_reliable and after.idle_reliable):
        yield "Idle time inside graph replays is not reliable in at least one of the two."
    for name, run in (("before", before), ("after", after)):
        if run.problems:
            more = f", and {len(run.problems) - 1} more" if run.problems[1:] else ""
            yield f"The file of the run {name}: {run.problems[0].what}{more} (`frameroof analyze` says all)."
    for name, run in (("before", before), ("after", after)):
        if not has_ids(run):
            yield f"The run {name} was saved before advice had ids: what is said of its advice is made anew."
    first, second = (_flat(_plain(run.environment)) for run in (before, after))
    if first and second:
        keys = [key for key in dict.fromkeys([*first, *second]) if not _PASSING.search(key)]
        differ = [key for key in keys if first.get(key) != second.get(key)]
        told = [f"{key} {first.get(key, 'not set')} -> {second.get(key, 'not set')}" for key in differ]
        if told:
            yield f"The environment differs: {'; '.join(told)}."


_PASSING = re.compile(r"^probe\.|(^|\.)(date|pstate|temperature\w*|clock_mhz|clocks_(sm|mem))$")
"""What differs from run to run on one machine."""


def _plain(environment: Environment) -> dict[str, Any]:
    """As it is saved, what other writers added beside the rest."""
    data: dict[str, Any] = msgspec.to_builtins(environment)
    more: dict[str, Any] = data.pop("extra", {})
    return data | more


def _flat(data: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return found
