"""The events of a trace as columns: what the reader fills and everything else in this room reads.

Times are integer nanoseconds since the base of the file; -1 stands for "none" in every column of identifiers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...outside import MOST_QUOTED, clean
from .events import WAVEFRONT, Header, Kind
from .launch_arrows import LaunchArrows

Array = np.ndarray[Any, Any]
MOST_SAID = 1_000
"""Characters of a problem, which may quote the file."""


@dataclass(frozen=True)
class Host:
    """What the processors did: operators, runtime calls, annotations, Python frames; one row an event.

    Rows stand in order of (thread, start, longest first), so that a parent stands before its children.
    """

    kind: Array  # uint8, schema.Kind
    name: Array  # int32, index into Trace.names
    thread: Array  # int32, index into Trace.threads
    start: Array  # int64 ns
    end: Array  # int64 ns
    correlation: Array  # int64: of runtime calls, shared with the work they launched
    external: Array  # int64: the operator's own number
    args: Array  # int32, index into Trace.arguments
    detail: Array  # int32, index into Trace.names: kernel name of a launch, module hierarchy, or a collective's text

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True)
class Work:
    """What the devices did: kernels, copies and fills; one row each, in order of start."""

    kind: Array  # uint8
    name: Array  # int32
    device: Array  # int32, as the file numbers them
    stream: Array  # int64
    start: Array  # int64 ns
    end: Array  # int64 ns
    correlation: Array  # int64
    external: Array  # int64
    bytes: Array  # int64, of copies and fills; -1 unknown
    graph_node: Array  # int64; 0 or -1: in no graph
    detail: Array  # int32, index into Trace.names: the text of a kernel's collective (`collectives`)
    pid: Array  # int32, index into Trace.pids: what the file calls the process; -1 where numbers are unique anyway
    after: Array  # int32, index into Trace.threads: of the event of the host that the file has before it; -1 unknown

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True)
class Arguments:
    """The recorded inputs of an operator, as the JSON text that the file holds; shared by all equal calls."""

    dims: bytes
    types: bytes
    concrete: bytes
    strides: bytes = b""
    """Kept where one is 0: such a tensor is expanded, and holds fewer elements than its dimensions say."""


@dataclass
class Problem:
    """Something in the file that was broken, clipped or lost: what, how many, and what was done about it."""

    what: str
    count: int
    action: str

    def __post_init__(self) -> None:
        self.what, self.action = clean(self.what, MOST_SAID), clean(self.action, MOST_SAID)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"what": self.what, "count": self.count, "action": self.action}


@dataclass
class Trace:
    """A trace file as read; nothing is linked or classified yet."""

    path: str
    header: Header
    names: list[str]
    threads: list[tuple[str, str]]
    arguments: list[Arguments]
    pids: list[str]
    """What the work of the devices has for a process: most often the number of the device."""
    host: Host
    work: Work
    device_spans: Work
    """Annotations drawn over the device's work (never work themselves)."""
    events: int
    """Events in the file, of every sort."""
    ignored: dict[str, int]
    """Categories that the reader does not know, with their count."""
    problems: list[Problem] = field(default_factory=list)
    flows: LaunchArrows = field(default_factory=LaunchArrows)
    """Arrows from launches to work; kept only where the file has no correlation numbers."""
    arrows: bool = True
    """Whether the file holds arrows at all."""
    nanosecond: bool = True
    """Whether the times are finer than whole microseconds."""

    def __post_init__(self) -> None:
        """All text that can reach a report is clean from here on (`outside.clean`)."""
        self.names = [clean(name) for name in self.names]
        self.threads = [(clean(process), clean(thread)) for process, thread in self.threads]
        self.pids = [clean(pid) for pid in self.pids]
        self.ignored = {clean(category): count for category, count in self.ignored.items()}
        for listed in self.header.devices:
            listed.name = clean(listed.name, MOST_QUOTED)

    @property
    def is_rocm(self) -> bool:
        """Whether an AMD runtime wrote it."""
        return self.header.hip_runtime is not None or any(
            "AMD" in d.name or (not d.name and d.warp == WAVEFRONT) for d in self.header.devices
        )


def kinds(array: Array, *wanted: Kind) -> Array:
    """Mask of the rows whose kind is one of `wanted`."""
    mask: Array = array == int(wanted[0])
    for kind in wanted[1:]:
        mask |= array == int(kind)
    return mask


def distinct(values: Array) -> Array:
    """The different whole numbers among some, ascending (NumPy's `unique` loads 15 ms of masked arrays)."""
    return np.array(sorted(set(values.tolist())), dtype=np.int64)


def distinct_with_places(values: Array) -> tuple[Array, Array]:
    """The different whole numbers among some, ascending, and for each value the place of its own; as `distinct`."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    fresh = np.ones(len(values), dtype=bool)
    fresh[1:] = np.diff(ordered) != 0
    places = np.empty(len(values), dtype=np.int64)
    places[order] = np.cumsum(fresh) - 1
    return ordered[fresh], places


def percentiles(values: Array, *wanted: float) -> list[float]:
    """Percentiles of some values, between two of them in proportion (NumPy's own loads 20 ms of masked arrays)."""
    ordered = np.sort(values)
    at = np.array(wanted) / 100 * (len(ordered) - 1)
    return [float(v) for v in np.interp(at, np.arange(len(ordered)), ordered)]
