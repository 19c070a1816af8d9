"""Wan 2.1's transformer made causal: blocks of latent frames beside a KV cache, for counting and for running.

The arithmetic follows the Wan 2.1 report and the public LongLive code (github:NVlabs/LongLive, branch v1.0).
What keeps keys and values (a cache) and how the small operations run (`Ops`) come from outside.
Shapes: B batch, T groups of frames that share a timestep, N new tokens, L attended tokens, S text tokens,
H heads, D head width, C = H*D channels; latents are B, channels, frames, rows, columns (BCTHW).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

KV = tuple[torch.Tensor, torch.Tensor]  # keys and values, (B, L, H, D)
Rotary = tuple[torch.Tensor, torch.Tensor]  # cosines and sines, (N, 1, D/2)
EPS = 1e-6
Residual = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # x, y and a gate: x + gate*y; gate 1 where None
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class WanSize:
    """Dimensions of the transformer; the defaults are Wan 2.1's 1.3B (github:Wan-Video/Wan2.1 wan/configs)."""

    layers: int = 30
    heads: int = 12
    head_dim: int = 128
    ffn: int = 8960
    latent_channels: int = 16
    text_dim: int = 4096
    frequencies: int = 256

    @property
    def dim(self) -> int:
        return self.heads * self.head_dim


class LayerCache(Protocol):
    """Where one layer's keys and values go, and what its queries see."""

    def attend(self, attn: Attention, qkv: QKV, rotary: Rotary, ops: Ops) -> torch.Tensor:
        """Keep the new keys and values, attend, return (B, N, H, D)."""


class Conditioning(Protocol):
    """Shift, scale and gate of the frames, by their timestep."""

    def of_block(self, block: Block) -> torch.Tensor:
        """Six of them for one layer, (B or 1, T, 6, C): shift, scale, gate of attention, then of the MLP."""

    def of_head(self, head: nn.Parameter) -> torch.Tensor:
        """Shift and scale before the last layer, (B or 1, T, 2, C)."""


QKV = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # q, k, v, each (B, tokens, H, D)


def sdpa(q_BNHD: torch.Tensor, k_BLHD: torch.Tensor, v_BLHD: torch.Tensor) -> torch.Tensor:
    """PyTorch's attention, by the kernel that it chooses itself."""
    q_BHND, k_BHLD, v_BHLD = (x.transpose(1, 2) for x in (q_BNHD, k_BLHD, v_BLHD))
    return F.scaled_dot_product_attention(q_BHND, k_BHLD, v_BHLD).transpose(1, 2)


class Ops:
    """The operations in plain PyTorch; fused kernels take their place by the same names."""

    def __init__(self, attend: Attend = sdpa) -> None:
        self.attention = attend  # softmax attention without a mask, (B, N, H, D)

    def qkv(self, attn: Attention, x_BNC: torch.Tensor, rotary: Rotary) -> QKV:
        """Queries, keys and values (B, N, H, D), as `write` wants them: here normed and rotated."""
        q_BNHD = rotated(attn.by_head(attn.norm_q(attn.q(x_BNC))), rotary)
        k_BNHD, v_BNHD = attn.keys_values(x_BNC)
        return q_BNHD, rotated(k_BNHD, rotary), v_BNHD

    def write(self, attn: Attention, qkv: QKV, rotary: Rotary, into: KV) -> torch.Tensor:
        """Put keys and values into the cache's views `into`; return the queries, normed and rotated."""
        q_BNHD, k_BNHD, v_BNHD = qkv
        into[0].copy_(k_BNHD)
        into[1].copy_(v_BNHD)
        return q_BNHD

    def norm_modulate(
        self, norm: nn.LayerNorm, x_BNC: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        """LayerNorm, then times 1 + scale plus shift (each B, T, C)."""
        return modulated(norm(x_BNC), shift, scale)

    def residual_norm(
        self, summed: Residual, norm: nn.LayerNorm, modulate: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum, and its norm, modulated where (shift, scale) are given."""
        x_BNC = self.residual(summed)
        return x_BNC, self.norm_modulate(norm, x_BNC, *modulate) if modulate else norm(x_BNC)

    def residual(self, summed: Residual) -> torch.Tensor:
        """x + gate*y."""
        x_BNC, y_BNC, gate = summed
        return x_BNC + (y_BNC if gate is None else gated(y_BNC, gate))

    def ffn(self, ffn: nn.Sequential, x_BNC: torch.Tensor) -> torch.Tensor:
        """Linear, GELU (tanh), linear."""
        return ffn(x_BNC)


PLAIN = Ops()


class Attention(nn.Module):
    """The projections of one attention, with Wan's RMS norm over all heads of queries and keys."""

    def __init__(self, c: WanSize) -> None:
        super().__init__()
        self.heads = c.heads
        self.q, self.k, self.v, self.o = (nn.Linear(c.dim, c.dim) for _ in range(4))
        self.norm_q, self.norm_k = (nn.RMSNorm(c.dim, eps=EPS) for _ in range(2))

    def by_head(self, x_BNC: torch.Tensor) -> torch.Tensor:
        return x_BNC.unflatten(-1, (self.heads, -1))

    def keys_values(self, x_BNC: torch.Tensor) -> KV:
        return self.by_head(self.norm_k(self.k(x_BNC))), self.by_head(self.v(x_BNC))


class Block(nn.Module):
    """Self-attention over the cache, cross-attention over the text, MLP; shift, scale and gate per frame."""

    def __init__(self, c: WanSize, index: int) -> None:
        super().__init__()
        self.index = index
        self.norm1, self.norm2 = (nn.LayerNorm(c.dim, EPS, elementwise_affine=False) for _ in range(2))
        self.norm3 = nn.LayerNorm(c.dim, EPS)
        self.self_attn, self.cross_attn = Attention(c), Attention(c)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn), nn.GELU("tanh"), nn.Linear(c.ffn, c.dim))
        self.modulation = nn.Parameter(torch.empty(6, c.dim))

    def forward(  # six: what a layer needs
        self, x_BNC: torch.Tensor, times: Conditioning, rotary: Rotary, cache: LayerCache, text: KV, ops: Ops
    ) -> torch.Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = times.of_block(self).unbind(2)

        y_BNC = ops.norm_modulate(self.norm1, x_BNC, shift1, scale1)
        attn = self.self_attn
        y_BNHD = cache.attend(attn, ops.qkv(attn, y_BNC, rotary), rotary, ops)
        x_BNC, y_BNC = ops.residual_norm((x_BNC, attn.o(y_BNHD.flatten(2)), gate1), self.norm3, None)

        cross = self.cross_attn
        y_BNHD = ops.attention(cross.by_head(cross.norm_q(cross.q(y_BNC))), *text)
        y_BNC = cross.o(y_BNHD.flatten(2))
        x_BNC, y_BNC = ops.residual_norm((x_BNC, y_BNC, None), self.norm2, (shift2, scale2))

        return ops.residual((x_BNC, ops.ffn(self.ffn, y_BNC), gate2))


class CausalWan(nn.Module):
    """One forward of the denoiser over new frames: their velocity, in the latents' shape."""

    def __init__(self, c: WanSize) -> None:
        super().__init__()
        self.frequencies = c.frequencies
        self.patch_embedding = nn.Conv3d(c.latent_channels, c.dim, (1, 2, 2), (1, 2, 2))
        self.text_embedding = _mlp(c.text_dim, c.dim, nn.GELU("tanh"))
        self.time_embedding = _mlp(c.frequencies, c.dim, nn.SiLU())
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c, index) for index in range(c.layers))
        self.norm = nn.LayerNorm(c.dim, EPS, elementwise_affine=False)
        self.head = nn.Linear(c.dim, 4 * c.latent_channels)
        self.modulation = nn.Parameter(torch.empty(2, c.dim))

    def forward(  # six, `self` apart: the forward's inputs and its operations
        self,
        x_BCTHW: torch.Tensor,
        times: Conditioning | torch.Tensor,
        rotary: Rotary,
        caches: Sequence[LayerCache],
        texts: Sequence[KV],
        ops: Ops = PLAIN,
    ) -> torch.Tensor:
        """`times` are timesteps (B, T), or what was made of them before."""
        patches_BCTHW = self.patch_embedding(x_BCTHW)
        _, _, frames, rows, columns = patches_BCTHW.shape
        x_BNC = patches_BCTHW.flatten(2).transpose(1, 2)
        if isinstance(times, torch.Tensor):
            times = self.conditioning(times, x_BNC.dtype)
        for block, cache, text in zip(self.blocks, caches, texts, strict=True):
            x_BNC = block(x_BNC, times, rotary, cache, text, ops)
        shift, scale = times.of_head(self.modulation).unbind(2)
        x_BNC = self.head(ops.norm_modulate(self.norm, x_BNC, shift, scale))
        x = x_BNC.unflatten(1, (frames, rows, columns)).unflatten(-1, (2, 2, -1))
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)

    def conditioning(self, timestep_BT: torch.Tensor, dtype: torch.dtype) -> Embedded:
        """The embedding of timesteps (B, T), shared by all layers."""
        e_BTC = self.time_embedding(sinusoid(timestep_BT, self.frequencies).to(dtype))
        return Embedded(e_BTC, self.time_projection(e_BTC).unflatten(-1, (6, -1)))

    def text_kv(self, text_BSC: torch.Tensor) -> list[KV]:
        """Every layer's keys and values of an encoded prompt, (B, S, H, D) each."""
        text_BSC = self.text_embedding(text_BSC)
        return [block.cross_attn.keys_values(text_BSC) for block in self.blocks]


@dataclass(frozen=True)
class Embedded:
    """Embedded timesteps, to which each layer adds its own modulation."""

    e_BTC: torch.Tensor
    e_BT6C: torch.Tensor

    def of_block(self, block: Block) -> torch.Tensor:
        return self.e_BT6C + block.modulation

    def of_head(self, head: nn.Parameter) -> torch.Tensor:
        return self.e_BTC.unsqueeze(2) + head


def random_weights(model: M, seed: int = 0) -> M:
    """Fill a model with seeded random weights, on the device and in the dtype that it has; returns it.

    Layers keep the size of what they get; the head is not zero, as Wan's own start has it, with which every
    picture would be noise unchanged.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or name.endswith("gamma"):
                p.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            rows = p.shape[-1] if p.dim() < 2 or name.endswith("modulation") else p[0].numel()
            p.normal_(0.0, (0.1 if name.endswith("bias") else 1.0) / math.sqrt(rows), generator=generator)
    return model


def sinusoid(t_BT: torch.Tensor, width: int) -> torch.Tensor:
    """Cosines, then sines, of a timestep at width/2 rates; (B, T, width), fp32."""
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32, device=t_BT.device) * (-math.log(10000) / half))
    angles = t_BT.float().unsqueeze(-1) * rates
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def rotated(x_BNHD: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Neighboring pairs of x turned by the angles; fp32 inside, the dtype of x outside."""
    even, odd = x_BNHD.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotary
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x_BNHD.dtype)


def modulated(x_BNC: torch.Tensor, shift_BTC: torch.Tensor, scale_BTC: torch.Tensor) -> torch.Tensor:
    """x times 1 + scale plus shift, by group of frames."""
    x_BTPC = x_BNC.unflatten(1, (shift_BTC.shape[1], -1))
    return (x_BTPC * (1 + scale_BTC.unsqueeze(2)) + shift_BTC.unsqueeze(2)).flatten(1, 2)


def gated(x_BNC: torch.Tensor, gate_BTC: torch.Tensor) -> torch.Tensor:
    """x times a gate, by group of frames."""
    return (x_BNC.unflatten(1, (gate_BTC.shape[1], -1)) * gate_BTC.unsqueeze(2)).flatten(1, 2)


def _mlp(width: int, dim: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, dim), activation, nn.Linear(dim, dim))
