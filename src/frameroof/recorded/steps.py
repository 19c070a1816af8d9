"""What a run says of its steps, and of the stretch of it that was asked for; times in integer nanoseconds."""

from __future__ import annotations

import msgspec

WARM_UP = "warm-up"
PARTIAL = "partial"


class StepRow(msgspec.Struct):
    """One step: a `ProfilerStep`, a call of the denoiser, or a range that repeats."""

    number: int
    """That of `ProfilerStep#N`; else counted from 1."""
    name: str
    wall_ns: int
    """Its range on the host; the longest, where several processes have one."""
    busy_ns: int
    """Time in which its work ran. Where that of two steps ran at once, the one that began first has it: the busy times
    of all steps add up."""
    idle_ns: int
    """Idle time of the device that ended with its work, but for its first."""
    before_ns: int
    """Idle time of the device that ended with its first work."""
    kernels: int
    """Operators, on a processor."""
    time_ns: int
    """Sum of its work, copies and fills too."""
    kind: str = ""
    """`warm-up`, `partial`, or nothing."""
    why: str = ""
    """Of a slow step: what differs most from the median step."""
    classes: dict[str, int] = msgspec.field(default_factory=dict)
    """Time of its work by class."""
    idle: dict[str, int] = msgspec.field(default_factory=dict)
    """`idle_ns` by the cause of the larger part of each gap."""

    @property
    def length_ns(self) -> int:
        """How long it took: on the host, or on the device where that is longer (the host ran ahead)."""
        return max(self.wall_ns, self.busy_ns + self.idle_ns)


class Spread(msgspec.Struct):
    """Of a time over all steady steps."""

    min_ns: int
    median_ns: int
    max_ns: int


class StepSummary(msgspec.Struct):
    """All steps side by side; warm-up and partial steps are in none of the spreads."""

    named_by: str
    """`ProfilerStep`, or what repeats."""
    count: int
    steady: int
    """How many are neither warm-up nor partial."""
    wall: Spread
    busy: Spread
    idle: Spread
    slowest: int
    """Number of the longest of all, on the host or on the device."""
    outside_ns: int
    """Busy time of work that no step launched."""
    said: list[str] = msgspec.field(default_factory=list)
    """What is to be known before any number is read: warm-up and partial steps."""


class Window(msgspec.Struct):
    """The stretch of the run that everything else is about."""

    asked: str
    """The option, as it was given."""
    names: list[str]
    """The ranges that it names, at most ten."""
    count: int
    """How many."""
    host_ns: int
    """Their time on the host, together."""
    other_ns: int
    """Time between its first and last work that is in no sum: other work ran, or the device waited for such."""
    past_ns: int
    """Time in which its work still ran when its ranges on the host had ended."""
