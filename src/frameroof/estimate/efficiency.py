"""What share of a limit is reached: one stated number, or one for each kind of operation.

Kept apart from peaks: a peak is what the silicon can do, a utilization is what was seen of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..outside import quoted
from ..workload.records import KINDS

LEAST = 1e-6


@dataclass(frozen=True)
class Utilization:
    """The share of the limit that is reached, between 0 and 1: `default`, or by kind of operation.

    Raises `ValueError`, a sentence, for a share that is not above 0 and at most 1.
    """

    default: float
    by_kind: Mapping[str, float] = field(default_factory=dict)
    source: str = "chosen by the user"

    def __post_init__(self) -> None:
        for share in (self.default, *self.by_kind.values()):
            if not LEAST <= share <= 1:
                raise ValueError(
                    f"a utilization is above 0 (at least {LEAST:g}) and at most 1, not {share:g}: "
                    "nothing runs above its limit"
                )

    def of(self, kind: str) -> float:
        """The share for one kind."""
        return self.by_kind.get(kind, self.default)

    def described(self) -> str:
        """The numbers alone: ``0.51`` or ``0.5, attention 0.7``."""
        return f"{self.default:g}" + "".join(f", {kind} {share:g}" for kind, share in self.by_kind.items())

    def __str__(self) -> str:
        return f"{self.described()} ({self.source})"


DEFAULT_UTILIZATION = Utilization(
    0.51,
    source="median over 15 models of limit over published time on one device; the middle half of 41 rows "
    "lies between 0.43 and 0.63 (benchmarks/results/utilization-2026-11-21.json)",
)


def parse_utilization(text: str) -> Utilization:
    """``"0.5"``, or ``"0.5,attention=0.7,conv2d=0.4"``; `ValueError` with a sentence for anything else."""
    default, source = DEFAULT_UTILIZATION.default, f"kinds not named: {DEFAULT_UTILIZATION.source}"
    by_kind: dict[str, float] = {}
    for item in text.split(","):
        kind, equals, number = item.strip().rpartition("=")
        try:
            share = float(number)
        except ValueError:
            raise ValueError(f"{quoted(item)} is not a utilization; write 0.5 or attention=0.7") from None
        if not equals:
            default, source = share, "chosen by the user"
        elif kind in KINDS:
            by_kind[kind] = share
        else:
            raise ValueError(f"unknown kind {quoted(kind)}; kinds are {', '.join(KINDS)}")
    return Utilization(default, by_kind, source)
