"""Imagen: three diffusion models on pixels, each on the last one's output, all reading one T5 encoding.

No weights are public. The networks here are one short Efficient U-Net (strided convolution first on the way
down, last on the way up; one skip per level) with Golden et al.'s multipliers for the base and the Imagen
paper's for the two super-resolution stages.

Shape letters: B batch, C channels, R rows, S columns, N positions (R*S), M text tokens, D text width, E the
width of the timestep embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frameroof.models.common import activations, component
from frameroof.models.muse import Attention, FeedForward
from frameroof.models.text_encoders import t5_encoder
from frameroof.workload.recipe import Builder, Part, Recipe, Size, sizes


@dataclass(frozen=True)
class UNetConfig:
    """One diffusion model of the cascade; lists run from the highest resolution to the lowest."""

    dim: int
    mults: tuple[int, ...]
    res_blocks: tuple[int, ...]
    self_attention: tuple[bool, ...]
    cross_attention: tuple[bool, ...]
    in_channels: int = 3
    head_channels: int = 64
    ff_mult: int = 2
    text_dim: int = 4096
    context_dim: int = 512

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.dim * mult for mult in self.mults)


LOWEST = (False, False, False, True)
BASE = UNetConfig(
    dim=512,
    mults=(1, 2, 4, 4),
    res_blocks=(3, 3, 3, 3),
    self_attention=(False, True, True, True),
    cross_attention=(False, True, True, True),
)
SR_256 = UNetConfig(
    dim=128,
    mults=(1, 2, 4, 8),
    res_blocks=(2, 4, 8, 8),
    self_attention=LOWEST,
    cross_attention=LOWEST,
    in_channels=6,
)
SR_1024 = UNetConfig(
    dim=128,
    mults=(1, 2, 4, 8),
    res_blocks=(2, 4, 8, 8),
    self_attention=(False,) * 4,
    cross_attention=LOWEST,
    in_channels=6,
)


class ResBlock(nn.Module):
    """Two convolutions, the second normalised by scale and shift from the timestep."""

    def __init__(self, channels_in: int, channels: int, time_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, channels_in), nn.GroupNorm(32, channels)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_dim, 2 * channels)
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x_BCRS: Tensor, time_BE: Tensor) -> Tensor:
        scale, shift = self.time(F.silu(time_BE))[:, :, None, None].chunk(2, dim=1)
        h_BCRS = self.conv1(F.silu(self.norm1(x_BCRS)))
        h_BCRS = self.conv2(F.silu(self.norm2(h_BCRS) * (1 + scale) + shift))
        return self.shortcut(x_BCRS) + h_BCRS


class AttentionBlock(nn.Module):
    """Self-attention over positions with a feed-forward, cross-attention to text; either may be absent."""

    def __init__(self, config: UNetConfig, channels: int, to_itself: bool, to_text: bool) -> None:
        super().__init__()
        heads = channels // config.head_channels
        self.attn_norm = nn.LayerNorm(channels) if to_itself else None
        self.attn = Attention(channels, heads) if to_itself else None
        self.cross_norm = nn.LayerNorm(channels) if to_text else None
        self.cross_attn = Attention(channels, heads, config.context_dim) if to_text else None
        self.ff_norm = nn.LayerNorm(channels) if to_itself else None
        self.ff = FeedForward(channels, config.ff_mult * channels) if to_itself else None

    def forward(self, x_BCRS: Tensor, text_BMD: Tensor) -> Tensor:
        if self.attn is None and self.cross_attn is None:
            return x_BCRS
        x_BNC = x_BCRS.flatten(2).transpose(1, 2)
        if self.attn is not None and self.attn_norm is not None:
            x_BNC = x_BNC + self.attn(self.attn_norm(x_BNC))
        if self.cross_attn is not None and self.cross_norm is not None:
            x_BNC = x_BNC + self.cross_attn(self.cross_norm(x_BNC), text_BMD)
        if self.ff is not None and self.ff_norm is not None:
            x_BNC = x_BNC + self.ff(self.ff_norm(x_BNC))
        return x_BNC.transpose(1, 2).unflatten(2, x_BCRS.shape[2:])


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by its attention."""

    def __init__(self, config: UNetConfig, index: int, channels_in: int) -> None:
        super().__init__()
        width, count = config.widths[index], config.res_blocks[index]
        inputs = (channels_in, *[width] * (count - 1))
        attends = config.self_attention[index], config.cross_attention[index]
        self.res_blocks = nn.ModuleList(ResBlock(channels, width, 4 * config.dim) for channels in inputs)
        self.attentions = nn.ModuleList(AttentionBlock(config, width, *attends) for _ in inputs)

    def forward(self, x_BCRS: Tensor, time_BE: Tensor, text_BMD: Tensor) -> Tensor:
        for res_block, attention in zip(self.res_blocks, self.attentions, strict=True):
            x_BCRS = attention(res_block(x_BCRS, time_BE), text_BMD)
        return x_BCRS


class EfficientUNet(nn.Module):
    """One denoising forward; super-resolution stages get the upsampled image as three more channels."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, time_dim = config.widths, 4 * config.dim
        self.waves = config.dim
        self.time = nn.Sequential(nn.Linear(self.waves, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim))
        self.text = nn.Linear(config.text_dim, config.context_dim)
        self.pooled_text = nn.Linear(config.context_dim, time_dim)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Level(config, i, widths[i]) for i in range(len(widths)))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Level(config, i, 2 * widths[i]) for i in range(len(widths)))
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(widths))
        self.norm_out = nn.GroupNorm(32, widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, image_BCRS: Tensor, timestep_B: Tensor, t5_BMD: Tensor) -> Tensor:
        text_BMD = self.text(t5_BMD)
        time_BE = self.time(sinusoids(timestep_B, self.waves)) + self.pooled_text(text_BMD.mean(dim=1))
        x_BCRS, skips = self.conv_in(image_BCRS), []
        for i, level in enumerate(self.down):
            x_BCRS = level(x_BCRS if i == 0 else self.shrink[i - 1](x_BCRS), time_BE, text_BMD)
            skips.append(x_BCRS)
        for i in reversed(range(len(self.up))):
            x_BCRS = self.up[i](torch.cat([x_BCRS, skips[i]], dim=1), time_BE, text_BMD)
            if i > 0:
                x_BCRS = self.grow[i - 1](F.interpolate(x_BCRS, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x_BCRS)))


def sinusoids(timestep_B: Tensor, waves: int) -> Tensor:
    """Cosines and sines of the timestep at `waves` / 2 rates."""
    half = waves // 2
    angles = timestep_B[:, None].float() * torch.exp(torch.arange(half, device=timestep_B.device) * (-9.21 / half))
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(timestep_B.dtype)


def denoiser(config: UNetConfig, side: int) -> Builder:
    """The builder of one stage whose usual picture has `side` pixels."""
    pixels = Size(side, step=8, least=16, doc="pixels at this stage")

    @sizes(
        let={"b": "batch", "h": "height//8", "w": "width//8", "s": "text_tokens"},
        batch=Size(1),
        height=pixels,
        width=pixels,
        text_tokens=Size(256, least=8),
    )
    def build(
        batch: int = 1, height: int = side, width: int = side, text_tokens: int = 256
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        image = activations(batch, config.in_channels, height, width)
        text = activations(batch, text_tokens, config.text_dim)
        return EfficientUNet(config).eval(), (image, activations(batch), text), {}

    return build
