"""Stable Diffusion 3 and 3.5: joint attention over text and latent patches; two CLIPs and T5 before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..workload.recipe import Builder, Part, Recipe, Size
from .autoencoders import decode_part, spatial_scale
from .common import (
    Built,
    Components,
    activations,
    catalogued,
    component,
    configuration,
    diffusers_model,
    provenance,
)
from .image import Preset, over_patches, parameters
from .text_encoders import clip_length, encoder_parts

BASE = Preset(steps=28, text_tokens=256)
TITLES = {
    "sd3-medium": "Stable Diffusion 3 medium",
    "sd3.5-large": "Stable Diffusion 3.5 large",
    "sd3.5-medium": "Stable Diffusion 3.5 medium",
}


def mmdit(cls: str, config: Mapping[str, Any], scale: int = 8) -> Builder:
    """SD3Transformer2DModel; the picture may not outgrow the position table it crops from."""
    patch = scale * config.get("patch_size", 2)
    pixels = _pixels(config, scale)

    @over_patches(patch, pixels, Size(333, least=8, doc="CLIP and T5 tokens together"))
    def build(
        batch: int = 1, height: int = pixels.default, width: int = pixels.default, text_tokens: int = 333
    ) -> Built:
        inputs = {
            "hidden_states": activations(batch, config.get("in_channels", 16), height // scale, width // scale),
            "encoder_hidden_states": activations(batch, text_tokens, config.get("joint_attention_dim", 4096)),
            "pooled_projections": activations(batch, config.get("pooled_projection_dim", 2048)),
            "timestep": activations(batch),
            "return_dict": False,
        }
        return diffusers_model(cls, config), (), inputs

    return build


def recipe(name: str, components: Components, preset: Preset = BASE) -> Recipe:
    """Text encoders, denoising with guidance, decoding."""
    cls, config = components["transformer"]
    scale = spatial_scale(components["vae"][1])
    clip = clip_length(components["text_encoder"][1]) if "text_encoder" in components else 77
    t5 = Size(preset.text_tokens, least=8, most=512, doc="T5 tokens")
    both = {"text_tokens": f"text_tokens+{clip}"}
    return preset.recipe(
        name,
        parameters(preset, _pixels(config, scale, preset.side), t5),
        parts=(
            *encoder_parts(components),
            Part("denoise", mmdit(cls, config, scale), both, repeat="steps*guidance"),
            decode_part(components["vae"]),
        ),
        notes=(f"T5 sees {t5.default} tokens; the transformer sees them after CLIP's {clip}, padding included.",),
    )


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    patch = scale * config.get("patch_size", 2)
    most = config.get("pos_embed_max_size", 96) * patch
    return Size(side or config.get("sample_size", 128) * scale, step=patch, least=2 * patch, most=most, doc="pixels")


PIPELINES = {"StableDiffusion3Pipeline": recipe}
COMPONENTS = {"SD3Transformer2DModel": mmdit}


def recipes() -> tuple[Recipe, ...]:
    """SD3 medium, SD3.5 large and medium."""
    return tuple(_recipe_of(model) for model in TITLES)


def _recipe_of(model: str) -> Recipe:
    known = configuration(model)
    transformer = next(role for role in known["components"] if role.startswith("mmdit"))
    encoders = {"text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}
    roles = {**encoders, "text_encoder_3": "text_encoder#2", "transformer": transformer}
    vae = component("sd3-medium", "vae")  # all three share its 16 channels
    preset = replace(
        BASE,
        title=TITLES[model],
        side=1024,
        steps=known["defaults"]["steps"],
        notes=tuple(f"{note[0].upper()}{note[1:]}." for note in known["notes"]),
        source=provenance(model),
    )
    return recipe(model, {**catalogued(model, **roles), "vae": vae}, preset)
