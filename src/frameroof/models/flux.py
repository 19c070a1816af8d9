"""FLUX.1 and FLUX.2: double-stream then single-stream blocks over packed latents; guidance is distilled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..workload.recipe import Builder, Part, Recipe, Size
from .autoencoders import decode_part, spatial_scale
from .common import Built, Components, activations, catalogued, component, diffusers_model, provenance
from .image import Preset, over_patches, parameters
from .text_encoders import encoder_parts

PACKED = 2  # 2x2 latents make one token, before the transformer sees them
FLUX1 = Preset(steps=28, guidance=1, text_tokens=512)
FLUX2 = Preset(steps=50, guidance=1, text_tokens=512)
TEXT_TOKENS = Size(512, least=8, most=512, doc="text tokens, padding included")

# Text encoders that the catalogue's files name without their sizes; the languages models' own config.json.
MISTRAL_SMALL = {  # the language half of Mistral-Small-3.1-24B; transformers' Mistral3Config defaults
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "intermediate_size": 32768,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 131072,
    "sliding_window": None,
}
QWEN3 = {"num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
QWEN3_4B = {**QWEN3, "hidden_size": 2560, "intermediate_size": 9728, "vocab_size": 151936}
QWEN3_8B = {**QWEN3, "hidden_size": 4096, "intermediate_size": 12288, "vocab_size": 151936}


def flux1(cls: str, config: Mapping[str, Any], scale: int = 8) -> Builder:
    """FluxTransformer2DModel: pooled CLIP text beside T5 tokens, positions in three axes."""

    def inputs(batch: int, image_tokens: int, text_tokens: int) -> dict[str, Any]:
        pooled = activations(batch, config.get("pooled_projection_dim", 768))
        return {
            "pooled_projections": pooled,
            "img_ids": activations(image_tokens, 3),
            "txt_ids": activations(text_tokens, 3),
        }

    return _over_tokens(cls, {"guidance_embeds": False, **config}, scale, inputs)


def flux2(cls: str, config: Mapping[str, Any], scale: int = 8) -> Builder:
    """Flux2Transformer2DModel: no pooled text, positions in four axes."""
    defaults = {"in_channels": 128, "joint_attention_dim": 15360, "guidance_embeds": True}

    def inputs(batch: int, image_tokens: int, text_tokens: int) -> dict[str, Any]:
        return {"img_ids": activations(batch, image_tokens, 4), "txt_ids": activations(batch, text_tokens, 4)}

    return _over_tokens(cls, {**defaults, **config}, scale, inputs)


def _over_tokens(
    cls: str, config: Mapping[str, Any], scale: int, more: Callable[[int, int, int], dict[str, Any]]
) -> Builder:
    patch = scale * PACKED
    pixels = Size(1024, step=patch, least=2 * patch, doc="pixels")

    @over_patches(patch, pixels, TEXT_TOKENS)
    def build(batch: int = 1, height: int = 1024, width: int = 1024, text_tokens: int = 512) -> Built:
        image_tokens = (height // patch) * (width // patch)
        inputs = {
            "hidden_states": activations(batch, image_tokens, config.get("in_channels", 64)),
            "encoder_hidden_states": activations(batch, text_tokens, config.get("joint_attention_dim", 4096)),
            "timestep": activations(batch),
            "guidance": activations(batch) if config["guidance_embeds"] else None,
            "return_dict": False,
        }
        return diffusers_model(cls, config), (), inputs | more(batch, image_tokens, text_tokens)

    return build


def recipe(name: str, components: Components, preset: Preset = FLUX1) -> Recipe:
    """Text encoders, denoising, decoding; FLUX.1 or FLUX.2 by the transformer's class."""
    cls, config = components["transformer"]
    scale = spatial_scale(components["vae"][1])
    denoise = flux2(cls, config, scale) if cls.startswith("Flux2") else flux1(cls, config, scale)
    pixels = Size(preset.side or 128 * scale, step=scale * PACKED, least=2 * scale * PACKED, doc="pixels")
    return preset.recipe(
        name,
        parameters(preset, pixels, replace(TEXT_TOKENS, default=preset.text_tokens)),
        parts=(
            *encoder_parts(components),
            Part("denoise", denoise, repeat="steps*guidance"),
            decode_part(components["vae"]),
        ),
        notes=(
            f"The transformer sees {preset.text_tokens} text tokens, padding included.",
            "Guidance is distilled into the model: one forward per step.",
        ),
    )


PIPELINES = {
    "FluxPipeline": recipe,
    "Flux2Pipeline": partial(recipe, preset=FLUX2),
    "Flux2KleinPipeline": partial(recipe, preset=FLUX2),
}
COMPONENTS = {"FluxTransformer2DModel": flux1, "Flux2Transformer2DModel": flux2}


def recipes() -> tuple[Recipe, ...]:
    """FLUX.1 dev and schnell, FLUX.2 dev and the two klein models."""
    return (
        _flux1("flux.1-dev", "FLUX.1 [dev]", steps=28, text_tokens=512),
        _flux1("flux.1-schnell", "FLUX.1 [schnell]", steps=4, text_tokens=256),
        _flux2_dev(),
        _klein("flux.2-klein-4b", "FLUX.2 [klein] 4B", ("Qwen3ForCausalLM", QWEN3_4B)),
        _klein("flux.2-klein-9b", "FLUX.2 [klein] 9B", ("Qwen3ForCausalLM", QWEN3_8B)),
    )


def _flux1(model: str, title: str, steps: int, text_tokens: int) -> Recipe:
    roles = {"text_encoder": "text_encoder", "text_encoder_2": "text_encoder#2"}
    components = catalogued(model, **roles, transformer="transformer", vae="vae")
    note = "CLIP sees 77 tokens and gives one pooled vector."
    asked = replace(FLUX1, title=title, side=1024, steps=steps, text_tokens=text_tokens)
    return recipe(model, components, replace(asked, notes=(note,), source=provenance(model)))


def _flux2_dev() -> Recipe:
    model = "flux.2-dev"
    notes = (
        "The text encoder is the language half of Mistral Small 3.1 24B, all 40 layers, no vision.",
        "50 steps are the pipeline's default; the model's card calls 28 a good trade.",
    )
    components = {
        "text_encoder": ("Mistral3ForConditionalGeneration", MISTRAL_SMALL),
        **catalogued(model, transformer="transformer", vae="vae"),
    }
    source = (*provenance(model), "text encoder: transformers Mistral3Config defaults (5.23.0)")
    return recipe(model, components, replace(FLUX2, title="FLUX.2 [dev]", side=1024, notes=notes, source=source))


def _klein(model: str, title: str, text_encoder: tuple[str, Mapping[str, Any]]) -> Recipe:
    width = text_encoder[1]["hidden_size"]
    notes = (
        f"The text encoder is a Qwen3 of width {width}: a third of the text width, which joins three layers.",
        "The distilled model: 4 steps; the base model takes 50 with two forwards each.",
    )
    components = {
        "text_encoder": text_encoder,
        **catalogued(model, transformer="transformer"),
        "vae": component("flux.2-dev", "vae"),
    }
    source = (*provenance(model), "text encoder: Qwen/Qwen3-4B and Qwen/Qwen3-8B config.json")
    return recipe(model, components, replace(FLUX2, title=title, side=1024, steps=4, notes=notes, source=source))
