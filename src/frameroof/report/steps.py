"""The steps of a run side by side, and what is to be known of them before any number is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..recorded.steps import StepRow
from ..run import Run
from ..units import format_seconds
from .clock import LEAST_NS, is_gap
from .console import table


def window_lines(run: Run) -> Iterator[str]:
    """What stretch of the run a report is about, and which of its steps are not like the others."""
    window = run.window
    if window is not None:
        names = ", ".join(window.names[:3]) + (" …" if window.count > 3 else "")
        ranges = "1 range" if window.count == 1 else f"{window.count:,} ranges"
        inside = "" if window.count == 1 else " in each range"
        yield (
            f"Window {window.asked}: {ranges} of {_ms(window.host_ns)} on the host ({names}). "
            f"Idle time is that between its first and its last work{inside}."
        )
        if window.other_ns > 0:
            yield f"For {_ms(window.other_ns)} between, other work ran or was waited for; that time is in no sum."
        if window.past_ns > 0 and not run.summary.on_cpu:
            yield f"Its work still ran for {_ms(window.past_ns)} when its range on the host had ended."
    yield from run.step_summary.said if run.step_summary and run.steps else ()


def steps_title(run: Run, most: int) -> str:
    """Of the table: what the steps are, and how many are shown."""
    summary = run.step_summary
    named = summary.named_by if summary else ""
    of = f"; the {most} longest of {len(run.steps):,}" if len(run.steps) > most else ""
    return f"Steps ({named}{of})"


def steps_table(run: Run, most: int) -> Any:
    """A row a step: the longest ones, in order; then the shortest, median and longest of the steady ones."""
    work = "operators" if run.summary.on_cpu else "kernels"
    longest = sorted(run.steps, key=lambda step: -step.length_ns)[:most]
    shown = [step for step in run.steps if step in longest] if len(run.steps) > most else run.steps
    rows: list[tuple[str, ...]] = [_row(run, step) for step in shown]
    least = min((step.kernels for step in run.steps), default=0)
    s = run.step_summary
    for name, at in (("shortest", "min_ns"), ("median", "median_ns"), ("longest", "max_ns")):
        if s is not None and s.count > 1:
            wall, busy, idle = (getattr(each, at) for each in (s.wall, s.busy, s.idle))
            rows.append((f"{name} of {s.steady:,}", _ms(wall), _ms(busy), _idle(run, idle, least), "", "", ""))
    head = ("step", "on the host", "busy", "idle", "idle before", work, "what is different")
    return table(head, rows, text=("what is different",))


def _row(run: Run, step: StepRow) -> tuple[str, ...]:
    different = ": ".join(filter(None, (step.kind, step.why)))
    idle, before = _idle(run, step.idle_ns, step.kernels), _idle(run, step.before_ns, 1)
    return str(step.number), _ms(step.wall_ns), _ms(step.busy_ns), idle, before, f"{step.kernels:,}", different


def _idle(run: Run, ns: float, count: int) -> str:
    """Idle time between `count` pieces of work, as far as a clock can tell."""
    return _ms(ns) if ns >= LEAST_NS and is_gap(run, round(ns), count) else ""


def _ms(ns: float) -> str:
    return format_seconds(ns / 1e9, 4)
