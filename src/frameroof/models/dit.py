"""DiT-XL/2: the class-conditional transformer over latents; square pictures only, and no text."""

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
    diffusers_model,
    fixed_positions,
    image_params,
    provenance,
)
from frameroof.workload.recipe import Builder, Part, Recipe, Size, sizes


def dit(cls: str, config: Mapping[str, Any], scale: int = 8) -> Builder:
    """DiTTransformer2DModel; its output is folded back into a square, so one side is the only size."""
    patch = scale * config.get("patch_size", 2)
    pixels = _pixels(config, scale)

    @sizes(let={"b": "batch", "h": f"height//{patch}", "n": "h*h"}, batch=Size(1), height=pixels)
    def build(batch: int = 1, height: int = pixels.default) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        model = diffusers_model(cls, config)
        fixed_positions(model.pos_embed, height // patch, height // patch)
        latents = activations(batch, config.get("in_channels", 4), height // scale, height // scale)
        each = torch.zeros((batch,), dtype=torch.int64)
        return model, (latents,), {"timestep": each, "class_labels": each, "return_dict": False}

    return build


def recipe(name: str, components: Components, preset: Preset | None = None) -> Recipe:
    """Denoising with guidance, decoding."""
    known = preset or Preset()
    cls, config = components["transformer"]
    scale = spatial_scale(components["vae"][1])
    params = image_params(_pixels(config, scale, known.side), known.steps or 50, known.guidance or 2)
    del params["width"]
    return Recipe(
        name=name,
        title=known.title or name,
        params=params,
        parts=(
            Part("denoise", dit(cls, config, scale), repeat="steps*guidance"),
            decode_part(components["vae"], {"height": "height", "width": "height"}),
        ),
        notes=("Pictures are square: width is height.", *known.notes),
        source=known.source,
    )


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    patch = scale * config.get("patch_size", 2)
    default = side or config.get("sample_size", 32) * scale
    return Size(default, step=patch, least=2 * patch, doc="pixels, both sides")


PIPELINES: dict[str, Callable[[str, Components], Recipe]] = {"DiTPipeline": recipe}


def recipes() -> tuple[Recipe, ...]:
    """DiT-XL/2 at 256 pixels; 512 is the same network at another size."""
    model = "dit-xl-2"
    notes = (
        "250 steps, as in the paper; diffusers' pipeline takes 50 by default.",
        "diffusers keeps one timestep and label embedder in each of the 28 blocks: 749.8 M parameters, "
        "where the original has 675.1 M.",
    )
    preset = Preset("DiT-XL/2", side=256, steps=250, guidance=2, notes=notes, source=provenance(model))
    return (recipe(model, catalogued(model, transformer="transformer@256", vae="vae"), preset),)
