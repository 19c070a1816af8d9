"""AnimateDiff: Stable Diffusion 1.5 with attention over time in every block, frames decoded as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .autoencoders import decoder
from .common import Built, Components, activations, diffusers_model, levels
from .text_encoders import clip_length, encoder_parts
from .video import NO_TILING, Grid, Setting, listed, parameters, setting_of

NAME = "animatediff-sd15"
BASE = Setting(width=512, height=512, frames=16, steps=25, guidance=2, text_tokens=77)
GRID = Grid(frame_step=1, frame_offset=0, least_frames=2, pixel_step=8, least_pixels=128)
CHUNK = 16  # frames decoded together (decode_chunk_size)
NOTES = (
    NO_TILING,
    "The prompt's states are repeated for every frame before the first step: each frame projects its copy.",
    f"The VAE decodes {CHUNK} frames at a time, as the pipeline does by default.",
)


def unet(cls: str, config: Mapping[str, Any], adapter: tuple[str, Mapping[str, Any]] | None = None) -> Builder:
    """One forward of the denoiser; a picture UNet gets the motion modules of its `adapter`."""
    depth = len(config.get("block_out_channels", range(4)))
    longest = (adapter[1] if adapter else config).get("motion_max_seq_length", 32)
    clip = GRID.video(16, 512, 512) | {"frames": Size(16, least=2, most=longest)}

    @sizes(
        let={"b": "batch", "t": "frames", **levels(depth), "s": "text_tokens"},
        **clip,
        text_tokens=Size(77, least=8),
    )
    def build(batch: int = 1, frames: int = 16, height: int = 512, width: int = 512, text_tokens: int = 77) -> Built:
        channels, text_dim = config.get("in_channels", 4), config.get("cross_attention_dim", 1280)
        inputs = {
            "sample": activations(batch, channels, frames, height // 8, width // 8),
            "timestep": torch.zeros((), dtype=torch.int64),
            "encoder_hidden_states": activations(batch * frames, text_tokens, text_dim),
            "return_dict": False,
        }
        return _with_motion(diffusers_model(cls, config), adapter), (), inputs

    return build


def _with_motion(unet: nn.Module, adapter: tuple[str, Mapping[str, Any]] | None) -> nn.Module:
    from diffusers import UNet2DConditionModel, UNetMotionModel

    if not isinstance(unet, UNet2DConditionModel):
        return unet
    motion = diffusers_model(*adapter) if adapter else None
    return UNetMotionModel.from_unet2d(unet, motion, load_weights=False).eval().to(torch.get_default_dtype())


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """An AnimateDiff pipeline of diffusers from its components."""
    cls, config = components["unet"]
    adapter = components.get("motion_adapter") if cls == "UNet2DConditionModel" else None
    tokens = str(clip_length(components["text_encoder"][1]))
    params = parameters(setting, GRID)
    del params["text_tokens"]  # CLIP pads to its own length
    denoise = unet(cls, config, adapter)
    params["frames"] = denoise.__frameroof_sizes__.sizes["frames"]  # type: ignore[attr-defined]
    frames = "batch*frames"
    return setting.recipe(
        name,
        params,
        parts=(
            *encoder_parts(components, tokens),
            Part("denoise", denoise, {"text_tokens": tokens}, repeat="steps*guidance"),
            Part(
                "vae_decode",
                decoder(*components["vae"]),
                {"batch": f"min({CHUNK}, {frames} - {CHUNK}*i)"},
                loop=("i", f"ceil({frames}, {CHUNK})"),
            ),
        ),
        notes=NOTES,
    )


PIPELINES = {"AnimateDiffPipeline": recipe}
COMPONENTS = {"UNetMotionModel": unet}


def recipes() -> tuple[Recipe, ...]:
    """AnimateDiff on Stable Diffusion 1.5."""
    components = listed(NAME, unet="unet_motion")
    return (recipe(NAME, components, setting_of(NAME, "AnimateDiff (SD 1.5)", BASE)),)
