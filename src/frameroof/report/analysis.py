"""A measured run as tables: where the time went, what could not be told, and the change to make first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..run import FirstLines, Run
from ..units import format_flops
from .clock import is_gap
from .collectives import skew_table
from .console import console, table
from .run_tables import ABOVE, CACHED, above_of, ms, tables_of, work
from .steps import window_lines

if TYPE_CHECKING:
    from ..trace.find.ranks import Overall

MOST_ROWS = 12


def print_run(run: Run, most: int = MOST_ROWS) -> None:
    """Print one analyzed run for a person."""
    out = console()
    s = run.summary
    device = s.device or "unknown device"
    known = f" (= {s.hardware})" if s.hardware and s.hardware != s.device else ""
    out.print(f"{run.source.path} on {device}{known}", style="bold")
    for line in _first(run.first_lines):
        out.print(line, soft_wrap=True)
    for line in _head(run):
        out.print(line)
    if not s.kernels and not s.copies:
        for line in _problems(run):
            out.print(line, style="yellow")
        return
    for title, content in tables_of(run, most):
        out.print()
        out.print(title, style="bold")
        out.print(content)
    print_advice(run)
    for line in _problems(run):
        out.print(line, style="yellow")
    out.print()
    for line in _notes(run):
        out.print(line, style="dim")


def print_first(lines: FirstLines) -> None:
    """Print the three lines of several ranks, before the report of each."""
    out = console()
    for line in _first(lines):
        out.print(line, soft_wrap=True)
    out.print()


def _first(lines: FirstLines) -> Iterator[str]:
    """The three lines for whoever reads no further."""
    for title, text in (
        ("Where the time went", lines.where),
        ("Why", lines.why),
        ("What to change first", lines.change),
    ):
        if text:
            yield f"{title}: {text}."


def _head(run: Run) -> Iterator[str]:
    s = run.summary
    yield from window_lines(run)
    if not s.kernels and not s.copies:
        yield f"{s.events:,} events, none of them work of a device or an operator: there is nothing to account for."
        return
    pieces = work(run) if s.kernels != 1 else work(run)[:-1]
    yield (
        f"busy {ms(s.busy_ns)} of {ms(s.span_ns)} ({s.busy_ns / max(1, s.span_ns):.1%}), idle {ms(s.idle_ns)}; "
        f"{s.kernels:,} {pieces}"
        + (f", {s.copies:,} {'copy or fill' if s.copies == 1 else 'copies and fills'}" if s.copies else "")
        + (f" on {s.streams} streams" if s.streams > 1 else "")
    )
    if s.host_only:
        cut = "was cut off and " if any("cut off" in p.what or "too early" in p.what for p in run.problems) else ""
        yield f"The file {cut}holds no work of a device: what follows are times of the host."
    m = run.measured
    if m.median_ns:
        yield f"without the profiler: median {ms(m.median_ns)} of {len(m.samples_ns or ())} repetitions"


def print_advice(run: Run) -> None:
    """Print what to change, the largest bound first."""
    out = console()
    out.print()
    for line in _advice(run):
        for part in textwrap.wrap(line, out.width, subsequent_indent="   ", break_on_hyphens=False):
            out.print(part)


def _advice(run: Run) -> Iterator[str]:
    if run.summary.host_only:
        yield "Advice: none, for where the time of the device went is not in the file."
        return
    if not run.advice:
        yield "Advice: nothing found that could bring 2 % of the run."
        return
    whole = run.whole_ns / 1e9
    timed = ", without the profiler" if run.whole_ns < run.summary.span_ns else ""
    yield f"Advice, by the most it can bring (gains do not add up{timed})"
    for i, a in enumerate(run.advice, 1):
        share = f"{a.max_gain_s / whole:.0%}"
        most = f"at most {ms(a.max_gain_s * 1e9)} of {ms(whole * 1e9)} ({share})"
        yield f"{i}. {a.title}: {most if a.max_gain_s else 'room in memory, no time'}"
        yield f"   {a.evidence}."
        if a.arithmetic or a.cap:
            yield f"   Gain: {'; '.join(text for text in (a.arithmetic, a.cap) if text)}."
        yield f"   How: {a.how}."


def _problems(run: Run) -> Iterator[str]:
    for p in run.problems:
        yield f"Problem: {p.what} ({p.count:,}): {p.action}."


def _notes(run: Run) -> Iterator[str]:
    c = run.coverage
    shares = f"operator {c.operator:.1%}, module {c.module:.1%}, stage {c.stage:.1%}, recorded shapes {c.shapes:.1%}"
    graph = "" if c.graph_capture is None else f", graph kernels found in their capture {c.graph_capture:.1%}"
    size = "" if c.attention is None or c.attention == 1 else f", of the time in attention its size {c.attention:.1%}"
    yield f"Coverage, as shares of the time: {shares}{graph}{size}."
    launch = run.launch
    if launch.floor_ns:
        yield (
            f"Launch latency: floor {ms(launch.floor_ns)}, median {ms(launch.median_ns)}, "
            f"99 % below {ms(launch.p99_ns)}; queue depth {launch.mean_queue_depth:.1f} on average, "
            f"{launch.max_queue_depth} at most."
        )
        told = [g for g in launch.gaps if is_gap(run, g.time_ns, g.count)]
        gaps = ", ".join(f"{g.count:,} of {g.name} ({ms(g.time_ns)})" for g in told)
        yield f"Gaps between work: {gaps or 'none'}."
    if run.communication:
        m = run.communication
        yield f"Communication: {ms(m['time_ns'])}, of which {ms(m['exposed_ns'])} with nothing else running."
    if not run.idle_reliable:
        yield "Idle time inside graph replays of this runtime is not reliable (HIP records inflated gaps there)."
    known = run.summary
    if not known.flops and c.flops == 0:
        yield "FLOPs: not known, for the sizes of matrix work were not recorded."
    elif known.flops is not None:
        yield (
            f"FLOPs: {format_flops(known.flops)} from recorded shapes (2 per multiply-add; causal attention counts the "
            f"full square){_part(c.flops)}; bytes: each input and output once."
        )
    shown = {above_of(run, o) for o in run.operators}
    if CACHED in shown:
        yield (
            f"Byte rate “{CACHED}”: more than the memory can, by no more than the last-level cache may have kept from "
            "the work before."
        )
    if ABOVE in shown:
        yield (
            f"Byte rate “{ABOVE}”: more than the memory can, because a cache served it or only a part of its inputs "
            "was read (kernels of torch.compile name whole tensors)."
        )
    if run.source.times == "us":
        yield f"This file holds whole microseconds: short {work(run)} are rounded by the profiler that wrote it."


def _part(share: float | None) -> str:
    """How much of the matrix work is in the FLOPs, where that is not all of it."""
    if share is None or share > 0.9995:
        return ""
    return f", known for {share:.1%} of the time in attention, convolution and linear"


def print_ranks(overall: Overall, most: int = MOST_ROWS) -> None:
    """Print several ranks side by side."""
    out = console()
    rows = [
        (str(r.rank), ms(r.busy_ns), ms(r.idle_ns), ms(r.computation_ns), ms(r.communication_ns),
         ms(r.exposed_ns), str(r.path))
        for r in overall.ranks
    ]  # fmt: skip
    out.print()
    out.print("Ranks", style="bold")
    out.print(table(("rank", "busy", "idle", "computation", "communication", "exposed", "file"), rows))
    for sentence in overall.problems:
        out.print(f"Problem: {sentence}.", style="yellow")
    if overall.slowest_rank is not None:
        out.print(
            f"Rank {overall.slowest_rank} computes longest, {overall.imbalance:.1%} above the mean: "
            "the others wait for it in their communication."
        )
    if overall.collectives:
        out.print()
        out.print("Collectives over the ranks given", style="bold")
        out.print(skew_table(overall.collectives, most))
