"""What would fit where a model does not: more of the device, a larger one, or narrower weights; with figures."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from ..estimate import memory_of
from ..hardware import Node, devices
from ..passes import set_precision
from ..units import format_bytes, format_usd

if TYPE_CHECKING:
    from .predict import Prediction

NARROW = "weights=fp8"


def what_fits(prediction: Prediction) -> list[str]:
    """What would fit, the cheapest change first; none where it fits already."""
    memory, e = prediction.memory, prediction.estimate
    if memory.fits:
        return []
    node, found = e.node, []
    if not any(done.startswith("precision") for done in e.workload.passes):
        narrow = memory_of(set_precision(e.workload, NARROW), node, e.sizes)
        if narrow.fits:
            found.append(f"fp8 weights ({format_bytes(narrow.peak_bytes)})")
    count = ceil(memory.peak_bytes / node.device.memory_bytes)
    found.append(f"{count} x {node.device.name}, shared perfectly ({format_bytes(count * node.device.memory_bytes)})")
    if larger := _cheapest(memory.peak_bytes):
        price = larger.usd_per_hour
        asked = f" at {format_usd(price.mid)}/h" if price else ""
        found.append(f"one {larger.name} ({format_bytes(larger.device.memory_bytes)}{asked})")
    return found


def _cheapest(needed: int) -> Node | None:
    """The cheapest single GPU whose memory is enough, of those with a price."""
    enough = [d for d in devices() if d.kind == "gpu" and d.memory_bytes >= needed and d.usd_per_hour]
    return Node(min(enough, key=lambda d: d.usd_per_hour.mid if d.usd_per_hour else 0.0)) if enough else None
