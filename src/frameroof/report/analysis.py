"""A measured run as tables: where the time went, what could not be told, and the change to make first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..run import OperatorRow, Run
from ..units import format_bandwidth, format_bytes, format_flops, format_rate, format_seconds
from .console import console, table
from .lengths import distribution, series

if TYPE_CHECKING:
    from ..trace.find.ranks import Overall

MOST_ROWS = 12

CAUSES = {
    "host_launch": "the host had not launched the next kernel yet",
    "synchronization": "the host had waited for the device",
    "copy": "the host was busy with a copy",
    "dependency": "launched, but waiting in the device's queue",
    "graph": "between kernels of a graph replay",
    "profiler": "overhead of the profiler",
    "unknown": "the launch is not in the trace",
}


def print_run(run: Run, most: int = MOST_ROWS) -> None:
    """Print one analyzed run for a person."""
    out = console()
    s = run.summary
    device = s.device or "unknown device"
    known = f" (= {s.hardware})" if s.hardware and s.hardware != s.device else ""
    out.print(f"{run.source.path} on {device}{known}", style="bold")
    for line in _head(run):
        out.print(line)
    if not s.kernels and not s.copies:
        for line in _problems(run):
            out.print(line, style="yellow")
        return
    for title, content in _tables(run, most):
        out.print()
        out.print(title, style="bold")
        out.print(content)
    print_advice(run)
    for line in _problems(run):
        out.print(line, style="yellow")
    out.print()
    for line in _notes(run):
        out.print(line, style="dim")


def _head(run: Run) -> Iterator[str]:
    s = run.summary
    if not s.kernels and not s.copies:
        yield f"{s.events:,} events, none of them work of a device or an operator: there is nothing to account for."
        return
    work = _work(run) if s.kernels != 1 else _work(run)[:-1]
    yield (
        f"busy {_ms(s.busy_ns)} of {_ms(s.span_ns)} ({s.busy_ns / max(1, s.span_ns):.1%}), idle {_ms(s.idle_ns)}; "
        f"{s.kernels:,} {work}"
        + (f", {s.copies:,} {'copy or fill' if s.copies == 1 else 'copies and fills'}" if s.copies else "")
        + (f" on {s.streams} streams" if s.streams > 1 else "")
    )
    if s.host_only:
        cut = "was cut off and " if any("cut off" in p.what or "too early" in p.what for p in run.problems) else ""
        yield f"The file {cut}holds no work of a device: what follows are times of the host."
    m = run.measured
    if m.median_ns:
        yield f"without the profiler: median {_ms(m.median_ns)} of {len(m.samples_ns or ())} repetitions"


def _tables(run: Run, most: int) -> Iterator[tuple[str, Any]]:
    yield "Classes of operators", _classes(run)
    if len(run.stages) > 1 or (run.stages and run.stages[0].source):
        yield "Stages", _stages(run)
    yield f"Operators{_first(run.operators, most)}", _operators(run, most)
    if run.devices:
        yield "Devices", _devices(run)
    if run.attention:
        yield f"Attention{_first(run.attention, most)}", _attention(run, most)
    lengths = len({row.query_len for row in run.sequence})
    if lengths > 1:
        part = f" (the {most} of {lengths} that take longest)" if lengths > most else ""
        yield f"Lengths of attention{part}", distribution(run, most)
        yield "The same in order of the run (height: logarithm of the query length)", series(run.sequence)
    if run.modules:
        yield "Modules (the outermost levels)", _modules(run, most)
    if not run.summary.on_cpu and run.idle:
        yield "Idle time of the device", _idle(run)
    if any(s.idle_ns for s in run.syncs):
        yield "Waits of the host that left the device idle", _syncs(run, most)


def _first(rows: list[Any], most: int) -> str:
    return f" (the {most} longest of {len(rows)})" if len(rows) > most else ""


def _ms(ns: float) -> str:
    return format_seconds(ns / 1e9, 4)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _classes(run: Run) -> Any:
    rows = []
    for c in run.classes:
        rate = c.flops / c.flops_ns * 1e9 if c.flops and c.flops_ns and not run.summary.host_only else None
        rows.append((c.name, _ms(c.time_ns), f"{c.share:.1%}", f"{c.count:,}", format_rate(rate) if rate else ""))
    return table(("class", "time", "share", _work(run), "achieved"), rows)


def _work(run: Run) -> str:
    """What a piece of work is called: the processor's are the operators themselves."""
    return "operators" if run.summary.on_cpu else "kernels"


def _stages(run: Run) -> Any:
    rows = []
    for s in run.stages:
        top = ", ".join(f"{name} {time / max(1, s.time_ns):.0%}" for name, time in list(s.classes.items())[:3])
        spread = f"{_ms(min(s.call_ns))} to {_ms(max(s.call_ns))}" if len(s.call_ns) > 1 else ""
        idle = () if run.summary.on_cpu else (_ms(s.idle_ns),)
        rows.append((s.name, _ms(s.time_ns), f"{s.share:.1%}", str(s.count), spread, *idle, top, s.source))
    before = () if run.summary.on_cpu else ("idle before",)
    return table(
        ("stage", "time", "share", "calls", "each", *before, "most of it", "named by"),
        rows,
        text=("most of it", "named by"),
    )


def _operators(run: Run, most: int) -> Any:
    rows = []
    total = sum(c.time_ns for c in run.classes)
    for o in run.operators[:most]:
        rows.append(
            (
                o.class_,
                _short(o.name),
                _ms(o.time_ns),
                _share(o.time_ns, total),
                f"{o.count:,}",
                format_rate(o.flops_per_s) if o.flops_per_s else "",
                format_bandwidth(o.bytes_per_s) if o.bytes_per_s else ABOVE if _is_above(run, o) else "",
                f"{o.share_of_peak:.0%}" if o.share_of_peak else "",
            )
        )
    return table(("class", "operator", "time", "share", "calls", "FLOP rate", "byte rate", "of peak"), rows, left=2)


ABOVE = "above peak"


def _is_above(run: Run, o: OperatorRow) -> bool:
    """Whether the rate of its bytes is left out because no memory is that fast."""
    return bool(o.bytes and o.time_ns and o.bytes_per_s is None and not run.summary.host_only)


def _attention(run: Run, most: int) -> Any:
    rows = []
    for a in run.attention[:most]:
        size = f"{a.batch} x {a.heads} x {a.query_len} x {a.key_len} x {a.head_dim}" if a.query_len else "not recorded"
        kind = a.kind + (", causal" if a.causal else "")
        saved = f"up to {_ms(a.saved_at_most_ns)}" if a.saved_at_most_ns else ""
        told = a.flops and a.time_ns and not run.summary.host_only
        rate = format_rate(a.flops / a.time_ns * 1e9) if told else ""
        rows.append(
            (kind, size, f"{a.count:,}", _ms(a.time_ns), rate, "fused" if a.fused else "eager",
             format_bytes(a.matrix_bytes) if not a.fused else "", _ms(a.copy_ns) if a.copy_ns else "", saved)
        )  # fmt: skip
    head = ("kind", "batch x heads x Q x K x D", "calls", "time", "FLOP rate", "how", "matrix", "copies beside it",
            "fusing saves")  # fmt: skip
    return table(head, rows, left=2)


def _modules(run: Run, most: int) -> Any:
    """The longest modules of the three outermost levels; deeper ones are in the JSON."""
    depth = [(m.name.count("/") if "/" in m.name else m.name.count("."), m) for m in run.modules]
    gaps = () if run.summary.on_cpu else ("idle before them", "mean gap")
    rows = [
        (_short(m.name, 72), _ms(m.time_ns), f"{m.share:.1%}", f"{m.count:,}",
         *((_ms(m.idle_ns), _ms(m.mean_gap_ns)) if gaps else ()))
        for level, m in depth
        if level < 3
    ]  # fmt: skip
    return table(("module", "time", "share", _work(run), *gaps), rows[:most])


def _devices(run: Run) -> Any:
    rows = []
    for d in run.devices:
        causes = sorted(d.idle.items(), key=lambda item: -item[1])[:2]
        why = ", ".join(f"{cause} {ns / max(1, d.idle_ns):.0%}" for cause, ns in causes if ns)
        named = f"{d.device}" + (f", {d.name}" if d.name else "")
        rows.append((named, _ms(d.busy_ns), _ms(d.idle_ns), why, f"{d.kernels:,}"))
    return table(("device", "busy", "idle", "most of its idle time", "kernels"), rows, text=("most of its idle time",))


def _idle(run: Run) -> Any:
    s = run.summary
    rows = [
        (name, _ms(ns), _share(ns, s.idle_ns), CAUSES.get(name, ""))
        for name, ns in sorted(run.idle.items(), key=lambda item: -item[1])
    ]
    for name, ns in run.outside.items():
        if ns:
            where = "before the first work" if name == "before_first" else "after the last work"
            rows.append((f"({name})", _ms(ns), "", f"{where}; not part of the idle time above"))
    return table(("cause", "time", "of idle", "what it means"), rows, text=("what it means",))


def _syncs(run: Run, most: int) -> Any:
    rows = [
        (s.operator or "(no operator)", s.call, s.line, f"{s.count:,}", _ms(s.host_ns), _ms(s.idle_ns))
        for s in run.syncs[:most]
        if s.idle_ns
    ]
    return table(("made by", "waits in", "line", "calls", "host waited", "device idle"), rows, left=3)


def print_advice(run: Run) -> None:
    """Print what to change, the largest bound first."""
    out = console()
    out.print()
    for line in _advice(run):
        out.print(line)


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
        most = f"at most {format_seconds(a.max_gain_s, 3)} of {format_seconds(whole, 3)} ({share})"
        yield f"{i}. {a.title}: {most if a.max_gain_s else 'room in memory, no time'}"
        yield f"   {a.evidence}."
        yield f"   How: {a.how}."


def _problems(run: Run) -> Iterator[str]:
    for p in run.problems:
        yield f"Problem: {p.what} ({p.count:,}): {p.action}."


def _notes(run: Run) -> Iterator[str]:
    c = run.coverage
    shares = f"operator {c.operator:.1%}, module {c.module:.1%}, stage {c.stage:.1%}, recorded shapes {c.shapes:.1%}"
    graph = "" if c.graph_capture is None else f", graph kernels found in their capture {c.graph_capture:.1%}"
    yield f"Coverage, as shares of the time: {shares}{graph}."
    launch = run.launch
    if launch.floor_ns:
        yield (
            f"Launch latency: floor {_ms(launch.floor_ns)}, median {_ms(launch.median_ns)}, "
            f"99 % below {_ms(launch.p99_ns)}; queue depth {launch.mean_queue_depth:.1f} on average, "
            f"{launch.max_queue_depth} at most."
        )
        gaps = ", ".join(f"{g.count:,} of {g.name} ({_ms(g.time_ns)})" for g in launch.gaps if g.count)
        yield f"Gaps between work: {gaps or 'none'}."
    if run.communication:
        m = run.communication
        yield f"Communication: {_ms(m['time_ns'])}, of which {_ms(m['exposed_ns'])} with nothing else running."
    if not run.idle_reliable:
        yield "Idle time inside graph replays of this runtime is not reliable (HIP records inflated gaps there)."
    known = run.summary
    if known.flops is not None:
        yield (
            f"FLOPs: {format_flops(known.flops)} from recorded shapes (2 per multiply-add; causal attention counts the "
            f"full square){_part(c.flops)}; bytes: each input and output once."
        )
    if any(_is_above(run, o) for o in run.operators):
        yield (
            f"Byte rate “{ABOVE}”: more than the memory can, because a cache served it or only a part of its inputs "
            "was read (kernels of torch.compile name whole tensors)."
        )
    if run.source.times == "us":
        yield f"This file holds whole microseconds: short {_work(run)} are rounded by the profiler that wrote it."


def _part(share: float | None) -> str:
    """How much of the matrix work is in the FLOPs, where that is not all of it."""
    if share is None or share > 0.9995:
        return ""
    return f", known for {share:.1%} of the time in attention, convolution and linear"


def _short(name: str, width: int = 60) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def print_ranks(overall: Overall) -> None:
    """Print several ranks side by side."""
    out = console()
    rows = [
        (str(r.rank), _ms(r.busy_ns), _ms(r.idle_ns), _ms(r.computation_ns), _ms(r.communication_ns),
         _ms(r.exposed_ns), str(r.path))
        for r in overall.ranks
    ]  # fmt: skip
    out.print()
    out.print("Ranks", style="bold")
    out.print(table(("rank", "busy", "idle", "computation", "communication", "exposed", "file"), rows))
    for sentence in overall.problems:
        out.print(f"Problem: {sentence}: they are not the ranks of one run.", style="yellow")
    if overall.slowest_rank is not None:
        out.print(
            f"Rank {overall.slowest_rank} computes longest, {overall.imbalance:.1%} above the mean: "
            "the others wait for it in their communication."
        )
