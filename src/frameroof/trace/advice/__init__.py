"""The change to make first, with the most it can bring.

Every gain is a bound. What shortens idle time can save no more than the idle time of that cause. What shortens the
device's work can save no more than that work above its limit, and never brings the run below the host's own time:
where the host is late, a faster kernel only makes the device wait longer. What was timed without the profiler bounds
all of it again. Gains of different advice do not add up.

`host.py`, `device.py`, `precision.py` and `decoder.py` find the advice; here it is bounded and ranked.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...hardware import Device
from ...recorded import Advice
from ...run import Run
from .decoder import tiles
from .device import on_device
from .first_lines import first_lines
from .host import launches, waits
from .precision import precision
from .words import MEMORY

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
    work = [*on_device(run, device), *precision(run, device), *tiles(run, device)]
    if run.summary.on_cpu or not whole:
        return _worth(work, whole, whole)
    rest = _beyond_host(run, whole)
    found = [
        *_worth(launches(run), whole, whole - min(whole, run.summary.busy_ns)),
        *_worth(waits(run), whole, min(rest, whole - min(whole, run.summary.busy_ns))),
        *_worth(work, whole, rest),
    ]
    return sorted(found, key=lambda advice: -advice.max_gain_s)


def _beyond_host(run: Run, whole: int) -> int:
    """The most that the host leaves to win: the run less the host's own time.

    The profiler slows the host. Where a clock without it says that the device hardly waits, the host's own time
    is not known, and is no bound; where the device waits all the same, the host's share is that of the recording.
    """
    span = run.summary.span_ns
    rest = span - min(span, run.launch.host_active_ns)
    if whole == span:
        return rest
    late = whole - run.summary.busy_ns >= LATE * whole
    return round(rest * whole / span) if late else whole


def _worth(found: Iterable[Advice], whole: int, most: int) -> list[Advice]:
    """Those that can bring enough of `whole`, none of them more than `most`, the largest bound first."""
    kept = []
    for advice in found:
        advice.max_gain_s = min(advice.max_gain_s, most / 1e9)
        if advice.kind == MEMORY or (whole and advice.max_gain_s * 1e9 >= WORTH * whole):
            kept.append(advice)
    return sorted(kept, key=lambda advice: -advice.max_gain_s)
