"""Peak memory: weights, activations, key-value caches, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ..dtypes import BITS
from ..hardware import Node
from ..workload.expr import check_reach, expr, largest, value_of
from ..workload.records import Stage, Workload


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak: every stage's weights resident, and the largest stage's activations.

    Activations are what is alive under the best freeing order, without an allocator's slack; caches
    are the key-value caches among them. `peak_stage` names the stage with the largest activations.
    """

    weight_bytes: int
    activation_bytes: int
    cache_bytes: int
    available_bytes: int
    peak_stage: str

    @property
    def peak_bytes(self) -> int:
        """Weights, activations and caches together."""
        return self.weight_bytes + self.activation_bytes + self.cache_bytes

    @property
    def fits(self) -> bool:
        """Whether the peak is within the node's memory (shared perfectly by its devices)."""
        return self.peak_bytes <= self.available_bytes


def memory_of(workload: Workload, node: Node, sizes: Mapping[str, int]) -> Memory:
    """Peak memory of a workload at (checked) sizes on a node."""
    largest, cache, at = 0, 0, ""
    for stage in workload.stages:
        held, cached = _activations(stage, workload.dtype, sizes)
        if held > largest:
            largest, cache, at = held, cached, stage.name
    return Memory(resident_bytes(workload), largest - cache, cache, node.device.memory_bytes * node.count, at)


def resident_bytes(workload: Workload) -> int:
    """Bytes of all parameters; of stages that share theirs the largest counts once in every dtype.

    Stages that share weights and use them in two dtypes need two copies.
    """
    shared: dict[str, dict[str, int]] = {}
    for stage in workload.stages:
        copies = shared.setdefault(stage.weights_name or stage.name, {})
        for dtype, elements in stage.weights.items():
            copies[dtype] = max(copies.get(dtype, 0), elements)
    return sum(_bytes(copies) for copies in shared.values())


def weight_bytes(stage: Stage) -> int:
    """Bytes of a stage's parameters."""
    return _bytes(stage.weights)


def _bytes(weights: Mapping[str, int]) -> int:
    return -(-sum(n * BITS[dtype] for dtype, n in weights.items()) // 8)


def _activations(stage: Stage, base: str, sizes: Mapping[str, int]) -> tuple[int, int]:
    env: dict[str, Any] = dict(sizes)
    if stage.loop:
        turns = int(expr(stage.loop[1])(sizes))
        if turns < 1:
            return 0, 0
        import numpy as np

        env[stage.loop[0]] = np.arange(turns, dtype=np.int64)
    bound = stage.bind(env)
    bits = BITS[stage.dtype or base]
    if stage.loop:
        known = {name: largest(value) for name, value in bound.items()}
        for each in (stage.cache, *(p for h in stage.held for p in (h.elements, h.fixed_bytes))):
            reach = sum(
                abs(c) * prod(known[n] if n in known else largest(value_of(n, bound)) for n in m)
                for m, c in each.terms.items()
            )
            check_reach(each, reach * max(BITS.values()))
    held = [_most(h.elements(bound) * bits // 8 + h.fixed_bytes(bound)) for h in stage.held]
    cache_bits = BITS[stage.cache_dtype] if stage.cache_dtype else bits
    return max(held, default=0), _most(stage.cache(bound) * cache_bits // 8)


def _most(value: Any) -> int:
    """The largest over the turns of a loop."""
    return int(value.max()) if hasattr(value, "max") else int(value)
