"""LongLive 1.3B: Wan 2.1's small transformer made causal, three latent frames at a time beside a KV cache.

The transformer is our own, for counting: LongLive's algorithm without the copies of its cache. The public
Wan class has no cache. Shapes: B batch, T new latent frames, P tokens of a frame, N = T*P new tokens,
L cached and new tokens, S text tokens, H heads, D head width, C = H*D channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from frameroof.models import wan
from frameroof.models.common import Built, activations, component, provenance
from frameroof.models.text_encoders import text_encoder
from frameroof.models.video import NO_TILING, Setting
from frameroof.workload.recipe import Part, Recipe, Size, sizes

NAME = "longlive-1.3b"
FRAMES_PER_BLOCK = 3
ROWS = Size(480, 16, least=32, doc="rows of pixels")
COLUMNS = Size(832, 16, least=32, doc="columns of pixels")
NOTES = (
    NO_TILING,
    "A block is 3 latent frames: its denoising steps without guidance, then one more forward at timestep 0 "
    "that leaves its keys and values in the cache; all of these forwards count the same.",
    "The window (12 latent frames) includes the 3 sink frames and the block itself; which past frames it "
    "holds does not change the count.",
    "New keys and values are written into a preallocated cache and read from there: LongLive v1.0's "
    "cloning, rolling and joining of the cache is not counted.",
    "Keys and values of the text are computed once per prompt (text_kv).",
    "The LoRA is merged into the weights; LongLive v1.0 runs it unmerged (about a quarter more linear work).",
    "Rotary embedding in fp32 from cached tables; LongLive computes it in fp64.",
    "Switching prompts (recaching the window) is not part of this recipe.",
)
SOURCE = (
    "github:NVlabs/LongLive branch v1.0 (e52d9ef): window, sink, block and step counts, KV cache",
    "github:Wan-Video/Wan2.1 wan/configs: dimensions",
)


@dataclass(frozen=True)
class CausalWan13B:
    """Dimensions of Wan 2.1's 1.3B transformer."""

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


class Attention(nn.Module):
    """The projections of one attention, with Wan's RMS norm over all heads of queries and keys."""

    def __init__(self, c: CausalWan13B) -> None:
        super().__init__()
        self.heads = c.heads
        self.q, self.k, self.v, self.o = (nn.Linear(c.dim, c.dim) for _ in range(4))
        self.norm_q, self.norm_k = (nn.RMSNorm(c.dim, eps=1e-6) for _ in range(2))

    def by_head(self, x_BNC: torch.Tensor) -> torch.Tensor:
        return x_BNC.unflatten(-1, (self.heads, -1))

    def keys_values(self, x_BNC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.by_head(self.norm_k(self.k(x_BNC))), self.by_head(self.v(x_BNC))

    def attend(self, q_BNHD: torch.Tensor, k_BLHD: torch.Tensor, v_BLHD: torch.Tensor) -> torch.Tensor:
        q_BHND, k_BHLD, v_BHLD = (x.transpose(1, 2) for x in (q_BNHD, k_BLHD, v_BLHD))
        out_BHND = F.scaled_dot_product_attention(q_BHND, k_BHLD, v_BHLD)
        return self.o(out_BHND.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Self-attention over the cache, cross-attention over the text, MLP; shift, scale and gate per frame."""

    def __init__(self, c: CausalWan13B) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(c.dim, 1e-6, elementwise_affine=False) for _ in range(2))
        self.norm3 = nn.LayerNorm(c.dim, 1e-6)
        self.self_attn, self.cross_attn = Attention(c), Attention(c)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn), nn.GELU("tanh"), nn.Linear(c.ffn, c.dim))
        self.modulation = nn.Parameter(torch.empty(6, c.dim))

    def forward(self, x_BNC: torch.Tensor, e_BT6C: torch.Tensor, rotary: Rotary, cache: KV, text: KV) -> torch.Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (e_BT6C + self.modulation).unbind(2)

        y_BNC = _modulated(self.norm1(x_BNC), shift1, scale1)
        attn = self.self_attn
        q_BNHD = _rotated(attn.by_head(attn.norm_q(attn.q(y_BNC))), rotary)
        k_BNHD, v_BNHD = attn.keys_values(y_BNC)
        k_BLHD, v_BLHD = cache
        new = x_BNC.shape[1]
        k_BLHD[:, -new:].copy_(_rotated(k_BNHD, rotary))
        v_BLHD[:, -new:].copy_(v_BNHD)
        x_BNC = x_BNC + _gated(attn.attend(q_BNHD, k_BLHD, v_BLHD), gate1)

        cross = self.cross_attn
        q_BNHD = cross.by_head(cross.norm_q(cross.q(self.norm3(x_BNC))))
        x_BNC = x_BNC + cross.attend(q_BNHD, *text)

        y_BNC = _modulated(self.norm2(x_BNC), shift2, scale2)
        return x_BNC + _gated(self.ffn(y_BNC), gate2)


class CausalWan(nn.Module):
    """One forward of the denoiser over the new frames of a block."""

    def __init__(self, c: CausalWan13B) -> None:
        super().__init__()
        self.frequencies = c.frequencies
        self.patch_embedding = nn.Conv3d(c.latent_channels, c.dim, (1, 2, 2), (1, 2, 2))
        self.text_embedding = _mlp(c.text_dim, c.dim, nn.GELU("tanh"))
        self.time_embedding = _mlp(c.frequencies, c.dim, nn.SiLU())
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.dim, 1e-6, elementwise_affine=False)
        self.head = nn.Linear(c.dim, 4 * c.latent_channels)
        self.modulation = nn.Parameter(torch.empty(2, c.dim))

    def forward(
        self,
        x_BCTHW: torch.Tensor,
        timestep_BT: torch.Tensor,
        rotary: Rotary,
        caches: list[KV],
        texts: list[KV],
    ) -> torch.Tensor:
        patches_BCTHW = self.patch_embedding(x_BCTHW)
        _, _, frames, rows, columns = patches_BCTHW.shape
        x_BNC = patches_BCTHW.flatten(2).transpose(1, 2)
        e_BTC = self.time_embedding(_sinusoid(timestep_BT, self.frequencies).to(x_BNC.dtype))
        e_BT6C = self.time_projection(e_BTC).unflatten(-1, (6, -1))
        for block, cache, text in zip(self.blocks, caches, texts, strict=True):
            x_BNC = block(x_BNC, e_BT6C, rotary, cache, text)
        shift, scale = (e_BTC.unsqueeze(2) + self.modulation).unbind(2)
        x_BNC = self.head(_modulated(self.norm(x_BNC), shift, scale))
        x = x_BNC.unflatten(1, (frames, rows, columns)).unflatten(-1, (2, 2, -1))
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


class TextKV(nn.Module):
    """What a new prompt costs beside its encoder: every layer's keys and values of the text."""

    def __init__(self, transformer: CausalWan) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, text_BSC: torch.Tensor) -> list[KV]:
        text_BSC = self.transformer.text_embedding(text_BSC)
        return [block.cross_attn.keys_values(text_BSC) for block in self.transformer.blocks]


KV = tuple[torch.Tensor, torch.Tensor]  # keys and values, (B, L, H, D)
Rotary = tuple[torch.Tensor, torch.Tensor]  # cosines and sines, (N, 1, D/2)


def _mlp(width: int, dim: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, dim), activation, nn.Linear(dim, dim))


def _sinusoid(t_BT: torch.Tensor, width: int) -> torch.Tensor:
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * (-math.log(10000) / half))
    angles = t_BT.float().unsqueeze(-1) * rates
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _rotated(x_BNHD: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    even, odd = x_BNHD.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotary
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x_BNHD.dtype)


def _modulated(x_BNC: torch.Tensor, shift_BTC: torch.Tensor, scale_BTC: torch.Tensor) -> torch.Tensor:
    x_BTPC = x_BNC.unflatten(1, (shift_BTC.shape[1], -1))
    return (x_BTPC * (1 + scale_BTC.unsqueeze(2)) + shift_BTC.unsqueeze(2)).flatten(1, 2)


def _gated(x_BNC: torch.Tensor, gate_BTC: torch.Tensor) -> torch.Tensor:
    return (x_BNC.unflatten(1, (gate_BTC.shape[1], -1)) * gate_BTC.unsqueeze(2)).flatten(1, 2)


def _model() -> CausalWan:
    return CausalWan(CausalWan13B()).eval()


@sizes(
    let={
        "b": "batch",
        "t": "frames_new",
        "h": "height//16",
        "w": "width//16",
        "s": "text_tokens",
        "kv": "kv_frames*h*w",
    },
    batch=Size(1),
    frames_new=Size(FRAMES_PER_BLOCK, least=1, most=FRAMES_PER_BLOCK, doc="latent frames of this block"),
    kv_frames=Size(12, least=FRAMES_PER_BLOCK, doc="latent frames attended, the new ones included"),
    height=ROWS,
    width=COLUMNS,
    text_tokens=Size(512, least=8),
)
def block(  # one argument more than five: these are the sizes of the forward
    batch: int = 1,
    frames_new: int = FRAMES_PER_BLOCK,
    kv_frames: int = 12,
    height: int = 480,
    width: int = 832,
    text_tokens: int = 512,
) -> Built:
    """One forward over the new latent frames, attending to the cache."""
    c = CausalWan13B()
    tokens = (height // 16) * (width // 16)

    def per_layer(length: int) -> list[Any]:
        return [tuple(activations(batch, length, c.heads, c.head_dim) for _ in range(2)) for _ in range(c.layers)]

    angles = (frames_new * tokens, 1, c.head_dim // 2)
    inputs = {
        "x_BCTHW": activations(batch, c.latent_channels, frames_new, height // 8, width // 8),
        "timestep_BT": torch.zeros(batch, frames_new),
        "rotary": tuple(torch.empty(angles, dtype=torch.float32) for _ in range(2)),
        "caches": per_layer(kv_frames * tokens),
        "texts": per_layer(text_tokens),
    }
    return _model(), (), inputs


@sizes(let={"b": "batch", "s": "text_tokens"}, batch=Size(1), text_tokens=Size(512, least=8))
def text_kv(batch: int = 1, text_tokens: int = 512) -> Built:
    """Keys and values of the text for every layer, once per prompt."""
    return TextKV(_model()), (activations(batch, text_tokens, CausalWan13B().text_dim),), {}


def recipes() -> tuple[Recipe, ...]:
    """LongLive 1.3B, 40 blocks: 120 latent frames, 477 frames, half a minute of video."""
    setting = Setting(width=832, height=480, frames=477, title="LongLive 1.3B", source=(*SOURCE, *provenance(NAME)))
    params = {
        "batch": Size(1, doc="videos streamed together"),
        "blocks": Size(40, least=2, doc="blocks of 3 latent frames; the video has 12*blocks - 3 frames"),
        "height": ROWS,
        "width": COLUMNS,
        "steps": Size(4, doc="denoising steps of a block"),
        "window": Size(12, FRAMES_PER_BLOCK, doc="latent frames attended, sinks and block included"),
        "text_tokens": Size(512, least=8, doc="tokens of the prompt, padding included"),
    }
    parts = (
        Part("text_encoder", text_encoder(*component(NAME, "text_encoder"))),
        Part("text_kv", text_kv, weights="transformer"),
        Part(
            "denoise",
            block,
            {
                "frames_new": str(FRAMES_PER_BLOCK),
                "kv_frames": f"min(window, {FRAMES_PER_BLOCK}*(i + 1))",
            },
            repeat="steps + 1",
            loop=("i", "blocks"),
            weights="transformer",
        ),
        Part(
            "vae_decode",
            wan.vae_decode(*component("wan2.1-t2v-1.3b", "vae")),
            {"frames": "12*blocks - 3"},
        ),
    )
    return (setting.recipe(NAME, params, parts=parts, notes=NOTES),)
