"""DiT-XL/2: the class-conditional transformer over latents; square pictures only, and no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .autoencoders import decode_part, spatial_scale
from .common import (
    Built,
    Components,
    activations,
    catalogued,
    diffusers_model,
    fixed_positions,
    provenance,
)
from .image import Preset, parameters

BASE = Preset(steps=50)


def dit(cls: str, config: Mapping[str, Any], scale: int = 8) -> Builder:
    """DiTTransformer2DModel; its output is folded back into a square, so one side is the only size."""
    patch = scale * config.get("patch_size", 2)
    pixels = _pixels(config, scale)

    @sizes(let={"b": "batch", "h": f"height//{patch}", "n": "h*h"}, batch=Size(1), height=pixels)
    def build(batch: int = 1, height: int = pixels.default) -> Built:
        model = diffusers_model(cls, config)
        fixed_positions(model.pos_embed, height // patch, height // patch)
        latents = activations(batch, config.get("in_channels", 4), height // scale, height // scale)
        each = torch.zeros((batch,), dtype=torch.int64)
        return model, (latents,), {"timestep": each, "class_labels": each, "return_dict": False}

    return build


def recipe(name: str, components: Components, preset: Preset = BASE) -> Recipe:
    """Denoising with guidance, decoding."""
    cls, config = components["transformer"]
    scale = spatial_scale(components["vae"][1])
    params = parameters(preset, _pixels(config, scale, preset.side))
    del params["width"]
    return preset.recipe(
        name,
        params,
        parts=(
            Part("denoise", dit(cls, config, scale), repeat="steps*guidance"),
            decode_part(components["vae"], {"height": "height", "width": "height"}),
        ),
        notes=("Pictures are square: width is height.",),
    )


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    patch = scale * config.get("patch_size", 2)
    default = side or config.get("sample_size", 32) * scale
    return Size(default, step=patch, least=2 * patch, doc="pixels, both sides")


PIPELINES = {"DiTPipeline": recipe}
COMPONENTS = {"DiTTransformer2DModel": dit}


def recipes() -> tuple[Recipe, ...]:
    """DiT-XL/2 at 256 pixels; 512 is the same network at another size."""
    model = "dit-xl-2"
    notes = (
        "250 steps, as in the paper; diffusers' pipeline takes 50 by default.",
        "diffusers keeps one timestep and label embedder in each of the 28 blocks: 749.8 M parameters, "
        "where the original has 675.1 M.",
    )
    preset = replace(BASE, title="DiT-XL/2", side=256, steps=250, notes=notes, source=provenance(model))
    return (recipe(model, catalogued(model, transformer="transformer@256", vae="vae"), preset),)
