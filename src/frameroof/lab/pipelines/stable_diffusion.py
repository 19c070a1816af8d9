"""Stable Diffusion 1.5: CLIP, a UNet over latents, and the VAE's decoder.

The class serves SDXL as well (`prod_image`), whose two encoders are concatenated and whose pooled text joins the
timestep's embedding.

Shape letters: B batch, C latent channels, R rows, S columns, N text tokens, D text width, P pooled text width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...models.autoencoders import spatial_scale
from ...models.common import Components, catalogued
from ...profiler import stage
from .common import Parts, Pipeline, clip_prompt, denoise, like, loops, narrow, noise

Text = dict[str, Any]  # what the UNet takes beside latents and timestep


class LatentDiffusion(Parts):
    """Text to image through a UNet of diffusers."""

    def __init__(self, components: Components) -> None:
        super().__init__(components)
        self.encoders = tuple(sorted(name for name in components if name.startswith("text_encoder")))
        self.scale = spatial_scale(components["vae"][1])

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, guidance, pixels = sizes["batch"], sizes["guidance"], (sizes["height"], sizes["width"])
        rows, columns = (n // self.scale for n in pixels)
        text = self.encode(batch * guidance, pixels)
        latents_BCRS = noise(self, batch, self.unet.config.in_channels, rows, columns)
        latents_BCRS = denoise("denoise", self.predict, latents_BCRS, text, sizes["steps"], guidance)
        return self.decode(latents_BCRS)

    def predict(self, latents_BCRS: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """The noise that the UNet sees in the latents."""
        found: Tensor = self.unet(latents_BCRS, timestep, **text, return_dict=False)[0]
        return found

    def encode(self, batch: int, pixels: tuple[int, int]) -> Text:
        """Random prompts through every encoder."""
        states_BND, pooled_BP = [], None
        for name in self.encoders:
            encoder = getattr(self, name)
            ids_BN = clip_prompt(self, batch, encoder)
            with stage(name):
                found = encoder(ids_BN)
            states_BND.append(found.last_hidden_state)
            pooled_BP = getattr(found, "text_embeds", None)
        text: Text = {"encoder_hidden_states": torch.cat(states_BND, dim=-1)}
        if self.unet.config.addition_embed_type == "text_time":
            with like(self):
                ids = torch.tensor([*pixels, 0, 0, *pixels]).to(torch.get_default_dtype()).expand(batch, -1)
            text["added_cond_kwargs"] = {"text_embeds": pooled_BP, "time_ids": ids}
        return text


def reduced_clip(config: Mapping[str, Any], heads: int) -> dict[str, Any]:
    """CLIP with two of its identical layers, `heads` heads of 64 channels and its whole vocabulary."""
    width = 64 * heads
    return {
        **config,
        "num_hidden_layers": 2,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": heads,
        "projection_dim": width,
    }


def build(reduced: bool) -> LatentDiffusion:
    components = catalogued("stable-diffusion-1.5", text_encoder="text_encoder", unet="unet", vae="vae")
    return LatentDiffusion(reduced_components(components) if reduced else components)


def reduced_components(full: Components) -> Components:
    """An eighth of the UNet's and VAE's widths, heads and groups, so that a head and a group are as wide as before."""
    (clip, text), (unet, denoiser), (vae, decoder) = full["text_encoder"], full["unet"], full["vae"]
    return {
        "text_encoder": (clip, reduced_clip(text, heads=2)),
        "unet": (unet, narrow(denoiser, cross_attention_dim=128)),
        "vae": (vae, narrow(decoder, latent_channels=4)),
    }


PIPELINE = Pipeline(
    workload="stable-diffusion-1.5",
    build=build,
    least={"height": 64, "width": 64},
    steps={"steps": 2},
    stages=loops(denoise="steps"),
    sides=(64, 128, 256, 512),
    notes=(
        "Reduced: UNet 40 to 160 channels wide with 1 head instead of 8 and 4 norm groups instead of 32, VAE 16 to 64, "
        "CLIP 128 wide with 2 of 12 layers; pictures of the full 512 pixels.",
        "Sampler: DDIM.",
    ),
)
