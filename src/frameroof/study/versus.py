"""Why isn't it faster: two predictions of a model side by side, by class of work.

What bound each class before, what binds it after, and which share of the time before gained nothing: what a faster
type, machine or compiler could not speed up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..estimate import StageEstimate
from ..outside import quoted
from .predict import Prediction

KEYS = ("on", "dtype", "software", "attention", "maths")
"""What the other prediction may have otherwise, beside sizes."""
GAINED = 0.95
"""A class that takes more than this of what it took gained nothing."""
HOST, BETWEEN = "host", "between devices"


@dataclass(frozen=True)
class Class:
    """One class of work in both: expected seconds, and what it is bound by; "" where it is not there."""

    name: str
    before_s: float
    after_s: float
    before: str
    after: str

    @property
    def gain(self) -> float | None:
        """How many times faster it is; None where it is only in one of them."""
        return self.before_s / self.after_s if self.before_s and self.after_s else None


@dataclass(frozen=True)
class Versus:
    """Both predictions, and the classes of work, largest before first."""

    before: Prediction
    after: Prediction
    classes: tuple[Class, ...]

    @property
    def gain(self) -> float:
        """How many times faster the whole is expected to be."""
        return self.before.expected_s / self.after.expected_s

    @property
    def stuck(self) -> tuple[Class, ...]:
        """Classes that gained nothing."""
        return tuple(c for c in self.classes if c.before_s and c.after_s > GAINED * c.before_s)

    @property
    def stuck_share(self) -> float:
        """The share of the time before that gained nothing."""
        return sum(c.before_s for c in self.stuck) / self.before.expected_s

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        total = self.after.to_dict()
        return {
            "hardware": total["hardware"],
            "software": total["software"],
            "dtype": self.after.choices["dtype"],
            "sizes": dict(self.after.estimate.sizes),
            "total": total["total"],
            "gain": self.gain,
            "stuck_share": self.stuck_share,
            "classes": [
                {
                    "class": c.name,
                    "before_s": c.before_s,
                    "after_s": c.after_s,
                    "bound_before": c.before or None,
                    "bound_after": c.after or None,
                    "gain": c.gain,
                }
                for c in self.classes
            ],
        }


def versus(before: Prediction, after: Prediction) -> Versus:
    """Two predictions of one model, by the kinds of their operations."""
    one, other = (_classes(each.estimate.stages) for each in (before, after))
    names = sorted({**one, **other}, key=lambda name: -one.get(name, (0.0, ""))[0])
    made = (Class(name, *_pair(one.get(name), other.get(name))) for name in names)
    return Versus(before, after, tuple(c for c in made if c.before_s or c.after_s))


def _pair(one: tuple[float, str] | None, other: tuple[float, str] | None) -> tuple[float, float, str, str]:
    (before_s, before), (after_s, after) = one or (0.0, ""), other or (0.0, "")
    return before_s, after_s, before, after


def _classes(stages: Sequence[StageEstimate]) -> dict[str, tuple[float, str]]:
    """Expected seconds of each kind of operation, and what most of it is bound by."""
    seconds: dict[str, dict[str, float]] = {}
    for stage in stages:
        waits = stage.spent.host_s > stage.spent.device_s
        for op in stage.ops:
            bound = BETWEEN if op.op.kind == "collective" else HOST if waits else op.bound
            own = seconds.setdefault(op.op.kind, {})
            own[bound] = own.get(bound, 0.0) + op.expected_s
    return {kind: (sum(own.values()), max(own, key=own.__getitem__)) for kind, own in seconds.items()}


def parse_versus(texts: Sequence[str], sizes: Mapping[str, int]) -> tuple[dict[str, str], dict[str, int]]:
    """What is otherwise in the other prediction: choices by `KEYS`, and sizes by their names.

    Raises `ValueError`, a sentence, for a text that is no NAME=VALUE and for a size that is no number.
    """
    choices: dict[str, str] = {}
    other: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise ValueError(f"--versus is NAME=VALUE with {', '.join(KEYS)} or a size, not {quoted(text)}")
        if name in KEYS:
            choices[name] = value
        elif value.isdigit():
            other[name] = int(value)
        else:
            raise ValueError(f"--versus: {quoted(name)} is none of {', '.join(KEYS)}, and {quoted(value)} is no size")
    return choices, {**sizes, **other}
