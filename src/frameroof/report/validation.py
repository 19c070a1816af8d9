"""Predicted beside published as tables: rows, groups, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..study.validate.score import Group, Scored
from ..units import format_seconds
from .console import console, table


def print_validation(scored: Sequence[Scored], found: Mapping[str, Group]) -> None:
    """Print all of it for a person."""
    out = console()
    known = [one for one in scored if not one.why]
    if known:
        out.print(_rows(sorted(known, key=lambda one: one.error)))
        out.print(_groups(found))
    left: dict[str, list[str]] = {}
    for one in scored:
        if one.why:
            left.setdefault(one.why, []).append(one.row.id)
    for why, ids in left.items():
        out.print(f"left out ({len(ids)}): {why}: {', '.join(ids)}", style="dim")
    if broken := [one.row.id for one in known if one.impossible]:
        out.print(f"faster than their limit: {', '.join(broken)}")


def _rows(known: Sequence[Scored]) -> Any:
    columns = ("row", "model", "on", "software", "of", "published", "limit", "expected", "80 %", "error", "kind")
    return table(columns, [_row(one) for one in known], left=5)


def _row(one: Scored) -> tuple[str, ...]:
    row = one.row
    interval = "" if one.low_s is None or one.high_s is None else f"{_short(one.low_s)} to {_short(one.high_s)}"
    software = ", ".join(text for text in (row.software or "compiled", row.dtype) if text)
    seconds = (format_seconds(each) for each in (row.seconds, one.limit_s, one.expected_s))
    return (row.id, row.model, row.on, software, row.scope, *seconds, interval, f"{one.error:+.0%}", one.kind)


def _short(seconds: float) -> str:
    return format_seconds(seconds)


def _groups(found: Mapping[str, Group]) -> Any:
    columns = ("group", "rows", "median", "p90", "bias", "within 20 %", "in the interval")
    rows = [
        (
            name,
            str(group.rows),
            f"{group.median:.1%}",
            f"{group.p90:.1%}",
            f"{group.bias:+.1%}",
            f"{group.within_20:.0%}",
            "" if group.coverage is None else f"{group.coverage:.0%}",
        )
        for name, group in found.items()
    ]
    return table(columns, rows)
