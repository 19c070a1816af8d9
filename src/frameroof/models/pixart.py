"""PixArt-alpha and -sigma: a transformer over latent patches that reads T5 through cross-attention."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
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
    fixed_positions,
    provenance,
)
from .image import Preset, over_patches, parameters
from .text_encoders import encoder_parts

SIGMA = Preset(steps=20, text_tokens=300)
ALPHA = Preset(steps=20, text_tokens=120)
TITLES = {
    "pixart-sigma-1024": "PixArt-Σ 1024",
    "pixart-alpha-1024": "PixArt-α 1024",
    "pixart-alpha-512": "PixArt-α 512",
}


def pixart(cls: str, config: Mapping[str, Any], scale: int = 8) -> Builder:
    """PixArtTransformer2DModel with the positions of the picture's size in its table."""
    patch = scale * config.get("patch_size", 2)
    pixels = _pixels(config, scale)

    @over_patches(patch, pixels, Size(120, least=8, doc="T5 tokens, padding included"))
    def build(
        batch: int = 1, height: int = pixels.default, width: int = pixels.default, text_tokens: int = 120
    ) -> Built:
        model = diffusers_model(cls, config)
        fixed_positions(model.pos_embed, height // patch, width // patch)
        latents = activations(batch, config.get("in_channels", 4), height // scale, width // scale)
        text_width = config.get("caption_channels") or config.get("cross_attention_dim", 1152)
        inputs = {
            "encoder_hidden_states": activations(batch, text_tokens, text_width),
            "encoder_attention_mask": activations(batch, text_tokens),
            "timestep": activations(batch),
            "added_cond_kwargs": _conditions(model, batch),
            "return_dict": False,
        }
        return model, (latents,), inputs

    return build


def _conditions(model: Any, batch: int) -> dict[str, Any]:
    if not model.use_additional_conditions:
        return {"resolution": None, "aspect_ratio": None}
    return {"resolution": activations(batch, 2), "aspect_ratio": activations(batch, 1)}


def recipe(name: str, components: Components, preset: Preset = SIGMA) -> Recipe:
    """T5, denoising with guidance, decoding."""
    cls, config = components["transformer"]
    scale = spatial_scale(components["vae"][1])
    text = Size(preset.text_tokens, least=8, doc="T5 tokens, padding included")
    return preset.recipe(
        name,
        parameters(preset, _pixels(config, scale, preset.side), text),
        parts=(
            *encoder_parts(components),
            Part("denoise", pixart(cls, config, scale), repeat="steps*guidance"),
            decode_part(components["vae"]),
        ),
        notes=(
            f"T5 sees {text.default} tokens, padding included; cross-attention takes their mask.",
            "Position embeddings are computed once for a size, not in every step.",
        ),
    )


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    patch = scale * config.get("patch_size", 2)
    return Size(side or config.get("sample_size", 128) * scale, step=patch, least=2 * patch, doc="pixels")


PIPELINES = {
    "PixArtSigmaPipeline": recipe,
    "PixArtAlphaPipeline": partial(recipe, preset=ALPHA),
}
COMPONENTS = {"PixArtTransformer2DModel": pixart}


def recipes() -> tuple[Recipe, ...]:
    """PixArt-sigma at 1024, PixArt-alpha at 1024 and 512 pixels."""
    return tuple(_recipe_of(model) for model in TITLES)


def _recipe_of(model: str) -> Recipe:
    defaults = configuration(model)["defaults"]
    # Alpha decodes with SD 1.5's VAE, sigma with SDXL's: the same network, other weights.
    vae = component("sdxl-base" if "sigma" in model else "stable-diffusion-1.5", "vae")
    preset = Preset(
        title=TITLES[model],
        side=int(defaults["resolution"].split("x")[0]),
        steps=defaults["steps"],
        guidance=defaults["forwards_per_step"],
        text_tokens=defaults["text_tokens"],
        source=provenance(model),
    )
    roles = {"text_encoder": "text_encoder", "transformer": "transformer"}
    return recipe(model, {**catalogued(model, **roles), "vae": vae}, preset)
