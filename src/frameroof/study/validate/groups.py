"""Rows by what they have in common, and how far off each group is; `--fail-on` of `frameroof validate`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ...outside import quoted
from .score import Scored

WITHIN = 0.2
ALL, MAIN = "all", "end to end"
FORM = "METRIC>X% or METRIC<X%, with a group before it where that is not end to end: median>10%,components:p90>40%"
METRICS = ("median", "p90", "bias", "within_20", "coverage")


@dataclass(frozen=True)
class Group:
    """Of the rows of a group: the median and ninetieth percentile of the error's size, the median error with its sign,
    and the shares of rows within 20 % and of those whose interval holds what was published."""

    rows: int
    median: float
    p90: float
    bias: float
    within_20: float
    coverage: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"rows": self.rows, **{name: getattr(self, name) for name in METRICS}}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies, between two of them by a line. `ValueError` for none."""
    if not values:
        raise ValueError("no values have no percentile")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def group_of(scored: Sequence[Scored]) -> Group:
    """The figures of rows that have a prediction; at least one. `ValueError` for none."""
    errors = [each.error for each in scored if each.error is not None]
    sizes = [abs(error) for error in errors]
    return Group(
        len(errors),
        percentile(sizes, 0.5),
        percentile(sizes, 0.9),
        median(errors),
        sum(size <= WITHIN for size in sizes) / len(sizes),
        sum(each.covered for each in scored) / len(sizes),
    )


def groups(scored: Iterable[Scored]) -> dict[str, Group]:
    """Every group by its name, those that tell most first.

    ``end to end``: whole models on one NVIDIA device with tables whose host is not what they wait for. Components
    alone, rows bound by their host, devices without tables and several devices are groups of their own. Groups by
    device, family and software have whole models on one device, those bound by their host aside.
    """
    found: dict[str, list[Scored]] = {MAIN: []}
    for each in scored:
        if each.left_out:
            continue
        for name in _names(each):
            found.setdefault(name, []).append(each)
    order = (ALL, MAIN, "without tables", "host-bound", "components", "several devices")
    names = [*(name for name in order if name in found), *sorted(name for name in found if name not in order)]
    return {name: group_of(found[name]) for name in names if found[name]}


def _names(each: Scored) -> list[str]:
    if each.row.devices > 1:
        return [ALL, "several devices"]
    if each.component:
        return [ALL, "components"]
    if each.host_bound:
        return [ALL, "host-bound"]
    preset = each.row.software.partition(",")[0] or "compiled"
    whose = MAIN if each.tables else "without tables"
    return [ALL, whose, f"device: {each.row.on}", f"family: {each.row.family}", f"software: {preset}"]


# ------------------------------------------------------------------------------------------- checks


@dataclass(frozen=True)
class Rule:
    """Fails where a group's figure is above (or below) a bound."""

    text: str
    group: str
    metric: str
    above: bool
    bound: float

    def broken(self, found: Mapping[str, Group]) -> str:
        """A sentence where the figure is past its bound, "" where it is not. `ValueError` for a group without rows."""
        if self.group not in found:
            raise ValueError(f"--fail-on: there is no row in {self.group!r}; there are {', '.join(found) or 'none'}")
        value = getattr(found[self.group], self.metric)
        value = abs(value) if self.metric == "bias" else value
        if (value > self.bound) if self.above else (value < self.bound):
            return f"{self.group}: {self.metric} is {value:.1%}, past {self.text}"
        return ""


def parse_rules(text: str) -> list[Rule]:
    """The rules of a `--fail-on`. `ValueError` with a sentence that quotes what was not understood."""
    rules = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(?:(.+):)?\s*(\w+)\s*([<>])\s*(\d+(?:\.\d*)?)\s*%\s*", part)
        if found is None or found[2] not in METRICS:
            raise ValueError(f"--fail-on: {quoted(part.strip())} is not a rule; write {FORM} ({', '.join(METRICS)})")
        group = (found[1] or MAIN).strip()
        rules.append(Rule(part.strip(), group, found[2], found[3] == ">", float(found[4]) / 100))
    return rules
