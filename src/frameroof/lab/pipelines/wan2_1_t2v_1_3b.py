"""Wan 2.1 text to video, 1.3B: UMT5, a transformer over all frames at once, and a causal video VAE.

Shape letters: B batch, C latent channels, T latent frames, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...models.common import catalogued
from .common import Pipeline, TextToVideo, denoise, loops, narrow, noise, video_grid

NAME = "wan2.1-t2v-1.3b"


class Wan(TextToVideo):
    """Text to video; the answer is (B, 3, frames, height, width)."""

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        text_BMD = self.encode(sizes)
        z_BCTRS = noise(self, sizes["batch"], self.transformer.config.in_channels, *video_grid(sizes))
        z_BCTRS = denoise("denoise", self.predict, z_BCTRS, text_BMD, sizes["steps"], sizes["guidance"], flow=True)
        return self.decode(z_BCTRS)

    def predict(self, z_BCTRS: Tensor, timestep: Tensor, text_BMD: Tensor) -> Tensor:
        """The velocity that the transformer sees in the latents."""
        time_B = timestep.to(z_BCTRS.device, torch.float32).expand(z_BCTRS.shape[0])
        found: Tensor = self.transformer(z_BCTRS, time_B, text_BMD, return_dict=False)[0]
        return found


def build(reduced: bool) -> Wan:
    full = catalogued(NAME, text_encoder="text_encoder", transformer="transformer", vae="vae")
    if not reduced:
        return Wan(full)
    (t5, text), (dit, config), (vae, decoder) = full["text_encoder"], full["transformer"], full["vae"]
    smaller = {**config, "num_attention_heads": 2, "ffn_dim": 1536, "num_layers": 4, "text_dim": 512}
    return Wan({
        "text_encoder": (t5, narrow(text, num_layers=3)),
        "transformer": (dit, smaller),
        "vae": (vae, {**decoder, "base_dim": 12}),
    })  # fmt: skip


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"frames": 13, "height": 128, "width": 128, "text_tokens": 128},
    steps={"steps": 2},
    stages=loops(denoise="steps"),
    notes=(
        "Reduced: 2 heads of 128 instead of 12, 4 of 30 layers, VAE 12 to 48 channels wide, UMT5 512 wide with 3 of 24 "
        "layers; 13 frames of 128 pixels, 128 text tokens.",
    ),
)
