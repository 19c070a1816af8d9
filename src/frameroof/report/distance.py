"""The distance of a run from its limits, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..gap import Gap, GapRow, GapSum
from ..units import format_seconds
from .console import console, table


def print_gap(gap: Gap, top: int = 15) -> None:
    """Print one gap for a person."""
    out = console()
    out.print(f"Beside the limits of {gap.device}", style="bold")
    out.print(headline(gap))
    out.print()
    out.print("Classes", style="bold")
    out.print(_sums("class", gap.classes))
    if len(gap.stages) > 1:
        out.print("Stages", style="bold")
        out.print(_sums("stage", gap.stages))
    out.print(
        f"Operations, by the time above their limit (the first {min(top, len(gap.rows))} of {len(gap.rows)})",
        style="bold",
    )
    out.print(_rows(gap, top))
    for line, style in remarks(gap):
        out.print(line, style=style)
    for line in gap.assumptions:
        out.print(line, style="dim")


def headline(gap: Gap) -> str:
    """The whole in one line."""
    span = max(1, gap.span_ns)
    limited = gap.coverage_limit * gap.time_ns
    least = "" if gap.coverage_limit > 0.995 else "at least "
    part = "" if gap.coverage_limit > 0.995 else f" of the {_ms(limited)} that have one"
    limit = f"limit {_ms(gap.limit_ns)} ({gap.limit_ns / limited:.0%}{part})" if limited else "no limit known"
    return (
        f"work {_ms(gap.time_ns)}, {limit}; idle {_ms(gap.idle_ns)}. "
        f"No faster kernel can win back {least}{_ms(gap.never_faster_ns)}, {gap.never_faster_ns / span:.0%} of the run."
    )


def remarks(gap: Gap) -> Iterator[tuple[str, str]]:
    """What is to be known besides the tables, and how each line is shown."""
    if gap.coverage_workload is not None:
        yield f"Matched with an operation of the workload: {gap.coverage_workload:.1%} of the time.", ""
        if gap.coverage_workload < 0.5 * gap.coverage_limit:
            yield "That is little: is it this model, at these sizes?", "yellow"
        elif gap.coverage_workload < 0.5:
            yield "That is most of the time whose sizes were recorded.", ""
        if gap.coverage_exact is not None and gap.coverage_exact < SAME_SIZES:
            yield _other_sizes(gap), "yellow"
        if gap.missing:
            yield f"In the workload but not seen in the run: {_some(gap.missing)}.", ""
        if gap.uncounted:
            yield f"Not counted by the workload: {_some(gap.uncounted)}.", ""
    if gap.coverage_limit < 0.9995:
        unknown = f"{1 - gap.coverage_limit:.1%}"
        yield f"No limit is known for {unknown} of the time: its sizes were not recorded, or no rule counts it.", ""
    yield from _violated(gap)
    if gap.above_peak:
        yield (
            f"Faster than the dense peak of {gap.device} allows: {_some(gap.above_peak)}. "
            "The times are not those of this work on this device: launches seen from the processor, a wrong --on, or a "
            "peak that was measured on a busy machine.",
            "yellow",
        )


def _violated(gap: Gap) -> Iterator[tuple[str, str]]:
    """How much of the time has a limit above what was measured, and why."""
    if not gap.violations:
        return
    yield (
        f"The limits of {len(gap.violations)} operations, {gap.coverage_violated:.1%} of the time, are above what was "
        "measured, and count as measured:",
        "",
    )
    for reason, (why, style) in VIOLATIONS.items():
        found = [violation for violation in gap.violations if violation.reason == reason]
        if found:
            time = format_seconds(sum(v.time_ns for v in found) / 1e9, 3)
            most = max((v.saved_bytes or 0 for v in found), default=0)
            saved = f", at most {most / 2**20:,.3g} MiB a call" if most else ""
            yield f"  {reason}: {len(found)} ({time}{saved}), {why}: {_some([v.operation for v in found], 3)}", style


VIOLATIONS = {
    "in the cache": ("which served them: allowed", ""),
    "above the peak": ("so their times are not those of this device", "yellow"),
    "above the link": ("so the link is not the one that is known", "yellow"),
    "a fault of ours": ("if it is this device, for more bytes are counted than they move", "yellow"),
}
"""What the reasons of a violation mean, and how they are shown."""
SAME_SIZES = 0.95
"""The share of the matched time with the workload's sizes below which these are doubted."""


def _other_sizes(gap: Gap) -> str:
    """That the run had other sizes than the workload was asked for, with the longest of them."""
    row = max((row for row in gap.rows if row.path and not row.exact), key=lambda row: row.time_ns)
    return (
        f"{1 - (gap.coverage_exact or 0):.1%} of that has other sizes than the workload (the longest: {row.path} at "
        f"{_sizes(row.dims)}), so names may be wrong; --size NAME=NUMBER gives those of the run."
    )


def _ms(ns: float) -> str:
    return format_seconds(ns / 1e9, 4)


def _some(names: Sequence[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _sums(name: str, sums: Sequence[GapSum]) -> Any:
    return table((name, "measured", "limit", "above", "reached", "without a limit"), map(sum_cells, sums))


def sum_cells(s: GapSum) -> tuple[str, ...]:
    """A class or a stage as cells."""
    return s.name, _ms(s.time_ns), *_reached(s), _ms(s.unlimited_ns) if s.unlimited_ns else ""


def _reached(s: GapSum) -> tuple[str, str, str]:
    """Limit, time above it and the share reached, of the part that has a limit."""
    limited = s.time_ns - s.unlimited_ns
    return (_ms(s.limit_ns), _ms(s.above_ns), f"{s.limit_ns / limited:.0%}") if limited else ("", "", "")


CELLS = ("class", "operation", "stage", "sizes", "calls", "measured", "limit", "above", "MFU", "MBU")


def cells(r: GapRow) -> tuple[str, ...]:
    """An operation as cells."""
    return (
        r.class_,
        _cut(r.path or r.name, 46),
        r.stage,
        _cut(_sizes(r.dims), 44),
        f"{r.count:,}" if r.count else "",
        _ms(r.time_ns),
        "" if r.limit_ns is None else _ms(r.limit_ns),
        r.violation or ("" if r.above_ns is None else _ms(r.above_ns)),
        "" if r.mfu is None else f"{r.mfu:.0%}",
        "" if r.mbu is None else f"{r.mbu:.0%}",
    )


def _rows(gap: Gap, top: int) -> Any:
    return table(CELLS, map(cells, gap.rows[:top]), left=4)


def _sizes(dims: Sequence[Any]) -> str:
    if dims and all(isinstance(d, int) for d in dims):
        if not any(dims):
            return "not recorded"
        return " x ".join(str(d) for d in dims)
    shown = [d for d in dims if d and isinstance(d[0], int)]
    return ", ".join("x".join(str(n) for n in d) for d in shown)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
