"""What a run says of its collectives; times in integer nanoseconds, rates in bytes per second. None: not known."""

from __future__ import annotations

import msgspec


class CollectiveRow(msgspec.Struct):
    """All calls of one kind of collective in one group, of one size."""

    name: str
    """all-reduce, all-gather, reduce-scatter, all-to-all, broadcast …; else what the kernel is called."""
    group: str
    """The process group's name, with its description; empty where unknown."""
    ranks: int | None
    """Of the group."""
    dtype: str
    bytes: int | None
    """Of one call, by the rule of nccl-tests: of the larger side, on one rank."""
    count: int
    time_ns: int
    """Waiting for other ranks included: a kernel that has started spins until all have."""
    exposed_ns: int
    """Of that, while no other work ran on its device."""
    algorithm_bytes_per_s: float | None = None
    """Bytes over time: at least what the link did, for the time includes waiting."""
    bus_bytes_per_s: float | None = None
    """The same times what the algorithm must send of each byte: to be held against the link."""
    link: str = ""
    """What joins the devices in `frameroof hardware`: `own` (NVLink, Infinity Fabric …) or `pcie`; empty unknown."""
    link_bytes_per_s: float | None = None
    """One direction."""
    share_of_link: float | None = None
    uneven: bool = False
    """Whether not every rank is sent as much."""
    members: str = ""
    """The ranks of the group, where they were recorded."""
    starts_ns: list[int] = msgspec.field(default_factory=list)
    """The start of each call, in order, on the clock of the file."""
    calls_ns: list[int] = msgspec.field(default_factory=list)
    """The time of each call."""
