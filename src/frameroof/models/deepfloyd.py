"""DeepFloyd IF, the open Imagen: T5, a UNet on 64-pixel images, one to 256, and an upscaler to 1024.

The first two work on pixels and their attention reads text beside the image's own keys (AttnAddedKV).
Their resampling halves exactly, so sides are multiples of what all levels divide by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .autoencoders import kl_decode
from .common import Built, catalogued, component, diffusers_model, provenance
from .stable_diffusion import unet, unet_inputs
from .text_encoders import clip_length, clip_text, t5_encoder

MODEL = "deepfloyd-if"
UPSCALER = "stage III upscaler 1024px (SD x4, substitute for unreleased IF-III-L)"
TOKENS = 77  # the pipeline's max_length for T5
UPSCALER_VAE: dict[str, Any] = {  # stabilityai/stable-diffusion-x4-upscaler, vae/config.json: latents of 4 pixels
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 2,
    "latent_channels": 4,
}


def pixel_unet(cls: str, config: Mapping[str, Any]) -> Builder:
    """UNet2DConditionModel over pixels, with text beside the image in its attention."""
    step = 2 ** (len(config["down_block_types"]) - 1)
    pixels = Size(config["sample_size"], step=step, least=2 * step, doc="pixels of this stage")

    @sizes(
        let={"b": "batch", "h": f"height//{step}", "w": f"width//{step}", "s": "text_tokens"},
        batch=Size(1),
        height=pixels,
        width=pixels,
        text_tokens=Size(TOKENS, least=8, doc="T5 tokens, padding included"),
    )
    def build(
        batch: int = 1, height: int = pixels.default, width: int = pixels.default, text_tokens: int = TOKENS
    ) -> Built:
        inputs = unet_inputs(config, (batch, height, width), text_tokens)
        return diffusers_model(cls, config), (), inputs

    return build


def recipe() -> Recipe:
    """The cascade: three denoising stages, each with its own steps; sizes are those of the final picture."""
    roles = {"first": "stage I unet 64px", "second": "stage II SR unet 256px", "third": UPSCALER}
    unets = catalogued(MODEL, **roles)
    return Recipe(
        name=MODEL,
        title="DeepFloyd IF, three stages to 1024",
        params=_params(),
        parts=(
            Part(
                "text_encoder",
                t5_encoder(*component(MODEL, "text_encoder")),
                {"text_tokens": str(TOKENS)},
                repeat="guidance",
            ),
            Part("denoise", pixel_unet(*unets["first"]), _smaller(16), repeat="steps*guidance"),
            Part("super_resolution", pixel_unet(*unets["second"]), _smaller(4), repeat="steps_2*guidance"),
            *_upscaler(unets["third"]),
        ),
        notes=(
            f"T5 sees {TOKENS} tokens, once for stages I and II; CLIP sees 77 for stage III.",
            "Stage III is the Stable Diffusion x4 upscaler, as in diffusers: IF's own was not released.",
            "Steps are diffusers' defaults: 100, 50 and 75; every stage runs two forwards per step.",
            "Safety checker and watermark are not counted; stage III's resizing of its input is not either.",
            "The upscaler's text encoder is that of Stable Diffusion 2, which it was trained with.",
        ),
        source=(*provenance(MODEL), "stabilityai/stable-diffusion-x4-upscaler vae/config.json"),
    )


def _upscaler(third: tuple[str, Mapping[str, Any]]) -> tuple[Part, ...]:
    """Stage III: CLIP, a UNet over latents of 4 pixels beside the image it enlarges, and its VAE."""
    cls, config = component("stable-diffusion-2.1", "text_encoder")
    seen = {"text_tokens": str(clip_length(config))}
    return (
        Part("text_encoder_2", clip_text(cls, config), seen, repeat="guidance"),
        Part("super_resolution_2", unet(*third, scale=4), seen, repeat="steps_3*guidance"),
        Part("vae_decode", kl_decode("AutoencoderKL", UPSCALER_VAE)),
    )


def _smaller(times: int) -> dict[str, str]:
    return {"height": f"height//{times}", "width": f"width//{times}", "text_tokens": str(TOKENS)}


def _params() -> dict[str, Size]:
    # 128 pixels: 8 in stage I (three halvings), 32 in stage II (four), 32 latents in stage III (three).
    pixels = Size(1024, step=128, least=256, doc="pixels of the final picture; stage I works on a sixteenth of a side")
    return {
        "batch": Size(1, doc="images made together"),
        "height": pixels,
        "width": pixels,
        "steps": Size(100, doc="denoising steps of stage I"),
        "steps_2": Size(50, doc="denoising steps of stage II"),
        "steps_3": Size(75, doc="denoising steps of stage III"),
        "guidance": Size(2, least=1, most=2, doc="forwards per step: 2 with classifier-free guidance"),
    }


def recipes() -> tuple[Recipe, ...]:
    """DeepFloyd IF, XL and L sizes, with the x4 upscaler."""
    return (recipe(),)
