"""Muse-3B: a masked transformer that decodes all image tokens in parallel, a few at a time for good.

No code of it is public, so this is the paper's architecture at its published size.

Shape letters: B batch, N tokens that ask, M tokens that are asked (text, or coarse tokens), D model width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..workload.recipe import Part, Recipe, Size, sizes
from .autoencoders import vq_decode
from .common import Built, activations, component, token_ids
from .layers import Block
from .text_encoders import t5_encoder


@dataclass(frozen=True)
class MaskedConfig:
    """A masked transformer over a grid of codes, as Muse and Phenaki have it."""

    dim: int
    layers: int
    heads: int
    codes: int
    text_dim: int
    positions: int
    ff_mult: int = 4
    coarse_layers: int = 0  # encoder layers over the coarse tokens that a super-resolution stage refines


BASE = MaskedConfig(dim=2048, layers=48, heads=32, codes=8192, text_dim=4096, positions=1024)
SUPER_RESOLUTION = MaskedConfig(
    dim=1024, layers=32, heads=16, codes=8192, text_dim=4096, positions=16384, coarse_layers=16
)


class MaskedTransformer(nn.Module):
    """Logits for every code of the grid at once, from the codes known so far and the text."""

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        dim, hidden = config.dim, config.dim * config.ff_mult
        self.embed = nn.Embedding(config.codes + 1, dim)  # one more code: the mask
        self.position = nn.Parameter(torch.empty(config.positions, dim))
        self.text_projection = nn.Linear(config.text_dim, dim, bias=False)
        coarse = (Block(dim, config.heads, hidden, context=False) for _ in range(config.coarse_layers))
        self.coarse_blocks = nn.ModuleList(coarse)
        self.blocks = nn.ModuleList(Block(dim, config.heads, hidden) for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, config.codes, bias=False)

    def forward(self, codes_BN: Tensor, text_BMD: Tensor, coarse_BM: Tensor | None = None) -> Tensor:
        context_BMD = self.text_projection(text_BMD)
        if coarse_BM is not None:
            coarse_BMD = self._embedded(coarse_BM)
            for block in self.coarse_blocks:
                coarse_BMD = block(coarse_BMD)
            context_BMD = torch.cat([context_BMD, coarse_BMD], dim=1)
        x_BND = self._embedded(codes_BN)
        for block in self.blocks:
            x_BND = block(x_BND, context_BMD)
        return self.head(self.norm(x_BND))

    def _embedded(self, codes_BN: Tensor) -> Tensor:
        return self.embed(codes_BN) + self.position[: codes_BN.shape[1]]


SIDE = Size(512, step=32, least=64, most=1024, doc="pixels of the final image")
IMAGE = {
    "batch": Size(1, doc="images made together"),
    "height": SIDE,
    "width": SIDE,
    "text_tokens": Size(77, least=8, doc="text tokens, padding included"),
}
LET = {"b": "batch", "h": "height//32", "w": "width//32", "s": "text_tokens"}


@sizes(let=LET, **IMAGE)
def base(batch: int = 1, height: int = 512, width: int = 512, text_tokens: int = 77) -> Built:
    """One forward of the base transformer: 16 x 16 tokens for a final 512 x 512."""
    codes_BN = token_ids(batch, (height // 32) * (width // 32))
    return MaskedTransformer(BASE).eval(), (codes_BN, activations(batch, text_tokens, BASE.text_dim)), {}


@sizes(let=LET, **IMAGE)
def super_resolution(batch: int = 1, height: int = 512, width: int = 512, text_tokens: int = 77) -> Built:
    """One forward of the super-resolution transformer: 64 x 64 tokens for a final 512 x 512."""
    coarse_BM = token_ids(batch, (height // 32) * (width // 32))
    codes_BN = token_ids(batch, (height // 8) * (width // 8))
    text_BMD = activations(batch, text_tokens, SUPER_RESOLUTION.text_dim)
    return MaskedTransformer(SUPER_RESOLUTION).eval(), (codes_BN, text_BMD, coarse_BM), {}


VQGAN_F8 = {
    "block_out_channels": [128, 256, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 256,
    "num_vq_embeddings": 8192,
    "lookup_from_codebook": True,
    "mid_block_add_attention": False,
}
NOTES = (
    "Every step is one bidirectional forward over all tokens: no cache, and attention of constant length.",
    "Base: 48 layers of width 2048, 32 heads, feed-forward 4 x, cross-attention in every layer, 256 "
    "tokens for a final 512 x 512; counts 3.27 billion parameters. 24 base steps and 8 super-resolution "
    "steps are the paper's.",
    "Super-resolution: the paper gives its 4096 tokens and that it reads the text and the base's tokens, "
    "not its width. Assumed: 32 layers of width 1024 with full attention over all tokens, and 16 layers "
    "that encode the base's tokens (0.78 billion parameters).",
    "The decoder is the paper's f = 8 VQGAN with 8192 codes; its channels (128, 256, 256, 512) are an "
    "assumption. The base's own f = 16 decoder does not run.",
    "The text encoder runs once: the unconditional forward takes the states of an empty prompt, a "
    "constant. Choosing which tokens to keep at each step is not counted.",
)


def recipes() -> tuple[Recipe, ...]:
    """Text to 512 x 512 images."""
    return (
        Recipe(
            name="muse-3b",
            title="Muse 3B",
            params={
                **IMAGE,
                "steps": Size(24, doc="parallel decoding steps of the base transformer"),
                "sr_steps": Size(8, doc="parallel decoding steps of the super-resolution transformer"),
                "guidance": Size(2, least=1, most=2, doc="forwards per step"),
            },
            parts=(
                Part("text_encoder", t5_encoder(*component("muse-3b", "text_encoder"))),
                Part("base", base, repeat="steps*guidance"),
                Part("super_resolution", super_resolution, repeat="sr_steps*guidance"),
                Part("vq_decode", vq_decode("VQModel", VQGAN_F8)),
            ),
            notes=NOTES,
            source=("arXiv:2301.00704", "Golden et al., arXiv:2312.14385, Table I (48 layers, width 2048)"),
        ),
    )
