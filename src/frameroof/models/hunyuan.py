"""HunyuanVideo: Llama and CLIP prompts, a joint-attention transformer, a VAE decoded in spans of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .common import Built, Call, Components, activations, diffusers_model
from .text_encoders import encoder_parts
from .video import NO_TILING, Grid, Setting, listed, parameters, setting_of

BASE = Setting(width=1280, height=720, frames=129, steps=50, guidance=1, text_tokens=256)
GRID = Grid(least_frames=17)
TEMPLATE_TOKENS = 95  # the instruction before every prompt; cut off after the Llama
SPAN, STRIDE = 5, 3  # latent frames that the VAE decodes together, and from one span's start to the next
# The text half of llava-llama-3-8b-v1_1, whose shape the catalogue's file names without listing it.
LLAMA_3_8B = (
    "LlamaModel",
    {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128320,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
    },
)
NOTES = (
    NO_TILING,
    "Guidance is embedded (distilled): one forward per step; set guidance=2 for a true negative prompt.",
    f"The prompt's template adds {TEMPLATE_TOKENS} tokens to the Llama's input; all its layers run.",
    "Prompts are padded to text_tokens; attention is counted over the padding, which diffusers masks.",
    f"The VAE decodes {SPAN} latent frames at a time, {STRIDE} further each time (diffusers' "
    "use_framewise_decoding, on by default); a last span of one latent frame is counted as two, "
    "and blending the spans is not counted.",
)


def transformer(cls: str, config: Mapping[str, Any]) -> Builder:
    """One forward of the denoiser."""

    @sizes(
        let={
            "b": "batch",
            "t": "(frames-1)//4 + 1",
            "h": "height//16",
            "w": "width//16",
            "s": "text_tokens",
        },
        **GRID.video(129, 720, 1280),
        text_tokens=Size(256, least=8),
    )
    def build(batch: int = 1, frames: int = 129, height: int = 720, width: int = 1280, text_tokens: int = 256) -> Built:
        t, h, w = (frames - 1) // 4 + 1, height // 8, width // 8
        inputs = {
            "hidden_states": activations(batch, config.get("in_channels", 16), t, h, w),
            "timestep": torch.zeros(batch, dtype=torch.int64),
            "encoder_hidden_states": activations(batch, text_tokens, config.get("text_embed_dim", 4096)),
            "encoder_attention_mask": torch.ones(batch, text_tokens, dtype=torch.int64),
            "pooled_projections": activations(batch, config.get("pooled_projection_dim", 768)),
            "return_dict": False,
        }
        if config.get("guidance_embeds", True):
            inputs["guidance"] = activations(batch)
        return diffusers_model(cls, config), (), inputs

    return build


def vae_decode_span(cls: str, config: Mapping[str, Any]) -> Builder:
    """One span of latent frames to pixels; attention over all its positions, later frames masked."""

    @sizes(
        let={"b": "batch", "t": "latent_frames", "h": "height//8", "w": "width//8"},
        batch=Size(1),
        latent_frames=Size(SPAN, least=2, doc="latent frames decoded together"),
        height=Size(720, 8, least=32),
        width=Size(1280, 8, least=32),
    )
    def build(batch: int = 1, latent_frames: int = SPAN, height: int = 720, width: int = 1280) -> Built:
        z_BCTHW = activations(batch, config.get("latent_channels", 16), latent_frames, height // 8, width // 8)
        vae = diffusers_model(cls, config)
        vae.use_framewise_decoding = False  # this is one span; the recipe's loop goes over them
        return Call("decode", vae=vae), (z_BCTHW,), {"return_dict": False}

    return build


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """A HunyuanVideo pipeline of diffusers from its components."""
    latent_frames = "((frames-1)//4 + 1)"
    decode = Part(
        "vae_decode",
        vae_decode_span(*components["vae"]),
        {"latent_frames": f"max(2, min({SPAN}, {latent_frames} - {STRIDE}*i))"},
        loop=("i", f"ceil({latent_frames}, {STRIDE})"),
    )
    return setting.recipe(
        name,
        parameters(setting, GRID),
        parts=(
            *encoder_parts(components, f"text_tokens + {TEMPLATE_TOKENS}"),
            Part("denoise", transformer(*components["transformer"]), repeat="steps*guidance"),
            decode,
        ),
        notes=NOTES,
    )


PIPELINES = {"HunyuanVideoPipeline": recipe}
COMPONENTS = {"HunyuanVideoTransformer3DModel": transformer, "AutoencoderKLHunyuanVideo": vae_decode_span}


def recipes() -> tuple[Recipe, ...]:
    """HunyuanVideo; in the catalogue's file ``text_encoder`` is the CLIP, the pipeline's second."""
    name = "hunyuanvideo"
    components = listed(name, text_encoder_2="text_encoder") | {"text_encoder": LLAMA_3_8B}
    return (recipe(name, components, setting_of(name, "HunyuanVideo", BASE)),)
