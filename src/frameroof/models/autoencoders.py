"""Image decoders at the end of a pipeline: latents, or codes of a codebook, to pixels.

Sizes are those of the picture; latents are smaller by the decoder's spatial scale. Encoders are built
(their weights are part of the model) but not run: text-to-image pipelines never encode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Size, sizes
from .common import Built, Call, activations, diffusers_model

# (batch, channels, rows, columns) to the positional and keyword arguments of decode().
Inputs = Callable[[int, int, int, int], tuple[tuple[Any, ...], dict[str, Any]]]


def decode_part(component: tuple[str, Mapping[str, Any]], sizes_at: Mapping[str, str] | None = None) -> Part:
    """The last stage of a pipeline; `sizes_at` when the picture's sizes are not the recipe's."""
    cls, config = component
    name = "vq_decode" if cls == "VQModel" else "vae_decode"
    return Part(name, decoder(cls, config), sizes_at or {})


def decoder(cls: str, config: Mapping[str, Any]) -> Builder:
    """The builder for a decoder's class."""
    makers = {"AutoencoderKLQwenImage": qwen_decode, "VQModel": vq_decode, "AutoencoderDC": dc_decode}
    return makers.get(cls, kl_decode)(cls, config)


def spatial_scale(config: Mapping[str, Any]) -> int:
    """Pixels per latent along one side: every level of the decoder but the last doubles them."""
    channels = (
        config.get("dim_mult") or config.get("decoder_block_out_channels") or config.get("block_out_channels") or (64,)
    )
    return 2 ** (len(channels) - 1)


def kl_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """AutoencoderKL and AutoencoderKLFlux2 (which decodes unpatchified latents)."""
    return _decode(cls, config, spatial_scale(config), _latents)


def dc_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """AutoencoderDC: below head_dim latents its linear attention turns quadratic, so sizes start above."""
    rows = isqrt(int(config.get("attention_head_dim", 32))) + 1
    return _decode(cls, config, spatial_scale(config), _latents, rows)


def qwen_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """AutoencoderKLQwenImage: a video decoder on one frame."""
    return _decode(cls, config, spatial_scale(config), _one_frame)


def vq_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """VQModel from codes, looked up in its codebook."""
    return _decode(cls, config, spatial_scale(config), _codes)


def _decode(cls: str, config: Mapping[str, Any], scale: int, inputs: Inputs, rows_least: int = 2) -> Builder:
    channels = int(config.get("latent_channels") or config.get("z_dim") or 4)
    pixels = Size(64 * scale, step=scale, least=rows_least * scale, doc="pixels")

    @sizes(
        let={"b": "batch", "h": f"height//{scale}", "w": f"width//{scale}"},
        batch=Size(1),
        height=pixels,
        width=pixels,
    )
    def build(batch: int = 1, height: int = pixels.default, width: int = pixels.default) -> Built:
        args, kwargs = inputs(batch, channels, height // scale, width // scale)
        return Call(vae=diffusers_model(cls, config), method="decode"), args, {**kwargs, "return_dict": False}

    return build


def _latents(batch: int, channels: int, rows: int, columns: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (activations(batch, channels, rows, columns),), {}


def _one_frame(batch: int, channels: int, rows: int, columns: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (activations(batch, channels, 1, rows, columns),), {}


def _codes(batch: int, channels: int, rows: int, columns: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    codes = torch.zeros((batch, rows, columns), dtype=torch.int64)
    return (codes,), {"force_not_quantize": True, "shape": (batch, rows, columns, channels)}
