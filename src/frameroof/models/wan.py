"""Wan 2.1 and 2.2: text- and image-to-video with a 3D-attention transformer and a causal VAE.

Wan 2.2's 14B models are two experts that share the steps; its 5B model gives every token its own timestep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .common import Built, Call, Components, activations, component, diffusers_model
from .text_encoders import encoder_parts
from .video import NO_TILING, Grid, Setting, clip_vision, listed, parameters, setting_of

BASE = Setting(width=832, height=480, frames=81, steps=50, guidance=2, text_tokens=512)
TWO_EXPERTS = ("wan2.2-t2v-a14b", "wan2.2-i2v-a14b")
IMAGE_NOTE = (
    "The image is encoded by the VAE as the first frame of a video that is otherwise gray, so all frames are encoded."
)
TITLES = {
    "wan2.1-t2v-1.3b": "Wan 2.1 T2V 1.3B",
    "wan2.1-t2v-14b": "Wan 2.1 T2V 14B, 720p",
    "wan2.1-t2v-14b-480p": "Wan 2.1 T2V 14B, 480p",
    "wan2.1-i2v-14b-720p": "Wan 2.1 I2V 14B, 720p",
    "wan2.1-i2v-14b-480p": "Wan 2.1 I2V 14B, 480p",
    "wan2.2-t2v-a14b": "Wan 2.2 T2V A14B (two experts)",
    "wan2.2-i2v-a14b": "Wan 2.2 I2V A14B (two experts)",
    "wan2.2-ti2v-5b": "Wan 2.2 TI2V 5B",
}
# Wan 2.1 I2V sees its image through the vision half of open_clip's XLM-RoBERTa ViT-H/14.
VIT_H = (
    "CLIPVisionModel",
    {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
    },
)
# Wan 2.2's 5B model compresses 16x16 in space (convert_wan_to_diffusers.py of diffusers).
VAE_22 = (
    "AutoencoderKLWan",
    {
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_temporal": 4,
        "scale_factor_spatial": 16,
    },
)


# diffusers' Wan takes the last 512 states for text when there is an image: no other length works.
IMAGE_TEXT = Size(512, least=512, most=512, doc="tokens of a prompt, padding included")


def transformer(cls: str, config: Mapping[str, Any], scale: int = 8, *, timestep_per_token: bool = False) -> Builder:
    """One forward of the denoiser; `scale` is the VAE's in space.

    `timestep_per_token`: the modulation is computed for every token, as Wan 2.2's 5B pipeline asks
    (a given first frame stays at timestep 0).
    """
    channels, text_dim = config.get("in_channels", 16), config.get("text_dim", 4096)
    grid = Grid(pixel_step=2 * scale, least_pixels=4 * scale)
    text = IMAGE_TEXT if config.get("image_dim") else Size(512, least=8)

    @sizes(
        let={
            "b": "batch",
            "t": "(frames-1)//4 + 1",
            "h": f"height//{2 * scale}",
            "w": f"width//{2 * scale}",
            "s": "text_tokens",
        },
        **grid.video(81, 480, 832),
        text_tokens=text,
    )
    def build(batch: int = 1, frames: int = 81, height: int = 480, width: int = 832, text_tokens: int = 512) -> Built:
        t, h, w = (frames - 1) // 4 + 1, height // scale, width // scale
        tokens = (batch, t * (h // 2) * (w // 2)) if timestep_per_token else (batch,)
        inputs = {
            "hidden_states": activations(batch, channels, t, h, w),
            "timestep": torch.zeros(tokens),
            "encoder_hidden_states": activations(batch, text_tokens, text_dim),
            "return_dict": False,
        }
        if config.get("image_dim"):
            inputs["encoder_hidden_states_image"] = activations(batch, 257, config["image_dim"])
        return diffusers_model(cls, config), (), inputs

    return build


def vae_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """Latents to pixels, one latent frame after the other beside a cache of past features."""
    scale, let, grid = _latent_grid(config)

    @sizes(let=let, **grid.video(81, 480, 832))
    def build(batch: int = 1, frames: int = 81, height: int = 480, width: int = 832) -> Built:
        z_BCTHW = activations(batch, config.get("z_dim", 16), (frames - 1) // 4 + 1, height // scale, width // scale)
        return Call("decode", vae=diffusers_model(cls, config)), (z_BCTHW,), {"return_dict": False}

    return build


def vae_encode(cls: str, config: Mapping[str, Any]) -> Builder:
    """Pixels to latents, four frames after the other beside a cache of past features."""
    _, let, grid = _latent_grid(config)

    @sizes(let=let, **grid.video(81, 480, 832))
    def build(batch: int = 1, frames: int = 81, height: int = 480, width: int = 832) -> Built:
        x_BCTHW = activations(batch, 3, frames, height, width)
        return Call("encode", vae=diffusers_model(cls, config)), (x_BCTHW,), {"return_dict": False}

    return build


def _latent_grid(config: Mapping[str, Any]) -> tuple[int, dict[str, str], Grid]:
    """Scale, variables and sizes of the VAE: its first two latent frames differ from all later ones."""
    scale = config.get("scale_factor_spatial", 8)
    let = {
        "b": "batch",
        "t": "(frames-1)//4 + 1",
        "h": f"height//{scale}",
        "w": f"width//{scale}",
    }
    return scale, let, Grid(least_frames=13, pixel_step=scale, least_pixels=4 * scale)


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """A Wan pipeline of diffusers from its components; with a ``transformer_2`` it has two experts."""
    vae_cls, vae = components["vae"]
    config = components["transformer"][1]
    scale = vae.get("scale_factor_spatial", 8)
    from_image = config.get("in_channels", 16) > config.get("out_channels", 16)
    per_token = bool(vae.get("is_residual"))  # only Wan 2.2's 5B model has this VAE
    params = parameters(setting, Grid(least_frames=13, pixel_step=2 * scale, least_pixels=4 * scale))
    notes = [NO_TILING, "Prompts are padded to text_tokens and attended without a mask."]
    if from_image:
        notes.append(IMAGE_NOTE)
    if config.get("image_dim"):
        params["text_tokens"] = IMAGE_TEXT
    if per_token:
        notes.append("Every token carries its own timestep (expand_timesteps), so modulation is per token.")
    if "transformer_2" in components:
        expert = EXPERTS["i2v" if from_image else "t2v"]
        notes.append(expert.note(params.pop("steps").default))
        params |= expert.params(setting.steps)
    parts = (
        *encoder_parts(components),
        *(_image_condition(components) if from_image else ()),
        *_denoise(components, scale, per_token),
        Part("vae_decode", vae_decode(vae_cls, vae), weights="vae"),
    )
    return setting.recipe(name, params, parts=parts, notes=tuple(notes))


@dataclass(frozen=True)
class Experts:
    """How Wan 2.2 divides its steps: with this shift, timesteps above the boundary are the first expert's."""

    shift: int
    boundary: float

    def high(self, steps: int) -> int:
        """Steps i = 0, 1 … of noise 1 - i/steps, shifted, that are not below the boundary."""
        noise = [1 - i / steps for i in range(steps)]
        return sum(self.shift * n / (1 + (self.shift - 1) * n) >= self.boundary for n in noise)

    def params(self, steps: int) -> dict[str, Size]:
        high = self.high(steps)
        return {
            "steps_high": Size(high, doc="denoising steps of the high-noise expert"),
            "steps_low": Size(steps - high, doc="denoising steps of the low-noise expert"),
        }

    def note(self, steps: int) -> str:
        return (
            f"With shift {self.shift} the timestep stays above the boundary {self.boundary} for "
            f"{self.high(steps)} of {steps} steps, which the high-noise expert runs."
        )


EXPERTS = {"t2v": Experts(12, 0.875), "i2v": Experts(5, 0.9)}  # wan/configs/wan_{t2v,i2v}_A14B.py of Wan 2.2


def _denoise(components: Components, scale: int, per_token: bool) -> tuple[Part, ...]:
    denoise = transformer(*components["transformer"], scale, timestep_per_token=per_token)
    if "transformer_2" not in components:
        return (Part("denoise", denoise, repeat="steps*guidance"),)
    return (
        Part("denoise_high_noise", denoise, repeat="steps_high*guidance"),
        Part("denoise_low_noise", transformer(*components["transformer_2"], scale), repeat="steps_low*guidance"),
    )


def _image_condition(components: Components) -> tuple[Part, ...]:
    """What an image-to-video pipeline computes of its image before the first step."""
    encode = Part("vae_encoder", vae_encode(*components["vae"]), weights="vae")
    if not components["transformer"][1].get("image_dim"):
        return (encode,)
    return (Part("image_encoder", clip_vision(*components.get("image_encoder", VIT_H))), encode)


def _of_catalogue(name: str) -> Recipe:
    components = listed(name)
    # The 14B models share Wan 2.1's VAE.
    components.setdefault("vae", VAE_22 if name == "wan2.2-ti2v-5b" else component("wan2.1-t2v-1.3b", "vae"))
    setting = setting_of(name, TITLES[name], BASE)
    if name in TWO_EXPERTS:
        components["transformer_2"] = components["transformer"]
        own = f"github:Wan-Video/Wan2.2 wan/configs/wan_{name[7:10]}_A14B.py"
        setting = replace(setting, source=tuple(dict.fromkeys((*setting.source, own))))
    return recipe(name, components, setting)


PIPELINES = {"WanPipeline": recipe, "WanImageToVideoPipeline": recipe}
COMPONENTS = {"WanTransformer3DModel": transformer, "AutoencoderKLWan": vae_decode}


def recipes() -> tuple[Recipe, ...]:
    """Every Wan model of the catalogue."""
    return tuple(_of_catalogue(name) for name in TITLES)
