"""Imagen: three diffusion models on pixels, each on the last one's output, all reading one T5 encoding.

No weights are public. The networks here are one short Efficient U-Net (strided convolution first on the way
down, last on the way up; one skip per level) with Golden et al.'s multipliers for the base and the Imagen
paper's for the two super-resolution stages.

Shape letters: B batch, C channels, R rows, S columns, N positions (R*S), M text tokens, D text width, E the
width of the timestep embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .common import Built, activations, component
from .layers import Attention, FeedForward
from .text_encoders import t5_encoder


@dataclass(frozen=True)
class Layers:
    """What a U-Net is made of: Imagen's see an image, Make-A-Video's a video."""

    conv: Callable[..., nn.Module]  # (channels in, channels out, stride=1), 3 x 3
    pointwise: Callable[[int, int], nn.Module]
    attention: Callable[[UNetConfig, int, bool, bool], nn.Module]
    double: tuple[float, ...]  # scale of an upsampling, per dimension


@dataclass(frozen=True)
class UNetConfig:
    """One diffusion model of the cascade; lists run from the highest resolution to the lowest."""

    dim: int
    mults: tuple[int, ...]
    res_blocks: tuple[int, ...]
    self_attention: tuple[bool, ...]
    cross_attention: tuple[bool, ...]
    in_channels: int = 3
    stem_stride: int = 1  # 2: even the first level runs at half the resolution
    head_channels: int = 64
    ff_mult: int = 2
    text_dim: int = 4096
    context_dim: int = 512  # width that the text is projected to before it is attended to
    norm_groups: int = 32

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.dim * mult for mult in self.mults)

    @property
    def granularity(self) -> int:
        """Pixels that become one position at the lowest resolution."""
        return int(self.stem_stride * 2 ** (len(self.mults) - 1))


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
    stem_stride=2,
    head_channels=128,
)
SR_1024 = UNetConfig(
    dim=128,
    mults=(1, 2, 4, 8),
    res_blocks=(2, 4, 8, 6),
    self_attention=(False,) * 4,
    cross_attention=LOWEST,
    in_channels=6,
    stem_stride=2,
    head_channels=128,
)


class ResBlock(nn.Module):
    """Two convolutions, the second normalized by scale and shift from the timestep."""

    def __init__(self, config: UNetConfig, layers: Layers, channels_in: int, channels: int) -> None:
        super().__init__()
        groups, time_dim = config.norm_groups, 4 * config.dim
        self.norm1, self.norm2 = nn.GroupNorm(groups, channels_in), nn.GroupNorm(groups, channels)
        self.conv1, self.conv2 = layers.conv(channels_in, channels), layers.conv(channels, channels)
        self.time = nn.Linear(time_dim, 2 * channels)
        self.shortcut = layers.pointwise(channels_in, channels) if channels_in != channels else nn.Identity()

    def forward(self, x_BCRS: Tensor, time_BE: Tensor) -> Tensor:
        everywhere = (1,) * (x_BCRS.dim() - 2)
        scale, shift = self.time(F.silu(time_BE)).unflatten(1, (-1, *everywhere)).chunk(2, dim=1)
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


IMAGE_LAYERS = Layers(
    conv=lambda a, b, stride=1: nn.Conv2d(a, b, 3, stride=stride, padding=1),
    pointwise=lambda a, b: nn.Conv2d(a, b, 1),
    attention=AttentionBlock,
    double=(2.0, 2.0),
)


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by its attention."""

    def __init__(self, config: UNetConfig, layers: Layers, index: int, channels_in: int) -> None:
        super().__init__()
        width, count = config.widths[index], config.res_blocks[index]
        inputs = (channels_in, *[width] * (count - 1))
        attends = config.self_attention[index], config.cross_attention[index]
        self.res_blocks = nn.ModuleList(ResBlock(config, layers, channels, width) for channels in inputs)
        self.attentions = nn.ModuleList(layers.attention(config, width, *attends) for _ in inputs)

    def forward(self, x_BCRS: Tensor, time_BE: Tensor, text_BMD: Tensor) -> Tensor:
        for res_block, attention in zip(self.res_blocks, self.attentions, strict=True):
            x_BCRS = attention(res_block(x_BCRS, time_BE), text_BMD)
        return x_BCRS


class EfficientUNet(nn.Module):
    """One denoising forward; super-resolution stages get the upsampled image as three more channels."""

    def __init__(self, config: UNetConfig, layers: Layers = IMAGE_LAYERS) -> None:
        super().__init__()
        widths, time_dim, conv = config.widths, 4 * config.dim, layers.conv
        self.waves, self.stem_stride, self.double = config.dim, config.stem_stride, layers.double
        self.time = nn.Sequential(nn.Linear(self.waves, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim))
        self.text = nn.Linear(config.text_dim, config.context_dim)
        self.pooled_text = nn.Linear(config.context_dim, time_dim)
        self.conv_in = conv(config.in_channels, widths[0])
        self.stem = conv(widths[0], widths[0], stride=config.stem_stride)
        self.down = nn.ModuleList(Level(config, layers, i, width) for i, width in enumerate(widths))
        self.shrink = nn.ModuleList(conv(a, b, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Level(config, layers, i, 2 * width) for i, width in enumerate(widths))
        self.grow = nn.ModuleList(conv(b, a) for a, b in pairwise(widths))
        self.norm_out = nn.GroupNorm(config.norm_groups, widths[0])
        self.conv_out = conv(widths[0], 3)

    def forward(self, image_BCRS: Tensor, timestep_B: Tensor, context_BMD: Tensor) -> Tensor:
        text_BMD = self.text(context_BMD)
        time_BE = self.time(sinusoids(timestep_B, self.waves)) + self.pooled_text(text_BMD.mean(dim=1))
        x_BCRS, skips = self.stem(self.conv_in(image_BCRS)), []
        for i, level in enumerate(self.down):
            x_BCRS = level(x_BCRS if i == 0 else self.shrink[i - 1](x_BCRS), time_BE, text_BMD)
            skips.append(x_BCRS)
        for i in reversed(range(len(self.up))):
            x_BCRS = self.up[i](torch.cat([x_BCRS, skips[i]], dim=1), time_BE, text_BMD)
            if i > 0:
                x_BCRS = self.grow[i - 1](F.interpolate(x_BCRS, scale_factor=self.double, mode="nearest"))
        if self.stem_stride > 1:
            x_BCRS = F.interpolate(x_BCRS, scale_factor=self.double, mode="nearest")
        return self.conv_out(F.silu(self.norm_out(x_BCRS)))


def sinusoids(timestep_B: Tensor, waves: int) -> Tensor:
    """Cosines and sines of the timestep at `waves` / 2 rates."""
    half = waves // 2
    angles = timestep_B[:, None].float() * torch.exp(torch.arange(half, device=timestep_B.device) * (-9.21 / half))
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(timestep_B.dtype)


def denoiser(config: UNetConfig, side: int) -> Builder:
    """The builder of one stage whose usual picture has `side` pixels."""
    unit = config.granularity
    pixels = Size(side, step=unit, least=2 * unit, doc="pixels at this stage")

    @sizes(
        let={"b": "batch", "h": f"height//{unit}", "w": f"width//{unit}", "s": "text_tokens"},
        batch=Size(1),
        height=pixels,
        width=pixels,
        text_tokens=Size(256, least=8),
    )
    def build(batch: int = 1, height: int = side, width: int = side, text_tokens: int = 256) -> Built:
        image = activations(batch, config.in_channels, height, width)
        text = activations(batch, text_tokens, config.text_dim)
        return EfficientUNet(config).eval(), (image, activations(batch), text), {}

    return build


FINAL = Size(1024, step=128, least=256, doc="pixels of the final image")
NOTES = (
    "Base at 64 px: Golden et al.'s Table I (width 512, multipliers 1, 2, 4, 4, 3 residual blocks, "
    "attention to itself and to text at 32, 16 and 8, 64 channels a head); counts 2.02 billion "
    "parameters, published 2 billion.",
    "64 to 256: width 128, multipliers 1, 2, 4, 8, residual blocks 2, 4, 8, 8, attention at the lowest "
    "resolution only, strided before every level; counts 631 million, published 600 million.",
    "256 to 1024: the same without self-attention, and 6 blocks at the lowest level: 405 million, "
    "published 400 million (8 blocks, as recalled from the paper, give 0.5 billion in this module).",
    "Text is projected from T5's 4096 to 512 for cross-attention; one skip per level; a feed-forward of "
    "twice the width follows self-attention. These are assumptions.",
    "256 text tokens. Steps (256, 128, 128) and guidance at every stage are assumptions. The text encoder "
    "runs once: the empty prompt's states are constants.",
)


def recipes() -> tuple[Recipe, ...]:
    """Text to 1024 x 1024 images."""
    steps = {"steps": 256, "sr256_steps": 128, "sr1024_steps": 128}
    return (
        Recipe(
            name="imagen",
            title="Imagen",
            params={
                "batch": Size(1, doc="images made together"),
                "height": FINAL,
                "width": FINAL,
                **{name: Size(count, doc="denoising steps of this stage") for name, count in steps.items()},
                "guidance": Size(2, least=1, most=2, doc="forwards per step"),
                "text_tokens": Size(256, least=8, doc="text tokens, padding included"),
            },
            parts=(
                Part("text_encoder", t5_encoder(*component("imagen", "text_encoder"))),
                Part("denoise", denoiser(BASE, 64), at(16), repeat="steps*guidance"),
                Part("super_resolution_256", denoiser(SR_256, 256), at(4), repeat="sr256_steps*guidance"),
                Part("super_resolution_1024", denoiser(SR_1024, 1024), repeat="sr1024_steps*guidance"),
            ),
            notes=NOTES,
            source=("arXiv:2205.11487", "Golden et al., arXiv:2312.14385, Table I"),
        ),
    )


def at(factor: int) -> dict[str, str]:
    """The sizes of a stage whose picture is smaller than the final one by `factor`."""
    return {"height": f"height//{factor}", "width": f"width//{factor}"}
