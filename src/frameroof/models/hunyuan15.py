"""HunyuanVideo 1.5: a Qwen2.5-VL and a ByT5 prompt, 54 joint-attention blocks, a VAE of 16x16x4.

Its class sorts tokens by their masks and builds one mask row by row; both need values or run for hours
on meta tensors. `AllTokensValid` and `_masked_at_once` compute the same without either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .common import Built, Call, Components, activations, diffusers_model
from .text_encoders import BYT5_SMALL, causal_trunk, t5_encoder
from .video import NO_TILING, Grid, Setting, listed, parameters, setting_of

NAME = "hunyuanvideo-1.5"
BASE = Setting(width=1280, height=720, frames=121, steps=50, guidance=2, text_tokens=1000)
GRID = Grid(pixel_step=16, least_frames=13, least_pixels=64)
LET = {"b": "batch", "t": "(frames-1)//4 + 1", "h": "height//16", "w": "width//16"}
TEMPLATE_TOKENS = 108  # the system message before every prompt; cut off after the encoder
GLYPH_TOKENS = 256
IMAGE_TOKENS = 729  # of a SigLIP picture; all zero for text-to-video, but in the sequence
# What the catalogue's file names without listing it: the language half of Qwen2.5-VL-7B.
QWEN_TRUNK = (
    "Qwen2_5_VLTextModel",
    {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 128000,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [16, 24, 24]},
    },
)
NOTES = (
    NO_TILING,
    "Untiled at 720p the VAE's mask over all latent positions takes 25 GB: tile before running it for real.",
    f"The prompt's template adds {TEMPLATE_TOKENS} tokens to the Qwen2.5-VL input; all its layers run.",
    f"{GLYPH_TOKENS} glyph tokens (ByT5-small, run once per prompt) and {IMAGE_TOKENS} image tokens, zero "
    "for text-to-video, are part of the sequence; attention is dense over all of it, padding included.",
    "The optional sparse attention (SSTA) is off, so its users do fewer operations than counted here.",
)


class AllTokensValid(nn.Module):
    """HunyuanVideo15Transformer3DModel.forward where no token is padding, so nothing is sorted by its mask.

    B batch, N latent tokens, S condition tokens, C channels.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        latents_BCTHW: torch.Tensor,
        timestep_B: torch.Tensor,
        text_BSC: torch.Tensor,
        glyphs_BSC: torch.Tensor,
        image_BSC: torch.Tensor,
    ) -> torch.Tensor:
        model = self.transformer
        _, _, frames, height, width = latents_BCTHW.shape
        rotary = model.rope(latents_BCTHW)
        temb_BC = model.time_embed(timestep_B)
        x_BNC = model.x_embedder(latents_BCTHW)

        text_mask_BS = torch.ones(text_BSC.shape[:2], dtype=torch.bool)
        text_BSC = self._typed(model.context_embedder(text_BSC, timestep_B, text_mask_BS), 0)
        glyphs_BSC = self._typed(model.context_embedder_2(glyphs_BSC), 1)
        image_BSC = self._typed(model.image_embedder(image_BSC), 2)
        conditions_BSC = torch.cat((image_BSC, glyphs_BSC, text_BSC), dim=1)

        mask_BS = torch.ones(conditions_BSC.shape[:2], dtype=torch.bool)
        for block in model.transformer_blocks:
            x_BNC, conditions_BSC = block(x_BNC, conditions_BSC, temb_BC, mask_BS, rotary)

        x_BNC = model.proj_out(model.norm_out(x_BNC, temb_BC))
        p_t, p = model.config.patch_size_t, model.config.patch_size
        x = x_BNC.unflatten(1, (frames // p_t, height // p, width // p)).unflatten(-1, (-1, p_t, p, p))
        return x.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _typed(self, tokens_BSC: torch.Tensor, kind: int) -> torch.Tensor:
        """Add the learned mark of a kind of condition: 0 text, 1 glyphs, 2 image."""
        kinds_BS = torch.full(tokens_BSC.shape[:2], kind, dtype=torch.int64)
        return tokens_BSC + self.transformer.cond_type_embed(kinds_BS)


def _masked_at_once(
    n_frame: int, n_hw: int, dtype: torch.dtype, device: torch.device, batch_size: int | None = None
) -> torch.Tensor:
    """HunyuanVideo15AttnBlock.prepare_causal_attention_mask, without one write per row."""
    frame_N = torch.arange(n_frame * n_hw, device=device) // n_hw
    hidden_NN = frame_N[None, :] > frame_N[:, None]
    mask_NN = torch.zeros(hidden_NN.shape, dtype=dtype, device=device).masked_fill(hidden_NN, float("-inf"))
    return mask_NN if batch_size is None else mask_NN.unsqueeze(0).expand(batch_size, -1, -1)


def transformer(cls: str, config: Mapping[str, Any]) -> Builder:
    """One forward of the denoiser."""

    # s counts every condition token: prompt, glyphs and image.
    @sizes(
        let=LET | {"s": f"text_tokens + {GLYPH_TOKENS + IMAGE_TOKENS}"},
        **GRID.video(121, 720, 1280),
        text_tokens=Size(1000, least=8),
    )
    def build(
        batch: int = 1, frames: int = 121, height: int = 720, width: int = 1280, text_tokens: int = 1000
    ) -> Built:
        t, h, w = (frames - 1) // 4 + 1, height // 16, width // 16
        inputs = (
            activations(batch, config["in_channels"], t, h, w),
            torch.zeros(batch),
            activations(batch, text_tokens, config["text_embed_dim"]),
            activations(batch, GLYPH_TOKENS, config["text_embed_2_dim"]),
            activations(batch, IMAGE_TOKENS, config["image_embed_dim"]),
        )
        return AllTokensValid(diffusers_model(cls, config)), inputs, {}

    return build


def vae_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """Latents to pixels, all frames at once; attention over all positions, later frames masked."""

    @sizes(let=LET, **GRID.video(121, 720, 1280))
    def build(batch: int = 1, frames: int = 121, height: int = 720, width: int = 1280) -> Built:
        from diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15 import HunyuanVideo15AttnBlock

        z_BCTHW = activations(batch, config["latent_channels"], (frames - 1) // 4 + 1, height // 16, width // 16)
        vae = diffusers_model(cls, config)
        for module in vae.modules():
            if isinstance(module, HunyuanVideo15AttnBlock):
                module.prepare_causal_attention_mask = _masked_at_once
        return Call("decode", vae=vae), (z_BCTHW,), {"return_dict": False}

    return build


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """A HunyuanVideo 1.5 text-to-video pipeline of diffusers from its components."""
    parts = (
        Part(
            "text_encoder",
            causal_trunk(*components["text_encoder"]),
            {"text_tokens": f"text_tokens + {TEMPLATE_TOKENS}"},
            repeat="guidance",
        ),
        Part(
            "text_encoder_2",
            t5_encoder(*components["text_encoder_2"]),
            {"text_tokens": str(GLYPH_TOKENS)},
            repeat="guidance",
        ),
        Part("denoise", transformer(*components["transformer"]), repeat="steps*guidance"),
        Part("vae_decode", vae_decode(*components["vae"])),
    )
    return setting.recipe(name, parameters(setting, GRID), parts=parts, notes=NOTES)


PIPELINES = {"HunyuanVideo15Pipeline": recipe}
COMPONENTS = {"HunyuanVideo15Transformer3DModel": transformer, "AutoencoderKLHunyuanVideo15": vae_decode}


def recipes() -> tuple[Recipe, ...]:
    """HunyuanVideo 1.5 at 720p; the catalogue's file lists its transformer at two resolutions."""
    components = {
        "text_encoder": QWEN_TRUNK,
        "text_encoder_2": BYT5_SMALL,
    } | listed(NAME, transformer="transformer@720p")
    return (recipe(NAME, components, setting_of(NAME, "HunyuanVideo 1.5", BASE)),)
