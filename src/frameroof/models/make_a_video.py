"""Make-A-Video: an image diffusion model stretched over time, with temporal layers behind spatial ones.

The paper gives the construction, not its sizes, and Golden et al. use the model for their comparison of
temporal with spatial attention. Its layers (a 2D convolution followed by a 1D one, attention over an image's
positions followed by attention over frames) also serve Movie Gen's temporal autoencoder and Phenaki.

Shape letters: B batch, C channels, T frames, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frameroof.models.common import activations
from frameroof.models.muse import Attention
from frameroof.workload.recipe import Part, Recipe, Size, sizes


class PseudoConv3d(nn.Module):
    """A 3x3 convolution over each frame, then a convolution of length 3 over time."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        steps = (1, stride, stride)
        self.spatial = nn.Conv3d(channels_in, channels, (1, 3, 3), stride=steps, padding=(0, 1, 1))
        self.temporal = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x_BCTRS: Tensor) -> Tensor:
        return self.temporal(self.spatial(x_BCTRS))


class SpatialAttention(nn.Module):
    """Attention among the positions of each frame, and of each position to the text where there is one."""

    def __init__(self, channels: int, heads: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.attn = Attention(channels, heads)
        self.cross_norm = nn.LayerNorm(channels) if text_dim else None
        self.cross_attn = Attention(channels, heads, text_dim) if text_dim else None

    def forward(self, x_BCTRS: Tensor, text_BMD: Tensor | None = None) -> Tensor:
        batch, _, frames, rows, columns = x_BCTRS.shape
        x = x_BCTRS.permute(0, 2, 3, 4, 1).reshape(batch * frames, rows * columns, -1)
        normed = self.norm(x_BCTRS).permute(0, 2, 3, 4, 1).reshape(batch * frames, rows * columns, -1)
        x = x + self.attn(normed)
        if self.cross_attn is not None and self.cross_norm is not None and text_BMD is not None:
            text = text_BMD.repeat_interleave(frames, dim=0)
            x = x + self.cross_attn(self.cross_norm(x), text)
        return x.reshape(batch, frames, rows, columns, -1).permute(0, 4, 1, 2, 3)


class TemporalAttention(nn.Module):
    """Attention of each position to itself in the other frames."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads)

    def forward(self, x_BCTRS: Tensor) -> Tensor:
        batch, _, frames, rows, columns = x_BCTRS.shape
        x = x_BCTRS.permute(0, 3, 4, 2, 1).reshape(batch * rows * columns, frames, -1)
        x = x + self.attn(self.norm(x))
        return x.reshape(batch, rows, columns, frames, -1).permute(0, 4, 3, 1, 2)
