"""Stable Video Diffusion: one picture to a clip, through a UNet with temporal attention and convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..workload.recipe import Builder, Part, Recipe, sizes
from .common import Built, Call, Components, activations, diffusers_model, levels
from .video import NO_TILING, Grid, Setting, clip_vision, listed, parameters, setting_of

NAME = "svd-xt"
BASE = Setting(width=1024, height=576, frames=25, steps=25, guidance=2)
GRID = Grid(frame_step=1, frame_offset=0, least_frames=2, pixel_step=8, least_pixels=128)
LET = {"b": "batch", "t": "frames", "h": "height//8", "w": "width//8"}
MOST_FRAMES = 63  # from 64 pictures on, diffusers' upsampling copies its input first
NOTES = (
    NO_TILING,
    "The VAE decodes one video at a time, all its frames at once (decode_chunk_size by default).",
    "Guidance grows from the first frame to the last, so every step takes both forwards.",
    "The unconditional image embedding and latents are zeros and cost nothing to make.",
    "The VAE is counted in the pipeline's type; under fp16 diffusers runs it in fp32 (force_upcast).",
)


def unet(cls: str, config: Mapping[str, Any]) -> Builder:
    """One forward of the denoiser over all frames; its input holds the picture's latents beside the noise."""
    depth = len(config.get("block_out_channels", range(4)))

    @sizes(
        let={"b": "batch", "t": "frames", **levels(depth)},
        **GRID.video(25, 576, 1024),
    )
    def build(batch: int = 1, frames: int = 25, height: int = 576, width: int = 1024) -> Built:
        inputs = {
            "sample": activations(batch, frames, config.get("in_channels", 8), height // 8, width // 8),
            "timestep": torch.zeros(()),
            "encoder_hidden_states": activations(batch, 1, config.get("cross_attention_dim", 1024)),
            "added_time_ids": activations(batch, 3),
            "return_dict": False,
        }
        return _on_one_device(diffusers_model(cls, config)), (), inputs

    return build


def vae_encode(cls: str, config: Mapping[str, Any]) -> Builder:
    """The picture to latents."""
    picture = {name: size for name, size in GRID.video(25, 576, 1024).items() if name != "frames"}

    @sizes(let={name: value for name, value in LET.items() if name != "t"}, **picture)
    def build(batch: int = 1, height: int = 576, width: int = 1024) -> Built:
        x_BCHW = activations(batch, config.get("in_channels", 3), height, width)
        return (
            Call("encode", vae=_on_one_device(diffusers_model(cls, config))),
            (x_BCHW,),
            {"return_dict": False},
        )

    return build


def vae_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """The latents of one video to pixels: pictures, with convolutions over time between the layers."""
    let = {name: value for name, value in LET.items() if name != "b"}
    clip = {name: size for name, size in GRID.video(25, 576, 1024).items() if name != "batch"}
    clip["frames"] = replace(clip["frames"], most=MOST_FRAMES)

    @sizes(let=let, **clip)
    def build(frames: int = 25, height: int = 576, width: int = 1024) -> Built:
        z_TCHW = activations(frames, config.get("latent_channels", 4), height // 8, width // 8)
        inputs = {"num_frames": frames, "return_dict": False}
        return Call("decode", vae=_on_one_device(diffusers_model(cls, config))), (z_TCHW,), inputs

    return build


def _on_one_device(model: nn.Module) -> nn.Module:
    """Bring over the blending factors, which diffusers makes with ``torch.Tensor``: on the CPU, always."""
    return model.to(torch.get_default_device())


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """A Stable Video Diffusion pipeline of diffusers from its components."""
    vae_cls, vae = components["vae"]
    asked = replace(setting, frames=components["unet"][1].get("num_frames") or setting.frames)
    params = parameters(asked, GRID)
    del params["text_tokens"]  # there is no prompt
    params["frames"] = replace(params["frames"], most=MOST_FRAMES)
    return setting.recipe(
        name,
        params,
        parts=(
            Part("image_encoder", clip_vision(*components["image_encoder"])),
            Part("vae_encoder", vae_encode(vae_cls, vae), weights="vae"),
            Part("denoise", unet(*components["unet"]), repeat="steps*guidance"),
            Part("vae_decode", vae_decode(vae_cls, vae), repeat="batch", weights="vae"),
        ),
        notes=NOTES,
    )


PIPELINES = {"StableVideoDiffusionPipeline": recipe}
COMPONENTS = {"UNetSpatioTemporalConditionModel": unet, "AutoencoderKLTemporalDecoder": vae_decode}


def recipes() -> tuple[Recipe, ...]:
    """SVD-XT; the catalogue's file leaves out the width of its ViT-H's MLPs."""
    components = listed(NAME)
    cls, config = components["image_encoder"]
    components["image_encoder"] = (cls, {"intermediate_size": 5120, **config})
    return (recipe(NAME, components, setting_of(NAME, "Stable Video Diffusion XT", BASE)),)
