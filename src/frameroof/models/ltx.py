"""LTX-Video 2B and 13B: few tokens (32x32x8 compression), and a VAE that decodes the whole video at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ..workload.recipe import Builder, Recipe, Size, sizes
from .common import Built, Call, Components, activations, diffusers_model
from .video import NO_TILING, Grid, Setting, listed, parameters, setting_of, stages

BASE = Setting(width=704, height=512, frames=121, steps=50, guidance=2, text_tokens=128)
TITLES = {"ltx-video-2b": "LTX-Video 2B", "ltx-video-13b": "LTX-Video 13B"}
GRID = Grid(frame_step=8, least_frames=17, pixel_step=32, least_pixels=64)
LET = {"b": "batch", "t": "(frames-1)//8 + 1", "h": "height//32", "w": "width//32"}
# The catalogue's files hold no VAE: these are get_vae_config("0.9.0") and ("0.9.7") of diffusers'
# scripts/convert_ltx_to_diffusers.py, the decoder's half (0.9.0 is the class's default).
VAES: dict[str, tuple[str, dict[str, Any]]] = {
    "ltx-video-2b": ("AutoencoderKLLTXVideo", {}),
    "ltx-video-13b": (
        "AutoencoderKLLTXVideo",
        {
            "block_out_channels": [128, 256, 512, 1024, 2048],
            "down_block_types": ["LTXVideo095DownBlock3D"] * 4,
            "layers_per_block": [4, 6, 6, 2, 2],
            "spatio_temporal_scaling": [True] * 4,
            "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
            "decoder_block_out_channels": [256, 512, 1024],
            "decoder_layers_per_block": [5, 5, 5, 5],
            "decoder_spatio_temporal_scaling": [True] * 3,
            "decoder_inject_noise": [False] * 4,
            "upsample_residual": [True] * 3,
            "upsample_factor": [2] * 3,
            "timestep_conditioning": True,
            "spatial_compression_ratio": 32,
            "temporal_compression_ratio": 8,
        },
    ),
}
VAE_NOTES = {
    "ltx-video-2b": "The VAE is that of version 0.9.0.",
    "ltx-video-13b": "The VAE is that of version 0.9.7, whose decoder is told a timestep.",
}


def transformer(cls: str, config: Mapping[str, Any]) -> Builder:
    """One forward of the denoiser; the prompt's padding is masked by a bias on the scores."""

    @sizes(let=LET | {"s": "text_tokens"}, **GRID.video(121, 512, 704), text_tokens=Size(128, least=8))
    def build(batch: int = 1, frames: int = 121, height: int = 512, width: int = 704, text_tokens: int = 128) -> Built:
        t, h, w = (frames - 1) // 8 + 1, height // 32, width // 32
        inputs = {
            "hidden_states": activations(batch, t * h * w, config.get("in_channels", 128)),
            "encoder_hidden_states": activations(batch, text_tokens, config.get("caption_channels", 4096)),
            "timestep": torch.zeros(batch),
            "encoder_attention_mask": torch.ones(batch, text_tokens, dtype=torch.int64),
            "num_frames": t,
            "height": h,
            "width": w,
            "rope_interpolation_scale": (8 / 25, 32, 32),
            "return_dict": False,
        }
        return diffusers_model(cls, config), (), inputs

    return build


def vae_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """Latents to pixels, all frames at once; some versions tell the decoder a timestep."""
    conditioned = config.get("timestep_conditioning", False)

    @sizes(let=LET, **GRID.video(121, 512, 704))
    def build(batch: int = 1, frames: int = 121, height: int = 512, width: int = 704) -> Built:
        z_BCTHW = activations(
            batch, config.get("latent_channels", 128), (frames - 1) // 8 + 1, height // 32, width // 32
        )
        temb = activations(batch) if conditioned else None
        return Call("decode", vae=diffusers_model(cls, config)), (z_BCTHW, temb), {"return_dict": False}

    return build


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """An LTX pipeline of diffusers from its components."""
    parts = stages(components, transformer(*components["transformer"]), vae_decode(*components["vae"]))
    return setting.recipe(name, parameters(setting, GRID), parts=parts, notes=(NO_TILING,))


def _of_catalogue(name: str) -> Recipe:
    setting = replace(setting_of(name, TITLES[name], BASE), notes=(VAE_NOTES[name],))
    return recipe(name, listed(name) | {"vae": VAES[name]}, setting)


PIPELINES = {"LTXPipeline": recipe}
COMPONENTS = {"LTXVideoTransformer3DModel": transformer, "AutoencoderKLLTXVideo": vae_decode}


def recipes() -> tuple[Recipe, ...]:
    """Every LTX-Video model of the catalogue."""
    return tuple(_of_catalogue(name) for name in TITLES)
