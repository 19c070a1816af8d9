"""`--fail-on 'median>10%, host-bound.p90>50%'`: how far off expected times may be before a check fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ...outside import quoted
from .score import Group

FORM = "METRIC>X% or METRIC<X%, several joined by commas, such as median>10%, end to end.p90>30%, coverage<74%"
METRICS = ("median", "p90", "bias", "within_20", "coverage")
_RULE = re.compile(rf"\s*(?:(.+)\.)?({'|'.join(METRICS)})\s*([<>])\s*(\d+(?:\.\d*)?)\s*%\s*")


class Rule(NamedTuple):
    """Fails where a metric of a group is beyond a share."""

    text: str
    group: str
    metric: str
    sign: str
    share: float

    def broken(self, found: Mapping[str, Group]) -> str | None:
        """What happened, a sentence, where it fails. `ValueError` for a group that there is none of."""
        if self.group not in found:
            raise ValueError(f"--fail-on: there is no group {quoted(self.group)}; there are {', '.join(found)}")
        value = getattr(found[self.group], self.metric)
        if value is None:
            raise ValueError(f"--fail-on: {self.group} has no {self.metric}: its rows have no intervals")
        value = abs(value)
        beyond = value > self.share if self.sign == ">" else value < self.share
        return f"{self.group}: {self.metric} {value:.1%}, past {self.text}" if beyond else None


def parse_rules(text: str) -> list[Rule]:
    """The rules of a `--fail-on`; `ValueError`, a sentence, for what is none."""
    rules = []
    for item in text.split(","):
        found = _RULE.fullmatch(item)
        if not found:
            raise ValueError(f"--fail-on: {quoted(item)} is not a rule; write {FORM}")
        group, metric, sign, percent = found.groups()
        rules.append(Rule(item.strip(), (group or "all").strip(), metric, sign, float(percent) / 100))
    return rules
