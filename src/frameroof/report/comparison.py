"""Two runs side by side, for a terminal and as Markdown for a pull request: the biggest changes first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ..study.advice_outcomes import AdviceOutcome
from ..study.compare import SINGLE, Change, Comparison
from ..study.thresholds import Check, change_percent, quantity
from ..units import format_seconds
from .console import console, table
from .markdown import code, escaped
from .markdown import table as markdown_table

SMALL = 0.001
"""A change below this share of the run before is counted, not shown."""
TABLES = (("class", "Classes of operators"), ("stage", "Stages"), ("attention", "Attention"), ("operator", "Operators"))
COLUMNS = ("", "before", "after", "difference", "change", "")


def print_comparison(comparison: Comparison, checks: Sequence[Check], most: int = 12) -> None:
    """Print a comparison for a person."""
    page = console()
    for name, side in (("before", comparison.before), ("after", comparison.after)):
        page.print(f"{name:7} {side.path} on {side.device or 'an unknown device'}", style="bold")
    page.print(headline(comparison))
    for note in [*_not_comparable(comparison), *comparison.notes]:
        page.print(note, style="yellow")
    page.print(table(COLUMNS, map(_cells, _whole(comparison)), text=("",)))
    for group, title in TABLES:
        shown, small = _biggest(comparison, group, most)
        if shown:
            page.print(f"{title}{_left_out(shown, small, comparison.of(group))}", style="bold")
            page.print(table(COLUMNS, map(_cells, shown), text=("",)))
    for line in [*_kernels(comparison), *_advice(comparison.brought)]:
        page.print(line)
    for check in checks:
        verdict = "FAILED" if check.exceeded else "passed"
        page.print(f"{verdict}  {check.sentence}", style="red" if check.exceeded else "green")
    page.print(_small_print(comparison), style="dim")


def markdown(comparison: Comparison, checks: Sequence[Check], most: int = 12) -> str:
    """A comparison as a comment for a pull request."""
    lines = [f"### {escaped(headline(comparison))}", ""]
    lines += [f"- **{'FAILED' if c.exceeded else 'passed'}** {escaped(c.sentence)}" for c in checks]
    lines += [f"- {escaped(note)}" for note in [*_not_comparable(comparison), *comparison.notes]]
    shown = list(_whole(comparison))
    for group, _ in TABLES[:2]:
        shown += _biggest(comparison, group, most)[0]
    lines += ["", *_markdown_table(shown), ""]
    for group, title in TABLES[2:]:
        rows, small = _biggest(comparison, group, most)
        if rows:
            summary = f"{title}{_left_out(rows, small, comparison.of(group))}"
            lines += [f"<details><summary>{summary}</summary>", "", *_markdown_table(rows), "", "</details>", ""]
    lines += [f"- {line}" for line in _kernels(comparison, code)]
    told = [line[:2] + escaped(line[2:]) for line in _advice(comparison.brought)]
    lines += ["", *told[:1], "", *told[1:], ""]
    sides = (f"{side.path} on {side.device or 'an unknown device'}" for side in (comparison.before, comparison.after))
    lines += [f"<sub>{escaped(', '.join(sides))}. {_small_print(comparison)}</sub>"]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _not_comparable(comparison: Comparison) -> Iterator[str]:
    if comparison.incomparable:
        yield f"These runs cannot be compared: {'; '.join(comparison.incomparable)}."


def headline(comparison: Comparison) -> str:
    """The change of the whole in one line: by a clock where both runs have one, else by the traces."""
    total, clock = comparison.find("run", "total"), comparison.find("measured", "median")
    told = [(name, c) for name, c in (("measured", clock), ("total", total)) if c is not None]
    parts = []
    for name, change in told:
        words = f"{name} {quantity(change.before, 'ns')} -> {quantity(change.after, 'ns')}: {change_percent(change)}"
        parts.append(words + (f", {change.judged}" if change.judged != SINGLE else ""))
    return "; ".join(parts)


def _whole(comparison: Comparison) -> Iterator[Change]:
    """The rows that every comparison shows."""
    for change in [*comparison.of("measured"), *comparison.of("run")]:
        if change.before or change.after:
            yield change
        if (change.group, change.name) == ("run", "idle"):
            yield from (c for c in comparison.of("idle") if c.before or c.after)


def _biggest(comparison: Comparison, group: str, most: int) -> tuple[list[Change], int]:
    """(the biggest changes of a group, how many were too small to show); a stage with its calls."""
    total = comparison.find("run", "total")
    least = SMALL * ((total.before if total else None) or 0)
    rows = [c for c in comparison.of(group) if abs(c.difference) > least or c.note]
    shown = rows[:most]
    if group == "stage":
        calls = {c.name: c for c in comparison.of("call")}
        of_stage = [(c, calls.get(c.name)) for c in shown]
        shown = [row for c, call in of_stage for row in (c, call) if row and (row is c or not _alike(row, c))]
    return shown, len(comparison.of(group)) - len(rows)


def _alike(one: Change, other: Change) -> bool:
    return (one.before, one.after) == (other.before, other.after)


def _left_out(shown: Sequence[Change], small: int, rows: Sequence[Change]) -> str:
    """What a title says about rows that are not shown."""
    more = len(rows) - small - sum(c.group != "call" for c in shown)
    parts = [f"{more} smaller ones left out"] if more > 0 else []
    parts += [f"{small} changed by less than {SMALL:.1%} of the run"] if small else []
    return f" ({'; '.join(parts)})" if parts else ""


def _name(change: Change) -> str:
    if change.group == "idle":
        return f"  idle: {change.name}"
    if change.group == "call":
        return f"  {change.name}, median call"
    if change.group == "measured":
        return "measured" if change.name == "median" else f"measured: {change.name}"
    return change.name if len(change.name) <= 70 else change.name[:69] + "…"


def _cells(change: Change) -> tuple[str, ...]:
    note = "; ".join(text for text in (change.note, "" if change.judged == SINGLE else change.judged) if text)
    before, after = quantity(change.before, change.unit), quantity(change.after, change.unit)
    return _name(change), before, after, _difference(change), change_percent(change), note


def _difference(change: Change) -> str:
    if not change.difference:
        return "0"
    return ("+" if change.difference > 0 else "-") + quantity(abs(change.difference), change.unit)


def _kernels(comparison: Comparison, shown: Callable[[str], str] = str, most: int = 5) -> Iterator[str]:
    """The kernels that one run has and the other has not, the longest first."""
    for state in ("appeared", "vanished"):
        found = [c for c in comparison.of("kernel") if c.state == state]
        if found:
            names = ", ".join(f"{shown(_name(c))} ({quantity(c.after or c.before, c.unit)})" for c in found[:most])
            rest = f" and {len(found) - most} more" if len(found) > most else ""
            yield f"Kernels that {state}: {names}{rest}."


def _advice(found: Sequence[AdviceOutcome]) -> Iterator[str]:
    if found:
        yield "Advice on the run before that no longer applies, and what it brought (measured on what it was about):"
    for b in found:
        times = f"{_s(b.before_ns)} -> {_s(b.after_ns)}"
        yield f"- {b.title}: {_outcome(b)} of at most {_s(b.bound_ns)} ({b.concerns}: {times})"


def _outcome(b: AdviceOutcome) -> str:
    """What it brought or lost, if that is more than noise."""
    if b.brought_ns is not None:
        return f"brought {_s(b.brought_ns)}" if b.brought_ns >= 0 else f"lost {_s(-b.brought_ns)}"
    if b.noise_ns is None:
        return "how much of the change is noise is not known, for nothing repeats often enough;"
    return f"no change beyond the noise of its repetitions ({_s(b.noise_ns)}),"


def _s(ns: float) -> str:
    return format_seconds(ns / 1e9, 4)


def _small_print(comparison: Comparison) -> str:
    judged = any(change.judged != SINGLE for change in comparison.changes)
    spread = (
        "Measured medians are judged by their repetitions (Mann-Whitney, 5 %); all else is one trace each."
        if judged
        else "One trace each: there is no spread to judge by, so small changes may be noise."
    )
    return f"total: first start to last end of the device's work. Change: after over before, less 1. {spread}"


def _markdown_table(rows: Sequence[Change]) -> list[str]:
    lines = []
    for change in rows:
        name, *cells = _cells(change)
        kind = {"class": "class ", "stage": "stage ", "call": "stage "}.get(change.group, "")
        typed = change.group in ("operator", "attention")
        shown = code(name) if typed else escaped(kind + name.strip())
        lines.append([shown, *map(escaped, cells)])
    return markdown_table(COLUMNS, lines, "|:--|--:|--:|--:|--:|:--|")
