"""What a forward of the engine or a decoded block costs: our own counter, run over the engine's own code on meta.

The workload that comes back is good for one size; `frameroof.estimate.estimate` gives its limits on a machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..count import record_stage
from ..models.causal_wan import KV, CausalWan
from ..models.wan_vae import Memory, WanVAE
from ..workload.records import Workload
from .config import StreamConfig
from .denoiser import CONTEXT, Denoiser, Forward

STAGES = ("step", "fold", "recache", "decode")


class _OneForward(nn.Module):
    """A forward as a module that takes tensors only; modulation is looked up where the settings say so."""

    def __init__(self, denoiser: Denoiser, what: Forward, batch: int) -> None:
        super().__init__()
        self.transformer = denoiser.model
        self._denoiser, self._what = denoiser, what
        self._cache = denoiser.cache(batch)
        denoiser.times(what.rows, batch)  # a table is made before it is counted

    def forward(self, x_BCTHW: torch.Tensor, texts: list[KV]) -> torch.Tensor:
        return self._denoiser.velocity(x_BCTHW, self._what, self._cache, texts)


class _OneDecode(nn.Module):
    """A steady block through the VAE, its memory filled."""

    def __init__(self, vae: nn.Module, z_BCTHW: torch.Tensor) -> None:
        super().__init__()
        self.vae, self._memory = vae, Memory()
        with torch.inference_mode():
            vae(z_BCTHW, self._memory)

    def forward(self, z_BCTHW: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self.vae(z_BCTHW, self._memory)


def steady(c: StreamConfig, stage: str) -> Forward:
    """The forward of this name when the window is full: a step, one with a folded context pass, or a recache.

    Raises `ValueError`, a sentence, for another name.
    """
    start = 2 * c.window
    if stage == "step":
        return Forward(start, (0,))
    if stage == "fold":
        return Forward(start, (CONTEXT, 0))
    if stage == "recache":
        frames = c.window if c.recache == "window" else c.window - c.sink
        return Forward(start - frames, (CONTEXT,) * (frames // c.block), recache=True)
    raise ValueError(f"A stream has no stage '{stage}'; it has {', '.join(STAGES)}.")


def workload(
    c: StreamConfig, stage: str, batch: int = 1, dtype: str = "bf16", vae: Callable[[], nn.Module] = WanVAE
) -> Workload:
    """One run of a stage of a steady stream, recorded at these sizes: step, fold, recache or decode (by `vae`)."""

    def forward() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        what = steady(c, stage)
        denoiser = Denoiser(c, CausalWan(c.model))
        x = torch.empty(c.latent_shape(batch, c.block * len(what.rows)), dtype=torch.float32)
        text = (batch, c.text_tokens, c.model.heads, c.model.head_dim)
        texts = [(torch.empty(text), torch.empty(text)) for _ in range(c.model.layers)]
        return _OneForward(denoiser, what, batch), (x, texts), {}

    def decode() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        z = torch.empty(c.latent_shape(batch))
        return _OneDecode(vae(), z), (z,), {}

    if stage != "decode":
        steady(c, stage)  # a name that is not one is refused here, as a sentence
    recorded = record_stage(stage, decode if stage == "decode" else forward, dtype)
    return Workload(name=f"stream-{stage}", params={}, stages=(recorded,), dtype=dtype, item="run")
