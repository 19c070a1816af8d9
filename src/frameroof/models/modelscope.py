"""ModelScope text-to-video: a UNet with convolutions and attention over time, frames decoded as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .autoencoders import decoder
from .common import Built, Components, activations, component, diffusers_model, levels
from .text_encoders import clip_length, encoder_parts
from .video import NO_TILING, Grid, Setting, listed, parameters, setting_of

NAME = "modelscope-t2v-1.7b"
BASE = Setting(width=256, height=256, frames=16, steps=50, guidance=2, text_tokens=77)
GRID = Grid(frame_step=1, frame_offset=0, least_frames=2, pixel_step=8, least_pixels=128)
NOTES = (NO_TILING, "The VAE decodes all frames at once, as pictures.")


def unet(cls: str, config: Mapping[str, Any]) -> Builder:
    """One forward of the denoiser."""
    depth = len(config.get("block_out_channels", range(4)))

    @sizes(
        let={"b": "batch", "t": "frames", **levels(depth), "s": "text_tokens"},
        **GRID.video(16, 256, 256),
        text_tokens=Size(77, least=8),
    )
    def build(batch: int = 1, frames: int = 16, height: int = 256, width: int = 256, text_tokens: int = 77) -> Built:
        channels, text_dim = config.get("in_channels", 4), config.get("cross_attention_dim", 1024)
        inputs = {
            "sample": activations(batch, channels, frames, height // 8, width // 8),
            "timestep": torch.zeros((), dtype=torch.int64),
            "encoder_hidden_states": activations(batch, text_tokens, text_dim),
            "return_dict": False,
        }
        return diffusers_model(cls, config), (), inputs

    return build


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """A text-to-video pipeline of diffusers around UNet3DConditionModel, from its components."""
    tokens = str(clip_length(components["text_encoder"][1]))
    params = parameters(setting, GRID)
    del params["text_tokens"]  # CLIP pads to its own length
    return setting.recipe(
        name,
        params,
        parts=(
            *encoder_parts(components, tokens),
            Part("denoise", unet(*components["unet"]), {"text_tokens": tokens}, repeat="steps*guidance"),
            Part("vae_decode", decoder(*components["vae"]), {"batch": "batch*frames"}),
        ),
        notes=NOTES,
    )


PIPELINES = {"TextToVideoSDPipeline": recipe}
COMPONENTS = {"UNet3DConditionModel": unet}


def recipes() -> tuple[Recipe, ...]:
    """ModelScope 1.7B; its text encoder is Stable Diffusion 2.1's, which the catalogue's file leaves out."""
    encoder = component("stable-diffusion-2.1", "text_encoder")
    components = {"text_encoder": encoder} | listed(NAME, unet="unet3d")
    return (recipe(NAME, components, setting_of(NAME, "ModelScope text-to-video 1.7B", BASE)),)
