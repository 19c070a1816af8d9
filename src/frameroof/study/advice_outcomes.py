"""What became of the advice on a run: its bound, compared with the measured change.

Advice is told apart by its id and what it concerns, never by its words: those hold counts and times, which change.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..hardware import Device, device
from ..recorded import Advice, concerns
from ..recorded.concerns import Concern
from ..run import Run, SyncRow, probed_device
from .noise import noise_ns

Key = tuple[str, Concern]


@dataclass(frozen=True)
class AdviceOutcome:
    """One advice of the run before that the run after no longer gets."""

    id: str
    title: str
    bound_ns: int
    """The most that it could bring."""
    concerns: str
    """The time that it was about."""
    before_ns: int
    after_ns: int
    noise_ns: float | None = None
    """How much of the difference may be noise (`noise`); None where nothing in one of the runs repeats."""

    @property
    def difference_ns(self) -> int:
        """How much shorter that time is; negative: longer."""
        return self.before_ns - self.after_ns

    @property
    def brought_ns(self) -> int | None:
        """The difference, where it is more than noise; None where it is not, or noise is not known."""
        beyond = self.noise_ns is not None and abs(self.difference_ns) > self.noise_ns
        return self.difference_ns if beyond else None


def advice_outcomes(before: Run, after: Run) -> list[AdviceOutcome]:
    """For each advice of `before` that is gone in `after`, in the order of the advice."""
    moved = _moved(before, after)
    still = {key for key, _ in _keyed(advice_of(after), moved)}
    gone: dict[Key, list[Advice]] = {}
    for key, advice in _keyed(advice_of(before), {}):
        if not any(_same(key, other) for other in still):
            gone.setdefault(key, []).append(advice)
    found = []
    for (name, about), given in gone.items():
        bound = round(sum(advice.max_gain_s for advice in given) * 1e9)
        times = measure(about, before), measure(about, after, moved)
        found.append(
            AdviceOutcome(name, given[0].title, bound, words(about), *times, _noise(about, times, before, after))
        )
    return found


def _noise(about: Concern, times: tuple[int, int], before: Run, after: Run) -> float | None:
    """The noise of a difference of two times."""
    sides = [noise_ns(about, ns, run) if ns else 0.0 for ns, run in zip(times, (before, after), strict=True)]
    known = [side for side in sides if side is not None]
    return math.hypot(*known) if len(known) == 2 and any(times) else None


def has_ids(run: Run) -> bool:
    """Whether its advice has ids; that of a run saved before there were any has none."""
    return all(advice.id and advice.concerns is not None for advice in run.advice)


def advice_of(run: Run) -> list[Advice]:
    """The advice of a run; where it was saved without ids, the advice that its tables lead to now."""
    if has_ids(run):
        return run.advice
    from ..trace.advice import advise

    return advise(run, _device(run))


def _device(run: Run) -> Device | None:
    """The device that it was made on, as far as that is known."""
    try:
        return device(run.summary.hardware) if run.summary.hardware else probed_device(run)
    except ValueError:  # it was known once
        return None


def _keyed(advice: Iterable[Advice], moved: Mapping[Concern, Concern]) -> Iterator[tuple[Key, Advice]]:
    """Each advice by id and what it concerns, waits by the place that they had before."""
    for one in advice:
        if one.concerns is not None:
            yield (one.id, moved.get(one.concerns, one.concerns)), one


def _same(one: Key, other: Key) -> bool:
    """Whether it is the same advice: of classes, one that still concerns some of them, in whatever order."""
    (first, before), (second, after) = one, other
    if isinstance(before, concerns.Classes) and isinstance(after, concerns.Classes):
        return first == second and not set(before.names).isdisjoint(after.names)
    return one == other


# ------------------------------------------------------------------------------------- waits

_NUMBER = re.compile(r"\((\d+)\)(?=: )")
"""The number in `file.py(12): function`."""


def _moved(before: Run, after: Run) -> dict[Concern, Concern]:
    """New places of `after` that wait -> the place of `before` that they must be: lines move with every edit.

    The same operator in the same function; of several the one of as many calls, and then the nearest.
    """
    old, new = _calls(before), _calls(after)
    left = [place for place in old if place not in new]
    found: dict[Concern, Concern] = {}
    for place in (place for place in new if place not in old):
        same = [p for p in left if p.operator == place.operator and _function(p) == _function(place)]
        if same:
            was = min(same, key=lambda p: (old[p] != new[place], abs(_line(p) - _line(place))))
            left.remove(was)
            found[place] = was
    return found


def _calls(run: Run) -> dict[concerns.Wait, int]:
    """Place that waits -> how often."""
    found: dict[concerns.Wait, int] = {}
    for sync in run.syncs:
        place = _place(sync)
        found[place] = found.get(place, 0) + sync.count
    return found


def _place(sync: SyncRow) -> concerns.Wait:
    return concerns.Wait(sync.operator or sync.call, sync.line)


def _function(place: concerns.Wait) -> str:
    return _NUMBER.sub("", place.line)


def _line(place: concerns.Wait) -> int:
    found = _NUMBER.search(place.line)
    return int(found[1]) if found else 0


# -------------------------------------------------------------------------------------- times


def words(about: Concern) -> str:
    """The time that an advice is about, in words."""
    match about:
        case concerns.Idle(cause=cause):
            return f"idle: {cause}"
        case concerns.Wait(operator=operator):
            return f"idle after {operator}"
        case concerns.HostFunction(function=function):
            return f"idle in {function}"
        case concerns.Classes(names=names):
            return ", ".join(names)
        case concerns.Operator(class_=class_, name=name):
            return f"{name} in {class_}"
        case concerns.Attention(kind=kind):
            return f"{kind} attention"
        case concerns.Stage(name=name):
            return f"stage {name}"
        case concerns.Kernels(named=named):
            return f"kernels named {', '.join(named)}"
        case concerns.Communication():
            return "exposed communication"
        case concerns.TextKeys():
            return "repeated keys and values of the text"


def measure(about: Concern, run: Run, moved: Mapping[Concern, Concern] = MappingProxyType({})) -> int:
    """That time in a run, in ns; `moved` says which place a wait of this run had before."""
    match about:
        case concerns.Idle(cause=cause):
            return run.idle.get(cause, 0)
        case concerns.HostFunction(function=function):
            return sum(row.time_ns for row in run.host_functions if row.function == function)
        case concerns.Wait():
            return sum(s.idle_ns for s in run.syncs if moved.get(_place(s), _place(s)) == about)
        case concerns.Classes(names=names):
            return sum(c.time_ns for c in run.classes if c.name in names)
        case concerns.Operator(class_=class_, name=name):
            return sum(o.time_ns for o in run.operators if (o.class_, o.name) == (class_, name))
        case concerns.Attention(kind=kind):
            return sum(a.time_ns for a in run.attention if a.kind == kind)
        case concerns.Stage(name=name):
            return sum(s.time_ns for s in run.stages if s.name == name)
        case concerns.Kernels(named=named):
            return sum(k.time_ns for k in run.kernels if any(part in k.name for part in named))
        case concerns.Communication():
            return run.communication.get("exposed_ns", 0)
        case concerns.TextKeys():
            return run.text_kv.repeated_ns
