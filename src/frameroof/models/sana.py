"""Sana: linear attention over latents of 32 pixels, Gemma 2 before it, a deep-compression VAE after it."""

from __future__ import annotations

from ast import literal_eval
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
    configuration,
    diffusers_model,
    fixed_positions,
    provenance,
)
from .image import Preset, over_patches, parameters
from .text_encoders import encoder_parts

BASE = Preset(steps=20, text_tokens=300)
TITLES = {"sana-1.6b": "Sana 1.6B", "sana-0.6b": "Sana 0.6B"}
LEAST_ROWS = 6  # of latents: with fewer the decoder's linear attention turns quadratic


def sana(cls: str, config: Mapping[str, Any], scale: int = 32) -> Builder:
    """SanaTransformer2DModel: linear self-attention, softmax cross-attention to the text."""
    patch = scale * config.get("patch_size", 1)
    pixels = _pixels(config, scale)

    @over_patches(patch, pixels, Size(300, least=8, doc="text tokens, padding included"))
    def build(
        batch: int = 1, height: int = pixels.default, width: int = pixels.default, text_tokens: int = 300
    ) -> Built:
        model = diffusers_model(cls, config)
        if model.patch_embed.pos_embed is not None:
            fixed_positions(model.patch_embed, height // patch, width // patch)
        latents = activations(batch, config.get("in_channels", 32), height // scale, width // scale)
        inputs = {
            "encoder_hidden_states": activations(batch, text_tokens, config.get("caption_channels", 2304)),
            "encoder_attention_mask": activations(batch, text_tokens),
            "timestep": activations(batch),
            "guidance": activations(batch) if config.get("guidance_embeds") else None,
            "return_dict": False,
        }
        return model, (latents,), inputs

    return build


def recipe(name: str, components: Components, preset: Preset = BASE) -> Recipe:
    """Gemma, denoising with guidance, decoding."""
    cls, config = components["transformer"]
    scale = spatial_scale(components["vae"][1])
    text = Size(preset.text_tokens, least=8, doc="text tokens, padding included")
    return preset.recipe(
        name,
        parameters(preset, _pixels(config, scale, preset.side), text),
        parts=(
            *encoder_parts(components),
            Part("denoise", sana(cls, config, scale), repeat="steps*guidance"),
            decode_part(components["vae"]),
        ),
        notes=(
            f"The transformer sees {text.default} text tokens, padding included, and takes their mask.",
            "Gemma sees as many: the instruction that the pipeline may put before a prompt is not counted.",
            "Gemma 2 caps its attention scores, which SDPA cannot: its attention is matmul, softmax, matmul.",
        ),
    )


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    patch = scale * config.get("patch_size", 1)
    default = side or config.get("sample_size", 32) * scale
    return Size(default, step=patch, least=LEAST_ROWS * patch, doc="pixels")


PIPELINES = {"SanaPipeline": recipe}
COMPONENTS = {"SanaTransformer2DModel": sana}


def recipes() -> tuple[Recipe, ...]:
    """Sana 1.6B and 0.6B at 1024 pixels."""
    return tuple(_recipe_of(model) for model in TITLES)


def _recipe_of(model: str) -> Recipe:
    defaults = configuration(model)["defaults"]
    roles = {"text_encoder": "text_encoder", "transformer": "transformer", "vae": "vae"}
    components = dict(catalogued(model, **roles))
    vae_cls, vae_config = components["vae"]
    components["vae"] = vae_cls, {key: _value(written) for key, written in vae_config.items()}
    preset = replace(BASE, title=TITLES[model], side=1024, steps=defaults["steps"], source=provenance(model))
    return recipe(model, components, preset)


def _value(written: Any) -> Any:
    """The catalogue keeps this VAE's configuration as the conversion script writes it: Python in strings."""
    try:
        return literal_eval(written)
    except ValueError:
        return written
