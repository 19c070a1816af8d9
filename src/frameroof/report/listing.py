"""Listings of models, with every source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..catalogue import Entry
from ..units import format_count
from ..workload.records import Workload
from ..workload.verified import verified
from .console import console, table
from .json import print_json


def print_models(entries: Sequence[Entry], as_json: bool) -> None:
    """Every model: name, aliases, title, sources."""
    if as_json:
        print_json(msgspec.to_builtins(entries))
        return
    rows = [(e.name, ", ".join(e.aliases), e.title) for e in entries]
    console().print(table(("model", "also", "what it is"), rows, left=3))
    console().print("`frameroof models NAME` shows sizes, stages, assumptions and sources.", style="dim")


def print_model(workload: Workload, as_json: bool) -> None:
    """One model: sizes, stages, assumptions, sources."""
    data = _model(workload)
    if as_json:
        print_json(data)
        return
    out = console()
    out.print(f"{workload.title or workload.name}", style="bold")
    sizes = [(n, s["default"], s["admissible"], _range(s["verified"])) for n, s in data["sizes"].items()]
    rows = [(n, str(default), *said, workload.params[n].doc) for n, default, *said in sizes]
    out.print(table(("size", "default", "admissible", "verified", ""), rows, left=5))
    stages = [(s["name"], s["repeat"], format_count(s["params"]), str(s["operations"])) for s in data["stages"]]
    out.print(table(("stage", "runs", "parameters", "operations"), stages, left=2))
    for heading, lines in (
        ("assumed", workload.notes),
        ("source", workload.source),
        ("passes", workload.passes),
    ):
        for line in lines:
            out.print(f"{heading}: {line}", style="dim")
    if workload.uncounted:
        out.print(f"without a FLOP rule: {workload.uncounted}", style="dim")


def _model(workload: Workload) -> dict[str, Any]:
    ranges = verified(workload)
    return {
        "name": workload.name,
        "title": workload.title,
        "item": workload.item,
        "dtype": workload.dtype,
        "sizes": {
            n: {"default": s.default, "admissible": _admissible(s), "verified": ranges.get(n)}
            for n, s in workload.params.items()
        },
        "stages": [
            {
                "name": s.name,
                "repeat": s.repeat + (f" for {s.loop[0]} in 0..{s.loop[1]}" if s.loop else ""),
                "params": sum(s.weights.values()),
                "operations": len(s.ops),
            }
            for s in workload.stages
        ],
        "notes": list(workload.notes),
        "source": list(workload.source),
        "uncounted": workload.uncounted,
        "made_by": dict(workload.made_by),
    }


def _range(ends: tuple[int, int] | None) -> str:
    return f"{ends[0]} to {ends[1]}" if ends else ""


def _admissible(size: Any) -> str:
    if size.most == size.lowest:
        return "fixed"
    form = (
        f"{size.offset} + k * {size.step}" if size.offset else f"multiples of {size.step}" if size.step > 1 else "any"
    )
    most = f" to {size.most}" if size.most is not None else ""
    return f"{form}, from {size.lowest}{most}"
