"""Streams that several tests compare: made once, on the CPU in fp32, at the tiny size; prompts are seeded noise."""

from __future__ import annotations

from functools import cache

import torch

from frameroof.stream import Engine, Session, preset

BLOCKS = 12
SWITCH = (6, "a fox sleeps")


@cache
def engine(variant: str = "baseline", **changes) -> Engine:
    return Engine.random(preset("tiny", variant, **changes), umt5=False)


@cache
def latents(variant: str = "baseline", switch: tuple[int, str] | None = SWITCH, **changes) -> torch.Tensor:
    """All blocks of a stream, (blocks, B, C, frames, rows, columns)."""
    return run(variant, switch, **changes)[0]


def run(variant: str, switch: tuple[int, str] | None = SWITCH, **changes) -> tuple[torch.Tensor, Session]:
    session = engine(variant, **changes).prepare("a cat runs")
    blocks = session.run(BLOCKS, dict([switch]) if switch else {})
    return torch.stack([block.latents for block in blocks]), session


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())
