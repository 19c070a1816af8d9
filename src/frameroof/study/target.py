"""How many devices reach a rate, and at what price."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..estimate.cost import devices_for
from ..units import parse_throughput
from .predict import Prediction


@dataclass(frozen=True)
class Target:
    """Devices that reach `items_per_hour` together, if the expected time holds and none idles."""

    items_per_hour: float
    devices: int
    usd_per_hour: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def reach(prediction: Prediction, rate: str) -> Target:
    """The devices for a rate such as ``"1000/h"``; `ValueError`, a sentence, for a rate that is none."""
    per_s = parse_throughput(rate)
    if per_s <= 0:
        raise ValueError(f"a target is a rate above 0, not {rate!r}")
    node, cost = prediction.estimate.node, prediction.cost
    devices = devices_for(per_s, cost.items_per_hour, node.count)
    devices = -(-devices // node.count) * node.count
    usd = None if cost.usd_per_hour is None else cost.usd_per_hour / node.count * devices
    return Target(per_s * 3600, devices, usd)
