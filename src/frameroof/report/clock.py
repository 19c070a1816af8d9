"""What the clock of a trace can tell from nothing: shorter idle times are not shown."""

from __future__ import annotations

from ..run import Run

LEAST_NS = 1000
"""Idle time below this is not shown: launching a kernel behind another takes about as long."""
LEAST_MEAN_NS = 100
"""The same of a mean gap. Clocks of GPUs step by 10 ns (AMD) up to a microsecond (NVIDIA)."""


def is_gap(run: Run, ns: int, count: int) -> bool:
    """Whether idle time is more than the file's own step between any two kernels: 1 ns, or a whole microsecond."""
    return ns > count * (1000 if run.source.times == "us" else 1)
