"""aMUSEd, the open Muse: every step predicts all image codes at once and keeps the surest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Recipe, Size
from .autoencoders import decode_part, spatial_scale
from .common import Built, Components, activations, catalogued, component, diffusers_model, provenance
from .image import Preset, over_patches, parameters
from .text_encoders import clip_length, encoder_parts

BASE = Preset(steps=12)


def uvit(cls: str, config: Mapping[str, Any], scale: int = 16) -> Builder:
    """UVit2DModel over codes of `scale` pixels; where it downsamples, pairs of codes are one token."""
    step = scale * _codes_per_token(config)
    pixels = _pixels(config, scale)

    @over_patches(step, pixels, Size(77, least=8, doc="CLIP tokens, padding included"))
    def build(
        batch: int = 1, height: int = pixels.default, width: int = pixels.default, text_tokens: int = 77
    ) -> Built:
        codes = torch.zeros((batch, height // scale, width // scale), dtype=torch.int64)
        conditions = config.get("micro_cond_embed_dim", 1280) // config.get("micro_cond_encode_dim", 256)
        inputs = {
            "encoder_hidden_states": activations(batch, text_tokens, config.get("encoder_hidden_size", 768)),
            "pooled_text_emb": activations(batch, config.get("cond_embed_dim", 768)),
            "micro_conds": activations(batch, conditions),
        }
        return diffusers_model(cls, config), (codes,), inputs

    return build


def recipe(name: str, components: Components, preset: Preset = BASE) -> Recipe:
    """CLIP, parallel decoding with guidance, decoding from the codebook."""
    cls, config = components["transformer"]
    decoder = components["vqvae"]
    scale = spatial_scale(decoder[1])
    tokens = str(clip_length(components["text_encoder"][1]))
    return preset.recipe(
        name,
        parameters(preset, _pixels(config, scale, preset.side)),
        parts=(
            *encoder_parts(components, tokens),
            Part("denoise", uvit(cls, config, scale), {"text_tokens": tokens}, repeat="steps*guidance"),
            decode_part(decoder),
        ),
        notes=(
            "A step is one bidirectional forward over all codes: parallel decoding, no cache.",
            "Sampling codes from the logits is not counted.",
            f"CLIP pads every prompt to {tokens} tokens.",
        ),
    )


def _codes_per_token(config: Mapping[str, Any]) -> int:
    return 2 if config.get("downsample") else 1


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    step = scale * _codes_per_token(config)
    return Size(side or config.get("sample_size", 16) * scale, step=step, least=2 * step, doc="pixels")


PIPELINES = {"AmusedPipeline": recipe}
COMPONENTS = {"UVit2DModel": uvit}


def recipes() -> tuple[Recipe, ...]:
    """aMUSEd at 256 and 512 pixels; both decode with the same VQ model."""
    return tuple(_recipe_of(side) for side in (256, 512))


def _recipe_of(side: int) -> Recipe:
    model = f"amused-{side}"
    components = {
        **catalogued(model, text_encoder="text_encoder", transformer="uvit"),
        "vqvae": component("amused-256", "vq decode"),
    }
    preset = replace(BASE, title=f"aMUSEd {side}", side=side, source=provenance(model))
    return recipe(model, components, preset)
