"""A trace -> `Run`: every table of the report, as data."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET

from ..dtypes import MATHS, TORCH, check, of_bytes
from ..hardware import Device
from ..recorded import Origin
from ..roofline import Roofline
from ..run import AttentionRow, GroupRow, Launch, ProblemRow, Run, SequenceRow, StageRow, SyncRow
from .advice import advise
from .find.above_peak import beyond_peaks
from .find.attention.calls import find_attention
from .find.communication import exposed
from .find.elementwise_chains import find_chains
from .find.host_waits import find_syncs
from .find.idle import Idle, explain_idle
from .find.ranks import by_device
from .find.repeated_text_kv import find_text_kv
from .find.stages import UNLINKED, Stage, find_stages
from .grouped import Grouped
from .read.decode import Progress, read
from .read.file import Source
from .read.nsys.refuse import refuse_report
from .resolve.attention_call import Attention
from .resolve.cost_of_work import account, hidden, reclassify
from .resolve.graph_capture import read_capture, with_capture
from .resolve.work_table import HOST_TIMES, Placed, place
from .tables import Table, common, known_device


def analyze(  # seven arguments: the trace, and one an option of the command
    path: str | os.PathLike[str] | Source,
    *,
    capture: str | os.PathLike[str] | None = None,
    on: Device | None = None,
    maths: str | None = None,
    progress: Progress | None = None,
    perfetto: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Run:
    """Where the time of a trace went (docs/reference/analyze-json.rst).

    `capture` is the trace in which the graphs that this one replays were captured; `on` is the device whose peak
    measures are compared with, by default the one that the trace names; `maths` is what multiplied fp32 where its
    kernels do not tell, by default PyTorch's (`dtypes.unit_of`). `perfetto` is a file to write the trace to once more,
    with its stages, attention and gaps as tracks (`force` overwrites it).
    Raises `TraceError` (a sentence) where a file cannot be read.
    """
    check(maths, MATHS, "maths is")
    refuse_report(path.path if isinstance(path, Source) else path)
    trace = read(path, progress=progress)
    placed, covered_graph = place(trace), None
    if capture is not None:
        captures = read_capture(read(capture, progress=progress))
        if not captures:
            raise ValueError(f"{capture} holds no graph capture (no BeginCapture … EndCapture)")
        placed, covered_graph = with_capture(placed, captures)
    parts = find_attention(placed), find_stages(placed), explain_idle(placed)
    run = describe(placed, parts, on=on, graph_capture=covered_graph, maths=maths)
    if perfetto is not None:
        from .export.perfetto import export

        export(placed, *parts, perfetto, force)
    return run


Parts = tuple[list[Attention], list[Stage], Idle]
"""What was found in a trace besides its rows."""


def describe(  # five: the trace, what was found in it, and an option each
    placed: Placed,
    parts: Parts,
    *,
    on: Device | None = None,
    graph_capture: float | None = None,
    maths: str | None = None,
) -> Run:
    """The tables of one trace whose work is in its place; moves the rows of its attention into that class."""
    attention, stages, idle = parts
    if on is not None and on.kind == "cpu":  # whoever recorded it knows what did the work
        placed.host_only = False
        placed.trace.problems = [p for p in placed.trace.problems if p.action != HOST_TIMES]
    flops, moved = account(placed, attention)
    reclassify(placed, attention)
    table = Table(placed, flops, moved, on or known_device(placed), _stage_of(placed, stages), maths or TORCH)
    run = Run(
        source=_source(placed, maths),
        summary=table.summary(idle),
        classes=table.groups(placed.classes),
        operators=table.operators(hidden(placed, attention)),
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
        communication={} if placed.host_only else exposed(placed),
        coverage=table.coverage(stages, graph_capture),
        problems=[ProblemRow(p.what, p.count, p.action) for p in placed.trace.problems],
        devices=by_device(placed),
        chains=find_chains(placed, moved),
        text_kv=find_text_kv(placed, attention, table.stage),
    )
    run.problems += beyond_peaks(run, table.device)
    run.advice = advise(run, table.device)
    return run


def _source(placed: Placed, maths: str | None) -> Origin:
    header = placed.trace.header
    versions = {n: v for n in ("cuda_runtime", "cuda_driver", "hip_runtime") if (v := getattr(header, n)) is not None}
    return Origin(
        path=Path(placed.trace.path).name,
        times="ns" if placed.trace.nanosecond else "us",
        rank=header.distributed.rank if header.distributed else None,
        world_size=header.distributed.world_size if header.distributed else None,
        versions=versions,
        ignored=placed.trace.ignored,
        maths=maths or UNSET,
    )


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
        groups[call.kind, call.geometry, call.fused, call.causal, call.align, stage].append(call)
    rows = []
    for (kind, (batch, heads, query, key, head), fused, causal, align, stage), found in groups.items():
        time, flops, moved = (sum(getattr(c, n) for c in found) for n in ("duration", "flops", "bytes"))
        needed = sum(c.executed_flops for c in found)
        copies = sum(int(table.placed.duration[row]) for c in found for row in c.around)
        told = not (fused or table.placed.host_only)
        rows.append(
            AttentionRow(
                kind, query, key, heads, head, batch, time, len(found), fused, causal, flops, moved,
                found[0].matrix_bytes,
                max(0, time + copies - _limit_ns(table.device, needed, moved, found[0].item)) if told else 0,
                stage, common(c.module for c in found), table.dtype([c.rows[0] for c in found]), copies, align,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: -row.time_ns)


def _limit_ns(on: Device | None, flops: float, moved: float, item: int) -> int:
    """The least time of a fused attention on a device; 0 where the device is unknown (nothing can be promised less)."""
    if on is None:
        return 0
    return int(1e9 * Roofline(on, ran=True).limit(flops=flops, unit=of_bytes(item), bytes=moved).seconds)


def _stages(placed: Placed, stages: Sequence[Stage], idle: Idle) -> list[StageRow]:
    before = idle.before(len(placed))
    total = max(1, int(placed.duration.sum()))
    rows = []
    for stage in stages:
        by = Grouped([placed.classes[row] for row in stage.rows], placed.duration[stage.rows])
        time = stage.time_ns(placed)
        rows.append(
            StageRow(
                stage.name, stage.source, time, stage.busy_ns(placed), len(stage.calls),
                [int(placed.duration[call].sum()) for call in stage.calls],
                dict(zip(by.keys, by.times, strict=True)), time / total,
                int(before[stage.rows].sum()), _by_call(placed, stage),
            )
        )  # fmt: skip
    return rows


def _by_call(placed: Placed, stage: Stage) -> dict[str, list[int]]:
    """Class -> its time in each call of a stage."""
    found: dict[str, list[int]] = defaultdict(lambda: [0] * len(stage.calls))
    for number, call in enumerate(stage.calls):
        for row, time in zip(call, placed.duration[call].tolist(), strict=True):
            found[placed.classes[row]][number] += time
    return dict(found)


def _launch(placed: Placed, idle: Idle) -> Launch:
    graph = placed.graph
    replays = len(set(placed.launch[graph].tolist()))
    span = max(1, idle.span_ns)
    gaps = [GroupRow(label, ns, count, ns / span) for label, count, ns in idle.buckets]
    return Launch(idle.floor_ns, *idle.latency_ns, *idle.depth, replays, int(graph.sum()), idle.host_active_ns, gaps)
