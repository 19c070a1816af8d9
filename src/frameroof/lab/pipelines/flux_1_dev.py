"""FLUX.1 [dev]: CLIP's pooled text and T5's states, a transformer over patches of latents, and the VAE's decoder.

Guidance is distilled into the model: one forward a step.

Shape letters: B batch, C latent channels, R rows, S columns, N patches, P channels of a patch, M text tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.common import catalogued
from ...profiler import stage
from .common import Parts, Pipeline, clip_prompt, denoise, like, loops, narrow, noise, prompt
from .stable_diffusion import reduced_clip

NAME = "flux.1-dev"
PACKED = 2  # latents of a patch along each side


class Flux(Parts):
    """Text to image."""

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        guidance = sizes["guidance"]
        rows, columns = (sizes[side] // 8 // PACKED for side in ("height", "width"))
        text = self.encode(sizes["batch"] * guidance, sizes["text_tokens"], rows * columns)
        x_BNP = noise(self, sizes["batch"], rows * columns, self.transformer.config.in_channels)
        x_BNP = denoise("denoise", self.predict, x_BNP, text, sizes["steps"], guidance, flow=True)
        z_BCRS = F.pixel_shuffle(x_BNP.transpose(1, 2).unflatten(2, (rows, columns)), PACKED)
        return self.decode(z_BCRS)

    def encode(self, batch: int, tokens: int, patches: int) -> dict[str, Any]:
        """What the transformer takes beside patches and timestep; positions are those of no grid in particular."""
        clip, t5 = self.text_encoder, self.text_encoder_2
        ids_BM = clip_prompt(self, batch, clip)
        with stage("text_encoder"):
            pooled_BD = clip(ids_BM).pooler_output
        ids_BM = prompt(self, batch, tokens, t5.config.vocab_size)
        with stage("text_encoder_2"):
            states_BMD = t5(ids_BM).last_hidden_state
        with like(self):
            return {
                "encoder_hidden_states": states_BMD,
                "pooled_projections": pooled_BD,
                "img_ids": torch.arange(3 * patches).view(patches, 3).to(states_BMD.dtype),
                "txt_ids": torch.zeros(tokens, 3),
                "guidance": torch.ones(batch),
            }

    def predict(self, x_BNP: Tensor, timestep: Tensor, text: dict[str, Any]) -> Tensor:
        """The velocity that the transformer sees in the patches."""
        time_B = (timestep / 1000).to(x_BNP).expand(x_BNP.shape[0])
        found: Tensor = self.transformer(hidden_states=x_BNP, timestep=time_B, **text, return_dict=False)[0]
        return found


def build(reduced: bool) -> Flux:
    encoders = {"text_encoder": "text_encoder", "text_encoder_2": "text_encoder#2"}
    full = catalogued(NAME, **encoders, transformer="transformer", vae="vae")
    if not reduced:
        return Flux(full)
    layers = {"num_layers": 2, "num_single_layers": 4}
    widths = {"num_attention_heads": 3, "joint_attention_dim": 512, "pooled_projection_dim": 128}
    return Flux({
        "text_encoder": (full["text_encoder"][0], reduced_clip(full["text_encoder"][1], heads=2)),
        "text_encoder_2": (full["text_encoder_2"][0], narrow(full["text_encoder_2"][1], num_layers=3)),
        "transformer": (full["transformer"][0], {**full["transformer"][1], **layers, **widths}),
        "vae": (full["vae"][0], narrow(full["vae"][1], latent_channels=16)),
    })  # fmt: skip


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"height": 512, "width": 512, "text_tokens": 128},
    steps={"steps": 2},
    stages=loops(denoise="steps"),
    sides=(128, 256, 512),
    notes=(
        "Reduced: 3 heads of 128 instead of 24, 2 of 19 double and 4 of 38 single layers, VAE 16 to 64 channels wide, "
        "CLIP 128 wide with 2 of 12 layers, T5 512 wide with 3 of 24; 512 pixels, 128 text tokens.",
    ),
)
