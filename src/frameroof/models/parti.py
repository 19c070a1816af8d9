"""Parti-20B: an image as a translation of its caption, one token after the other.

The largest of Golden et al.'s text-to-image models and the one that behaves like a language model: 1024
steps, each reading every weight for one token. No weights or code at this size run in torch, so this is the
paper's architecture at its published sizes.

Shape letters: B batch, N image tokens, M text tokens, K cached image tokens, H heads, C channels of a head,
D width; R rows and S columns of the token grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..workload.recipe import Part, Recipe, Size, sizes
from .common import Built, activations, token_ids
from .layers import Attention, Block, FeedForward, merge_heads, split_heads

if TYPE_CHECKING:
    from .kv_cache import InPlaceLayer


@dataclass(frozen=True)
class PartiConfig:
    """The 20B model, and the larger image detokenizer that it draws with."""

    dim: int = 4096
    hidden: int = 16384
    heads: int = 64
    encoder_layers: int = 16
    decoder_layers: int = 64
    text_vocabulary: int = 16000
    text_positions: int = 128
    codes: int = 8192
    image_positions: int = 1024
    image_dim: int = 1280
    image_hidden: int = 5120
    image_heads: int = 16
    image_layers: int = 32
    patch: int = 8


PARTI = PartiConfig()


class Encoder(nn.Module):
    """The text encoder."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.text_vocabulary, config.dim)
        self.position = nn.Parameter(torch.empty(config.text_positions, config.dim))
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, config.hidden, context=False) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, ids_BM: Tensor) -> Tensor:
        x_BMD = self.embed(ids_BM) + self.position[: ids_BM.shape[1]]
        for block in self.blocks:
            x_BMD = block(x_BMD)
        return self.norm(x_BMD)


class DecoderBlock(nn.Module):
    """One layer of the decoder on one token: cached self-attention, cached cross-attention, feed-forward."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        self.attn_norm, self.cross_norm, self.ff_norm = (nn.LayerNorm(config.dim) for _ in range(3))
        self.attn = Attention(config.dim, config.heads)
        self.cross_attn = Attention(config.dim, config.heads)
        self.ff = FeedForward(config.dim, config.hidden)

    def forward(self, x_B1D: Tensor, past: InPlaceLayer, text: tuple[Tensor, Tensor]) -> Tensor:
        x_B1D = x_B1D + self._self_attention(self.attn_norm(x_B1D), past)
        x_B1D = x_B1D + self._cross_attention(self.cross_norm(x_B1D), *text)
        return x_B1D + self.ff(self.ff_norm(x_B1D))

    def text_keys_values(self, text_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """What cross-attention reads at every step, projected once."""
        attn = self.cross_attn
        return split_heads(attn.wk(text_BMD), attn.heads), split_heads(attn.wv(text_BMD), attn.heads)

    def _self_attention(self, x_B1D: Tensor, past: InPlaceLayer) -> Tensor:
        attn = self.attn
        q_BH1C, k_BH1C, v_BH1C = (split_heads(w(x_B1D), attn.heads) for w in (attn.wq, attn.wk, attn.wv))
        k_BHKC, v_BHKC = past.update(k_BH1C, v_BH1C)
        return attn.wo(merge_heads(F.scaled_dot_product_attention(q_BH1C, k_BHKC, v_BHKC)))

    def _cross_attention(self, x_B1D: Tensor, k_BHMC: Tensor, v_BHMC: Tensor) -> Tensor:
        attn = self.cross_attn
        q_BH1C = split_heads(attn.wq(x_B1D), attn.heads)
        return attn.wo(merge_heads(F.scaled_dot_product_attention(q_BH1C, k_BHMC, v_BHMC)))


class Decoder(nn.Module):
    """The image-token decoder."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.codes + 1, config.dim)  # one more code: the start of an image
        self.position = nn.Parameter(torch.empty(config.image_positions, config.dim))
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.codes, bias=False)

    def forward(self, code_B1: Tensor, past: list[InPlaceLayer], text: list[tuple[Tensor, Tensor]]) -> Tensor:
        seen = past[0].seen
        x_B1D = self.embed(code_B1) + self.position[seen : seen + 1]
        for block, layer, keys_values in zip(self.blocks, past, text, strict=True):
            x_B1D = block(x_B1D, layer, keys_values)
        return self.head(self.norm(x_B1D))


class TextKeysValues(nn.Module):
    """The decoder's projections of the text, for all layers: run once an image."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, text_BMD: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [block.text_keys_values(text_BMD) for block in self.decoder.blocks]


class Detokenizer(nn.Module):
    """ViT-VQGAN's decoder: codes to patches of pixels through a bidirectional transformer."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        dim, self.patch = config.image_dim, config.patch
        self.codebook = nn.Embedding(config.codes, dim)
        self.position = nn.Parameter(torch.empty(config.image_positions, dim))
        self.blocks = nn.ModuleList(
            Block(dim, config.image_heads, config.image_hidden, context=False) for _ in range(config.image_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.pixels = nn.Linear(dim, 3 * config.patch**2)

    def forward(self, codes_BRS: Tensor) -> Tensor:
        rows, columns = codes_BRS.shape[1:]
        x_BND = self.codebook(codes_BRS.flatten(1)) + self.position[: rows * columns]
        for block in self.blocks:
            x_BND = block(x_BND)
        patches_BNP = self.pixels(self.norm(x_BND))
        return F.pixel_shuffle(patches_BNP.transpose(1, 2).unflatten(2, (rows, columns)), self.patch)


TEXT_TOKENS = Size(128, least=2, most=128, doc="text tokens, padding included")
SIDE = Size(256, step=8, least=16, most=256, doc="pixels")


@sizes(let={"b": "batch", "s": "text_tokens"}, batch=Size(1), text_tokens=TEXT_TOKENS)
def text_encoder(batch: int = 1, text_tokens: int = 128) -> Built:
    return Encoder(PARTI).eval(), (token_ids(batch, text_tokens),), {}


@sizes(let={"b": "batch", "s": "text_tokens"}, batch=Size(1), text_tokens=TEXT_TOKENS)
def text_keys_values(batch: int = 1, text_tokens: int = 128) -> Built:
    return TextKeysValues(Decoder(PARTI)).eval(), (activations(batch, text_tokens, PARTI.dim),), {}


@sizes(
    let={"b": "batch", "s": "text_tokens"},
    batch=Size(1),
    kv=Size(1024, most=PARTI.image_positions),
    text_tokens=TEXT_TOKENS,
)
def decode(batch: int = 1, kv: int = 1024, text_tokens: int = 128) -> Built:
    """The kv-th image token."""
    from .kv_cache import InPlaceLayer

    layers, heads, channels = PARTI.decoder_layers, PARTI.heads, PARTI.dim // PARTI.heads
    cached, read = (batch, heads, kv, channels), (batch, heads, text_tokens, channels)
    past = [InPlaceLayer(activations(*cached), activations(*cached), seen=kv - 1) for _ in range(layers)]
    text = [(activations(*read), activations(*read)) for _ in range(layers)]
    return Decoder(PARTI).eval(), (token_ids(batch, 1), past, text), {}


@sizes(let={"b": "batch", "h": "height//8", "w": "width//8"}, batch=Size(1), height=SIDE, width=SIDE)
def vq_decode(batch: int = 1, height: int = 256, width: int = 256) -> Built:
    rows, columns = height // PARTI.patch, width // PARTI.patch
    return Detokenizer(PARTI).eval(), (token_ids(batch, rows * columns).view(batch, rows, columns),), {}


NOTES = (
    "Published: 16 encoder and 64 decoder layers of width 4096, feed-forward 16384, 64 heads, 8192 codes, "
    "1024 image tokens. The layers hold 20.40 billion parameters; embeddings and head add 0.14 billion.",
    "Each token is one pass over all decoder weights, against the keys and values in use of the tokens "
    "before it (written in place) and those of the text (projected once).",
    "Guidance doubles the batch of the decoder, so both halves share one reading of the weights; the "
    "empty prompt's states are constants.",
    "Detokenizer: the fine-tuned ViT-VQGAN decoder as recalled from the paper (32 layers, width 1280, "
    "feed-forward 5120, 16 heads, about 600 million parameters), its pixels a linear layer per 8 x 8 "
    "patch.",
    "The text vocabulary (16,000) and learned positions are assumptions. Super-resolution to 1024 is left "
    "out; so is sampling.",
)


def recipes() -> tuple[Recipe, ...]:
    """Text to 256 x 256 images."""
    return (
        Recipe(
            name="parti-20b",
            title="Parti 20B",
            params={
                "batch": Size(1, doc="images made together"),
                "height": SIDE,
                "width": SIDE,
                "text_tokens": TEXT_TOKENS,
                "guidance": Size(2, least=1, most=2, doc="batch entries of the decoder per image"),
            },
            parts=(
                Part("text_encoder", text_encoder),
                Part("text_keys_values", text_keys_values, weights="decoder"),
                Part(
                    "decode",
                    decode,
                    {"batch": "batch*guidance", "kv": "i + 1"},
                    loop=("i", "(height//8)*(width//8)"),
                    weights="decoder",
                ),
                Part("vq_decode", vq_decode),
            ),
            notes=NOTES,
            source=("arXiv:2206.10789", "Golden et al., arXiv:2312.14385, Table I (80 layers, width 4096)"),
        ),
    )
