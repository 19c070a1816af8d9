"""Wan 2.1 and 2.2: text- and image-to-video with a 3D-attention transformer and a causal VAE.

Wan 2.2's 14B models are two experts that share the steps; its 5B model gives every token its own timestep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from frameroof.models.common import Call, activations, diffusers_model, transformers_model
from frameroof.models.text_encoders import t5_encoder
from frameroof.models.video import (
    NO_TILING,
    Components,
    Grid,
    PipelineReader,
    Setting,
    components_of,
    parameters,
    setting_of,
)
from frameroof.workload.recipe import Builder, Part, Recipe, Size, sizes

Built = tuple[Any, tuple[Any, ...], dict[str, Any]]

BASE = Setting(width=832, height=480, frames=81, steps=50, guidance=2, text_tokens=512)
HIGH_NOISE_SHARE = {"wan2.2-t2v-a14b": 26, "wan2.2-i2v-a14b": 15}  # of 40 steps
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
# Wan 2.1 I2V sees its image through the vision half of open_clip's XLM-RoBERTa ViT-H/14: the CLIP ViT-H shape.
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
# Wan 2.2's 5B model compresses 16x16 in space (scripts/convert_wan_to_diffusers.py of diffusers, convert_vae_22).
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


def transformer(
    cls: str, config: Mapping[str, Any], scale: int = 8, *, timestep_per_token: bool = False
) -> Builder:
    """One forward of the denoiser; `scale` is the VAE's in space.

    `timestep_per_token`: the modulation is computed for every token, as Wan 2.2's 5B pipeline asks
    (a given first frame stays at timestep 0).
    """
    channels, text_dim = config["in_channels"], config.get("text_dim", 4096)
    grid = Grid(pixel_step=2 * scale, least_pixels=4 * scale)

    @sizes(
        let={
            "b": "batch",
            "t": "(frames-1)//4 + 1",
            "h": f"height//{2 * scale}",
            "w": f"width//{2 * scale}",
            "s": "text_tokens",
        },
        **grid.video(81, 480, 832),
        text_tokens=Size(512, least=8),
    )
    def build(
        batch: int = 1, frames: int = 81, height: int = 480, width: int = 832, text_tokens: int = 512
    ) -> Built:
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
        z_BCTHW = activations(
            batch, config["z_dim"], (frames - 1) // 4 + 1, height // scale, width // scale
        )
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


def image_encoder(cls: str, config: Mapping[str, Any]) -> Builder:
    """A CLIP vision tower on one picture of its own size; its last hidden states but one are used."""
    side = config.get("image_size", 224)

    @sizes(let={"b": "batch"}, batch=Size(1))
    def build(batch: int = 1) -> Built:
        pixels_BCHW = activations(batch, 3, side, side)
        return transformers_model(cls, config), (pixels_BCHW,), {"output_hidden_states": True}

    return build


def recipe(name: str, components: Components, setting: Setting = BASE, high_noise: int = 26) -> Recipe:
    """A Wan pipeline of diffusers from its components; with a ``transformer_2`` it has two experts."""
    vae_cls, vae = components["vae"]
    scale = vae.get("scale_factor_spatial", 8)
    cls, config = components["transformer"]
    per_token = bool(vae.get("is_residual"))  # only Wan 2.2's 5B model has this VAE
    denoise = transformer(cls, config, scale, timestep_per_token=per_token)
    params = parameters(setting, Grid(least_frames=13, pixel_step=2 * scale, least_pixels=4 * scale))
    parts = [Part("text_encoder", t5_encoder(*components["text_encoder"]), repeat="guidance")]
    notes = [NO_TILING, "Prompts are padded to text_tokens and attended without a mask."]
    if config["in_channels"] > config["out_channels"]:
        parts += _image_condition(components)
        notes.append(
            "The image is encoded by the VAE as the first frame of a video that is otherwise grey, "
            "so all frames are encoded."
        )
    if per_token:
        notes.append("Every token carries its own timestep (expand_timesteps), so modulation is per token.")
    if "transformer_2" in components:
        del params["steps"]
        params["steps_high"] = Size(high_noise, doc="steps of the high-noise expert")
        params["steps_low"] = Size(setting.steps - high_noise, doc="steps of the low-noise expert")
        low_noise = transformer(*components["transformer_2"], scale)
        parts += [
            Part("denoise_high_noise", denoise, repeat="steps_high*guidance"),
            Part("denoise_low_noise", low_noise, repeat="steps_low*guidance"),
        ]
    else:
        parts.append(Part("denoise", denoise, repeat="steps*guidance"))
    parts.append(Part("vae_decode", vae_decode(vae_cls, vae), weights="vae"))
    return Recipe(
        name=name,
        title=setting.title or name,
        params=params,
        parts=tuple(parts),
        item="video",
        notes=(*notes, *setting.notes),
        source=setting.source,
    )


def _image_condition(components: Components) -> list[Part]:
    """What an image-to-video pipeline computes of its image before the first step."""
    parts = [Part("vae_encoder", vae_encode(*components["vae"]), weights="vae")]
    if components["transformer"][1].get("image_dim"):
        encoder = image_encoder(*components.get("image_encoder", VIT_H))
        parts.insert(0, Part("image_encoder", encoder))
    return parts


def _of_catalogue(name: str) -> Recipe:
    components = components_of(name)
    setting = setting_of(name, TITLES[name], BASE)
    # The 14B models share Wan 2.1's VAE.
    vae = VAE_22 if name == "wan2.2-ti2v-5b" else components_of("wan2.1-t2v-1.3b")["vae"]
    components.setdefault("vae", vae)
    if name not in HIGH_NOISE_SHARE:
        return recipe(name, components, setting)
    components["transformer_2"] = components["transformer"]
    high = HIGH_NOISE_SHARE[name]
    shift, boundary = (12, 0.875) if "t2v" in name else (5, 0.9)
    split = (
        f"With shift {shift} the timestep stays above the boundary {boundary} for {high} of "
        f"{setting.steps} steps, which the high-noise expert runs."
    )
    config = f"github:Wan-Video/Wan2.2 wan/configs/wan_{name[7:10]}_A14B.py"
    source = tuple(dict.fromkeys((*setting.source, config)))
    return recipe(name, components, replace(setting, notes=(split,), source=source), high)


PIPELINES: dict[str, PipelineReader] = {"WanPipeline": recipe, "WanImageToVideoPipeline": recipe}


def recipes() -> tuple[Recipe, ...]:
    """Every Wan model of the catalogue."""
    return tuple(_of_catalogue(name) for name in TITLES)
