"""What a run's advice really brought: its bound beside the measured change of the time that it was about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..run import Advice, Run
from ..trace.advice.decoder import decoders
from ..trace.advice.device import TRANSPOSES
from ..trace.chains import LOOSE


@dataclass(frozen=True)
class Brought:
    """One advice of the run before that the run after no longer gets."""

    title: str
    bound_ns: int
    """The most that it could bring."""
    concerns: str
    """The time that it was about."""
    before_ns: int
    after_ns: int

    @property
    def brought_ns(self) -> int:
        """How much shorter that time is; negative: longer."""
        return self.before_ns - self.after_ns


Measure = Callable[[Run], int]


def brought(before: Run, after: Run) -> list[Brought]:
    """For each advice of `before` that is gone in `after`, in the order of the advice."""
    still = {advice.title for advice in after.advice}
    found = []
    for advice in before.advice:
        if advice.title not in still:
            what, measure = _concerned(advice, before)
            found.append(Brought(advice.title, round(advice.max_gain_s * 1e9), what, measure(before), measure(after)))
    return found


def _concerned(advice: Advice, before: Run) -> tuple[str, Measure]:
    """(the time that an advice is about in words, the same as a measure of a run)."""
    title = advice.title
    for start, (what, measure) in TIMES.items():
        if title.startswith(start):
            return what, measure
    if title.startswith(WAIT):
        return _wait(title, before)
    if title.startswith(TINY):
        kind = title.removeprefix(TINY).strip().split()[0]
        return f"{kind} attention", lambda run: sum(a.time_ns for a in run.attention if a.kind == kind)
    if title.startswith(SINGLE):
        names = dict.fromkeys(o.class_ for o in before.operators if o.dtype == "fp32" and o.flops)
        return ", ".join(names) or "busy", _classes(names) if names else lambda run: run.summary.busy_ns
    if advice.kind == "host":
        return "idle", lambda run: run.summary.idle_ns
    return "busy", lambda run: run.summary.busy_ns


def _wait(title: str, before: Run) -> tuple[str, Measure]:
    """The idle time behind one place that waits; behind all of them where the place cannot be told."""
    places = ((sync.operator or sync.call, sync.line) for sync in before.syncs)
    wanted = next((p for p in places if title == f"{WAIT} {p[0]}" + (f" at {p[1]}" if p[1] else "")), None)
    if wanted is None:
        return _idle("synchronization")
    return f"idle after {wanted[0]}", lambda run: sum(
        s.idle_ns for s in run.syncs if (s.operator or s.call, s.line) == wanted
    )


def _idle(cause: str) -> tuple[str, Measure]:
    return f"idle: {cause}", lambda run: run.idle.get(cause, 0)


def _classes(names: Iterable[str]) -> Measure:
    wanted = set(names)
    return lambda run: sum(c.time_ns for c in run.classes if c.name in wanted)


WAIT = "Remove the wait for the device in"
TINY = "Batch the tiny products of"
SINGLE = "Compute in"
TIMES: dict[str, tuple[str, Measure]] = {
    "Reduce launch overhead": _idle("host_launch"),
    "Copy inputs without waiting": _idle("copy"),
    "Hide communication": ("exposed communication", lambda run: run.communication.get("exposed_ns", 0)),
    "Use fused attention": ("attention", _classes(("attention",))),
    "Cache the text's keys and values": ("repeated keys and values of the text", lambda run: run.text_kv.repeated_ns),
    "Run the VAE in": ("the VAE", lambda run: sum(s.time_ns for s in decoders(run))),
    "Quantize linear layers": ("linear", _classes(("linear",))),
    "Fuse elementwise work": (", ".join(LOOSE), _classes(LOOSE)),
    "Keep convolutions in channels-last": (
        "kernels that change the layout",
        lambda run: sum(k.time_ns for k in run.kernels if any(word in k.name for word in TRANSPOSES)),
    ),
}
"""Start of an advice's title (trace/advice/) -> the time that it is about."""
