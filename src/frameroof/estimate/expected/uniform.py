"""The uniform model of expected time: one stated share of the limit, or one for each kind of operation.

Kept apart from peaks: a peak is what the silicon can do, a utilization is what was seen of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...outside import quoted
from ...workload.records import KINDS, Op
from .protocol import About, Bounds, Clock, Plain, Work

if TYPE_CHECKING:
    from ...hardware import Device

LEAST = 1e-6


@dataclass(frozen=True)
class Utilization(Plain):
    """The share of the limit that is reached, between 0 and 1: `default`, or by kind of operation.

    `date`, `file` and `device` where it was read from a file. Raises `ValueError`, a
    sentence, for a share that is not above 0 and at most 1.
    """

    default: float
    by_kind: Mapping[str, float] = field(default_factory=dict)
    source: str = "chosen by the user"
    date: str | None = None
    file: str | None = None
    device: str | None = None

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

    @property
    def about(self) -> About:
        """See `Expected.about`."""
        return About("uniform", self.numbers(), self.source, self.date, self.file, self.device)

    def share(self, op: Op) -> float:
        """See `Expected.share`: of its kind."""
        return self.of(op.kind)

    def parts_s(self, work: Work, bounds: Bounds) -> tuple[Any, Any]:
        """See `Expected.parts_s`."""
        share = self.share(work.op)
        return bounds.compute_s / share, bounds.memory_s / share

    def call_s(self, work: Work, bounds: Bounds) -> Any:
        """See `Expected.call_s`: the limit over the share."""
        return bounds.limit_s / self.share(work.op)

    def on(self, clock: Clock) -> Utilization:
        """See `Expected.on`: a share of the whole does not tell clocks apart."""
        return self

    def refusal(self, device: Device) -> str | None:
        """See `Expected.refusal`."""
        return other_device(self.about, device)

    def numbers(self) -> str:
        """The numbers alone: ``0.48`` or ``0.5, attention 0.7``."""
        return f"{self.default:g}" + "".join(f", {kind} {share:g}" for kind, share in self.by_kind.items())

    def described(self) -> str:
        """See `Expected.described`."""
        return f"at utilization {self.numbers()}"

    def assumptions(self) -> tuple[str, ...]:
        """See `Expected.assumptions`."""
        where = f" ({self.file}, {self.date})" if self.file else ""
        return (f"Expected: limit over utilization {self.numbers()}, {self.source}{where}.",)

    def __str__(self) -> str:
        return f"{self.numbers()} ({self.source})"


DEFAULT_UTILIZATION = Utilization(
    0.48,
    source="median over 15 models of limit over published time on one device; the middle half of 43 rows "
    "lies between 0.37 and 0.56 (benchmarks/results/utilization-2026-11-30.json)",
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


def other_device(about: About, device: Device) -> str | None:
    """Why a model that holds for one device alone says nothing of this one; None where it does.

    A device with values changed (``H100-SXM5-80GB with memory=96 GB``) is still that device.
    """
    names = (device.name, *device.aliases)
    if about.device is None or about.device in names or device.name.startswith(f"{about.device} with "):
        return None
    return f"{about.file or about.name} is for {about.device}; it says nothing of {device.name}"
