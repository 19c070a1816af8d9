"""The records of a gap: what `frameroof gap --json` prints (docs/reference/analyze-json.rst)."""

from __future__ import annotations

from typing import Any

import msgspec


class GapRow(msgspec.Struct):
    """One operation at one set of shapes: measured, limit, and the difference; all calls together."""

    class_: str = msgspec.field(name="class")
    name: str = ""
    stage: str = ""
    path: str = ""
    """The operation of the workload; "" where none was matched."""
    exact: bool = False
    """Whether its shapes are the workload's at the sizes given (a merged batch allowed)."""
    dims: list[Any] = msgspec.field(default_factory=list)
    count: int = 0
    time_ns: int = 0
    limit_ns: int | None = None
    above_ns: int | None = None
    mfu: float | None = None
    mbu: float | None = None
    bound: str = ""
    violation: str = ""
    """Why the limit is longer than the time (`Violation.reason`); "" where it is not."""

    @property
    def held_ns(self) -> int:
        """The limit, as far as it holds: what is longer than the time counts as the time."""
        return min(self.limit_ns or 0, self.time_ns)


class Violation(msgspec.Struct):
    """An operation whose limit is longer than the time that was measured."""

    operation: str
    """Its name, behind its stage."""
    count: int
    time_ns: int
    limit_ns: int
    saved_bytes: int | None
    """Of each call, those that the memory cannot have moved in its time; None where it is not the memory's limit."""
    reason: str
    """``in the cache`` (no more than it holds: allowed), ``above the peak`` or ``above the link`` (times of another
    device, as `Gap.above_peak` says), else ``a fault of ours``."""


class GapSum(msgspec.Struct):
    """A class or a stage; a limit that is longer than its time counts as its time."""

    name: str
    time_ns: int
    limit_ns: int
    above_ns: int
    unlimited_ns: int
    """Time of what has no limit: its shapes were not recorded."""


class Gap(msgspec.Struct):
    """The distance of a run from its limits."""

    device: str
    rows: list[GapRow]
    classes: list[GapSum]
    stages: list[GapSum]
    time_ns: int
    """Sum of all work."""
    limit_ns: int
    """Of what has one, as `GapSum` counts it."""
    idle_ns: int
    coverage_workload: float | None
    coverage_limit: float
    """Share of the time that has a limit."""
    never_faster_ns: int
    """Idle time and limits: what no faster kernel could win back."""
    span_ns: int
    missing: list[str]
    """Matrix operations of the workload that the run does not show, `stage: path`."""
    uncounted: list[str]
    assumptions: list[str]
    coverage_exact: float | None = None
    """Of the time that was matched, the share with the sizes of the workload (a merged batch allowed)."""
    above_peak: list[str] = msgspec.field(default_factory=list)
    """Operations that took less time than their FLOPs do at the dense peak: the times are not those of this device."""
    violations: list[Violation] = msgspec.field(default_factory=list)
    """Limits that are longer than what was measured, the longest time first."""
    coverage_violated: float = 0.0
    """Share of the time whose limit is longer than what was measured."""
