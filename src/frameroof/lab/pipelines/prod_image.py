"""The production image model of Golden et al. is not public: SDXL stands in for it, and is labeled so.

What is known of it is that it is a text-to-image model deployed at scale, with little attention (the least speed-up by
flash attention of the image models). SDXL is a latent diffusion model of that use with none at its highest resolution.
"""

from __future__ import annotations

from ...models.common import Components, catalogued
from .common import Pipeline, loops, narrow
from .stable_diffusion import LatentDiffusion, reduced_clip

ROLES = {name: name for name in ("text_encoder", "text_encoder_2", "unet", "vae")}


def build(reduced: bool) -> LatentDiffusion:
    components = catalogued("sdxl-base", **ROLES)
    return LatentDiffusion(reduced_components(components) if reduced else components)


def reduced_components(full: Components) -> Components:
    """A fifth of the UNet's width (its 5, 10 and 20 heads of 64 are 1, 2 and 4), an eighth of the VAE's."""
    unet, config = full["unet"]
    width, pooled, time = (64, 128, 256), 4 * 64, 32
    smaller = {
        "block_out_channels": width,
        "attention_head_dim": (1, 2, 4),
        "norm_num_groups": 8,
        "cross_attention_dim": 2 * 64 + pooled,
        "addition_time_embed_dim": time,
        "projection_class_embeddings_input_dim": pooled + 6 * time,
    }
    return {
        "text_encoder": (full["text_encoder"][0], reduced_clip(full["text_encoder"][1], heads=2)),
        "text_encoder_2": (full["text_encoder_2"][0], reduced_clip(full["text_encoder_2"][1], heads=4)),
        "unet": (unet, {**config, **smaller}),
        "vae": (full["vae"][0], narrow(full["vae"][1], latent_channels=4)),
    }


PIPELINE = Pipeline(
    workload="sdxl-base",
    build=build,
    reduced={"height": 512, "width": 512},
    steps={"steps": 1},
    stages=loops(denoise="steps"),
    sides=(128, 256, 512),
    notes=(
        "SDXL stands in for the production image model, which is not public.",
        "Reduced: UNet 64 to 256 channels wide with 1, 2 and 4 heads and all 70 of its transformer blocks, VAE 16 to "
        "64, encoders 128 and 256 wide with 2 layers each; pictures of 512 pixels.",
    ),
)
