"""Measured rates above the device's peak: each is reported with its likely reason, and not as a memory bandwidth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from ...hardware import Device
from ...run import OperatorRow, ProblemRow, Run

ROUNDING = 1.001
"""A share up to this is 1: times are whole nanoseconds."""
Reason = Literal["in the cache", "a fault of ours"]


def reason_of(moved: float, time_ns: int, calls: int, device: Device) -> Reason:
    """Why so many calls moved more bytes than the memory can in their time.

    What one kernel leaves in the last-level cache the next one need not fetch, so a call may save as much as that
    holds. Whatever saves more was counted too many bytes.
    """
    saved = moved - time_ns / 1e9 * device.bandwidth
    return "in the cache" if saved <= (device.cache_bytes or 0) * max(1, calls) else "a fault of ours"


def beyond_peaks(run: Run, device: Device | None) -> Iterator[ProblemRow]:
    """Work above a peak of `device`, as problems; operators above its bandwidth lose `bytes_per_s` and get `above`.

    Bytes are what the inputs and the output hold. A cache may have served them, and a fused kernel may name a whole
    tensor and read a part of it: the rate is then no rate of the memory. FLOPs are exact, so a share above 1 is a
    wrong device.
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
    yield from _above_bandwidth(moved, device, run.summary.on_cpu)
    for operator in moved:
        operator.above = reason_of(operator.bytes or 0.0, operator.time_ns, operator.count, device)
        operator.bytes_per_s = None
    if not run.summary.on_cpu and 2 * sum(o.time_ns for o in moved) > sum(o.time_ns for o in run.operators):
        yield ProblemRow(
            f"operators above the memory bandwidth of {device.name}",
            len(moved),
            "most of the time more bytes were moved than it can: the trace is probably of another device",
        )


def _above_bandwidth(moved: Sequence[OperatorRow], device: Device, on_cpu: bool) -> Iterator[ProblemRow]:
    """Operators that moved more bytes than the memory can, by reason; the rates of none are shown."""
    reasons = [reason_of(o.bytes or 0.0, o.time_ns, o.count, device) for o in moved]
    cached, faults = reasons.count("in the cache"), reasons.count("a fault of ours")
    name = f"operators above the memory bandwidth of {device.name}, by {{}} its cache holds; their rates are not shown"
    if cached:
        yield ProblemRow(name.format("no more than"), cached, "the cache served them, which is no fault")
    if faults:
        unknown = on_cpu or device.cache_bytes is None
        yield ProblemRow(
            name.format("more than") if device.cache_bytes else name.partition(",")[0] + "; their rates are not shown",
            faults,
            "its cache is not known here: it may have served them"
            if unknown
            else "a fault of ours, if it is this device: more bytes are counted than they move",
        )
