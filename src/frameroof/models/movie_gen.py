"""Movie Gen 30B: the Llama-style video transformer of the first seed document, with the stages around it.

Nothing of it is public, so this is the paper's architecture (arXiv:2410.13720) in the paper's names. The
transformer's sizes are published; those of the autoencoder and the upsampler are not, and every number that
is ours is a sentence in the recipe's notes.

Shape letters: B batch, N video tokens, M text tokens, D width, C channels, T frames, R rows, S columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..workload.recipe import Part, Recipe, Size, sizes
from .autoencoders import kl_decode
from .common import Built, Call, activations, component, diffusers_model
from .layers import Attention, PseudoConv3d, SpatialAttention, TemporalAttention
from .text_encoders import BYT5_SMALL, clip_text, t5_encoder


@dataclass(frozen=True)
class DiTConfig:
    """A Llama-style diffusion transformer over latent video."""

    layers: int
    dim: int
    hidden: int
    heads: int
    in_channels: int = 16
    out_channels: int = 16
    patch: int = 2
    text_dims: tuple[int, ...] = (4096, 1472, 1024)  # UL2, ByT5-Small, MetaCLIP
    positions: int = 256  # most frames, rows or columns of tokens
    modulations: int = 6  # shift, scale and gate, of attention and of feed-forward


MOVIE_GEN = DiTConfig(layers=48, dim=6144, hidden=16384, heads=48)
UPSAMPLER = DiTConfig(layers=26, dim=4096, hidden=11008, heads=32, in_channels=32)

TAE_CHANNELS = (128, 256, 512, 512)
TAE_STRIDE = 8
LATENT_CHANNELS = 16
WINDOW = 14  # frames that the upsampler sees at once


class SwiGLU(nn.Module):
    """Llama's feed-forward: w2(silu(w1 x) * w3 x)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x_BND)) * self.w3(x_BND))


class Block(nn.Module):
    """Llama's block made bidirectional, with cross-attention to text and modulation by the timestep."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.modulation = nn.Parameter(torch.empty(config.modulations, dim))
        self.attn_norm, self.cross_norm, self.ff_norm = (nn.RMSNorm(dim) for _ in range(3))
        self.attn = Attention(dim, config.heads)
        self.cross_attn = Attention(dim, config.heads)
        self.ff = SwiGLU(dim, config.hidden)

    def forward(self, x_BND: Tensor, text_BMD: Tensor, time_B6D: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (time_B6D + self.modulation).chunk(6, dim=1)
        x_BND = x_BND + gate1 * self.attn(self.attn_norm(x_BND) * (1 + scale1) + shift1)
        x_BND = x_BND + self.cross_attn(self.cross_norm(x_BND), text_BMD)
        return x_BND + gate2 * self.ff(self.ff_norm(x_BND) * (1 + scale2) + shift2)


class TimestepEmbedding(nn.Module):
    """Sinusoids of the timestep, and one modulation for all blocks made from them."""

    def __init__(self, config: DiTConfig, waves: int = 256) -> None:
        super().__init__()
        self.waves, self.modulations = waves, config.modulations
        self.mlp = nn.Sequential(nn.Linear(waves, config.dim), nn.SiLU(), nn.Linear(config.dim, config.dim))
        self.shared = nn.Sequential(nn.SiLU(), nn.Linear(config.dim, config.modulations * config.dim))

    def forward(self, timestep_B: Tensor) -> tuple[Tensor, Tensor]:
        rates = torch.exp(torch.arange(self.waves // 2, device=timestep_B.device) * (-9.21 / (self.waves // 2)))
        angles = timestep_B[:, None].float() * rates
        time_BD = self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.mlp[0].weight.dtype))
        return time_BD, self.shared(time_BD).unflatten(1, (self.modulations, -1))


class FactorizedPosition(nn.Module):
    """A learned embedding per frame, per row and per column; their sum is a token's position."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.frame, self.row, self.column = (nn.Parameter(torch.empty(config.positions, config.dim)) for _ in range(3))

    def forward(self, frames: int, rows: int, columns: int) -> Tensor:
        p_TRSD = self.frame[:frames, None, None] + self.row[None, :rows, None] + self.column[None, None, :columns]
        return p_TRSD.flatten(0, 2)


class MovieGenTransformer(nn.Module):
    """One denoising forward: patchify, blocks of full attention over all tokens, unpatchify's projection."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim, patch = config.dim, (1, config.patch, config.patch)
        self.patchify = nn.Conv3d(config.in_channels, dim, kernel_size=patch, stride=patch)
        self.text = nn.ModuleList(
            nn.Sequential(nn.Linear(width, dim, bias=False), nn.LayerNorm(dim)) for width in config.text_dims
        )
        self.time = TimestepEmbedding(config)
        self.position = FactorizedPosition(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(dim)
        self.final_modulation = nn.Linear(dim, 2 * dim)
        self.proj_out = nn.Linear(dim, config.out_channels * config.patch**2)

    def forward(self, latent_BCTRS: Tensor, timestep_B: Tensor, texts: list[Tensor]) -> Tensor:
        x_BDTRS = self.patchify(latent_BCTRS)
        position_ND = self.position(*x_BDTRS.shape[2:])
        x_BND = x_BDTRS.flatten(2).transpose(1, 2)
        text_BMD = torch.cat([project(text) for project, text in zip(self.text, texts, strict=True)], dim=1)
        time_BD, time_B6D = self.time(timestep_B)
        for block in self.blocks:
            x_BND = block(x_BND + position_ND, text_BMD, time_B6D)
        shift, scale = self.final_modulation(F.silu(time_BD))[:, None].chunk(2, dim=-1)
        return self.proj_out(self.norm(x_BND) * (1 + scale) + shift)


# ---- temporal autoencoder: an image autoencoder with a temporal layer behind every spatial one ----


class TAEResBlock(nn.Module):
    """The image decoder's residual block, its convolutions followed by temporal ones."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, channels_in), nn.GroupNorm(32, channels)
        self.conv1, self.conv2 = PseudoConv3d(channels_in, channels), PseudoConv3d(channels, channels)
        self.shortcut = nn.Conv3d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x_BCTRS: Tensor) -> Tensor:
        h_BCTRS = self.conv1(F.silu(self.norm1(x_BCTRS)))
        h_BCTRS = self.conv2(F.silu(self.norm2(h_BCTRS)))
        return self.shortcut(x_BCTRS) + h_BCTRS


class TAEDecoder(nn.Module):
    """Latent video to pixels: three times nearest-neighbor doubling in time and space, then convolution."""

    def __init__(self, channels: tuple[int, ...] = TAE_CHANNELS, blocks: int = 3) -> None:
        super().__init__()
        widths = channels[::-1]
        self.conv_in = PseudoConv3d(LATENT_CHANNELS, widths[0])
        self.mid1, self.mid2 = TAEResBlock(widths[0], widths[0]), TAEResBlock(widths[0], widths[0])
        self.mid_spatial = SpatialAttention(widths[0], heads=1)
        self.mid_temporal = TemporalAttention(widths[0], heads=1)
        self.levels, self.upsamplers = nn.ModuleList(), nn.ModuleList()
        for before, width in zip((widths[0], *widths), widths, strict=False):
            inputs = (before, *[width] * (blocks - 1))
            self.levels.append(nn.Sequential(*(TAEResBlock(channels_in, width) for channels_in in inputs)))
        for width in widths[:-1]:
            self.upsamplers.append(PseudoConv3d(width, width))
        self.norm_out = nn.GroupNorm(32, widths[-1])
        self.conv_out = PseudoConv3d(widths[-1], 3)

    def forward(self, latent_BCTRS: Tensor) -> Tensor:
        x_BCTRS = self.mid1(self.conv_in(latent_BCTRS))
        x_BCTRS = self.mid2(self.mid_temporal(self.mid_spatial(x_BCTRS)))
        for i, level in enumerate(self.levels):
            x_BCTRS = level(x_BCTRS)
            if i < len(self.upsamplers):
                x_BCTRS = self.upsamplers[i](F.interpolate(x_BCTRS, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x_BCTRS)))


# ---- builders ----

TOKEN_LET = {
    "b": "batch",
    "t": "frames//8",
    "h": "height//16",
    "w": "width//16",
    "s": "text_tokens",
    "s2": "glyph_tokens",
}
VIDEO = {
    "batch": Size(1, doc="videos made together"),
    "frames": Size(256, step=8, least=16, most=2048, doc="frames, 16 a second"),
    "height": Size(768, step=16, least=32, most=2048, doc="pixels before the upsampler"),
    "width": Size(768, step=16, least=32, most=2048, doc="pixels before the upsampler"),
}
PIXELS = Size(1088, step=16, least=32, most=4096, doc="pixels after the upsampler")
TEXTS = {
    "text_tokens": Size(256, least=8, most=256, doc="tokens of UL2 and of MetaCLIP, padding included"),
    "glyph_tokens": Size(128, least=8, doc="bytes of the text to be drawn, for ByT5, padding included"),
}


def text_states(config: DiTConfig, batch: int, text_tokens: int, glyph_tokens: int) -> list[Tensor]:
    """What the three text encoders hand over."""
    lengths = (text_tokens, glyph_tokens, text_tokens)
    return [activations(batch, m, width) for m, width in zip(lengths, config.text_dims, strict=True)]


@sizes(let=TOKEN_LET, **VIDEO, **TEXTS)
def denoiser(  # one argument more than five: these are the sizes of the forward
    batch: int = 1,
    frames: int = 256,
    height: int = 768,
    width: int = 768,
    text_tokens: int = 256,
    glyph_tokens: int = 128,
) -> Built:
    """The 30B transformer over the latent video."""
    latent = activations(batch, LATENT_CHANNELS, frames // TAE_STRIDE, height // TAE_STRIDE, width // TAE_STRIDE)
    texts = text_states(MOVIE_GEN, batch, text_tokens, glyph_tokens)
    return MovieGenTransformer(MOVIE_GEN).eval(), (latent, activations(batch), texts), {}


@sizes(
    let={**TOKEN_LET, "t": "frames"},
    batch=Size(1),
    frames=Size(WINDOW, least=2, most=256),
    height=PIXELS,
    width=PIXELS,
    **TEXTS,
)
def upsampler(  # one argument more than five: these are the sizes of the forward
    batch: int = 1,
    frames: int = WINDOW,
    height: int = 1088,
    width: int = 1088,
    text_tokens: int = 256,
    glyph_tokens: int = 128,
) -> Built:
    """The 7B upsampler over one window of frames, each encoded by itself; noise and input side by side."""
    latent = activations(batch, UPSAMPLER.in_channels, frames, height // TAE_STRIDE, width // TAE_STRIDE)
    texts = text_states(UPSAMPLER, batch, text_tokens, glyph_tokens)
    return MovieGenTransformer(UPSAMPLER).eval(), (latent, activations(batch), texts), {}


@sizes(let={"b": "batch", "t": "frames//8", "h": "height//8", "w": "width//8"}, **VIDEO)
def tae_decode(batch: int = 1, frames: int = 256, height: int = 768, width: int = 768) -> Built:
    """Latent video to pixels."""
    latent = activations(batch, LATENT_CHANNELS, frames // TAE_STRIDE, height // TAE_STRIDE, width // TAE_STRIDE)
    return TAEDecoder().eval(), (latent,), {}


@sizes(let={"b": "batch", "h": "height//8", "w": "width//8"}, batch=Size(1), height=PIXELS, width=PIXELS)
def frame_encode(batch: int = 1, height: int = 1088, width: int = 1088) -> Built:
    """The upsampler's image autoencoder: each frame by itself."""
    vae = Call(vae=diffusers_model(*component("sd3-medium", "vae")), method="encode")
    return vae, (activations(batch, 3, height, width),), {"return_dict": False}


# ---- text encoders and recipe ----

UL2 = {
    "d_model": 4096,
    "d_ff": 16384,
    "d_kv": 256,
    "num_heads": 16,
    "num_layers": 32,
    "feed_forward_proj": "gated-silu",
    "vocab_size": 32128,
}
METACLIP_H14 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "max_position_embeddings": 256,
    "vocab_size": 49408,
    "hidden_act": "gelu",
}
UPSAMPLED = {
    "height": "ceil(height*45, 512)*16",
    "width": "ceil(width*45, 512)*16",
}  # x 1080/768, to whole tokens
EACH_FRAME = {"batch": "batch*frames", **UPSAMPLED}
NOTES = (
    "Published: 48 layers, width 6144, SwiGLU of 16384, 48 heads of 128, full bidirectional attention, "
    "cross-attention in every block, patches of 1x2x2 on 16 latent channels, autoencoder strides 8x8x8, "
    "learned factorized positions added before every block, 50 steps.",
    "Timestep modulation is one shared projection plus a table per block: a projection per block, as in "
    "DiT, would add 11 billion parameters to the published 30. The transformer counts 29.4 billion.",
    "The seed's table (200.3 TFLOP a layer) leaves cross-attention out; with it a layer counts 212.8 TFLOP.",
    "Two forwards a step (text guidance), assumed; the seed counts one.",
    "Text: the encoders of UL2 20B, MetaCLIP H/14 lengthened to 256 tokens and ByT5-Small, each run once "
    "(the empty prompt's states are constants). The paper names the three encoders; which ByT5 and "
    "MetaCLIP, and 256 tokens for UL2 and 128 bytes for ByT5, are assumptions.",
    "Temporal autoencoder: the decoder of Stable Diffusion's image autoencoder (128, 256, 512, 512 "
    "channels), each convolution followed by one over three frames and its attention by attention over "
    "frames, as the paper describes; channels are an assumption, and so is decoding the video in one "
    "piece instead of in tiles of time.",
    "Upsampler to 1080 p: the paper gives 7 billion parameters, 20 steps and the same architecture on "
    "frames that an image autoencoder encoded singly. Assumed: 26 layers of width 4096 with SwiGLU of "
    "11008 (7.2 billion), noise and input joined as channels, one forward a step, windows of 14 frames "
    "that do not overlap (in the paper they do), SD3's 16-channel autoencoder, sides rounded up to 16 "
    "pixels (768 becomes 1088).",
)


def recipes() -> tuple[Recipe, ...]:
    """The 30B text-to-video pipeline."""
    parts = (
        Part("text_encoder_ul2", t5_encoder("T5EncoderModel", UL2)),
        Part("text_encoder_byt5", t5_encoder(*BYT5_SMALL), {"text_tokens": "glyph_tokens"}),
        Part("text_encoder_metaclip", clip_text("CLIPTextModel", METACLIP_H14)),
        Part("denoise", denoiser, repeat="steps*guidance"),
        Part("tae_decode", tae_decode),
        Part("upsampler_encode", frame_encode, EACH_FRAME, weights="frame_autoencoder"),
        Part(
            "upsampler",
            upsampler,
            {"frames": str(WINDOW), **UPSAMPLED},
            repeat=f"upsampler_steps*ceil(frames, {WINDOW})",
        ),
        Part(
            "upsampler_decode",
            kl_decode(*component("sd3-medium", "vae")),
            EACH_FRAME,
            weights="frame_autoencoder",
        ),
    )
    params = {
        **VIDEO,
        "steps": Size(50, doc="denoising steps"),
        "guidance": Size(2, least=1, most=2, doc="forwards per step"),
        "upsampler_steps": Size(20, doc="denoising steps of the upsampler"),
        **TEXTS,
    }
    return (
        Recipe(
            name="movie-gen-30b",
            title="Movie Gen 30B Video",
            params=params,
            parts=parts,
            item="video",
            notes=NOTES,
            source=(
                "arXiv:2410.13720",
                "blog post 'How fast is Meta Movie Gen?', 2024-10-20",
                "https://huggingface.co/google/ul2 (config.json)",
                "https://huggingface.co/google/byt5-small (config.json)",
                "https://huggingface.co/facebook/metaclip-h14-fullcc2.5b (config.json)",
            ),
        ),
    )
