"""Rates that the device cannot reach: they are said, and no rate of bytes above the memory's is shown as achieved."""

from __future__ import annotations

from collections.abc import Iterator

from ..hardware import Device
from ..run import ProblemRow, Run

ROUNDING = 1.001
"""A share up to this is 1: times are whole nanoseconds."""


def beyond_peaks(run: Run, device: Device | None) -> Iterator[ProblemRow]:
    """Work above a peak of `device`, as problems; sets `bytes_per_s` of operators above its bandwidth to None.

    Bytes are what the inputs hold. A cache may have served them, and a fused kernel may name a whole tensor and read
    a part of it: the rate is then no rate of the memory. FLOPs are exact, so a share above 1 is a wrong device.
    """
    if device is None:
        return
    fast = [o for o in run.operators if (o.share_of_peak or 0.0) > ROUNDING]
    if fast:
        yield ProblemRow(
            f"operators faster than the dense peak of {device.name} allows",
            len(fast),
            "the peak was measured while something else was running"
            if run.summary.on_cpu and device.kind == "cpu"
            else "their times are not those of this device (another --on?), or launches were timed and not their work",
        )
    moved = [o for o in run.operators if (o.bytes_per_s or 0.0) > device.bandwidth * ROUNDING]
    for operator in moved:
        operator.bytes_per_s = None
    if not run.summary.on_cpu and 2 * sum(o.time_ns for o in moved) > sum(o.time_ns for o in run.operators):
        yield ProblemRow(
            f"operators above the memory bandwidth of {device.name}",
            len(moved),
            "most of the time more bytes were moved than it can: the trace is probably of another device",
        )
