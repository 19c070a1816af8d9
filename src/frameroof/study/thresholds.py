"""`--fail-on 'total>5%&2ms, kernels>10%'`: how much worse a run may be before a check fails."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

from ..trace.find.idle import CAUSES
from ..trace.resolve.classify import CLASSES
from ..units import format_bytes, format_flops, format_seconds, parse_seconds
from .compare import GROUPS, SINGLE, Change, Comparison

FORM = "METRIC>X% or METRIC>X%&Y, several joined by commas, such as total>5%&2ms,kernels>10%"
_RULE = re.compile(
    r"\s*(?P<metric>\S.*?)\s*>\s*(?P<percent>\d+(?:\.\d*)?|\.\d+)\s*%\s*(?:&\s*(?P<least>[^,&>]*?)\s*)?(?:,|$)"
)


@dataclass(frozen=True)
class Rule:
    """Fails where a metric grows by more than `percent` and, if given, by more than `least`."""

    text: str
    metric: str
    percent: float
    least: str | None


@dataclass(frozen=True)
class Check:
    """One rule applied."""

    rule: Rule
    change: Change
    exceeded: bool

    @property
    def sentence(self) -> str:
        """What happened, and against which rule."""
        c = self.change
        grown = f"{change_percent(c)} ({quantity(c.before, c.unit)} -> {quantity(c.after, c.unit)})"
        spread = "" if c.judged == SINGLE else f"; {c.judged}"
        return f"{self.rule.metric}: {grown}, {'more than' if self.exceeded else 'within'} {self.rule.text}{spread}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rule": self.rule.text,
            "metric": self.rule.metric,
            "exceeded": self.exceeded,
            "sentence": self.sentence,
        }


def parse_rules(text: str) -> list[Rule]:
    """The rules of a `--fail-on`; `ValueError` with a sentence that quotes what was not understood."""
    rules: list[Rule] = []
    at = 0
    while at < len(text) or not rules:
        found = _RULE.match(text, at)
        if found is None:
            raise ValueError(f"--fail-on: {text[at:].strip()!r} is not a rule; write {FORM}")
        shown = found[0].strip().rstrip(",").strip()
        rules.append(Rule(shown, found["metric"], float(found["percent"]), found["least"]))
        at = found.end()
    return rules


def apply(rules: list[Rule], comparison: Comparison) -> list[Check]:
    """Check every rule; `ValueError` with what is allowed for a metric that neither run has."""
    checks = []
    for rule in rules:
        change = find_metric(rule.metric, comparison)
        percent = 100 * change.difference / change.before if change.before else math.inf
        least = _least(rule, change)
        worse = change.difference > max(0.0, least) and percent > rule.percent
        checks.append(Check(rule, change, worse))
    return checks


def _least(rule: Rule, change: Change) -> float:
    if rule.least is None:
        return 0.0
    if change.unit == "ns":
        try:
            return parse_seconds(rule.least) * 1e9
        except ValueError as error:
            raise ValueError(f"--fail-on {rule.text!r}: {error}") from None
    try:
        least = float(rule.least)
    except ValueError:
        least = math.nan
    if not math.isfinite(least):
        raise ValueError(f"--fail-on {rule.text!r}: {rule.metric} is counted, so write a number after &, such as &100")
    return least


def find_metric(name: str, comparison: Comparison) -> Change:
    """The change that a metric names: `total`, `linear`, or with its group where several have it: `class:attention`.

    Raises `ValueError`, a sentence, for a name of nothing, or of more than one thing.
    """
    group, _, inner = name.partition(":")
    if group in GROUPS and inner.strip() and not inner.startswith(":"):
        found = [c for c in comparison.of(group) if c.name == inner.strip()]
        if not found and _may_be_absent(group, inner.strip()):
            return Change(group, inner.strip(), "ns", None, None)
    elif name in ("measured", "median"):
        found = [c for c in comparison.of("measured") if c.name == "median"]
        if not found:
            raise ValueError(
                "--fail-on: measured needs repetitions without the profiler in both runs; total is the trace's"
            )
    else:
        found = [c for c in comparison.changes if c.name == name and c.group != "call"]
        found = [c for c in found if c.group == "run"] or found
        absent = [g for g in ("idle", "class") if _may_be_absent(g, name)]
        if not found and absent:
            return Change(absent[0], name, "ns", None, None)
    if not found:
        raise ValueError(_unknown(name, comparison))
    if len(found) > 1:
        names = " or ".join(f"{c.group}:{c.name}" for c in found)
        raise ValueError(f"--fail-on: {name!r} is more than one thing here; write {names}")
    return found[0]


def _may_be_absent(group: str, name: str) -> bool:
    """A cause of idle time or a class of operators that happens to be in neither run: nothing then, not unknown."""
    return name in {"idle": CAUSES, "class": CLASSES}.get(group, ())


def _unknown(name: str, comparison: Comparison) -> str:
    def names(group: str) -> list[str]:
        return list(dict.fromkeys(c.name for c in comparison.of(group)))

    run = [*names("run"), *(["measured"] if names("measured") else [])]
    known = [c.name for c in comparison.changes] + run + list(CAUSES) + list(CLASSES)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    meant = f"did you mean {near[0]}? " if near else ""
    stages = f"a stage ({', '.join(names('stage'))}), " if names("stage") else ""
    return (
        f"--fail-on: neither run has {name!r}; {meant}allowed: {', '.join(run)}, "
        f"a cause of idle time ({', '.join(CAUSES)}), a class ({', '.join(CLASSES)}), {stages}"
        "or the name of an operator, an attention or a kernel"
    )


# ---------------------------------------------------------------------------------------------- words


def quantity(value: float | None, unit: str) -> str:
    """A value of a change for reading; "none" where a run does not have it."""
    if value is None:
        return "none"
    if unit == "ns":
        return format_seconds(value / 1e9, 4)
    if unit == "bytes":
        return format_bytes(value)
    if unit == "flops":
        return format_flops(value)
    return f"{value:,.0f}"


def change_percent(change: Change) -> str:
    """+12.3 %, appeared, vanished or same."""
    if change.state != "changed" or change.ratio is None:
        return change.state
    percent = 100 * (change.ratio - 1)
    return f"{percent:+,.1f} %" if abs(percent) < 999 else f"x {change.ratio:,.3g}"
