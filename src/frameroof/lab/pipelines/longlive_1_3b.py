"""LongLive 1.3B: UMT5, Wan's small transformer made causal and run block by block beside a KV cache, and Wan's VAE.

Transformer, schedule, positions and cache (the ring) are the streaming engine's. The whole video is decoded at the
end, as the catalogue's workload has it; `frameroof stream` measures the stream itself, decoded as it comes.

Shape letters: B batch, C latent channels, T latent frames, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...models.causal_wan import CausalWan, WanSize
from ...models.common import component, diffusers_model, transformers_model
from ...profiler import stage
from ...stream.config import StreamConfig
from ...stream.denoiser import CONTEXT, Denoiser, Forward
from .common import Pipeline, narrow, noise, prompt

NAME = "longlive-1.3b"


class LongLive(nn.Module):
    """Text to video; the answer is (B, 3, frames, height, width)."""

    def __init__(self, text: Mapping[str, Any], size: WanSize, vae: Mapping[str, Any]) -> None:
        super().__init__()
        self.size = size
        self.text_encoder = transformers_model("UMT5EncoderModel", text)
        self.transformer = CausalWan(size)
        self.vae = diffusers_model("AutoencoderKLWan", vae)

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        stream = Denoiser(self.settings(sizes), self.transformer)
        ids_BM = prompt(self, sizes["batch"], sizes["text_tokens"], self.text_encoder.config.vocab_size)
        with stage("text_encoder"):
            text_BMD = self.text_encoder(ids_BM).last_hidden_state
        with stage("text_kv"):
            texts = stream.text(text_BMD)
        cache, found = stream.cache(sizes["batch"]), []
        for block in range(sizes["blocks"]):
            found.append(self.block(stream, cache, texts, block * stream.c.block))
        z_BCTRS = torch.cat(found, dim=2).to(self.vae.dtype)
        with stage("vae_decode"):
            video: Tensor = self.vae.decode(z_BCTRS, return_dict=False)[0]
        return video

    def settings(self, sizes: Mapping[str, int]) -> StreamConfig:
        """The stream of these sizes: LongLive's, with so many steps and so long a window."""
        steps = tuple(1000 - 1000 * step // sizes["steps"] for step in range(sizes["steps"]))
        known = StreamConfig(model=self.size, height=sizes["height"], width=sizes["width"], cache="ring", steps=steps)
        sink = min(known.sink, sizes["window"] - known.block)
        return replace(known, window=sizes["window"], sink=sink, text_tokens=sizes["text_tokens"])

    def block(self, stream: Denoiser, cache: Any, texts: Any, start: int) -> Tensor:
        """Clean latents of the frames from `start` on; their keys and values are left in the cache."""
        shape = stream.c.latent_shape(texts[0][0].shape[0])
        x_BCTRS = noise(self, *shape).float()
        clean_BCTRS = x_BCTRS
        for step in range(len(stream.c.steps)):
            with stage("denoise"):
                velocity = stream.velocity(x_BCTRS, Forward(start, (step,)), cache, texts)
            with stage("denoise_sampler"):
                clean_BCTRS = stream.schedule.clean(step, x_BCTRS, velocity)
                if step + 1 < len(stream.c.steps):
                    x_BCTRS = stream.schedule.noised(step + 1, clean_BCTRS, noise(self, *shape).float())
        with stage("denoise"):
            stream.velocity(clean_BCTRS, Forward(start, (CONTEXT,)), cache, texts)
        return clean_BCTRS


def build(reduced: bool) -> LongLive:
    (_, text), (_, vae) = component(NAME, "text_encoder"), component("wan2.1-t2v-1.3b", "vae")
    if not reduced:
        return LongLive(text, WanSize(), vae)
    size = WanSize(layers=4, heads=2, ffn=1536, text_dim=512)
    return LongLive(narrow(text, num_layers=3), size, {**vae, "base_dim": 12})


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"blocks": 5, "height": 64, "width": 64, "text_tokens": 128},
    notes=(
        "Reduced: 2 heads of 128 instead of 12, 4 of 30 layers, VAE 12 to 48 channels wide, UMT5 512 wide with 3 of 24 "
        "layers; 5 blocks of 3 latent frames, one more than the window of 12 holds, 64 pixels, 128 text tokens.",
    ),
)
