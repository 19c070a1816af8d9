"""Published times beside predicted ones, for reading."""

from __future__ import annotations

from collections import Counter

from ..study.validate.groups import MAIN, Group
from ..study.validate.score import Scored
from ..study.validate.validate import Validation
from ..units import format_seconds
from .console import console, percent, table

FIGURES = ("rows", "median", "p90", "bias", "within 20 %", "coverage")


def print_validation(found: Validation) -> None:
    """Every row, the groups, and what is left out."""
    out = console()
    rows = [_row(each) for each in found.scored if not each.left_out]
    if rows:
        heads = ("row", "model", "hardware", "software", "of", "published", "limit", "expected", "80 %", "error")
        out.print(table(heads, rows, left=5, title="published beside predicted"))
        names = [(name, *_group(group)) for name, group in found.groups.items()]
        out.print(table(("group", *FIGURES), names, title="how far off"))
        out.print(
            f"{MAIN}: whole models on one device whose products were measured, where the device takes the time; "
            "80 %: between which two it is expected to be",
            style="dim",
        )
    for each in found.impossible:
        out.print(
            f"{each.row.id} cannot be true of what is said to have run: {format_seconds(each.row.seconds, 3)} is less "
            f"than its limit of {format_seconds(each.limit_s or 0.0, 3)}"
        )
    for why, count in Counter(found.left_out.values()).most_common():
        ids = [id_ for id_, reason in found.left_out.items() if reason == why]
        shown = ", ".join(ids[:4]) + (f" and {count - 4} more" if count > 4 else "")
        out.print(f"left out: {why} ({shown})", style="dim")


def _row(each: Scored) -> tuple[str, ...]:
    row = each.row
    times = [format_seconds(value or 0.0, 3) for value in (row.seconds, each.limit_s, each.expected_s)]
    ends = f"{format_seconds(each.low_s or 0.0, 3)} to {format_seconds(each.high_s or 0.0, 3)}"
    said = row.software or "compiled"
    mark = " *" if each.host_bound else ""
    return (row.id, row.model, row.machine, said, row.scope, *times, ends, f"{each.error or 0.0:+.1%}{mark}")


def _group(group: Group) -> tuple[str, ...]:
    figures = (group.median, group.p90)
    rest = (percent(group.within_20), percent(group.coverage))
    return (str(group.rows), *(percent(value) for value in figures), f"{group.bias:+.1%}", *rest)
