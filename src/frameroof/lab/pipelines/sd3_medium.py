"""Stable Diffusion 3 medium: two CLIPs and T5, a transformer over patches and text together, and the VAE's decoder.

Shape letters: B batch, C latent channels, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.common import catalogued
from ...profiler import stage
from .common import Parts, Pipeline, clip_prompt, denoise, loops, narrow, noise, prompt
from .stable_diffusion import reduced_clip

NAME = "sd3-medium"
CLIPS = ("text_encoder", "text_encoder_2")
Text = tuple[Tensor, Tensor]  # states (B, M, D) and pooled text


class StableDiffusion3(Parts):
    """Text to image."""

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, guidance = sizes["batch"], sizes["guidance"]
        text = self.encode(batch * guidance, sizes["text_tokens"])
        grid = sizes["height"] // 8, sizes["width"] // 8
        z_BCRS = noise(self, batch, self.transformer.config.in_channels, *grid)
        z_BCRS = denoise("denoise", self.predict, z_BCRS, text, sizes["steps"], guidance, flow=True)
        return self.decode(z_BCRS)

    def encode(self, batch: int, tokens: int) -> Text:
        """CLIP's states beside one another, as wide as T5's, and T5's behind them; CLIP's pooled texts."""
        states_BMD, pooled_BD = [], []
        for name in CLIPS:
            clip = getattr(self, name)
            ids_BM = clip_prompt(self, batch, clip)
            with stage(name):
                found = clip(ids_BM)
            states_BMD.append(found.last_hidden_state)
            pooled_BD.append(found.text_embeds if name == "text_encoder_2" else found.pooler_output)
        t5 = self.text_encoder_3
        ids_BM = prompt(self, batch, tokens, t5.config.vocab_size)
        with stage("text_encoder_3"):
            long_BMD = t5(ids_BM).last_hidden_state
        short_BMD = torch.cat(states_BMD, dim=-1)
        short_BMD = F.pad(short_BMD, (0, long_BMD.shape[-1] - short_BMD.shape[-1]))
        return torch.cat([short_BMD, long_BMD], dim=1), torch.cat(pooled_BD, dim=-1)

    def predict(self, z_BCRS: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """The velocity that the transformer sees in the latents."""
        states_BMD, pooled_BD = text
        time_B = timestep.to(z_BCRS).expand(z_BCRS.shape[0])
        found: Tensor = self.transformer(z_BCRS, states_BMD, pooled_BD, time_B, return_dict=False)[0]
        return found


def build(reduced: bool) -> StableDiffusion3:
    encoders = {**{name: name for name in CLIPS}, "text_encoder_3": "text_encoder#2"}
    full = catalogued(NAME, **encoders, transformer="mmdit", vae="vae")
    if not reduced:
        return StableDiffusion3(full)
    heads, pooled = 3, 64 * (2 + 4)
    smaller = {
        "num_attention_heads": heads,
        "num_layers": 3,
        "caption_projection_dim": 64 * heads,
        "joint_attention_dim": 512,
        "pooled_projection_dim": pooled,
    }
    return StableDiffusion3({
        "text_encoder": (full["text_encoder"][0], reduced_clip(full["text_encoder"][1], heads=2)),
        "text_encoder_2": (full["text_encoder_2"][0], reduced_clip(full["text_encoder_2"][1], heads=4)),
        "text_encoder_3": (full["text_encoder_3"][0], narrow(full["text_encoder_3"][1], num_layers=3)),
        "transformer": (full["transformer"][0], {**full["transformer"][1], **smaller}),
        "vae": (full["vae"][0], narrow(full["vae"][1], latent_channels=16)),
    })  # fmt: skip


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"height": 512, "width": 512},
    steps={"steps": 2},
    stages=loops(denoise="steps"),
    sides=(128, 256, 512),
    notes=(
        "Reduced: 3 heads of 64 instead of 24, 3 of 24 layers, VAE 16 to 64 channels wide, CLIPs 128 and 256 wide with "
        "2 layers each, T5 512 wide with 3 of 24; pictures of 512 pixels.",
    ),
)
