"""Stable Diffusion 1.5, 2.1 and XL: a UNet over latents, CLIP before it and a VAE after it.

The UNet's downsampling rounds up and its upsampling takes the size of the level above, so any picture
whose sides are whole latents is admissible; each level has its own number of rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .autoencoders import decode_part, spatial_scale
from .common import Built, Components, activations, catalogued, diffusers_model, levels, provenance
from .image import Preset, parameters
from .text_encoders import clip_length, encoder_parts

BASE = Preset(steps=50)
DOWN_BLOCKS = 4  # UNet2DConditionModel's own default
UPCAST = "The VAE decodes in the pipeline's type; under fp16 diffusers runs it in fp32 (force_upcast)."
FP32_ATTENTION = "The configuration asks for attention in fp32 (upcast_attention); diffusers' SDPA path ignores it."
REFINER = (
    "It refines the latents of the base model: nothing is encoded.",
    "Its 10 steps are the last fifth of a schedule of 50.",
)


def unet(cls: str, config: Mapping[str, Any], scale: int = 8, pooled: int = 0) -> Builder:
    """UNet2DConditionModel over latents of `scale` pixels; `pooled` is the width of SDXL's pooled text."""
    depth = len(config.get("down_block_types", range(DOWN_BLOCKS)))
    pixels = _pixels(config, scale)

    @sizes(
        let={"b": "batch", **levels(depth, scale), "s": "text_tokens"},
        batch=Size(1),
        height=pixels,
        width=pixels,
        text_tokens=Size(77, least=8, doc="text tokens, padding included"),
    )
    def build(
        batch: int = 1, height: int = pixels.default, width: int = pixels.default, text_tokens: int = 77
    ) -> Built:
        inputs = unet_inputs(config, (batch, height // scale, width // scale), text_tokens, pooled)
        return diffusers_model(cls, config), (), inputs

    return build


def unet_inputs(
    config: Mapping[str, Any], batch_rows_columns: tuple[int, int, int], text_tokens: int, pooled: int = 0
) -> dict[str, Any]:
    """What a pipeline gives a UNet2DConditionModel of this configuration in one denoising step."""
    batch, rows, columns = batch_rows_columns
    text_width = config.get("encoder_hid_dim") or config.get("cross_attention_dim", 1280)
    inputs: dict[str, Any] = {
        "sample": activations(batch, config.get("in_channels", 4), rows, columns),
        "timestep": torch.zeros((), dtype=torch.int64),
        "encoder_hidden_states": activations(batch, text_tokens, text_width),
        "return_dict": False,
    }
    if config.get("class_embed_type") == "timestep" or config.get("num_class_embeds"):
        inputs["class_labels"] = torch.zeros((batch,), dtype=torch.int64)  # how much noise was added
    if config.get("addition_embed_type") == "text_time":
        ids = (config["projection_class_embeddings_input_dim"] - pooled) // config["addition_time_embed_dim"]
        inputs["added_cond_kwargs"] = {
            "text_embeds": activations(batch, pooled),
            "time_ids": activations(batch, ids),
        }
    return inputs


def recipe(name: str, components: Components, preset: Preset = BASE) -> Recipe:
    """A text-to-image pipeline around a UNet: CLIP, denoising with guidance, decoding."""
    cls, config = components["unet"]
    scale = spatial_scale(components["vae"][1])
    clips = {role: part[1] for role, part in components.items() if role.startswith("text_encoder")}
    tokens = max(map(clip_length, clips.values()), default=77)
    denoise = unet(cls, config, scale, _pooled_width(clips))
    return preset.recipe(
        name,
        parameters(preset, _pixels(config, scale, preset.side)),
        parts=(
            *encoder_parts(components, str(tokens)),
            Part("denoise", denoise, {"text_tokens": str(tokens)}, repeat="steps*guidance"),
            decode_part(components["vae"]),
        ),
        notes=(f"CLIP pads every prompt to {tokens} tokens.",),
    )


def _pixels(config: Mapping[str, Any], scale: int, side: int = 0) -> Size:
    """The sides of a picture that a UNet of this configuration takes: two rows or more at its bottom."""
    sample = config.get("sample_size") or 64
    rows = int(sample if isinstance(sample, int) else max(sample))
    depth = len(config.get("down_block_types", range(DOWN_BLOCKS)))
    return Size(side or rows * scale, step=scale, least=scale * 2**depth, doc="pixels")


def _pooled_width(encoders: Mapping[str, Mapping[str, Any]]) -> int:
    """The width of the pooled text that SDXL adds to its time embedding: its last encoder's projection."""
    if not encoders:
        return 0
    last = encoders[max(encoders)]
    return int(last.get("projection_dim") or last.get("hidden_size", 0))


PIPELINES = {
    "StableDiffusionPipeline": recipe,
    "StableDiffusionXLPipeline": recipe,
}
COMPONENTS = {"UNet2DConditionModel": unet}


def recipes() -> tuple[Recipe, ...]:
    """Stable Diffusion 1.5 and 2.1, SDXL base and refiner."""
    sd15 = Preset(title="Stable Diffusion 1.5", side=512, notes=("The safety checker is not counted.",))
    sd21 = Preset(title="Stable Diffusion 2.1", side=768, notes=(FP32_ATTENTION,))
    sdxl = Preset(title="Stable Diffusion XL base", side=1024, notes=(UPCAST,))
    refiner = Preset(title="Stable Diffusion XL refiner", side=1024, steps=10, notes=(*REFINER, UPCAST))
    second, rest = {"text_encoder_2": "text_encoder_2"}, {"unet": "unet", "vae": "vae"}
    return (
        _of_catalogue("stable-diffusion-1.5", sd15, text_encoder="text_encoder", **rest),
        _of_catalogue("stable-diffusion-2.1", sd21, text_encoder="text_encoder", unet="unet@768", vae="vae"),
        _of_catalogue("sdxl-base", sdxl, text_encoder="text_encoder", **second, **rest),
        _of_catalogue("sdxl-refiner", refiner, **second, **rest),
    )


def _of_catalogue(model: str, preset: Preset, **roles: str) -> Recipe:
    return recipe(model, catalogued(model, **roles), replace(preset, source=provenance(model)))
