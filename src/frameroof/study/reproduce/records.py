"""Row and Reproduction, and the rule by which one number is said to be another's digits.

A published number was rounded or truncated, in units of its own. A `Rule` redoes that to ours, so that
"same" means the same digits and nothing less.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = "frameroof.reproduce/1"
Verdict = Literal["same", "different", "holds", "partly", "does not hold"]
_SLACK = 1e-9  # relative: what summing floats may lose before digits are cut off
MODES = ("exact", "rounded", "truncated", "order", "least", "more", "within")


@dataclass(frozen=True)
class Rule:
    """How a post shortened a number: to `places` decimals, or to `digits` significant digits.

    Statements are vaguer: ``order`` compares the nearest power of ten, ``least`` and ``more`` read the
    published number as a bound, ``within`` allows `places` percent.
    """

    mode: str
    places: int = 0
    digits: int = 0

    def matches(self, value: float, published: float) -> bool:
        """Whether `value`, shortened as the post did, is the published number."""
        if self.mode == "exact":
            return value == published
        if self.mode == "order":
            return value > 0 and round(math.log10(value)) == round(math.log10(published))
        if self.mode in ("least", "more"):
            return value > published or (self.mode == "least" and math.isclose(value, published))
        if self.mode == "within":
            return abs(value - published) <= self.places / 100 * abs(published)
        return math.isclose(self.shorten(value), published, rel_tol=_SLACK, abs_tol=1e-15)

    def shorten(self, value: float) -> float:
        """`value` with the digits that the post kept."""
        if value == 0:
            return value
        places = self.digits - 1 - math.floor(math.log10(abs(value))) if self.digits else self.places
        scaled = abs(value) * 10.0**places
        whole = math.floor(scaled * (1 + _SLACK) + (0.5 if self.mode == "rounded" else 0.0))
        return math.copysign(whole / 10.0**places, value)

    def __str__(self) -> str:
        words = {"least": "at least", "more": "more than", "order": "nearest power of ten"}
        if self.mode == "within":
            return f"within {self.places} %"
        if self.digits:
            return f"{self.mode} to {self.digits} digit{'s' if self.digits > 1 else ''}"
        return words.get(self.mode, self.mode)


def parse_rule(text: str) -> Rule:
    """A rule from ``"rounded 2"`` (decimals), ``"truncated 3 digits"``, ``"within 10"``, ``"exact"`` …

    Raises `ValueError`, a sentence, for a text of another form.
    """
    mode, _, rest = text.partition(" ")
    number, _, word = rest.partition(" ")
    if mode not in MODES or word not in ("", "digits") or not (number or "0").isdigit():
        raise ValueError(f"{text!r} is not a rule of rounding; rules begin with {', '.join(MODES)}")
    count = int(number or 0)
    return Rule(mode, digits=count) if word else Rule(mode, places=count)


@dataclass(frozen=True)
class Row:
    """One published number beside ours; both in the post's unit, which also names its rounding.

    `ours` is counted under the post's assumptions; `corrected` is our full estimate of the same
    quantity, None where there is nothing to correct. `restored` is, for a row that differs, the value
    once the assumption that `why` names is put back.
    """

    quantity: str
    unit: str
    published: float
    ours: float
    ratio: float | None
    corrected: float | None
    verdict: Verdict
    why: str
    section: str = ""
    where: str = ""
    restored: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the eight documented keys."""
        names = ("quantity", "unit", "published", "ours", "ratio", "corrected", "verdict", "why")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Correction:
    """One step from the post's time to ours: seconds of compute and of memory, and of the whole."""

    what: str
    compute_s: float
    memory_s: float
    time_s: float


@dataclass(frozen=True)
class Reproduction:
    """Every published number of one document beside ours, and the way from its time to our estimate."""

    title: str
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()
    corrections_title: str = ""

    @property
    def verdicts(self) -> dict[str, int]:
        """How many rows have each verdict."""
        return dict(Counter(row.verdict for row in self.rows))

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON form: numbers in the unit of their row, corrections in seconds."""
        return {
            "schema": SCHEMA,
            "title": self.title,
            "source": self.source,
            "verdicts": self.verdicts,
            "rows": [row.to_dict() for row in self.rows],
            "corrections_title": self.corrections_title,
            "corrections": [asdict(step) for step in self.corrections],
            "notes": list(self.notes),
        }
