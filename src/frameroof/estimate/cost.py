"""Throughput, dollars and joules of one item, and how that compares with serving a language model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..hardware import Node

# What one user spends per second on a language model, as the Movie Gen post reckons it: Llama-3.1-70B
# at $0.9 per million tokens and 107 tokens/s on together.ai ("How fast is Meta Movie Gen?", 2024-10-20).
LLM_USD_PER_TOKEN = 0.9e-6
LLM_TOKENS_PER_S = 107.0
LLM_SOURCE = "Llama-3.1-70B at $0.9 per million tokens and 107 tokens/s (Movie Gen post, 2024-10-20)"


@dataclass(frozen=True)
class Cost:
    """What one item (image, video, answer) costs when the node is never idle."""

    items_per_hour: float
    usd_per_hour: float | None
    price_source: str
    joules_per_item: float | None

    @property
    def usd_per_item(self) -> float | None:
        """US dollars for one item."""
        return None if self.usd_per_hour is None else self.usd_per_hour / self.items_per_hour

    @property
    def usd_per_s(self) -> float | None:
        """US dollars per second of use."""
        return None if self.usd_per_hour is None else self.usd_per_hour / 3600

    @property
    def llm_users(self) -> float | None:
        """How many language-model users spend as fast as one user of this."""
        return None if self.usd_per_s is None else self.usd_per_s / (LLM_USD_PER_TOKEN * LLM_TOKENS_PER_S)


def cost_of(node: Node, seconds: float, items: int, usd_per_device_hour: float | None = None) -> Cost:
    """Cost of `items` items in `seconds` on a node; energy is TDP times time, of the devices alone."""
    price = node.usd_per_hour
    if usd_per_device_hour is not None:
        usd, source = usd_per_device_hour * node.count, "given by the user"
    elif price is not None:
        usd, source = (
            price.mid,
            f"{price.source}, {price.date}: ${price.low:g} to ${price.high:g} for {node.name}",
        )
    else:
        usd, source = None, f"no price is known for {node.device.name}; --price gives one"
    tdp_w = node.device.tdp_w
    joules = tdp_w * node.count * seconds / items if tdp_w else None
    return Cost(items * 3600 / seconds if seconds else math.inf, usd, source, joules)


def devices_for(target_per_s: float, items_per_hour: float, devices: int) -> int:
    """How many devices reach a rate, when `devices` of them yield `items_per_hour`."""
    return max(1, math.ceil(target_per_s * 3600 * devices / items_per_hour - 1e-9))
