"""Values of an experiment's rows as people read them: ``1.36 s``, ``73.2 MB``, ``41.3 %``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..study.characterize.source import Column
from ..units import format_bandwidth, format_bytes, format_count, format_flops, format_rate, format_seconds, format_usd

SHARES = ("share", "utilization", "hit_rate", "of_baseline", "bandwidth_mean")


def cell(value: Any, column: Column) -> str:
    """One value in the unit of its column; "" for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(each) for each in value)
    if isinstance(value, str):
        return value
    return _number(value, column)


def _number(value: float, column: Column) -> str:
    known: dict[str, Callable[[float], str]] = {
        "byte": format_bytes,
        "FLOP": format_flops,
        "FLOP/s": format_rate,
        "byte/s": format_bandwidth,
        "s": format_seconds,
        "USD": format_usd,
        "USD/h": lambda usd: f"{usd:.2f}",
        "x": lambda times: f"{times:.3g}x",
    }
    if column.unit in known:
        return known[column.unit](value)
    if column.unit in ("", "%") and any(word in column.name for word in SHARES) and "over" not in column.name:
        return f"{value * 100:.3g} %"
    if "parameters" in column.name:
        return format_count(value)
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def heading(column: Column) -> str:
    """A column's name for people, with the unit where the values do not carry it."""
    text = column.name.removesuffix("_bytes").replace("_", " ")
    text = "time" if text == "time s" else re.sub(" s$", " time", text)
    own = column.unit in ("", "byte", "byte/s", "FLOP", "FLOP/s", "s", "x", "USD")
    return text if own else f"{text} [{column.unit}]"
