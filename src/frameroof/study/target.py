"""How many devices reach a rate, and at what price."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..estimate.cost import devices_for
from ..units import parse_throughput
from .predict import Prediction

MOST_DEVICES = 10**8


@dataclass(frozen=True)
class Target:
    """Devices that reach `items_per_hour` together, if the expected time holds and none idles.

    They come in groups large enough to hold the model at its peak.
    """

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
    unit = max(node.count, -(-prediction.memory.peak_bytes // node.device.memory_bytes))
    devices = devices_for(per_s, cost.items_per_hour, node.count)
    devices = -(-devices // unit) * unit  # every copy of the model needs the memory of `unit` devices
    if devices > MOST_DEVICES:
        raise ValueError(f"{rate!r} would need {devices:.3g} devices; at most {MOST_DEVICES:,}")
    usd = None if cost.usd_per_hour is None else cost.usd_per_hour / node.count * devices
    return Target(per_s * 3600, devices, usd)
