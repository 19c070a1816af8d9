"""AnimateDiff on Stable Diffusion 1.5: CLIP, a UNet with attention over time in every block, pictures decoded.

Shape letters: B batch, C latent channels, T frames, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...models.animatediff import CHUNK
from ...models.autoencoders import spatial_scale
from ...models.common import Components, catalogued
from ...profiler import stage
from .common import Parts, Pipeline, clip_prompt, denoise, loops, narrow, noise
from .stable_diffusion import reduced_clip

NAME = "animatediff-sd15"


class AnimateDiff(Parts):
    """Text to video; the answer is (B, T, 3, R, S)."""

    def __init__(self, components: Components) -> None:
        super().__init__(components)
        self.scale = spatial_scale(components["vae"][1])

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, frames, guidance = sizes["batch"], sizes["frames"], sizes["guidance"]
        ids_BM = clip_prompt(self, batch * guidance, self.text_encoder)
        with stage("text_encoder"):
            text_BMD = self.text_encoder(ids_BM).last_hidden_state
        text_BMD = text_BMD.repeat_interleave(frames, dim=0)  # a copy for every frame
        grid = (sizes[side] // self.scale for side in ("height", "width"))
        z_BCTRS = noise(self, batch, self.unet.config.in_channels, frames, *grid)
        z_BCTRS = denoise("denoise", self.predict, z_BCTRS, text_BMD, sizes["steps"], guidance)
        found = []
        for z_BCRS in z_BCTRS.transpose(1, 2).flatten(0, 1).split(CHUNK):
            found.append(self.decode(z_BCRS))
        return torch.cat(found).unflatten(0, (batch, frames))

    def predict(self, z_BCTRS: Tensor, timestep: Tensor, text_BMD: Tensor) -> Tensor:
        """The noise that the UNet sees in the latents of all frames."""
        found: Tensor = self.unet(z_BCTRS, timestep, text_BMD, return_dict=False)[0]
        return found


def build(reduced: bool) -> AnimateDiff:
    full = catalogued(NAME, text_encoder="text_encoder", unet="unet_motion", vae="vae")
    if not reduced:
        return AnimateDiff(full)
    (clip, text), (unet, denoiser), (vae, decoder) = full["text_encoder"], full["unet"], full["vae"]
    return AnimateDiff({
        "text_encoder": (clip, reduced_clip(text, heads=2)),
        "unet": (unet, narrow(denoiser, cross_attention_dim=128, motion_num_attention_heads=1)),
        "vae": (vae, narrow(decoder, latent_channels=4)),
    })  # fmt: skip


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"frames": 8, "height": 256, "width": 256},
    steps={"steps": 1},
    stages=loops(denoise="steps"),
    sides=(128, 256, 512),
    notes=(
        "Reduced: UNet 40 to 160 channels wide with 1 head instead of 8, over space and over time, and 4 norm groups "
        "instead of 32, VAE 16 to 64, CLIP 128 wide with 2 of 12 layers; 8 frames of 256 pixels.",
        "Sampler: DDIM.",
    ),
)
