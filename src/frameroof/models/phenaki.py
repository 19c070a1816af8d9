"""Phenaki: a masked transformer over video tokens, and C-ViViT, which makes tokens of video and back.

The papers name 1.8 billion parameters and the token grid, not the widths; no weights are public. The masked
transformer is Muse's, longer and wider; only C-ViViT's decoder is new, with its attention over frames apart
from its attention over positions.

Shape letters: B batch, N video tokens, T frames of tokens, R rows, S columns, P pixels of a patch, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..workload.recipe import Part, Recipe, Size, sizes
from .common import Built, activations, component, token_ids
from .layers import Block
from .muse import MaskedConfig, MaskedTransformer
from .text_encoders import t5_encoder


@dataclass(frozen=True)
class CViViTConfig:
    """The decoder of the video tokenizer."""

    dim: int = 512
    heads: int = 8
    spatial_layers: int = 4
    temporal_layers: int = 4
    codes: int = 8192
    patch: int = 8
    patch_frames: int = 2
    positions: int = 1024


C_VIVIT = CViViTConfig()
MASKED = MaskedConfig(dim=1536, layers=48, heads=24, codes=8192, text_dim=4096, positions=16384)


class CViViTDecoder(nn.Module):
    """Codes to pixels: attention over each position's frames, then over each frame's positions.

    The first frame is an image token of its own; every later token frame is `patch_frames` frames.
    """

    def __init__(self, config: CViViTConfig) -> None:
        super().__init__()
        dim, self.config = config.dim, config
        self.codebook = nn.Embedding(config.codes, dim)
        self.position = nn.Parameter(torch.empty(config.positions, dim))
        self.temporal = nn.ModuleList(
            Block(dim, config.heads, 4 * dim, context=False) for _ in range(config.temporal_layers)
        )
        self.spatial = nn.ModuleList(
            Block(dim, config.heads, 4 * dim, context=False) for _ in range(config.spatial_layers)
        )
        pixels = 3 * config.patch**2
        self.first_frame = nn.Linear(dim, pixels)
        self.later_frames = nn.Linear(dim, pixels * config.patch_frames)

    def forward(self, codes_BTRS: Tensor) -> tuple[Tensor, Tensor]:
        batch, frames, rows, columns = codes_BTRS.shape
        x_BTND = self.codebook(codes_BTRS).flatten(2, 3) + self.position[: rows * columns]
        x = x_BTND.transpose(1, 2).contiguous().view(batch * rows * columns, frames, -1)
        for block in self.temporal:
            x = block(x)
        x_BTND = x.unflatten(0, (batch, rows * columns)).transpose(1, 2)
        x = x_BTND.contiguous().view(batch * frames, rows * columns, -1)
        for block in self.spatial:
            x = block(x)
        x_BTRSD = x.unflatten(1, (rows, columns)).unflatten(0, (batch, frames))
        first_BTRSP = self.first_frame(x_BTRSD[:, :1])
        later_BTRSP = self.later_frames(x_BTRSD[:, 1:])
        return self._pixels(first_BTRSP), self._pixels(later_BTRSP)

    def _pixels(self, x_BTRSP: Tensor) -> Tensor:
        """(B, T, R, S, frames*3*patch*patch) as (B, T, frames*3, rows, columns)."""
        return F.pixel_shuffle(x_BTRSP.permute(0, 1, 4, 2, 3), self.config.patch)


SIDE = Size(128, step=8, least=16, most=256, doc="pixels")
VIDEO = {
    "batch": Size(1, doc="videos made together"),
    "frames": Size(11, step=2, offset=1, least=5, most=31, doc="frames; the first is a token frame of its own"),
    "height": SIDE,
    "width": SIDE,
}
LET = {"b": "batch", "t": "ceil(frames, 2)", "h": "height//8", "w": "width//8"}


def grid(frames: int, height: int, width: int) -> tuple[int, int, int]:
    """Token frames, rows and columns of a video."""
    return 1 + (frames - 1) // C_VIVIT.patch_frames, height // C_VIVIT.patch, width // C_VIVIT.patch


@sizes(let={**LET, "s": "text_tokens"}, **VIDEO, text_tokens=Size(77, least=8))
def masked_transformer(
    batch: int = 1, frames: int = 11, height: int = 128, width: int = 128, text_tokens: int = 77
) -> Built:
    """One forward over all video tokens."""
    t, r, s = grid(frames, height, width)
    args = token_ids(batch, t * r * s), activations(batch, text_tokens, MASKED.text_dim)
    return MaskedTransformer(MASKED).eval(), args, {}


@sizes(let=LET, **VIDEO)
def c_vivit_decode(batch: int = 1, frames: int = 11, height: int = 128, width: int = 128) -> Built:
    """Codes to video."""
    t, r, s = grid(frames, height, width)
    return CViViTDecoder(C_VIVIT).eval(), (token_ids(batch, t * r * s).view(batch, t, r, s),), {}


NOTES = (
    "11 frames of 128 x 128 are (1 + 5) x 16 x 16 = 1536 tokens, as in the paper; 24 parallel decoding "
    "steps, as recalled.",
    "Masked transformer: 48 layers of width 1536 with 24 heads and cross-attention to text in every "
    "layer, chosen to reach the published 1.8 billion parameters (counts 1.87).",
    "C-ViViT decoder: 4 temporal and 4 spatial layers of width 512, 8192 codes, patches of 8 x 8 x 2 with "
    "a first frame of its own; widths are assumptions (after lucidrains/phenaki-pytorch), and its "
    "temporal attention is not causal here.",
    "Text: T5-XXL, 77 tokens, an assumption; run once, as the empty prompt's states are constants. "
    "Choosing which tokens to keep is not counted; longer videos would repeat the whole for each new "
    "window of frames.",
)


def recipes() -> tuple[Recipe, ...]:
    """Text to one window of video."""
    return (
        Recipe(
            name="phenaki",
            title="Phenaki",
            params={
                **VIDEO,
                "steps": Size(24, doc="parallel decoding steps"),
                "guidance": Size(2, least=1, most=2, doc="forwards per step"),
                "text_tokens": Size(77, least=8, doc="text tokens, padding included"),
            },
            parts=(
                Part("text_encoder", t5_encoder(*component("muse-3b", "text_encoder"))),
                Part("decode", masked_transformer, repeat="steps*guidance"),
                Part("c_vivit_decode", c_vivit_decode),
            ),
            item="video",
            notes=NOTES,
            source=("arXiv:2210.02399", "https://github.com/lucidrains/phenaki-pytorch (shape of C-ViViT)"),
        ),
    )
