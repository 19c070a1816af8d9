"""The tables of an analyzed run: a title and a table each, in the order in which they are shown.

A table more is a line of `tables_of` and a function beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..run import HostFunctionRow, ModuleRow, OperatorRow, Run
from ..trace.advice.words import IDLE_CAUSES, short
from ..trace.tables import enclosing
from ..units import format_bandwidth, format_bytes, format_rate, format_seconds
from .clock import LEAST_MEAN_NS, LEAST_NS, is_gap
from .collectives import collectives_table
from .console import percent, table
from .lengths import distribution, series
from .steps import steps_table, steps_title


def tables_of(run: Run, most: int) -> Iterator[tuple[str, Any]]:
    """(title, table) of everything that a run has to show, at most `most` rows of the longer ones."""
    yield "Classes of operators", _classes(run)
    if len(run.stages) > 1 or (run.stages and run.stages[0].source):
        yield "Stages", _stages(run)
    if run.steps:
        yield steps_title(run, most), steps_table(run, most)
    yield f"Operators{_first(run.operators, most)}", _operators(run, most)
    if run.devices:
        yield "Devices", _devices(run)
    if run.collectives:
        yield f"Collectives{_first(run.collectives, most)}", collectives_table(run, most)
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
    if run.host_functions:
        yield _functions_title(run, most), _host_functions(run, most)
    if any(s.idle_ns for s in run.syncs):
        yield "Waits of the host that left the device idle", _syncs(run, most)


def _first(rows: list[Any], most: int) -> str:
    return f" (the {most} longest of {len(rows)})" if len(rows) > most else ""


def ms(ns: float) -> str:
    """A time as tables write it."""
    return format_seconds(ns / 1e9, 4)


def _whole_percent(share: float) -> str:
    return "" if not share else "<1%" if share < 0.005 else f"{share:.0%}"


def _share(part: float, whole: float) -> str:
    return percent(part / whole) if whole else ""


def _idle_cells(run: Run, m: ModuleRow) -> tuple[str, str]:
    """Idle time before a module's work and its mean, as far as a clock can tell."""
    told = is_gap(run, m.idle_ns, m.count)
    idle = ms(m.idle_ns) if told and m.idle_ns >= LEAST_NS else ""
    return idle, ms(m.mean_gap_ns) if told and m.mean_gap_ns >= LEAST_MEAN_NS else ""


def _classes(run: Run) -> Any:
    rows = []
    for c in run.classes:
        rate = c.flops / c.flops_ns * 1e9 if c.flops and c.flops_ns and not run.summary.host_only else None
        rows.append((c.name, ms(c.time_ns), percent(c.share), f"{c.count:,}", format_rate(rate) if rate else ""))
    return table(("class", "time", "share", work(run), "achieved"), rows)


def work(run: Run) -> str:
    """What a piece of work is called: the processor's are the operators themselves."""
    return "operators" if run.summary.on_cpu else "kernels"


def _stages(run: Run) -> Any:
    rows = []
    for s in run.stages:
        parts = [(name, time / max(1, s.time_ns)) for name, time in list(s.classes.items())[:3]]
        top = ", ".join(f"{name} {part:.0%}" for name, part in parts if part >= 0.005)
        spread = f"{ms(min(s.call_ns))} to {ms(max(s.call_ns))}" if len(s.call_ns) > 1 else ""
        idle = () if run.summary.on_cpu else (ms(s.idle_ns) if s.idle_ns >= LEAST_NS else "",)
        rows.append((s.name, ms(s.time_ns), percent(s.share), str(s.count), spread, *idle, top, s.source))
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
                ms(o.time_ns),
                _share(o.time_ns, total),
                f"{o.count:,}",
                format_rate(o.flops_per_s) if o.flops_per_s else "",
                format_bandwidth(o.bytes_per_s) if o.bytes_per_s else above_of(run, o),
                _whole_percent(o.share_of_peak or 0.0),
            )
        )
    return table(("class", "operator", "time", "share", "calls", "FLOP rate", "byte rate", "of peak"), rows, left=2)


ABOVE, CACHED = "above peak", "in the cache"


def above_of(run: Run, o: OperatorRow) -> str:
    """What stands in place of the rate of its bytes where no memory is that fast; "" where there is none to show."""
    return (CACHED if o.above == CACHED else ABOVE) if is_above(run, o) else ""


def is_above(run: Run, o: OperatorRow) -> bool:
    """Whether the rate of its bytes is left out because no memory is that fast."""
    return bool(o.bytes and o.time_ns and o.bytes_per_s is None and not run.summary.host_only)


def _attention(run: Run, most: int) -> Any:
    rows = []
    for a in run.attention[:most]:
        kind = a.kind + (", causal" if a.causal else "") + (", backward" if a.backward else "")
        saved = f"up to {ms(a.saved_at_most_ns)}" if a.saved_at_most_ns else ""
        flops = a.flops if a.time_ns and not run.summary.host_only else None
        rate = format_rate(flops / a.time_ns * 1e9) if flops else ""
        rows.append(
            (kind, a.size, f"{a.count:,}", ms(a.time_ns), rate, "fused" if a.fused else "eager",
             format_bytes(a.matrix_bytes) if not a.fused and a.matrix_bytes else "",
             ms(a.copy_ns) if a.copy_ns else "", saved)
        )  # fmt: skip
    head = ("kind", "batch x heads x Q x K x D", "calls", "time", "FLOP rate", "how", "matrix", "copies beside it",
            "fusing saves")  # fmt: skip
    return table(head, rows, left=2)


def _modules(run: Run, most: int) -> Any:
    """The longest modules of the three outermost levels; deeper ones are in the JSON."""
    outer = [m for m in run.modules if (m.name.count("/") if "/" in m.name else m.name.count(".")) < 3]
    gaps = () if run.summary.on_cpu else ("idle before them", "mean gap")
    rows = [
        (_short(m.name, 72), ms(m.time_ns), percent(m.share), f"{m.count:,}",
         *_idle_cells(run, m)[: len(gaps)])
        for m in _folded(outer)
    ]  # fmt: skip
    return table(("module", "time", "share", work(run), *gaps), rows[:most])


def _folded(modules: list[ModuleRow]) -> list[ModuleRow]:
    """Without those whose numbers are all their parent's: a wrapper and the one module in it are one row."""
    numbers = {m.name: (m.time_ns, m.count, m.idle_ns) for m in modules}
    above = {m.name: enclosing(m.name)[-2:-1] for m in modules}
    return [m for m in modules if not any(numbers.get(name) == numbers[m.name] for name in above[m.name])]


def _devices(run: Run) -> Any:
    rows = []
    for d in run.devices:
        causes = sorted(d.idle.items(), key=lambda item: -item[1])[:2]
        why = ", ".join(f"{cause} {ns / max(1, d.idle_ns):.0%}" for cause, ns in causes if ns)
        named = f"{d.device}" + (f", {d.name}" if d.name else "")
        rows.append((named, ms(d.busy_ns), ms(d.idle_ns), why, f"{d.kernels:,}"))
    return table(("device", "busy", "idle", "most of its idle time", "kernels"), rows, text=("most of its idle time",))


def _idle(run: Run) -> Any:
    s = run.summary
    rows = [
        (name, ms(ns), _share(ns, s.idle_ns), IDLE_CAUSES.get(name, ""))
        for name, ns in sorted(run.idle.items(), key=lambda item: -item[1])
    ]
    for name, ns in run.outside.items():
        if ns:
            where = "before the first work" if name == "before_first" else "after the last work"
            rows.append((f"({name})", ms(ns), "", f"{where}; not part of the idle time above"))
    return table(("cause", "time", "of idle", "what it means"), rows, text=("what it means",))


def _functions_title(run: Run, most: int) -> str:
    rows = run.host_functions
    frames = any(row.kind == "python" for row in rows)
    missing = "" if frames else "; no Python frames were recorded (with_stack=True records them)"
    return f"Idle time by host function{_first(rows, most)}{missing}"


def _host_functions(run: Run, most: int) -> Any:
    rows = [
        (short(r.function), _short(r.inside, 40), _what(r),
         ms(r.time_ns), f"{r.share:.1%}", f"{r.gaps:,}")
        for r in run.host_functions[:most]
    ]  # fmt: skip
    return table(("host function", "inside", "what", "time", "of idle", "gaps"), rows, left=3)


def _what(row: HostFunctionRow) -> str:
    """What the host did there; rows of several causes are told apart by it."""
    waits = {"synchronization": "wait", "copy": "copy", "profiler": "profiler"}.get(row.cause, "")
    return waits or row.what or ("" if row.kind == "python" else row.kind)


def _syncs(run: Run, most: int) -> Any:
    rows = [
        (s.operator or "(no operator)", s.call, s.line, f"{s.count:,}", ms(s.host_ns), ms(s.idle_ns))
        for s in run.syncs[:most]
        if s.idle_ns
    ]
    return table(("made by", "waits in", "line", "calls", "host waited", "device idle"), rows, left=3)


def _short(name: str, width: int = 60) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"
