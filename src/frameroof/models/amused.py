"""aMUSEd, the open Muse: every step predicts all image codes at once and keeps the surest ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from frameroof.models.autoencoders import decode_part, spatial_scale
from frameroof.models.common import (
    Components,
    Preset,
    activations,
    catalogued,
    component,
    diffusers_model,
    image_params,
    provenance,
)
from frameroof.models.text_encoders import clip_length, encoder_parts
from frameroof.workload.recipe import Builder, Part, Recipe, Size, sizes


def uvit(cls: str, config: Mapping[str, Any], scale: int = 16) -> Builder:
    """UVit2DModel over codes of `scale` pixels; where it downsamples, pairs of codes are one token."""
    step = scale * _codes_per_token(config)
    pixels = _pixels(config, scale)

    @sizes(
        let={"b": "batch", "h": f"height//{step}", "w": f"width//{step}", "s": "text_tokens"},
        batch=Size(1),
        height=pixels,
        width=pixels,
        text_tokens=Size(77, least=8, doc="CLIP tokens, padding included"),
    )
    def build(
        batch: int = 1, height: int = pixels.default, width: int = pixels.default, text_tokens: int = 77
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        codes = torch.zeros((batch, height // scale, width // scale), dtype=torch.int64)
        conditions = config.get("micro_cond_embed_dim", 1280) // config.get("micro_cond_encode_dim", 256)
        return (
            diffusers_model(cls, config),
            (codes,),
            {
                "encoder_hidden_states": activations(batch, text_tokens, config.get("encoder_hidden_size", 768)),
                "pooled_text_emb": activations(batch, config.get("cond_embed_dim", 768)),
                "micro_conds": activations(batch, conditions),
            },
        )

    return build


def recipe(name: str, components: Components, preset: Preset | None = None) -> Recipe:
    """CLIP, parallel decoding with guidance, decoding from the codebook."""
    known = preset or Preset()
    cls, config = components["transformer"]
    decoder = components["vqvae"]
    scale = spatial_scale(decoder[1])
    tokens = clip_length(components["text_encoder"][1])
    pixels = _pixels(config, scale, known.side)
    return Recipe(
        name=name,
        title=known.title or name,
        params=image_params(pixels, known.steps or 12, known.guidance or 2),
        parts=(
            *encoder_parts(components, str(tokens)),
            Part("denoise", uvit(cls, config, scale), {"text_tokens": str(tokens)}, repeat="steps*guidance"),
            decode_part(decoder),
        ),
        notes=(
            "A step is one bidirectional forward over all codes: parallel decoding, no cache.",
            "Sampling codes from the logits is not counted.",
            f"CLIP pads every prompt to {tokens} tokens.",
            *known.notes,
        ),
        source=known.source,
    )


def _codes_per_token(config: Mapping[str, Any]) -> int:
    return 2 if config.get("downsample") else 1


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    step = scale * _codes_per_token(config)
    return Size(side or config.get("sample_size", 16) * scale, step=step, least=2 * step, doc="pixels")


PIPELINES: dict[str, Callable[[str, Components], Recipe]] = {"AmusedPipeline": recipe}


def recipes() -> tuple[Recipe, ...]:
    """aMUSEd at 256 and 512 pixels; both decode with the same VQ model."""
    return tuple(_recipe_of(side) for side in (256, 512))


def _recipe_of(side: int) -> Recipe:
    model = f"amused-{side}"
    components = {
        **catalogued(model, text_encoder="text_encoder", transformer="uvit"),
        "vqvae": component("amused-256", "vq decode"),
    }
    preset = Preset(f"aMUSEd {side}", side=side, steps=12, guidance=2, source=provenance(model))
    return recipe(model, components, preset)
