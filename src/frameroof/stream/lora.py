"""A LoRA merged into the weights, or beside them as LongLive v1.0 runs it: y = W x + scale * up (down x).

Names may be peft's (lora_A, lora_B) or others' (lora_down, lora_up). Shapes: down (rank, in), up (out, rank).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..models.causal_wan import CausalWan
from .weights import Tensors, shape_of, unwrapped, wan_name

NAME = re.compile(r"(.+?)\.(lora_A|lora_B|lora_down|lora_up|alpha)(?:\.default)?(?:\.weight)?")
HALVES = {"lora_A": "down", "lora_down": "down", "lora_B": "up", "lora_up": "up", "alpha": "alpha"}


@dataclass(frozen=True)
class Pair:
    """What one layer gets."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float


class BesideLora(nn.Module):
    """A linear layer with its LoRA unmerged: two more products and a sum."""

    def __init__(self, base: nn.Linear, pair: Pair) -> None:
        super().__init__()
        like = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.base, self.scale = base, pair.scale
        self.in_features, self.out_features = base.in_features, base.out_features
        self.down, self.up = (nn.Parameter(half.to(**like), requires_grad=False) for half in (pair.down, pair.up))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        more = nn.functional.linear(nn.functional.linear(x, self.down), self.up)
        return self.base(x) + self.scale * more


def merge_lora(model: CausalWan, tensors: Tensors, alpha: float | None = None) -> int:
    """Add a LoRA to the weights: W + alpha/rank * up @ down for each pair; says how many layers it changed.

    `alpha` is the rank where it is None, as in LongLive (256 and 256); a file's own ``.alpha`` comes first.
    Raises ValueError naming a pair without its half, a layer that the model lacks, or a shape that does not fit;
    then nothing is changed.
    """
    pairs = pairs_of(model, tensors, alpha)
    with torch.no_grad():
        for name, pair in pairs.items():
            weight = model.get_submodule(name).weight
            delta = pair.scale * (pair.up.float() @ pair.down.float())
            weight.copy_((weight.float() + delta.to(weight.device)).to(weight.dtype))
    return len(pairs)


def attach_lora(model: CausalWan, tensors: Tensors, alpha: float | None = None) -> int:
    """The same LoRA beside the weights, for measuring what merging saves."""
    pairs = pairs_of(model, tensors, alpha)
    for name, pair in pairs.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, BesideLora(model.get_submodule(name), pair))
    return len(pairs)


def random_lora(model: CausalWan, rank: int = 256, seed: int = 0) -> dict[str, torch.Tensor]:
    """A LoRA of the size of LongLive's: every linear layer of every block, in the model's dtype and on its device.

    Raises `ValueError`, a sentence, for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; it must be at least 1.")
    made: dict[str, torch.Tensor] = {}
    weight = model.patch_embedding.weight
    generator = None if weight.is_meta else torch.Generator(weight.device).manual_seed(seed)
    for name, layer in model.named_modules():
        if name.startswith("blocks.") and isinstance(layer, nn.Linear):
            for half, shape in (("A", (rank, layer.in_features)), ("B", (layer.out_features, rank))):
                value = torch.randn(shape, generator=generator, device=weight.device, dtype=weight.dtype)
                made[f"{name}.lora_{half}.weight"] = value * (0.1 / shape[1]) ** 0.5
    return made


def pairs_of(model: CausalWan, tensors: Tensors, alpha: float | None) -> dict[str, Pair]:
    """A file's tensors by the model's layers, checked.

    Raises `ValueError`, a sentence, for a tensor that belongs to no layer's pair.
    """
    found: dict[str, dict[str, torch.Tensor]] = {}
    for theirs, tensor in tensors.items():
        match = NAME.fullmatch(theirs)
        if not match:
            raise ValueError(f"LoRA: {theirs} is no half of a LoRA (lora_A, lora_B, lora_down, lora_up, alpha).")
        name = unwrapped(match[1])
        found.setdefault(wan_name(name) or name, {})[HALVES[match[2]]] = tensor
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    return {name: _pair(name, halves, layers, alpha) for name, halves in found.items()}


def _pair(name: str, halves: Mapping[str, torch.Tensor], layers: Mapping[str, nn.Linear], alpha: float | None) -> Pair:
    if missing := sorted({"down", "up"} - set(halves)):
        raise ValueError(f"LoRA: {name} lacks its {missing[0]} half.")
    if name not in layers:
        raise ValueError(f"LoRA: the model has no layer {name}.")
    up, down, weight = halves["up"], halves["down"], layers[name].weight
    rank = down.shape[0]
    if up.shape != (weight.shape[0], rank) or down.shape[1:] != weight.shape[1:]:
        shapes = f"{shape_of(up)} and {shape_of(down)}"
        raise ValueError(f"LoRA: {name} has halves of {shapes}, which do not make {shape_of(weight)}.")
    scale = float(halves["alpha"]) if "alpha" in halves else alpha or rank
    return Pair(down, up, scale / rank)
