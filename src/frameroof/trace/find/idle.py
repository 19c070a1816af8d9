"""Why the device stood still, gap by gap.

A gap ends with the start of some work. While the host was still inside the launch call, the device waited for it; and
so it did until the call's start plus the launch latency floor of the run (the least time that any launch took to reach
the idle device). So of a gap,

    until then     the device waited for the host, and the cause is what the thread that launched did at each moment:
                   it was inside a wait for the device (synchronization), inside a copy (copy), starting or stopping
                   the profiler (profiler), or doing anything else on its way to the launch and in it (host_launch)
    the rest       the work was queued and the device still waited (dependency: streams, events, the hardware)

A gap within one graph replay is `graph`: no host takes part in it, and on ROCm its length is not reliable.
Time under the profiler's own overhead rows is `profiler`; a gap before work whose launch is unknown is `unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..intervals import covered, merged
from ..read.columns import Array, distinct, percentiles
from ..read.events import Kind
from ..resolve.work_table import WorkTable
from .host_parts import HOST_CAUSES, HostPart, Waiting, host_parts, waits

CAUSES = ("host_launch", "synchronization", "copy", "dependency", "graph", "profiler", "unknown")
BUCKETS_US = (1, 10, 100)


@dataclass
class Idle:
    """Gaps of the device and their causes, in nanoseconds."""

    span_ns: int = 0
    busy_ns: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    cause_gaps: dict[str, int] = field(default_factory=dict)
    """Cause -> the gaps that are in part or whole put down to it."""
    before_ns: int = 0
    """From the start of the window on the host to the first work."""
    after_ns: int = 0
    """From the last work to the end of that window."""
    floor_ns: int = 0
    """The least latency from a launch call to its work (5th percentile, against measuring noise)."""
    latency_ns: tuple[int, int, int] = (0, 0, 0)
    """Median, 90th and 99th percentile of that latency, queueing included."""
    host_active_ns: int = 0
    """From the first launch to the last, without the calls in which the host waited for the device."""
    depth: tuple[float, int] = (0.0, 0)
    """Mean and largest number of launched, unfinished pieces of work, seen at each launch."""
    buckets: list[tuple[str, int, int]] = field(default_factory=list)
    """(range of lengths, gaps, ns in them)."""
    gap_start: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    gap_end: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    gap_cause: list[str] = field(default_factory=list)
    """The cause of the larger part of each gap."""
    gap_wait: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Of each gap, the part that is `synchronization`."""
    host: list[HostPart] = field(default_factory=list)
    """What the host did in these parts."""
    gap_row: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The work that ends each gap."""
    reliable: bool = True
    """False where the file's own gaps cannot be trusted (HIP graph replays)."""

    @property
    def idle_ns(self) -> int:
        """Span less busy time: the sum of all causes."""
        return self.span_ns - self.busy_ns

    def before(self, count: int) -> Array:
        """For each of `count` rows of work, the idle time that it ended."""
        ended = np.zeros(count, dtype=np.int64)
        ended[self.gap_row] = self.gap_end - self.gap_start
        return ended


def explain_idle(work_table: WorkTable, busy: tuple[Array, Array] | None = None) -> Idle:
    """Account for every nanosecond in which no work ran between the first and the last work.

    `busy` is when any device of the trace worked, where `work_table` holds the work of one of them (`merged`).
    """
    idle = Idle()
    if not len(work_table):
        return idle
    start, end = merged(work_table.start, work_table.end)
    idle.busy_ns = int((end - start).sum())
    idle.span_ns = int(end[-1] - start[0])
    _window(work_table, idle, int(start[0]), int(end[-1]))
    if work_table.on_cpu:
        idle.causes = {"unknown": idle.idle_ns} if idle.idle_ns else {}
        return idle
    lo, hi = end[:-1], start[1:]
    _latencies(work_table, idle, lo, hi)
    _split(work_table, idle, lo, hi, busy or (start, end))
    idle.host_active_ns = _host_active(work_table)
    lengths = hi - lo
    edges = [0, *(1000 * b for b in BUCKETS_US), np.iinfo(np.int64).max]
    labels = ["up to 1 us", "1 to 10 us", "10 to 100 us", "over 100 us"]
    for label, low, high in zip(labels, edges, edges[1:], strict=False):
        inside = (lengths > low) & (lengths <= high)
        idle.buckets.append((label, int(inside.sum()), int(lengths[inside].sum())))
    return idle


def _window(work_table: WorkTable, idle: Idle, first: int, last: int) -> None:
    host = work_table.trace.host
    rows = np.flatnonzero((host.kind == int(Kind.ANNOTATION)) | (host.kind == int(Kind.OPERATOR)))
    if len(rows):
        idle.before_ns = max(0, first - int(host.start[rows].min()))
        idle.after_ns = max(0, int(host.end[rows].max()) - last)


def _latencies(work_table: WorkTable, idle: Idle, lo: Array, hi: Array) -> None:
    known = work_table.launch >= 0
    kernels = known & ~work_table.graph & (np.array(work_table.kind) == int(Kind.KERNEL))
    if not kernels.any():
        return
    called = work_table.trace.host.start[work_table.launch[kernels]]
    latency = work_table.start[kernels] - called
    latency = latency[latency >= 0]
    if not len(latency):
        return
    idle.latency_ns = tuple(int(v) for v in percentiles(latency, 50, 90, 99))  # type: ignore[assignment]
    idle.floor_ns = min(_floor(work_table, lo, hi), int(latency.min()) if len(lo) < MANY else LATEST_FLOOR_NS)
    done = np.sort(work_table.end[kernels])
    calls = np.sort(called)
    waiting = np.arange(1, len(calls) + 1) - np.searchsorted(done, calls, side="right")
    idle.depth = float(waiting.mean()), int(waiting.max())


ORDINARY_LAUNCH_NS = 50_000
"""A launch that takes longer was waiting for room in the queue: the rest of it is not the host's own time."""


def _host_active(work_table: WorkTable) -> int:
    rows = distinct(work_table.launch[work_table.launch >= 0])
    if not len(rows):
        return 0
    host = work_table.trace.host
    first, last = int(host.start[rows].min()), int(host.start[rows].max())
    waiting = waits(work_table)
    late = rows[host.end[rows] - host.start[rows] > ORDINARY_LAUNCH_NS]
    start = np.concatenate([host.start[waiting], host.start[late] + ORDINARY_LAUNCH_NS])
    end = np.concatenate([host.end[waiting], host.end[late]])
    waited = covered(np.clip(start, first, last), np.clip(end, first, last))
    return last - first - waited


MANY = 20
LATEST_FLOOR_NS = 20_000
"""No launch that finds the device idle should take longer; on all machines seen it takes 5 to 11 us."""


def _floor(work_table: WorkTable, lo: Array, hi: Array) -> int:
    """The launch latency floor: 5th percentile over launches that came while the device was already idle."""
    row = np.searchsorted(work_table.start, hi, side="left")
    launch = work_table.launch[row]
    late = (launch >= 0) & ~work_table.graph[row]
    called = work_table.trace.host.start[np.maximum(launch, 0)]
    late &= called >= lo
    return int(percentiles((hi - called)[late], 5)[0]) if late.any() else LATEST_FLOOR_NS


def _split(work_table: WorkTable, idle: Idle, lo: Array, hi: Array, busy: tuple[Array, Array]) -> None:
    """Divide every gap [lo, hi) among the causes."""
    row = np.searchsorted(work_table.start, hi, side="left")
    launch = work_table.launch[row]
    host = work_table.trace.host
    length = hi - lo
    known = launch >= 0
    before = np.where(row > 0, work_table.launch[np.maximum(row - 1, 0)], -1)
    in_graph = work_table.graph[row] & (before == launch) & known
    if len(host):
        returned = np.maximum(host.start[launch] + idle.floor_ns, host.end[launch])
        ready = np.clip(np.where(known & ~in_graph, returned, lo), lo, hi)
    else:
        ready = lo
    parts = {name: np.zeros(len(lo), dtype=np.int64) for name in CAUSES}
    until = np.where(known & ~in_graph, hi, ready)
    idle.host = host_parts(work_table, Waiting(lo, ready, until, launch, before), busy)
    host_part, queue_part = ready - lo, until - ready
    for part in idle.host:
        for number, name in enumerate(HOST_CAUSES):
            here = part.cause == number
            np.add.at(parts[name], part.pieces.interval[here], part.length[here])
        np.subtract.at(queue_part if part.queued else host_part, part.pieces.interval, part.length)
    idle.gap_wait = parts["synchronization"]
    parts["profiler"] += host_part  # what is left lies under its overhead rows
    parts["dependency"] += queue_part  # and here nobody looked at the host
    parts["graph"] = np.where(in_graph, length, 0)
    parts["unknown"] = np.where(~known, length, 0)
    idle.causes = {name: int(values.sum()) for name, values in parts.items() if values.any()}
    idle.cause_gaps = {name: int(np.count_nonzero(parts[name])) for name in idle.causes}
    table = np.stack([parts[name] for name in CAUSES]) if len(lo) else np.zeros((len(CAUSES), 0))
    idle.gap_cause = [CAUSES[i] for i in table.argmax(axis=0).tolist()] if len(lo) else []
    idle.gap_start, idle.gap_end, idle.gap_row = lo, hi, row
    idle.reliable = not (bool(in_graph.any()) and work_table.trace.is_rocm)
