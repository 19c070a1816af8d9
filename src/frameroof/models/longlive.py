"""LongLive 1.3B: Wan 2.1's small transformer made causal, three latent frames at a time beside a KV cache.

The transformer is our own (`causal_wan`), here for counting: LongLive's algorithm without the copies of its cache.
Shapes: B batch, T new latent frames, N new tokens, L cached and new tokens, S text tokens, H heads, D head
width, C = H*D channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..workload.recipe import Part, Recipe, Size, sizes
from . import wan
from .causal_wan import KV, QKV, Attention, CausalWan, Ops, Rotary, WanSize
from .common import Built, activations, component, provenance
from .text_encoders import text_encoder
from .video import NO_TILING, Setting

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


class Counted(CausalWan):
    """The transformer beside a cache in which the new tokens' places are the last ones."""

    def forward(  # type: ignore[override]  # tensors only, as a recording takes them
        self,
        x_BCTHW: torch.Tensor,
        timestep_BT: torch.Tensor,
        rotary: Rotary,
        caches: list[KV],
        texts: list[KV],
    ) -> torch.Tensor:
        return super().forward(x_BCTHW, timestep_BT, rotary, [Tail(*cache) for cache in caches], texts)


@dataclass(frozen=True)
class Tail:
    """One layer's keys and values, (B, L, H, D); new ones are written at the end."""

    k_BLHD: torch.Tensor
    v_BLHD: torch.Tensor

    def attend(self, attn: Attention, qkv: QKV, rotary: Rotary, ops: Ops) -> torch.Tensor:
        new = qkv[0].shape[1]
        q_BNHD = ops.write(attn, qkv, rotary, (self.k_BLHD[:, -new:], self.v_BLHD[:, -new:]))
        return ops.attention(q_BNHD, self.k_BLHD, self.v_BLHD)


class TextKV(nn.Module):
    """What a new prompt costs beside its encoder: every layer's keys and values of the text."""

    def __init__(self, transformer: CausalWan) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, text_BSC: torch.Tensor) -> list[KV]:
        return self.transformer.text_kv(text_BSC)


def _model() -> CausalWan:
    return Counted(WanSize()).eval()


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
    c = WanSize()
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
    return TextKV(_model()), (activations(batch, text_tokens, WanSize().text_dim),), {}


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
