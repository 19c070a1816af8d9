"""A document's numbers beside ours, as tables by section, or as JSON."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.text import Text

from ..study.reproduce import Reproduction, Row
from ..units import format_seconds
from .console import Grid, console, table
from .json import print_json

COLORS = {
    "same": "green",
    "holds": "green",
    "partly": "yellow",
    "different": "red",
    "does not hold": "red",
}
QUANTITY, UNIT, VERDICT = 32, 23, 9  # widths, the same in every section


def print_reproduction(result: Reproduction, as_json: bool) -> None:
    """Print every row, the way from the post's time to ours, and what was assumed."""
    if as_json:
        print_json(result.to_dict())
        return
    page = console(least=150)
    for line in (result.title, result.source):
        page.print(line, style="bold")
    width = max(len(text) for row in result.rows for text in _numbers(row))
    for (section, where), rows in groupby(result.rows, key=lambda row: (row.section, row.where)):
        page.print(_rows(f"{section} ({where})", list(rows), width))
    if result.corrections:
        columns = ("correction, each on top of the last", "compute", "memory", "time")
        steps = [
            (c.what, format_seconds(c.compute_s), format_seconds(c.memory_s), format_seconds(c.time_s))
            for c in result.corrections
        ]
        page.print(table(columns, steps, title=result.corrections_title))
    page.print(", ".join(f"{count} {verdict}" for verdict, count in result.verdicts.items()), style="bold")
    for note in result.notes:
        page.print(note, style="dim")


def _rows(title: str, rows: list[Row], width: int) -> Any:
    made = Grid(title)
    made.add_column("quantity", width=QUANTITY)
    made.add_column("unit, rounding", width=UNIT)
    for column in ("published", "ours"):
        made.add_column(column, justify="right", width=width)
    made.add_column("ratio", justify="right", width=6)
    made.add_column("corrected", justify="right", width=width)
    made.add_column("verdict", width=VERDICT)
    made.add_column("why", min_width=20)
    for row in rows:
        published, ours, corrected = _numbers(row)
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        verdict = Text(row.verdict, style=COLORS[row.verdict])
        made.add_row(row.quantity, row.unit, published, ours, ratio, corrected, verdict, row.why)
    return made


def _numbers(row: Row) -> tuple[str, str, str]:
    """Published as printed there; ours with a digit more, at least four."""
    published = _number(row.published, 12)
    digits = max(4, sum(c.isdigit() for c in published.lstrip("0.").split("e")[0]) + 1)
    corrected = "" if row.corrected is None else _number(row.corrected, digits)
    return published, _number(row.ours, digits), corrected


def _number(value: float, digits: int) -> str:
    """Whole numbers whole, others to `digits`; small ones as the posts write them (9.63e-05)."""
    whole = float(value).is_integer() or abs(value) >= 10.0 ** (digits - 1)
    return f"{value:,.0f}" if whole else f"{value:,.{digits}g}"
