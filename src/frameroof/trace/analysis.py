"""A trace -> `Run`: every table of the report, as data."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..hardware import Device, device
from ..run import (
    AttentionRow,
    Coverage,
    GroupRow,
    Launch,
    ModuleRow,
    OperatorRow,
    ProblemRow,
    Run,
    SequenceRow,
    ShapeRow,
    StageRow,
    Summary,
    SyncRow,
)
from .account import MATRIX, account, over_link, reclassify
from .advice import advise
from .attention import Attention, find_attention
from .capture import read_capture, with_capture
from .chains import find_chains
from .columns import Array
from .communication import exposed
from .idle import Idle, explain_idle
from .nsys_report import refuse_report
from .placed import Placed, place
from .plausible import beyond_peaks
from .ranks import by_device
from .read import Progress, read
from .schema import Kind
from .shapes import peak_of
from .stages import UNLINKED, Stage, find_stages
from .syncs import find_syncs
from .text_kv import find_text_kv

SHORT_NS = 10_000


def analyze(
    path: str | os.PathLike[str],
    *,
    capture: str | os.PathLike[str] | None = None,
    on: Device | None = None,
    progress: Progress | None = None,
    perfetto: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Run:
    """Where the time of a trace went (docs/reference/analyze-json.rst).

    `capture` is the trace in which the graphs that this one replays were captured; `on` is the device whose peak
    measures are compared with, by default the one that the trace names. `perfetto` is a file to write the trace to
    once more, with its stages, attention and gaps as tracks (`force` overwrites it).
    Raises `TraceError` (a sentence) where a file cannot be read.
    """
    refuse_report(path)
    trace = read(path, progress=progress)
    placed, covered_graph = place(trace), None
    if capture is not None:
        captures = read_capture(read(capture, progress=progress))
        if not captures:
            raise ValueError(f"{capture} holds no graph capture (no BeginCapture … EndCapture)")
        placed, covered_graph = with_capture(placed, captures)
    parts = find_attention(placed), find_stages(placed), explain_idle(placed)
    run = describe(placed, parts, on=on, graph_capture=covered_graph)
    if perfetto is not None:
        from .perfetto import export

        export(placed, *parts, perfetto, force)
    return run


Parts = tuple[list[Attention], list[Stage], Idle]
"""What was found in a trace besides its rows."""


def describe(placed: Placed, parts: Parts, *, on: Device | None = None, graph_capture: float | None = None) -> Run:
    """The tables of one trace whose work is in its place; moves the rows of its attention into that class."""
    attention, stages, idle = parts
    flops, moved = account(placed, attention)
    reclassify(placed, attention)
    table = Table(placed, flops, moved, on or known_device(placed), _stage_of(placed, stages))
    run = Run(
        source=_source(placed),
        summary=table.summary(idle),
        classes=table.groups(placed.classes),
        operators=table.operators(),
        shapes=table.shapes(),
        kernels=table.groups(placed.kernel),
        modules=table.modules(idle),
        attention=_attention(attention, table),
        sequence=[SequenceRow(a.start, a.query_len, a.key_len, a.duration) for a in attention if a.query_len],
        stages=_stages(placed, stages, idle),
        idle=idle.causes,
        outside={"before_first": idle.before_ns, "after_last": idle.after_ns},
        idle_reliable=idle.reliable,
        launch=_launch(placed, idle),
        syncs=[SyncRow(s.call, s.operator, s.line, s.count, s.host_ns, s.idle_ns) for s in find_syncs(placed, idle)],
        communication=exposed(placed),
        coverage=table.coverage(stages, graph_capture),
        problems=[ProblemRow(p.what, p.count, p.action) for p in placed.trace.problems],
        devices=by_device(placed),
        chains=find_chains(placed, moved),
        text_kv=find_text_kv(placed, attention, table.stage),
    )
    run.problems += beyond_peaks(run, table.device)
    run.advice = advise(run, table.device)
    return run


def _source(placed: Placed) -> dict[str, Any]:
    header = placed.trace.header
    versions = {n: v for n in ("cuda_runtime", "cuda_driver", "hip_runtime") if (v := getattr(header, n)) is not None}
    return {
        "path": Path(placed.trace.path).name,
        "kind": "trace",
        "times": "ns" if placed.trace.nanosecond else "us",
        "rank": header.distributed.rank if header.distributed else None,
        "world_size": header.distributed.world_size if header.distributed else None,
        "versions": versions,
        "ignored": placed.trace.ignored,
    }


def known_device(placed: Placed) -> Device | None:
    """The device that the trace names, as `frameroof hardware` knows it; None if it does not."""
    named = device_name(placed)
    if named is None:
        return None
    try:
        return device(named)
    except ValueError:
        return None


def device_name(placed: Placed) -> str | None:
    """The name in the file of the device that did the work; ROCm numbers devices otherwise than it lists them."""
    listed = placed.trace.header.devices
    if placed.on_cpu or not listed:
        return None
    used = {int(d) for d in placed.device.tolist()}
    return next((d.name for d in listed if d.id in used and d.name), listed[0].name or None)


class Table:
    """Sums over the rows of work by whatever names them."""

    def __init__(self, placed: Placed, flops: Array, moved: Array, on: Device | None, stage: Sequence[str]) -> None:
        self.placed, self.flops, self.moved, self.device = placed, flops, moved, on
        self.stage = stage
        self.spent: list[int] = placed.duration.tolist()
        self.total = max(1, sum(self.spent))
        self.memory = np.isin(np.array(placed.kind), (int(Kind.MEMCPY), int(Kind.MEMSET)))

    def summary(self, idle: Idle) -> Summary:
        """The run as a whole."""
        p = self.placed
        kernels = ~self.memory
        return Summary(
            device="CPU" if p.on_cpu else device_name(p),
            hardware=self.device.name if self.device else None,
            busy_ns=idle.busy_ns,
            span_ns=idle.span_ns,
            idle_ns=idle.idle_ns,
            kernel_ns=int(p.duration[kernels].sum()),
            memory_ns=int(p.duration[self.memory].sum()),
            kernels=int(kernels.sum()),
            copies=int(self.memory.sum()),
            events=p.trace.events,
            streams=len(set(zip(p.device.tolist(), p.stream.tolist(), strict=True))),
            devices=len(set(p.device.tolist())),
            short_kernels=int((p.duration[kernels] < SHORT_NS).sum()),
            flops=_known_sum(self.flops),
            bytes=_known_sum(self.moved),
            on_cpu=p.on_cpu,
        )

    def groups(self, names: Sequence[str]) -> list[GroupRow]:
        """Time by name, the longest first."""
        return [
            GroupRow(
                name,
                int(self.placed.duration[rows].sum()),
                len(rows),
                float(self.placed.duration[rows].sum() / self.total),
                _known_sum(self.flops[rows]),
                _known_sum(self.moved[rows]),
                self._timed(rows),
            )
            for name, rows in self._by(names)
        ]

    def _timed(self, rows: list[int]) -> int:
        """Time of those of some rows whose FLOPs are known."""
        return int(self.placed.duration[rows][self.flops[rows] >= 0].sum())

    def operators(self) -> list[OperatorRow]:
        """Time by class and operator, with what it achieved."""
        p = self.placed
        names = [o or f"(kernel) {k}" for o, k in zip(p.operator, p.kernel, strict=True)]
        found = []
        for (name, operator), rows in self._by(list(zip(p.classes, names, strict=True))):
            time = int(p.duration[rows].sum())
            flops, moved = _known_sum(self.flops[rows]), _known_sum(self.moved[rows])
            dtype = self.dtype(rows)
            timed = self._timed(rows)
            rate = flops / timed * 1e9 if flops and timed else None
            peak = peak_of(self.device, dtype) if self.device and dtype in self.device.dense_flops else None
            found.append(
                OperatorRow(
                    name, operator, time, self._calls(rows), len(rows), flops, moved,
                    rate, moved / time * 1e9 if moved and time else None,
                    rate / peak if rate and peak else None, dtype,
                )
            )  # fmt: skip
        return found

    def shapes(self) -> list[ShapeRow]:
        """Time by class, operator ("" unknown), inputs and stage; copies to and from the host apart."""
        p = self.placed
        keys = list(zip(p.classes, p.operator, p.arguments, self.stage, over_link(p), strict=True))
        found = []
        for (name, operator, at, stage, link), rows in self._by(keys):
            inputs = p.inputs[at] if at >= 0 else None
            found.append(
                ShapeRow(
                    name, operator, stage, _common(p.module[r] for r in rows),
                    _lists(inputs.dims) if inputs else [], inputs.dtype if inputs else None,
                    int(p.duration[rows].sum()), self._calls(rows),
                    _known_sum(self.flops[rows]), _known_sum(self.moved[rows]), link,
                )
            )  # fmt: skip
        return found

    def modules(self, idle: Idle, most: int = 400) -> list[ModuleRow]:
        """Time and gaps under every module path and all that encloses it, the longest first, at most `most`."""
        p = self.placed
        before = _idle_before(p, idle)
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for path, rows in self._by(p.module):
            own = int(p.duration[rows].sum()), len(rows), int(before[rows].sum())
            for part in enclosing(path):
                sums[part] = [a + b for a, b in zip(sums[part], own, strict=True)]
        ordered = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))[:most]
        return [ModuleRow(path, t, n, t / self.total, gap, gap / n) for path, (t, n, gap) in ordered]

    def coverage(self, stages: Sequence[Stage], graph_capture: float | None) -> Coverage:
        """Shares of the time that could be told."""
        p = self.placed

        def share(mask: Any) -> float:
            return float(p.duration[np.asarray(mask, dtype=bool)].sum() / self.total) if len(p) else 0.0

        matrix = np.array([c in MATRIX for c in p.classes], dtype=bool) & ~self.memory
        staged = np.zeros(len(p), dtype=bool)
        for stage in stages:
            if stage.source:
                staged[stage.rows] = True
        return Coverage(
            operator=share([bool(o) for o in p.operator]),
            module=share([bool(m) for m in p.module]),
            stage=share(staged),
            shapes=share([a >= 0 for a in p.arguments]),
            graph_capture=graph_capture,
            flops=share(matrix & (self.flops >= 0)) / share(matrix) if share(matrix) else None,
        )

    def _by(self, names: Sequence[Any]) -> list[tuple[Any, list[int]]]:
        """(name, its rows), by time, longest first."""
        rows: dict[Any, list[int]] = defaultdict(list)
        for row, name in enumerate(names):
            rows[name].append(row)
        return sorted(rows.items(), key=lambda item: -int(self.placed.duration[item[1]].sum()))

    def _calls(self, rows: list[int]) -> int:
        calls = self.placed.call[rows]
        return int(len(set(calls[calls >= 0].tolist())) + (calls < 0).sum())

    def dtype(self, rows: list[int]) -> str | None:
        """The type of the inputs in most of the time of some rows."""
        arguments, spent = self.placed.arguments, self.spent
        by_inputs: dict[int, int] = defaultdict(int)
        for row in rows:
            by_inputs[arguments[row]] += spent[row]
        times: dict[str, int] = defaultdict(int)
        for at, time in by_inputs.items():
            inputs = self.placed.inputs[at] if at >= 0 else None
            if inputs and inputs.dtype:
                times[inputs.dtype] += time
        return max(times, key=lambda d: times[d]) if times else None


def enclosing(path: str) -> list[str]:
    """ "a/b/c" -> a, a/b, a/b/c; "a.b" -> a, a.b; "" -> nothing."""
    if not path:
        return []
    sign = "/" if "/" in path else "."
    parts = path.split(sign)
    return [sign.join(parts[: i + 1]) for i in range(len(parts))]


def _common(paths: Iterable[str]) -> str:
    """The deepest path that encloses all of `paths`."""
    found = sorted(set(paths))
    first, last = enclosing(found[0]), enclosing(found[-1])
    same = [a for a, b in zip(first, last, strict=False) if a == b]
    return same[-1] if same else ""


def _lists(dims: Any) -> Any:
    """Dimensions as JSON holds them."""
    return [_lists(d) for d in dims] if isinstance(dims, tuple) else dims


def _known_sum(values: Array) -> float | None:
    known = values[values >= 0]
    return float(known.sum()) if len(known) else None


def _stage_of(placed: Placed, stages: Sequence[Stage]) -> list[str]:
    names = [UNLINKED] * len(placed)
    for stage in stages:
        for row in stage.rows:
            names[row] = stage.name
    return names


def _attention(calls: Sequence[Attention], table: Table) -> list[AttentionRow]:
    groups: dict[Any, list[Attention]] = defaultdict(list)
    for call in calls:
        stage = table.stage[call.rows[0]]
        groups[call.kind, call.geometry, call.fused, call.causal, stage].append(call)
    rows = []
    for (kind, (batch, heads, query, key, head), fused, causal, stage), found in groups.items():
        time, flops, moved = (sum(getattr(c, n) for c in found) for n in ("duration", "flops", "bytes"))
        rows.append(
            AttentionRow(
                kind, query, key, heads, head, batch, time, len(found), fused, causal, flops, moved,
                batch * heads * query * key * found[0].item,
                0 if fused else max(0, time - _limit_ns(table.device, flops, moved, found[0].item)),
                stage, _common(c.module for c in found), table.dtype([c.rows[0] for c in found]),
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: -row.time_ns)


def _limit_ns(on: Device | None, flops: float, moved: float, item: int) -> int:
    """The least time of a fused attention on a device; 0 where the device is unknown (nothing can be promised less)."""
    if on is None:
        return 0
    dtype = {1: "fp8", 2: "bf16", 4: "fp32"}.get(item, "bf16")
    peak = peak_of(on, dtype)
    return int(1e9 * max(flops / peak, moved / on.bandwidth))


def _idle_before(placed: Placed, idle: Idle) -> Array:
    """Idle time of the device that each piece of work ended."""
    before = np.zeros(len(placed), dtype=np.int64)
    before[idle.gap_row] = idle.gap_end - idle.gap_start
    return before


def _stages(placed: Placed, stages: Sequence[Stage], idle: Idle) -> list[StageRow]:
    before = _idle_before(placed, idle)
    total = max(1, int(placed.duration.sum()))
    rows = []
    for stage in stages:
        classes: dict[str, int] = defaultdict(int)
        for row in stage.rows:
            classes[placed.classes[row]] += int(placed.duration[row])
        time = stage.time_ns(placed)
        rows.append(
            StageRow(
                stage.name, stage.source, time, stage.busy_ns(placed), len(stage.calls),
                [int(placed.duration[call].sum()) for call in stage.calls],
                dict(sorted(classes.items(), key=lambda item: -item[1])), time / total,
                int(before[stage.rows].sum()),
            )
        )  # fmt: skip
    return rows


def _launch(placed: Placed, idle: Idle) -> Launch:
    graph = placed.graph
    replays = len(set(placed.launch[graph].tolist()))
    span = max(1, idle.span_ns)
    gaps = [GroupRow(label, ns, count, ns / span) for label, count, ns in idle.buckets]
    return Launch(idle.floor_ns, *idle.latency_ns, *idle.depth, replays, int(graph.sum()), idle.host_active_ns, gaps)
