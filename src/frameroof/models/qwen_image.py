"""Qwen-Image: 60 double-stream blocks over packed latents; Qwen2.5-VL reads the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..workload.recipe import Builder, Part, Recipe, Size
from .autoencoders import decode_part, spatial_scale
from .common import Built, Components, activations, catalogued, diffusers_model, provenance
from .image import Preset, over_patches, parameters
from .text_encoders import encoder_parts

BASE = Preset(steps=50)
VAE = {"z_dim": 16, "dim_mult": [1, 2, 4, 4]}  # as the class's defaults, which are the released model's
PACKED = 2  # 2x2 latents make one token, before the transformer sees them
TEMPLATE_TOKENS = 34  # the pipeline's own words before a prompt: encoded, then dropped
TEXT_TOKENS = Size(512, least=8, most=1024, doc="tokens of the prompt, padding included")


def qwen_image(cls: str, config: Mapping[str, Any], scale: int = 8) -> Builder:
    """QwenImageTransformer2DModel; rotary positions of a size are looked up, as after a first step."""
    patch = scale * PACKED
    pixels = Size(1328, step=patch, least=2 * patch, doc="pixels")

    @over_patches(patch, pixels, TEXT_TOKENS)
    def build(batch: int = 1, height: int = 1328, width: int = 1328, text_tokens: int = 512) -> Built:
        model = diffusers_model(cls, config)
        rows, columns = height // patch, width // patch
        latents = activations(batch, rows * columns, config.get("in_channels", 64))
        shapes = [[(1, rows, columns)]] * batch
        model.pos_embed(shapes, max_txt_seq_len=text_tokens, device=latents.device)  # fills its cache
        inputs = {
            "encoder_hidden_states": activations(batch, text_tokens, config.get("joint_attention_dim", 3584)),
            "timestep": activations(batch),
            "img_shapes": shapes,
            "guidance": activations(batch) if config.get("guidance_embeds") else None,
            "return_dict": False,
        }
        return model, (latents,), inputs

    return build


def recipe(name: str, components: Components, preset: Preset = BASE) -> Recipe:
    """Qwen2.5-VL's language half, denoising with guidance, decoding."""
    cls, config = components["transformer"]
    scale = spatial_scale(components["vae"][1])
    pixels = Size(preset.side or 128 * scale, step=scale * PACKED, least=2 * scale * PACKED, doc="pixels")
    return preset.recipe(
        name,
        parameters(preset, pixels, TEXT_TOKENS),
        parts=(
            *encoder_parts(components, f"text_tokens+{TEMPLATE_TOKENS}"),
            Part("denoise", qwen_image(cls, config, scale), repeat="steps*guidance"),
            decode_part(components["vae"]),
        ),
        notes=(
            f"The transformer sees {TEXT_TOKENS.default} text tokens. The pipeline does not pad: a short "
            "prompt has fewer, and so has an empty negative prompt.",
            f"The text encoder sees {TEMPLATE_TOKENS} tokens more, the pipeline's own words.",
            "Its vision tower and output head do not run.",
            "Rotary positions of a size are computed once, not in every step.",
        ),
    )


PIPELINES = {"QwenImagePipeline": recipe}
COMPONENTS = {"QwenImageTransformer2DModel": qwen_image}


def recipes() -> tuple[Recipe, ...]:
    """Qwen-Image at its 1328 pixels."""
    model = "qwen-image"
    components = {
        **catalogued(model, text_encoder="text_encoder", transformer="transformer@1328"),
        "vae": ("AutoencoderKLQwenImage", VAE),
    }
    preset = replace(BASE, title="Qwen-Image", side=1328, source=provenance(model))
    return (recipe(model, components, preset),)
