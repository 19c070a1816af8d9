"""What a clock says without the profiler: cold, compiling, repetitions, stages, and the most memory in use."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ..recorded import Measured, Memory, StageTime
from .marks import opening
from .memory import Peak, StagePeaks, on_cuda

Say = Callable[[str], None]


def synchronize() -> None:
    """Wait until the device has done all that it was given."""
    if on_cuda():
        torch.cuda.synchronize()


@dataclass
class Clock:
    """Time on the host, with both ends synchronized, and marks that a device can pass without waiting."""

    now: Callable[[], int] = time.perf_counter_ns
    wait: Callable[[], None] = synchronize
    cuda: bool = field(default_factory=on_cuda)

    def mark(self) -> Any:
        """A point in the order of work: an event on the device, or the time on a CPU."""
        if not self.cuda:
            return self.now()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: Any, end: Any) -> int:
        """Nanoseconds between two marks, after `wait`."""
        return round(start.elapsed_time(end) * 1e6) if self.cuda else int(end - start)


@dataclass
class Timing:
    """All samples of one piece of work, in ns."""

    warmup: int
    repeat: int
    cold_ns: int | None = None
    compile_ns: int = 0
    samples_ns: list[int] = field(default_factory=list)
    device_samples_ns: list[int] = field(default_factory=list)
    stages: dict[str, list[list[int]]] = field(default_factory=dict)
    """Stage -> for each repetition the time of each of its calls."""
    memory: Memory = field(default_factory=Memory)
    stage_peaks: dict[str, int] = field(default_factory=dict)
    """Stage -> the most memory in use during it, in the last warm-up; empty without one."""

    def record(self) -> Measured:
        """For `Run.measured`."""
        found = Measured(
            warmup=self.warmup,
            repeat=self.repeat,
            cold_ns=self.cold_ns,
            compile_ns=self.compile_ns,
            samples_ns=self.samples_ns,
            memory=self.memory,
            device_samples_ns=self.device_samples_ns or None,
        )
        if self.samples_ns:
            spread(found, self.samples_ns)
        if self.stages:
            found.stages = [
                StageTime(name=name, calls=max(map(len, calls)), peak_bytes=self.stage_peaks.get(name))
                for name, calls in self.stages.items()
            ]
            for row in found.stages:
                spread(row, [sum(call) for call in self.stages[row.name]])
        return found


def spread(row: Measured | StageTime, samples: list[int]) -> None:
    """Set median, extremes, and the width of the middle half."""
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    row.median_ns, row.min_ns, row.max_ns = round(statistics.median(samples)), min(samples), max(samples)
    row.spread_ns = round(high - low)


def measure(
    work: Callable[[], Any], *, warmup: int = 1, repeat: int = 5, clock: Clock | None = None, say: Say = lambda _: None
) -> Timing:
    """Run `work` `warmup` times, the first of which is the cold one, then `repeat` times under the clock."""
    clock = clock or Clock()
    timing = Timing(warmup, repeat)
    before = compile_ns()
    for at in range(warmup):
        say(f"warm-up {at + 1} of {warmup}")
        peaks = StagePeaks()
        with opening(peaks.open):
            taken = _timed(work, clock)
        if at == 0:
            timing.cold_ns = taken
        timing.stage_peaks = peaks.found
    clock.cuda = clock.cuda or (clock.wait is synchronize and on_cuda())  # the first call may be what starts it
    peak = Peak()
    for at in range(repeat):
        say(f"repetition {at + 1} of {repeat}")
        stages = StageClock(clock)
        with opening(stages.open):
            start = clock.mark() if clock.cuda else None
            taken = _timed(work, clock, before_wait=stages.end if clock.cuda else None)
        timing.samples_ns.append(taken)
        if clock.cuda:
            timing.device_samples_ns.append(clock.between(start, stages.ended))
        for name, calls in stages.times().items():
            timing.stages.setdefault(name, []).append(calls)
    timing.memory = peak.read() if repeat else Memory()
    timing.compile_ns = compile_ns() - before
    return timing


def _timed(work: Callable[[], Any], clock: Clock, before_wait: Callable[[], None] | None = None) -> int:
    clock.wait()
    start = clock.now()
    work()
    if before_wait:
        before_wait()
    clock.wait()
    return clock.now() - start


class StageClock:
    """Marks at both ends of every stage of one repetition."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.marks: list[tuple[str, Any, Any]] = []
        self.ended: Any = None

    def open(self, name: str) -> AbstractContextManager[None]:
        """The range of one call of a stage."""
        return self._open(name)

    @contextmanager
    def _open(self, name: str) -> Iterator[None]:
        start = self.clock.mark()
        try:
            yield
        finally:
            self.marks.append((name, start, self.clock.mark()))

    def end(self) -> None:
        """Mark the end of the repetition on the device."""
        self.ended = self.clock.mark()

    def times(self) -> dict[str, list[int]]:
        """Stage -> the time of each call, in order of their ends."""
        found: dict[str, list[int]] = {}
        for name, start, end in self.marks:
            found.setdefault(name, []).append(self.clock.between(start, end))
        return found


def compile_ns() -> int:
    """What torch.compile has taken in this process so far; 0 where it was never used."""
    utils = sys.modules.get("torch._dynamo.utils")
    spent = getattr(utils, "cumulative_time_spent_ns", {})
    return int(spent.get("entire_frame_compile", 0))
