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


class GapSum(msgspec.Struct):
    """A class or a stage."""

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
