"""A trace -> `Run`: every table of the report, as data."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import UNSET

from ..dtypes import MATHS, TORCH, check, of_bytes
from ..hardware import Device
from ..recorded import Origin
from ..recorded.steps import StepRow, StepSummary
from ..roofline import Roofline
from ..run import AttentionRow, GroupRow, Launch, ProblemRow, Run, SequenceRow, StageRow, SyncRow
from .advice import conclude
from .find.above_peak import beyond_peaks
from .find.attention.calls import find_attention
from .find.collectives import find_collectives
from .find.communication import exposed
from .find.elementwise_chains import find_chains
from .find.host_functions import by_function
from .find.host_waits import find_syncs
from .find.idle import Idle, explain_idle
from .find.ranks import by_device
from .find.repeated_text_kv import find_text_kv
from .find.stages import UNLINKED, Stage, find_stages
from .find.step_table import step_table
from .find.steps import find_steps
from .find.which_device import known_device
from .find.window import Cut, attention_inside, by_step, cut_table, ends, idle_inside
from .find.window import between as by_range
from .grouped import Grouped
from .read.columns import Trace
from .read.decode import Progress, read
from .resolve.attention_call import AttentionCall
from .resolve.cost_of_work import account, hidden, reclassify
from .resolve.graph_capture import read_capture, with_capture
from .resolve.work_table import HOST_TIMES, WorkTable, make_work_table
from .tables import Table, common


def analyze(  # nine arguments: the trace, and one an option of the command
    path: str | os.PathLike[str] | Trace,
    *,
    capture: str | os.PathLike[str] | None = None,
    on: Device | None = None,
    maths: str | None = None,
    progress: Progress | None = None,
    perfetto: str | os.PathLike[str] | None = None,
    force: bool = False,
    step: str | None = None,
    between: str | None = None,
) -> Run:
    """Where the time of a trace went (docs/reference/analyze-json.rst); `path` is its file, or what `read` gave of it.

    `capture` is the trace in which the graphs that this one replays were captured; `on` is the device whose peak
    measures are compared with, by default the one that the trace names; `maths` is what multiplied fp32 where its
    kernels do not tell, by default PyTorch's (`dtypes.unit_of`). `perfetto` is a file to write the trace to once more,
    with its stages, attention and gaps as tracks (`force` overwrites it). `step` ("3", "last", "2..5") or `between` (a
    range's name) cut all of it to a window (`find.window`).
    Raises `TraceError` (a sentence) where a file cannot be read, `ValueError` where a window matches nothing.
    """
    check(maths, MATHS, "maths is")
    if step is not None and between is not None:
        raise ValueError("a window is either steps or what lies in a range; give one of the two")
    trace = path if isinstance(path, Trace) else read(path, progress=progress)
    work_table, covered_graph = make_work_table(trace), None
    if capture is not None:
        captures = read_capture(read(capture, progress=progress))
        if not captures:
            raise ValueError(f"{capture} holds no graph capture (no BeginCapture … EndCapture)")
        work_table, covered_graph = with_capture(work_table, captures)
    parts = find_attention(work_table), find_stages(work_table), explain_idle(work_table)
    whole, cut = Whole(work_table, parts), None
    if step is not None or between is not None:
        cut = by_step(work_table, parts[1], step) if step is not None else by_range(work_table, parts[1], between or "")
        work_table, parts = _inside(whole, cut)
    run = describe(work_table, parts, on=on, graph_capture=covered_graph, maths=maths, whole=whole, cut=cut)
    if perfetto is not None:
        from .export.perfetto import export

        export(work_table, *parts, perfetto, force)
    return run


Parts = tuple[list[AttentionCall], list[Stage], Idle]
"""What was found in a trace besides its rows."""


class Whole(NamedTuple):
    """All of a trace, of which a window may be asked for."""

    work_table: WorkTable
    parts: Parts


def _inside(whole: Whole, cut: Cut) -> tuple[WorkTable, Parts]:
    """The part of a trace that lies in a window."""
    inside = cut_table(whole.work_table, cut)
    idle = idle_inside(whole.work_table, cut.piece)
    return inside, (attention_inside(whole.parts[0], cut), find_stages(inside), idle)


def describe(  # seven: the trace, what was found in it, and an option each
    work_table: WorkTable,
    parts: Parts,
    *,
    on: Device | None = None,
    graph_capture: float | None = None,
    maths: str | None = None,
    whole: Whole | None = None,
    cut: Cut | None = None,
) -> Run:
    """The tables of one trace from its work table; moves the rows of its attention into that class.

    Of a window (`cut`) the work table and parts are those inside it; `whole` is the trace that it lies in.
    """
    attention, stages, idle = parts
    window = ends(whole.work_table, cut, idle) if whole and cut else None
    if on is not None and on.kind == "cpu":  # whoever recorded it knows what did the work
        work_table.host_only = False
        work_table.trace.problems = [p for p in work_table.trace.problems if p.action != HOST_TIMES]
    flops, moved = account(work_table, attention)
    reclassify(work_table, attention)
    table = Table(
        work_table, flops, moved, on or known_device(work_table), _stage_of(work_table, stages), maths or TORCH
    )
    run = Run(
        source=_source(work_table, maths),
        summary=table.summary(idle),
        classes=table.groups(work_table.classes),
        operators=table.operators(hidden(work_table, attention)),
        shapes=table.shapes(),
        kernels=table.groups(work_table.kernel),
        modules=table.modules(idle),
        attention=_attention(attention, table),
        sequence=[SequenceRow(a.start, a.query_len, a.key_len, a.duration) for a in attention if a.query_len],
        stages=_stages(work_table, stages, idle),
        idle=idle.causes,
        outside={"before_first": idle.before_ns, "after_last": idle.after_ns},
        idle_reliable=idle.reliable,
        launch=_launch(work_table, idle),
        syncs=[
            SyncRow(s.call, s.operator, s.line, s.count, s.host_ns, s.idle_ns) for s in find_syncs(work_table, idle)
        ],
        host_functions=by_function(work_table, idle, whole and whole.work_table),
        communication={} if work_table.host_only else exposed(work_table, whole and whole.work_table),
        collectives=find_collectives(work_table, table.device, whole and whole.work_table),
        coverage=table.coverage(stages, graph_capture, attention),
        problems=[ProblemRow(p.what, p.count, p.action) for p in work_table.trace.problems],
        devices=by_device(whole.work_table, cut.piece) if whole and cut else by_device(work_table),
        window=window,
        chains=find_chains(work_table, moved),
        text_kv=find_text_kv(work_table, attention, table.stage),
    )
    run.problems += [*_unknown_lengths(attention), *beyond_peaks(run, table.device)]
    run.steps, run.step_summary = _steps(whole or Whole(work_table, parts), cut)
    conclude(run, table.device)
    return run


def _steps(whole: Whole, cut: Cut | None) -> tuple[list[StepRow], StepSummary | None]:
    """The table of steps, where there are at least two; of a window those that it holds work of."""
    work_table, (_, stages, idle) = whole
    if cut is not None and len(cut.pieces) > 1:
        return step_table(work_table, cut.pieces, idle)
    steps = find_steps(work_table, stages, least=2)
    if steps is None or len(steps) < 2:
        return [], None
    rows, summary = step_table(work_table, steps, idle)
    if cut is not None:
        held = set(steps.of_work(work_table)[cut.rows].tolist())
        rows = [row for i, row in enumerate(rows) if i in held]
    return rows, summary


def _source(work_table: WorkTable, maths: str | None) -> Origin:
    header = work_table.trace.header
    versions = {n: v for n in ("cuda_runtime", "cuda_driver", "hip_runtime") if (v := getattr(header, n)) is not None}
    return Origin(
        path=Path(work_table.trace.path).name,
        times="ns" if work_table.trace.nanosecond else "us",
        rank=header.distributed.rank if header.distributed else None,
        world_size=header.distributed.world_size if header.distributed else None,
        versions=versions,
        ignored=work_table.trace.ignored,
        maths=maths or UNSET,
    )


def _stage_of(work_table: WorkTable, stages: Sequence[Stage]) -> list[str]:
    names = [UNLINKED] * len(work_table)
    for stage in stages:
        for row in stage.rows:
            names[row] = stage.name
    return names


def _attention(calls: Sequence[AttentionCall], table: Table) -> list[AttentionRow]:
    groups: dict[Any, list[AttentionCall]] = defaultdict(list)
    for call in calls:
        stage = table.stage[call.rows[0]]
        shape = call.geometry, call.packed, call.value_dim, call.backward
        groups[call.kind, shape, call.fused, call.causal, call.align, stage].append(call)
    rows = []
    for (kind, shape, fused, causal, align, stage), found in groups.items():
        (batch, heads, query, key, head), *more = shape
        time = sum(c.duration for c in found)
        flops, moved, needed = (_sum([getattr(c, n) for c in found]) for n in ("flops", "bytes", "executed_flops"))
        copies = sum(int(table.work_table.duration[row]) for c in found for row in c.around)
        main = [row for c in found for row in c.rows]
        told = not (fused or table.work_table.host_only)
        rows.append(
            AttentionRow(
                kind, query, key, heads, head, batch, time, len(found), fused, causal, flops, moved,
                found[0].matrix_bytes,
                max(0, time + copies - _limit_ns(table.device, needed or 0, moved or 0, found[0].item)) if told else 0,
                stage, common(c.module for c in found), table.dtype([c.rows[0] for c in found]), copies, align,
                Grouped([table.work_table.kernel[r] for r in main], table.work_table.duration[main]).keys[0],
                *more,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: -row.time_ns)


def _unknown_lengths(calls: Sequence[AttentionCall]) -> list[ProblemRow]:
    """That attention was packed or paged and nothing tells its lengths, as a problem."""
    count = sum(1 for call in calls if call.packed and not call.measured)
    what = "calls of packed or paged attention whose lengths the file does not hold"
    return [ProblemRow(what, count, "their size is unknown: no FLOPs, limit or rate follow")] if count else []


def _sum(amounts: Sequence[int | None]) -> int | None:
    """Their sum; None where one of them is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _limit_ns(on: Device | None, flops: float, moved: float, item: int) -> int:
    """The least time of a fused attention on a device; 0 where the device is unknown (nothing can be promised less)."""
    if on is None:
        return 0
    return int(1e9 * Roofline(on, ran=True).limit(flops=flops, unit=of_bytes(item), bytes=moved).seconds)


def _stages(work_table: WorkTable, stages: Sequence[Stage], idle: Idle) -> list[StageRow]:
    before = idle.before(len(work_table))
    total = max(1, int(work_table.duration.sum()))
    rows = []
    for stage in stages:
        by = Grouped([work_table.classes[row] for row in stage.rows], work_table.duration[stage.rows])
        time = stage.time_ns(work_table)
        rows.append(
            StageRow(
                stage.name, stage.source, time, stage.busy_ns(work_table), len(stage.calls),
                [int(work_table.duration[call].sum()) for call in stage.calls],
                dict(zip(by.keys, by.times, strict=True)), time / total,
                int(before[stage.rows].sum()), _by_call(work_table, stage),
            )
        )  # fmt: skip
    return rows


def _by_call(work_table: WorkTable, stage: Stage) -> dict[str, list[int]]:
    """Class -> its time in each call of a stage."""
    found: dict[str, list[int]] = defaultdict(lambda: [0] * len(stage.calls))
    for number, call in enumerate(stage.calls):
        for row, time in zip(call, work_table.duration[call].tolist(), strict=True):
            found[work_table.classes[row]][number] += time
    return dict(found)


def _launch(work_table: WorkTable, idle: Idle) -> Launch:
    graph = work_table.graph
    replays = len(set(work_table.launch[graph].tolist()))
    span = max(1, idle.span_ns)
    gaps = [GroupRow(label, ns, count, ns / span) for label, count, ns in idle.buckets]
    return Launch(idle.floor_ns, *idle.latency_ns, *idle.depth, replays, int(graph.sum()), idle.host_active_ns, gaps)
