"""HunyuanVideo: a Llama and CLIP, a transformer over text and all frames, and a video VAE decoded in spans of time.

Guidance is distilled into the model: one forward a step. Prompts fill their length, so that the mask hides nothing.

Shape letters: B batch, C latent channels, T latent frames, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...models.common import catalogued
from ...models.hunyuan import LLAMA_3_8B, TEMPLATE_TOKENS
from ...profiler import stage
from .common import (
    Parts,
    Pipeline,
    clip_prompt,
    denoise,
    like,
    loops,
    narrow,
    noise,
    prompt,
    video_grid,
)
from .stable_diffusion import reduced_clip

NAME = "hunyuanvideo"
SKIPPED = 2  # the Llama's last layers whose states are not used; they run all the same
DISTILLED = 6000.0  # guidance that the model is told of: 6, times 1000


class HunyuanVideo(Parts):
    """Text to video; the answer is (B, 3, frames, height, width)."""

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, guidance = sizes["batch"], sizes["guidance"]
        text = self.encode(batch * guidance, sizes["text_tokens"])
        z_BCTRS = noise(self, batch, self.transformer.config.in_channels, *video_grid(sizes))
        z_BCTRS = denoise("denoise", self.predict, z_BCTRS, text, sizes["steps"], guidance, flow=True)
        return self.decode(z_BCTRS)

    def encode(self, batch: int, tokens: int) -> dict[str, Any]:
        """What the transformer takes beside latents and timestep."""
        llama, clip = self.text_encoder, self.text_encoder_2
        whole = TEMPLATE_TOKENS + tokens
        ids_BM = prompt(self, batch, whole, llama.config.vocab_size)
        with like(self):  # the causal mask whole, as beside padding
            mask_B1MM = torch.full((batch, 1, whole, whole), float("-inf")).triu(1)
        with stage("text_encoder"):
            states = llama(ids_BM, mask_B1MM, use_cache=False, output_hidden_states=True).hidden_states
        ids_BM = clip_prompt(self, batch, clip)
        with stage("text_encoder_2"):
            pooled_BD = clip(ids_BM).pooler_output
        with like(self):
            return {
                "encoder_hidden_states": states[-(SKIPPED + 1)][:, TEMPLATE_TOKENS:],
                "encoder_attention_mask": torch.ones(batch, tokens, dtype=torch.int64),
                "pooled_projections": pooled_BD,
                "guidance": torch.full((batch,), DISTILLED),
            }

    def predict(self, z_BCTRS: Tensor, timestep: Tensor, text: dict[str, Any]) -> Tensor:
        """The velocity that the transformer sees in the latents."""
        time_B = timestep.to(z_BCTRS).expand(z_BCTRS.shape[0])
        found: Tensor = self.transformer(z_BCTRS, time_B, **text, return_dict=False)[0]
        return found


def build(reduced: bool) -> HunyuanVideo:
    full = catalogued(NAME, text_encoder_2="text_encoder", transformer="transformer", vae="vae")
    full = {**full, "text_encoder": LLAMA_3_8B}
    if not reduced:
        return HunyuanVideo(full)
    (llama, text), (clip, short), (dit, config) = (full[n] for n in ("text_encoder", "text_encoder_2", "transformer"))
    vae, decoder = full["vae"]
    smaller = {"num_attention_heads": 3, "num_layers": 2, "num_single_layers": 4, "text_embed_dim": 512,
               "pooled_projection_dim": 128}  # fmt: skip
    return HunyuanVideo({
        "text_encoder": (llama, narrow(text, num_hidden_layers=4)),
        "text_encoder_2": (clip, reduced_clip(short, heads=2)),
        "transformer": (dit, {**config, **smaller}),
        "vae": (vae, narrow(decoder, latent_channels=16)),
    })  # fmt: skip


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"frames": 17, "height": 128, "width": 128, "text_tokens": 128},
    steps={"steps": 1},
    stages=loops(denoise="steps"),
    notes=(
        "Reduced: 3 heads of 128 instead of 24, 2 of 20 double and 4 of 40 single layers, VAE 16 to 64 channels wide, "
        "Llama 512 wide with 4 of 32 layers, CLIP 128 wide with 2 of 12; 17 frames of 128 pixels, 128 text tokens.",
    ),
)
