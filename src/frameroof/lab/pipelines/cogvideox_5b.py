"""CogVideoX 5B: T5, a transformer over text and all frames in one sequence, and a causal video VAE.

Shape letters: B batch, T latent frames, C latent channels, R rows, S columns, N video tokens, M text tokens,
D text width, H width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...models.common import catalogued
from .common import Pipeline, TextToVideo, denoise, like, loops, narrow, noise, video_grid

NAME = "cogvideox-5b"
Rotary = tuple[Tensor, Tensor]  # cosines and sines, (N, H), fp32


class CogVideoX(TextToVideo):
    """Text to video; the answer is (B, 3, frames, height, width)."""

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        text_BMD = self.encode(sizes)
        frames, rows, columns = video_grid(sizes)
        text = text_BMD, self.rotary(frames, rows // 2, columns // 2)
        z_BTCRS = noise(self, sizes["batch"], frames, self.transformer.config.in_channels, rows, columns)
        z_BTCRS = denoise("denoise", self.predict, z_BTCRS, text, sizes["steps"], sizes["guidance"])
        return self.decode(z_BTCRS.transpose(1, 2))

    def rotary(self, frames: int, rows: int, columns: int) -> Rotary:
        """Rotary positions of every patch, by diffusers."""
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        with like(self):
            where = torch.get_default_device()
        made: Rotary = get_3d_rotary_pos_embed(
            embed_dim=self.transformer.config.attention_head_dim,
            crops_coords=((0, 0), (rows, columns)),
            grid_size=(rows, columns),
            temporal_size=frames,
            device=where,
        )
        return made

    def predict(self, z_BTCRS: Tensor, timestep: Tensor, text: tuple[Tensor, Rotary]) -> Tensor:
        """The velocity that the transformer sees in the latents."""
        text_BMD, rotary = text
        time_B = timestep.to(z_BTCRS.device).expand(z_BTCRS.shape[0])
        found: Tensor = self.transformer(
            z_BTCRS, text_BMD, time_B, image_rotary_emb=rotary, return_dict=False
        )[0]  # fmt: skip
        return found


def build(reduced: bool) -> CogVideoX:
    full = catalogued(NAME, text_encoder="text_encoder", transformer="transformer", vae="vae")
    if not reduced:
        return CogVideoX(full)
    (t5, text), (dit, config), (vae, decoder) = full["text_encoder"], full["transformer"], full["vae"]
    smaller = {**config, "num_attention_heads": 6, "num_layers": 3, "text_embed_dim": 512, "time_embed_dim": 64}
    return CogVideoX({
        "text_encoder": (t5, narrow(text, num_layers=3)),
        "transformer": (dit, smaller),
        "vae": (vae, narrow(decoder, latent_channels=16)),
    })  # fmt: skip


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"frames": 17, "height": 128, "width": 128, "text_tokens": 128},
    steps={"steps": 1},
    stages=loops(denoise="steps"),
    notes=(
        "Reduced: 6 heads of 64 instead of 48, 3 of 42 layers, VAE 16 to 64 channels wide, T5 512 wide with 3 of 24 "
        "layers; 17 frames of 128 pixels, 128 text tokens.",
        "Sampler: DDIM.",
    ),
)
