"""Mochi 1: an asymmetric transformer (wide for pixels, narrow for text) and a VAE of 6x8x8.

Two places of diffusers' classes do not run on meta tensors, and one splits by size; `_countable` says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..workload.recipe import Builder, Recipe, Size, sizes
from .cogvideox import WHOLE_CONVOLUTIONS, whole_convolutions
from .common import Built, Call, Components, activations, diffusers_model
from .video import NO_TILING, Grid, Setting, listed, parameters, setting_of, stages

BASE = Setting(width=848, height=480, frames=163, steps=64, guidance=2, text_tokens=256)
GRID = Grid(frame_step=6, least_frames=13)
LET = {"b": "batch", "t": "(frames-1)//6 + 1"}
ALL_FRAMES = 10**9
NOTES = (
    NO_TILING,
    "Every prompt token takes part in the attention (a mask of ones); diffusers leaves padding out of it.",
    "The videos of a batch attend in one call; diffusers calls once per video, as prompts differ in length.",
    "The VAE's group norm takes all frames at once; diffusers gives it 8 at a time (the same result).",
    WHOLE_CONVOLUTIONS,
)


def transformer(cls: str, config: Mapping[str, Any]) -> Builder:
    """One forward of the denoiser."""

    @sizes(
        let=LET | {"h": "height//16", "w": "width//16", "s": "text_tokens"},
        **GRID.video(163, 480, 848),
        text_tokens=Size(256, least=8),
    )
    def build(batch: int = 1, frames: int = 163, height: int = 480, width: int = 848, text_tokens: int = 256) -> Built:
        t, h, w = (frames - 1) // 6 + 1, height // 8, width // 8
        inputs = {
            "hidden_states": activations(batch, config.get("in_channels", 12), t, h, w),
            "encoder_hidden_states": activations(batch, text_tokens, config.get("text_embed_dim", 4096)),
            "timestep": torch.zeros(batch),
            "encoder_attention_mask": torch.ones(batch, text_tokens, dtype=torch.bool),
            "return_dict": False,
        }
        return _countable(diffusers_model(cls, config)), (), inputs

    return build


def vae_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """Latents to pixels, all frames at once."""

    @sizes(
        let=LET | {"h": "height//8", "w": "width//8"},
        **replace(GRID, pixel_step=8).video(163, 480, 848),
    )
    def build(batch: int = 1, frames: int = 163, height: int = 480, width: int = 848) -> Built:
        z_BCTHW = activations(batch, config.get("latent_channels", 12), (frames - 1) // 6 + 1, height // 8, width // 8)
        vae = _countable(whole_convolutions(diffusers_model(cls, config)))
        return Call("decode", vae=vae), (z_BCTHW,), {"return_dict": False}

    return build


def _countable(model: nn.Module) -> nn.Module:
    """Replace what needs values (nonzero), autocast, or splits by size; the sums stay the same."""
    from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiChunkedGroupNorm3D
    from diffusers.models.transformers.transformer_mochi import MochiAttention, MochiRoPE

    for module in model.modules():
        if isinstance(module, MochiAttention):
            module.processor = JointAttention()
        elif isinstance(module, MochiRoPE):
            module._create_rope = _rope
        elif isinstance(module, MochiChunkedGroupNorm3D):
            module.chunk_size = ALL_FRAMES
    return model


def _rope(freqs: torch.Tensor, pos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """MochiRoPE._create_rope without its autocast to fp32, which changes nothing for fp32 operands."""
    angles = torch.einsum("nd,dhf->nhf", pos.to(torch.float32), freqs.to(torch.float32))
    return torch.cos(angles), torch.sin(angles)


class JointAttention:
    """Mochi's attention over pixels and all of the prompt.

    B batch, N pixel and S text tokens, L both, H heads, D their width.
    """

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        q_BNHD, k_BNHD, v_BNHD = _projected(attn, hidden_states, ("to_q", "to_k", "to_v"), "norm_{}")
        q_BSHD, k_BSHD, v_BSHD = _projected(
            attn, encoder_hidden_states, ("add_q_proj", "add_k_proj", "add_v_proj"), "norm_added_{}"
        )
        q_BNHD, k_BNHD = (_rotated(x_BNHD, *image_rotary_emb) for x_BNHD in (q_BNHD, k_BNHD))
        q_BHLD, k_BHLD, v_BHLD = (
            torch.cat((pixels.transpose(1, 2), text.transpose(1, 2)), dim=2)
            for pixels, text in ((q_BNHD, q_BSHD), (k_BNHD, k_BSHD), (v_BNHD, v_BSHD))
        )
        out_BHLD = F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD)
        lengths = (hidden_states.shape[1], encoder_hidden_states.shape[1])
        pixels, text = out_BHLD.transpose(1, 2).flatten(2, 3).split_with_sizes(lengths, dim=1)
        pixels = attn.to_out[1](attn.to_out[0](pixels))
        return pixels, attn.to_add_out(text) if hasattr(attn, "to_add_out") else text


def _projected(
    attn: nn.Module, x: torch.Tensor, linears: tuple[str, str, str], norm: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values by head; queries and keys normalized."""
    q, k, v = (getattr(attn, name)(x).unflatten(2, (attn.heads, -1)) for name in linears)
    return getattr(attn, norm.format("q"))(q), getattr(attn, norm.format("k"))(k), v


def _rotated(x_BNHD: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    even, odd = x_BNHD[..., 0::2].float(), x_BNHD[..., 1::2].float()
    turned = ((even * cos - odd * sin).to(x_BNHD.dtype), (even * sin + odd * cos).to(x_BNHD.dtype))
    return torch.stack(turned, dim=-1).flatten(-2)


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """A Mochi pipeline of diffusers from its components."""
    parts = stages(components, transformer(*components["transformer"]), vae_decode(*components["vae"]))
    return setting.recipe(name, parameters(setting, GRID), parts=parts, notes=NOTES)


PIPELINES = {"MochiPipeline": recipe}
COMPONENTS = {"MochiTransformer3DModel": transformer, "AutoencoderKLMochi": vae_decode}


def recipes() -> tuple[Recipe, ...]:
    """Mochi 1; its VAE is the class's default, since the catalogue's file holds none."""
    components = listed("mochi-1")
    components.setdefault("vae", ("AutoencoderKLMochi", {}))
    return (recipe("mochi-1", components, setting_of("mochi-1", "Mochi 1", BASE)),)
