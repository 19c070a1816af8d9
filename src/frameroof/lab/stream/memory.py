"""What a stream takes of memory, counted on tensors without data before anything is made.

The transformer's weights are counted whole; its forwards with two layers and with three, for all layers are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ...stream import StreamConfig
from ...stream.denoiser import CONTEXT, Denoiser, Forward
from ...stream.engine import Files, Maker
from ...units import format_bytes
from ..characterize.memory import Alive

META = "meta"


@dataclass(frozen=True)
class Taken:
    """Bytes: of the weights by part; of each stream (keys and values, of the prompt too, and what its decoder
    remembers); and the most that is alive beside these while a forward or a decoded block runs.

    Libraries' own workspaces and an allocator's slack come on top.
    """

    weights: Mapping[str, int]
    stream: int
    work: int

    def bytes(self, streams: int = 1, engines: int = 1) -> int:
        """Of so many streams of each of so many engines, of which one runs at a time."""
        return engines * (sum(self.weights.values()) + streams * self.stream) + self.work

    def says(self, streams: int = 1) -> str:
        """What `bytes` is the sum of."""
        parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in self.weights.items())
        times = f"{streams} times " if streams > 1 else ""
        return (
            f"weights ({parts}), {times}{format_bytes(self.stream)} for keys, values and what the decoder remembers, "
            f"{format_bytes(self.work)} while a block is made"
        )


class Shapes(Maker):
    """Makes models that have shapes and nothing else."""

    def _random(self, model: nn.Module, what: str) -> None:
        """There is nothing to fill."""


def taken(c: StreamConfig, dtype: torch.dtype, batch: int, **parts: Any) -> Taken:
    """What an engine of these settings takes. `parts`: ``decoder`` (a name, or None), ``decoding`` (how), ``text``
    (whether umT5 is run).
    """
    shapes = Shapes(c, Files(), META, dtype)
    weights = {"transformer": _size(shapes.transformer())}
    if parts.get("text"):
        weights["text encoder"] = _size(shapes.text(True).model)  # type: ignore[union-attr]
    two, three = (_forwards(replace(c, model=replace(c.model, layers=n)), dtype, batch) for n in (2, 3))
    stream, work = (a + (c.model.layers - 2) * (b - a) for a, b in zip(two, three, strict=True))
    if parts.get("decoder"):
        made = shapes.decoder(parts["decoder"], parts.get("decoding") or {})
        decoder = made()  # type: ignore[misc]
        weights["decoder"] = _size(decoder.vae)
        with torch.inference_mode(), Alive() as alive:
            for _ in range(2):  # the first block's frames are decoded in another way than later ones
                decoder(torch.empty(c.latent_shape(batch), device=META))
        stream, work = stream + alive.now, max(work, alive.peak - alive.now)
    return Taken(weights, stream, work)


def _forwards(c: StreamConfig, dtype: torch.dtype, batch: int) -> tuple[int, int]:
    """Bytes that a stream keeps, and the most that is alive beside them, in its largest forwards."""
    model = Shapes(c, Files(), META, dtype).transformer()
    text = torch.empty(batch, c.text_tokens, c.model.text_dim, device=META, dtype=dtype)
    with torch.inference_mode(), Alive() as alive:
        denoiser = Denoiser(c, model)
        cache, texts = denoiser.cache(batch), denoiser.text(text)
        kept = alive.now
        for what in _largest(c):
            x = torch.empty(c.latent_shape(batch, c.block * len(what.rows)), device=META)
            denoiser.velocity(x, what, cache, texts)
    return kept, alive.peak - kept


def _largest(c: StreamConfig) -> list[Forward]:
    """The first step of a block with a full window, and a recache; before them what fills the baseline's cache."""
    fills = [Forward(start, (0,)) for start in range(0, c.window, c.block)] if c.cache == "baseline" else []
    step = Forward(c.window - c.block, (CONTEXT, 0)) if c.context == "fold" else Forward(c.window, (0,))
    frames = c.window if c.recache == "window" else c.window - c.sink
    recache = Forward(c.window + c.block - frames, (CONTEXT,) * (frames // c.block), recache=True)
    return [*fills, step, recache]


def _size(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
