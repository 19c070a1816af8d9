"""The change to make first, with the most it can bring.

Every gain is a bound. What shortens idle time can save no more than the idle time of that cause. What shortens the
device's work can save no more than that work above its limit, and never brings the run below the host's own time:
where the host is late, a faster kernel only makes the device wait longer. What was timed without the profiler bounds
all of it again. Gains of different advice do not add up.

`host.py`, `device.py`, `slow_kernels.py`, `precision.py` and `decoder.py` find the advice; here it is bounded and
ranked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...hardware import Device
from ...recorded import Advice
from ...run import Run
from .decoder import tiles
from .device import on_device
from .first_lines import first_lines
from .host import launches, profiling, waits
from .host_work import host_work
from .precision import precision
from .slow_kernels import slow_kernels
from .words import MEMORY, ms

WORTH = 0.02
"""Advice that can bring less than this share of the run is left out; not so what only saves memory."""
LATE = 0.1
"""Share of a run without the profiler in which the device stands idle from which on the host is believed to be late."""


def conclude(run: Run, device: Device | None) -> None:
    """Set what follows from a run's tables: its advice, and the three lines that its report begins with."""
    run.advice = advise(run, device)
    run.first_lines = first_lines(run)


def advise(run: Run, device: Device | None) -> list[Advice]:
    """What to change, the largest bound first; empty where nothing is worth it or a device's work was not recorded."""
    if run.summary.host_only:
        return []
    whole = run.whole_ns
    work = [*on_device(run, device), *slow_kernels(run, device), *precision(run, device), *tiles(run, device)]
    if run.summary.on_cpu or not whole:
        return _worth(work, whole, Cap(whole, ""))
    rest, idle = _beyond_host(run, whole), _idle_of(run, whole)
    found = [
        *_worth([*launches(run, device), *host_work(run), *profiling(run)], whole, idle),
        *_worth(waits(run), whole, min(rest, idle)),
        *_worth(work, whole, rest),
    ]
    return sorted(found, key=lambda advice: -advice.max_gain_s)


class Cap(NamedTuple):
    """The most that some advice can bring, in ns, and why."""

    most_ns: int
    why: str


def _idle_of(run: Run, whole: int) -> Cap:
    """The idle time of the run, without the profiler where a clock ran without it."""
    busy = min(whole, run.summary.busy_ns)
    timed = " without the profiler" if whole < run.summary.span_ns else ""
    return Cap(whole - busy, f"the device works {ms(busy)} of {ms(whole)}{timed}, which leaves {ms(whole - busy)}")


def _beyond_host(run: Run, whole: int) -> Cap:
    """The most that the host leaves to win: the run less the host's own time.

    The profiler slows the host. Where a clock without it says that the device hardly waits, the host's own time
    is not known, and is no bound; where the device waits all the same, the host's share is that of the recording.
    """
    span = run.summary.span_ns
    host = min(span, run.launch.host_active_ns)
    rest = span - host
    why = f"the host itself needs {ms(host)} of {ms(span)}, which leaves {ms(rest)}"
    if whole == span:
        return Cap(rest, why)
    late = whole - run.summary.busy_ns >= LATE * whole
    scaled = round(rest * whole / span)
    return Cap(scaled, f"{why}, and of the {ms(whole)} without the profiler {ms(scaled)}") if late else Cap(whole, "")


def _worth(found: Iterable[Advice], whole: int, cap: Cap) -> list[Advice]:
    """Those that can bring enough of `whole`, none of them more than the cap, the largest bound first."""
    kept = []
    for advice in found:
        if advice.max_gain_s * 1e9 > cap.most_ns + 0.5:
            advice.max_gain_s, advice.cap = cap.most_ns / 1e9, cap.why
        if advice.kind == MEMORY or (whole and advice.max_gain_s * 1e9 >= WORTH * whole):
            kept.append(advice)
    return sorted(kept, key=lambda advice: -advice.max_gain_s)
