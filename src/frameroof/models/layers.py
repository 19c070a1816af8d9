"""Plain layers that the models share which exist only as papers: Muse, Parti, Phenaki, Imagen and their like.

Rearrangements say `contiguous` where they copy, so that a batch of one is counted by the same rule as a batch
of two.

Shape letters: B batch, N tokens that ask, M tokens that are asked (N itself, or the text), H heads, C channels
(of a head, where there are heads), D model width, T frames, R rows, S columns.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of x to itself, or to a context of its own width."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None, head_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * (head_dim or dim // heads)
        self.wq = nn.Linear(dim, inner, bias=False)
        self.wk = nn.Linear(context_dim or dim, inner, bias=False)
        self.wv = nn.Linear(context_dim or dim, inner, bias=False)
        self.wo = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> Tensor:
        context_BMD = x_BND if context_BMD is None else context_BMD
        q_BHNC = split_heads(self.wq(x_BND), self.heads)
        k_BHMC = split_heads(self.wk(context_BMD), self.heads)
        v_BHMC = split_heads(self.wv(context_BMD), self.heads)
        return self.wo(merge_heads(F.scaled_dot_product_attention(q_BHNC, k_BHMC, v_BHMC)))


def split_heads(x_BND: Tensor, heads: int) -> Tensor:
    """(B, N, H*C) as (B, H, N, C), a view."""
    batch, tokens, dim = x_BND.shape
    return x_BND.view(batch, tokens, heads, dim // heads).transpose(1, 2)


def merge_heads(x_BHNC: Tensor) -> Tensor:
    """(B, H, N, C) as (B, N, H*C)."""
    return x_BHNC.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.w2(F.gelu(self.w1(x_BND)))


class Block(nn.Module):
    """Pre-norm self-attention, cross-attention where there is a context, feed-forward."""

    def __init__(self, dim: int, heads: int, hidden: int, context: bool = True) -> None:
        super().__init__()
        self.attn_norm, self.ff_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.cross_norm = nn.LayerNorm(dim) if context else None
        self.cross_attn = Attention(dim, heads) if context else None
        self.ff = FeedForward(dim, hidden)

    def forward(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> Tensor:
        x_BND = x_BND + self.attn(self.attn_norm(x_BND))
        if self.cross_attn is not None and self.cross_norm is not None:
            x_BND = x_BND + self.cross_attn(self.cross_norm(x_BND), context_BMD)
        return x_BND + self.ff(self.ff_norm(x_BND))


class AddedAttention(nn.Module):
    """Attention of tokens to each other, normed before and added after."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return x_BNC + self.attn(self.norm(x_BNC))


class SpatialAttention(AddedAttention):
    """Attention among the positions of each frame."""

    def forward(self, x_BCTRS: Tensor) -> Tensor:
        batch, _, frames, rows, columns = x_BCTRS.shape
        x = x_BCTRS.permute(0, 2, 3, 4, 1).contiguous().view(batch * frames, rows * columns, -1)
        return super().forward(x).view(batch, frames, rows, columns, -1).permute(0, 4, 1, 2, 3)


class TemporalAttention(AddedAttention):
    """Attention of each position to itself in the other frames."""

    def forward(self, x_BCTRS: Tensor) -> Tensor:
        batch, _, frames, rows, columns = x_BCTRS.shape
        x = x_BCTRS.permute(0, 3, 4, 2, 1).contiguous().view(batch * rows * columns, frames, -1)
        return super().forward(x).view(batch, rows, columns, frames, -1).permute(0, 4, 3, 1, 2)


class PseudoConv3d(nn.Module):
    """A 3x3 convolution over each frame, then a convolution of length 3 over time."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        steps = (1, stride, stride)
        self.spatial = nn.Conv3d(channels_in, channels, (1, 3, 3), stride=steps, padding=(0, 1, 1))
        self.temporal = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x_BCTRS: Tensor) -> Tensor:
        return self.temporal(self.spatial(x_BCTRS))
