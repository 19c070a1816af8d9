"""Decoders from latents to video that stream: Wan 2.1's causal 3D VAE, and a tiny one of TAEHV's class.

Every convolution in time keeps the last frames of its input, so any number of latent frames can be decoded at a
time, in constant memory, with the same result as the whole clip at once. Parameters have the names of the public
files (Wan2.1_VAE.pth of github:Wan-Video/Wan2.1; taew2_1.pth of github:madebyollin/taehv).
Shapes: B batch, C channels, T frames, H rows, W columns; video is (B, 3, T, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .common import component


class Memory:
    """The last frames that each module has seen; one for each stream."""

    def __init__(self) -> None:
        self._frames: dict[nn.Module, torch.Tensor] = {}
        self._rooms: dict[nn.Module, torch.Tensor] = {}  # of streams before, to be used again

    def extended(self, module: nn.Module, x_BCTHW: torch.Tensor, count: int) -> torch.Tensor:
        """x behind the last `count` frames before it; a stream begins after frames of zeros.

        The kept frames stay in one place, so that a captured graph finds them there.
        """
        if module not in self._frames:
            self.begin(module, x_BCTHW, count)
        past = self._frames[module]
        joined = torch.cat((past, x_BCTHW), dim=2)
        past.copy_(joined[:, :, -count:])
        return joined

    def is_new(self, module: nn.Module) -> bool:
        """Whether this module has seen no frame yet."""
        return module not in self._frames

    def begin(self, module: nn.Module, like_BCTHW: torch.Tensor, count: int) -> None:
        """From here on `module` remembers `count` frames, zeros at first, laid out as those it is given."""
        if module in self._rooms:
            self._frames[module] = self._rooms.pop(module).zero_()
            return
        shape = list(like_BCTHW.shape)
        shape[2] = count
        made = like_BCTHW.new_zeros(shape)
        self._frames[module] = made.contiguous(memory_format=layout(like_BCTHW))

    def reset(self) -> None:
        """As for a new stream, in the same places."""
        self._rooms, self._frames = self._frames, {}

    def saved(self) -> list[torch.Tensor]:
        """A copy of all that is kept."""
        return [x.clone() for x in self._frames.values()]

    def restore(self, saved: Sequence[torch.Tensor]) -> None:
        """What `saved` has given, back in its places."""
        for x, value in zip(self._frames.values(), saved, strict=True):
            x.copy_(value)

    def bytes(self) -> int:
        """What is kept, in bytes."""
        return sum(x.numel() * x.element_size() for x in self._frames.values())


def layout(x_BCTHW: torch.Tensor) -> torch.memory_format:
    """Channels last where x has them so; a tensor that is both ways counts as contiguous."""
    last = torch.channels_last_3d
    return (
        last if x_BCTHW.is_contiguous(memory_format=last) and not x_BCTHW.is_contiguous() else torch.contiguous_format
    )


class CausalConv(nn.Conv3d):
    """A convolution that sees no later frame: it is padded in space, and in time by what came before."""

    def __init__(self, channels: int, out: int, kernel: int | tuple[int, int, int]) -> None:
        time, *space = (kernel,) * 3 if isinstance(kernel, int) else kernel
        super().__init__(channels, out, (time, *space), padding=(0, *(k // 2 for k in space)))
        self.past = time - 1

    def forward(self, x_BCTHW: torch.Tensor, memory: Memory | None = None) -> torch.Tensor:
        if self.past and memory is not None:
            x_BCTHW = memory.extended(self, x_BCTHW, self.past)
        return super().forward(x_BCTHW)


class ChannelNorm(nn.Module):
    """Each position scaled to length sqrt(channels), times a weight; `axes` are the axes behind the channels."""

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.scale = channels**0.5
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * axes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x, dim=1) * self.scale * self.gamma


class Residual(nn.Module):
    """Twice norm, SiLU and a causal convolution, beside a shortcut."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        layers = (ChannelNorm(channels, 3), nn.SiLU(), CausalConv(channels, out, 3))
        more = (ChannelNorm(out, 3), nn.SiLU(), nn.Identity(), CausalConv(out, out, 3))  # Identity: dropout there
        self.residual = nn.Sequential(*layers, *more)
        self.shortcut = CausalConv(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        return self.shortcut(x) + _through(self.residual, x, memory)


class FrameAttention(nn.Module):
    """Attention with one head among the positions of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, 2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        frames = x_BCTHW.shape[2]
        x_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        qkv_N1PC = self.to_qkv(self.norm(x_NCHW)).flatten(2).transpose(1, 2).unsqueeze(1)
        y_N1PC = F.scaled_dot_product_attention(*qkv_N1PC.chunk(3, dim=-1))
        y_NCHW = self.proj(y_N1PC.squeeze(1).transpose(1, 2).reshape(x_NCHW.shape))
        return x_BCTHW + y_NCHW.unflatten(0, (-1, frames)).transpose(1, 2)


class Upsample(nn.Module):
    """Twice the rows and columns and half the channels; with `time` twice the frames, the stream's first apart."""

    def __init__(self, channels: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2.0, mode="nearest-exact"), nn.Conv2d(channels, channels // 2, 3, padding=1)
        )
        self.time_conv = CausalConv(channels, 2 * channels, (3, 1, 1)) if time else None

    def forward(self, x_BCTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        if self.time_conv is not None:
            x_BCTHW = self._in_time(self.time_conv, x_BCTHW, memory)
        frames = x_BCTHW.shape[2]
        x_NCHW = self.resample(x_BCTHW.transpose(1, 2).flatten(0, 1))
        return x_NCHW.unflatten(0, (-1, frames)).transpose(1, 2)

    def _in_time(self, conv: CausalConv, x_BCTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The very first frame passes as it is, and later ones do not see it here."""
        first = x_BCTHW[:, :, :0]
        if memory.is_new(conv):
            memory.begin(conv, x_BCTHW, conv.past)
            first, x_BCTHW = x_BCTHW[:, :, :1], x_BCTHW[:, :, 1:]
        if not x_BCTHW.shape[2]:
            return first
        y_BCTHW = _in_turn(conv(x_BCTHW, memory), 2)
        return torch.cat((first, y_BCTHW), dim=2) if first.shape[2] else y_BCTHW


def _in_turn(y_BCTHW: torch.Tensor, times: int) -> torch.Tensor:
    """`times` as many frames, one from each part of the channels in turn; the layout stays."""
    parts = y_BCTHW.unflatten(1, (times, -1))  # B, times, C, T, H, W
    if layout(y_BCTHW) == torch.channels_last_3d:
        return parts.permute(0, 3, 1, 4, 5, 2).flatten(1, 2).permute(0, 4, 1, 2, 3)
    return parts.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


@dataclass(frozen=True)
class VAESize:
    """Dimensions of the decoder; the defaults are Wan 2.1's."""

    base: int = 96
    latent_channels: int = 16
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    residuals: int = 3  # per level
    time: tuple[bool, ...] = (True, True, False)  # which upsamplings double the frames


class WanDecoder(nn.Module):
    """The layers from latents to pixels."""

    def __init__(self, c: VAESize) -> None:
        super().__init__()
        widths = [c.base * m for m in (c.multipliers[-1], *reversed(c.multipliers))]
        self.conv1 = CausalConv(c.latent_channels, widths[0], 3)
        self.middle = nn.Sequential(
            Residual(widths[0], widths[0]), FrameAttention(widths[0]), Residual(widths[0], widths[0])
        )
        layers: list[nn.Module] = []
        channels = widths[0]
        for level, out in enumerate(widths[1:]):
            for _ in range(c.residuals):
                layers.append(Residual(channels, out))
                channels = out
            if level < len(c.time):
                layers.append(Upsample(out, c.time[level]))
                channels = out // 2
        self.upsamples = nn.Sequential(*layers)
        self.head = nn.Sequential(ChannelNorm(channels, 3), nn.SiLU(), CausalConv(channels, 3, 3))

    def forward(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        x = self.conv1(x, memory)
        for part in (self.middle, self.upsamples, self.head):
            x = _through(part, x, memory)
        return x


class WanVAE(nn.Module):
    """Wan 2.1's VAE without its encoder: latents as the transformer makes them to video."""

    def __init__(self, c: VAESize | None = None) -> None:
        super().__init__()
        self.c = c = c or VAESize()
        self.conv2 = CausalConv(c.latent_channels, c.latent_channels, 1)
        self.decoder = WanDecoder(c)
        config = component("wan2.1-t2v-1.3b", "vae")[1]
        for name in ("mean", "std"):
            values = torch.tensor(config[f"latents_{name}"][: c.latent_channels])
            self.register_buffer(name, values.view(1, -1, 1, 1, 1), persistent=False)

    def forward(self, z_BCTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The next frames of a stream: 4 a latent frame, its first latent frame 1."""
        z = z_BCTHW.to(self.conv2.weight.dtype) * self.std.to(self.conv2.weight) + self.mean.to(self.conv2.weight)
        return self.decoder(self.conv2(z), memory).clamp(-1, 1)


class MemBlock(nn.Module):
    """Three 3x3 convolutions over a frame and the one before it, beside the frame itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(2 * channels, channels, 3, padding=1)]
        convs += [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])

    def forward(self, x_BCTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        before = memory.extended(self, x_BCTHW, 1)[:, :, :-1]
        both = torch.cat((x_BCTHW, before), dim=1)
        return F.relu(_framewise(self.conv, both) + x_BCTHW)


class Grow(nn.Module):
    """Each frame to `times` frames by a 1x1 convolution."""

    def __init__(self, channels: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv = nn.Conv2d(channels, channels * times, 1, bias=False)

    def forward(self, x_BCTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        return _in_turn(_framewise(self.conv, x_BCTHW), self.times)


class Clamp(nn.Module):
    """Latents held softly within 3."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 3) * 3


class TinyVAE(nn.Module):
    """A decoder of 2D convolutions with a memory of one frame (TAEHV's class); widths as in taew2_1."""

    def __init__(self, latent_channels: int = 16, widths: Sequence[int] = (256, 128, 64, 64)) -> None:
        super().__init__()
        a, b, c, d = widths
        layers: list[nn.Module] = [Clamp(), _conv(latent_channels, a, True), nn.ReLU()]
        for channels, out, times in ((a, b, 1), (b, c, 2), (c, d, 2)):
            layers += [MemBlock(channels) for _ in range(3)]
            layers += [nn.Upsample(scale_factor=2), Grow(channels, times), _conv(channels, out, False)]
        self.decoder = nn.Sequential(*layers, nn.ReLU(), _conv(d, 3, True))

    def forward(self, z_BCTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The next frames of a stream: 4 a latent frame; of the first latent frame only the last of its 4 counts."""
        first = memory.is_new(self.decoder[3])
        x = z_BCTHW.to(self.decoder[1].weight.dtype)
        for layer in self.decoder:
            x = layer(x, memory) if isinstance(layer, (MemBlock, Grow)) else _framewise(layer, x)
        x = x[:, :, 3:] if first else x
        return x.clamp(0, 1) * 2 - 1


def _conv(channels: int, out: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, bias=bias)


def _through(layers: nn.Sequential, x: torch.Tensor, memory: Memory) -> torch.Tensor:
    for layer in layers:
        x = layer(x, memory) if isinstance(layer, (CausalConv, Residual, FrameAttention, Upsample)) else layer(x)
    return x


def _framewise(layer: nn.Module, x_BCTHW: torch.Tensor) -> torch.Tensor:
    frames = x_BCTHW.shape[2]
    return layer(x_BCTHW.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, frames)).transpose(1, 2)
