"""Muse: T5, a base transformer that decodes 16 x 16 tokens in parallel, another that refines them to 64 x 64, a VQGAN.

Every step is one forward over all tokens, with the prompt and without it; the surest guesses are kept.

Shape letters: B batch, N image tokens, K base tokens, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...models import muse
from ...models.common import component, diffusers_model, transformers_model
from ...models.muse import MaskedConfig, MaskedTransformer
from ...profiler import stage
from ..decoding import parallel_decode
from .common import NARROW, Pipeline, like, loops, narrow, prompt, with_and_without


class Muse(nn.Module):
    """Text to image."""

    def __init__(self, t5: Mapping[str, Any], base: MaskedConfig, fine: MaskedConfig, vq: Mapping[str, Any]) -> None:
        super().__init__()
        self.text_encoder = transformers_model("T5EncoderModel", t5)
        self.base, self.super_resolution = MaskedTransformer(base), MaskedTransformer(fine)
        self.vae = diffusers_model("VQModel", vq)
        self.codes, self.channels = base.codes, vq["latent_channels"]
        self.register_buffer("empty_text", torch.randn(1, 1, base.text_dim))  # states of no prompt, a constant

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, rows, columns = sizes["batch"], sizes["height"] // 32, sizes["width"] // 32
        ids_BM = prompt(self, batch, sizes["text_tokens"], self.text_encoder.config.vocab_size)
        with stage("text_encoder"):
            text_BMD = self.text_encoder(ids_BM).last_hidden_state
        guidance = sizes["guidance"]
        text_BMD = with_and_without(text_BMD, self.empty_text, guidance)

        coarse_BK = self._masked(batch, rows * columns)
        coarse_BK = parallel_decode("base", self.base, coarse_BK, text_BMD, sizes["steps"], guidance)
        refine = partial(_refined, self.super_resolution, coarse_BK.repeat(guidance, 1))
        fine_BN = self._masked(batch, 16 * rows * columns)
        fine_BN = parallel_decode("super_resolution", refine, fine_BN, text_BMD, sizes["sr_steps"], guidance)

        grid = (batch, 4 * rows, 4 * columns, self.channels)
        with stage("vq_decode"):
            codes_BRS = fine_BN.view(grid[:3])
            image: Tensor = self.vae.decode(codes_BRS, force_not_quantize=True, shape=grid, return_dict=False)[0]
        return image

    def _masked(self, batch: int, tokens: int) -> Tensor:
        with like(self):
            return torch.full((batch, tokens), self.codes)


def _refined(model: nn.Module, coarse_BK: Tensor, codes_BN: Tensor, text_BMD: Tensor) -> Tensor:
    found: Tensor = model(codes_BN, text_BMD, coarse_BK)
    return found


def build(reduced: bool) -> Muse:
    _, t5 = component("muse-3b", "text_encoder")
    if not reduced:
        return Muse(t5, muse.BASE, muse.SUPER_RESOLUTION, muse.VQGAN_F8)
    base = narrow_masked(muse.BASE, layers=6)
    fine = narrow_masked(muse.SUPER_RESOLUTION, layers=4, coarse_layers=2)
    return Muse(narrow(t5, num_layers=3), base, fine, narrow(muse.VQGAN_F8, norm_num_groups=4))


def narrow_masked(config: MaskedConfig, **layers: int) -> MaskedConfig:
    """An eighth of the width, heads, codes and text width, with heads as wide as before; fewer identical layers."""
    width, heads, codes, text = (n // NARROW for n in (config.dim, config.heads, config.codes, config.text_dim))
    return replace(config, dim=width, heads=heads, codes=codes, text_dim=text, **layers)


PIPELINE = Pipeline(
    workload="muse-3b",
    build=build,
    steps={"steps": 4, "sr_steps": 2},
    stages=loops(base="steps", super_resolution="sr_steps"),
    sides=(128, 256, 512),
    notes=(
        "Reduced: base 256 wide with 4 heads of 64 and 6 of 48 layers, super-resolution 128 wide with 2 heads, 4 of 32 "
        "layers and 2 of 16 for the base's tokens, 1024 codes, T5 512 wide with 3 of 24 layers.",
    ),
)
