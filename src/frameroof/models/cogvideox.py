"""CogVideoX 1.0 and 1.5: text and video in one sequence, a VAE that decodes two latent frames at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..workload.recipe import Builder, Recipe, Size, sizes
from .common import Built, Call, Components, activations, diffusers_model
from .video import NO_TILING, Grid, Setting, listed, parameters, setting_of, stages

BASE = Setting(width=720, height=480, frames=49, steps=50, guidance=2, text_tokens=226)
TITLES = {
    "cogvideox-2b": "CogVideoX 2B",
    "cogvideox-5b": "CogVideoX 5B",
    "cogvideox1.5-5b": "CogVideoX 1.5 5B",
}
# 8k+1 frames are an odd number of latent frames, which the VAE decodes as three, then two at a time.
GRID = Grid(frame_step=8, least_frames=17)
WHOLE_CONVOLUTIONS = (
    "Convolutions whose input exceeds 2 GB are counted whole; diffusers runs them in slices of time "
    "(the same sums; the frames at the seams are read twice)."
)


def transformer(cls: str, config: Mapping[str, Any]) -> Builder:
    """One forward of the denoiser."""
    head_dim = config.get("attention_head_dim", 64)
    rotary = config.get("use_rotary_positional_embeddings", False)
    pairs = config.get("patch_size_t")  # CogVideoX 1.5 joins frames in pairs, after one more if they are odd
    frames_let = "(frames-1)//8 + 1" if pairs else "(frames-1)//4 + 1"

    @sizes(
        let={"b": "batch", "t": frames_let, "h": "height//16", "w": "width//16", "s": "text_tokens"},
        **GRID.video(49, 480, 720),
        text_tokens=Size(226, least=8),
    )
    def build(batch: int = 1, frames: int = 49, height: int = 480, width: int = 720, text_tokens: int = 226) -> Built:
        t, h, w = (frames - 1) // 4 + 1, height // 8, width // 8
        t += t % 2 if pairs else 0
        inputs = {
            "hidden_states": activations(batch, t, config.get("in_channels", 16), h, w),
            "encoder_hidden_states": activations(batch, text_tokens, config.get("text_embed_dim", 4096)),
            "timestep": torch.zeros(batch, dtype=torch.int64),
            "return_dict": False,
        }
        if config.get("ofs_embed_dim"):
            inputs["ofs"] = torch.zeros(1)
        own = dict(config)
        if rotary:
            tokens = t // (pairs or 1) * (h // 2) * (w // 2)
            cos_ND, sin_ND = (torch.empty(tokens, head_dim, dtype=torch.float32) for _ in range(2))
            inputs["image_rotary_emb"] = (cos_ND, sin_ND)
        else:  # the table of positions is made once for one size; make it for this one
            own |= {"sample_height": h, "sample_width": w, "sample_frames": frames}
            own["max_text_seq_length"] = text_tokens
        return diffusers_model(cls, own), (), inputs

    return build


def vae_decode(cls: str, config: Mapping[str, Any]) -> Builder:
    """Latents to pixels: three latent frames, then two at a time beside a cache of past features."""

    @sizes(
        let={"b": "batch", "t": "(frames-1)//8", "h": "height//8", "w": "width//8"},
        **replace(GRID, pixel_step=8).video(49, 480, 720),
    )
    def build(batch: int = 1, frames: int = 49, height: int = 480, width: int = 720) -> Built:
        z_BCTHW = activations(batch, config.get("latent_channels", 16), (frames - 1) // 4 + 1, height // 8, width // 8)
        vae = whole_convolutions(diffusers_model(cls, config))
        return Call("decode", vae=vae), (z_BCTHW,), {"return_dict": False}

    return build


def whole_convolutions(vae: nn.Module) -> nn.Module:
    """Undo diffusers' slicing of convolutions above 2 GB, which makes the structure depend on the size."""
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXSafeConv3d

    for module in vae.modules():
        if type(module) is CogVideoXSafeConv3d:
            module.__class__ = nn.Conv3d
    return vae


def recipe(name: str, components: Components, setting: Setting = BASE) -> Recipe:
    """A CogVideoX pipeline of diffusers from its components."""
    notes = [NO_TILING, WHOLE_CONVOLUTIONS, "Prompts are padded to text_tokens and attended without a mask."]
    if components["transformer"][1].get("patch_size_t"):
        notes.append("An odd number of latent frames is padded by one for the transformer, not for the VAE.")
    parts = stages(components, transformer(*components["transformer"]), vae_decode(*components["vae"]))
    return setting.recipe(name, parameters(setting, GRID), parts=parts, notes=tuple(notes))


PIPELINES = {"CogVideoXPipeline": recipe}
COMPONENTS = {"CogVideoXTransformer3DModel": transformer, "AutoencoderKLCogVideoX": vae_decode}


def recipes() -> tuple[Recipe, ...]:
    """Every CogVideoX model of the catalogue."""
    return tuple(recipe(name, listed(name), setting_of(name, title, BASE)) for name, title in TITLES.items())
