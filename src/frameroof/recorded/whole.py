"""What is said of a run as a whole: how work reached its device, what could be told, what could be spared.

Times are integer nanoseconds, bytes and rates are in SI units, shares are parts of 1.
"""

from __future__ import annotations

import msgspec

from .rows import GroupRow


class Chains(msgspec.Struct):
    """Elementwise work, norms and copies in runs, each of which a compiler could make one kernel."""

    count: int = 0
    """Chains of at least two."""
    kernels: int = 0
    time_ns: int = 0
    bytes: float = 0.0
    """What one kernel a chain must still read and write."""
    bytes_per_s: float = 0.0
    """The best rate that one of these kernels reached (1 MiB or more); 0 unknown."""
    longest: str = ""
    """The operator that takes most of their time; empty in a run saved before this was looked at."""


class TextKV(msgspec.Struct):
    """Keys and values of cross attention that were computed again with the same sizes."""

    count: int = 0
    """Projections."""
    calls: int = 0
    time_ns: int = 0
    repeated_ns: int = 0
    """Time of all their calls but, on average, one of each."""
    stage: str = ""
    example: str = ""
    """The module path of one of them."""


class Launch(msgspec.Struct):
    """How work reached the device."""

    floor_ns: int
    median_ns: int
    p90_ns: int
    p99_ns: int
    mean_queue_depth: float
    max_queue_depth: int
    graph_launches: int
    graph_kernels: int
    host_active_ns: int
    """The host's own time from the first launch to the last, without what it spent waiting: the run cannot take
    less, however fast the device."""
    gaps: list[GroupRow]


class Coverage(msgspec.Struct):
    """Shares of device time."""

    operator: float
    module: float
    stage: float
    shapes: float
    graph_capture: float | None = None
    workload: float | None = None
    flops: float | None = None
    """Of the time in attention, convolution and linear, the share whose FLOPs are known; None without any."""
    attention: float | None = None
    """Of the time in calls of attention, the share whose size is known; None without any."""
