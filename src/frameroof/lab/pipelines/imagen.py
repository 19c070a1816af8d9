"""Imagen: T5, a diffusion model at 64 pixels, and two that double its resolution twice each, all on pixels.

Golden et al. write super-resolution to 768 and 1024; Imagen's own paper, which is followed here, 256 and 1024.

Shape letters: B batch, C channels, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import imagen
from ...models.common import component, transformers_model
from ...models.imagen import EfficientUNet, UNetConfig
from ...profiler import stage
from .common import NARROW, Pipeline, denoise, loops, narrow, noise, prompt, with_and_without


class Imagen(nn.Module):
    """Text to image."""

    def __init__(self, t5: Mapping[str, Any], unets: Mapping[str, UNetConfig]) -> None:
        super().__init__()
        self.text_encoder = transformers_model("T5EncoderModel", t5)
        self.stages = nn.ModuleDict({name: EfficientUNet(config) for name, config in unets.items()})
        self.register_buffer("empty_text", torch.randn(1, 1, t5["d_model"]))  # states of no prompt, a constant

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, pixels = sizes["batch"], (sizes["height"], sizes["width"])
        ids_BM = prompt(self, batch, sizes["text_tokens"], self.text_encoder.config.vocab_size)
        with stage("text_encoder"):
            text_BMD = self.text_encoder(ids_BM).last_hidden_state
        guidance = sizes["guidance"]
        text_BMD = with_and_without(text_BMD, self.empty_text, guidance)

        image_BCRS = None
        for (name, unet), factor, steps in zip(self.stages.items(), (16, 4, 1), STEPS.values(), strict=True):
            side = [n // factor for n in pixels]
            forward = unet if image_BCRS is None else beside(unet, F.interpolate(image_BCRS, side, mode="bilinear"))
            x_BCRS = noise(self, batch, 3, *side)
            image_BCRS = denoise(name, on_time(forward), x_BCRS, text_BMD, sizes[steps], guidance)
        assert image_BCRS is not None
        return image_BCRS


Forward = Callable[[Tensor, Tensor, Tensor], Tensor]


def beside(unet: Forward, given_BCRS: Tensor) -> Forward:
    """A U-Net that sees what it refines as more channels of its input."""
    return lambda x_BCRS, time_B, text_BMD: unet(joined(x_BCRS, given_BCRS), time_B, text_BMD)


def joined(x: Tensor, given: Tensor) -> Tensor:
    """Channels of `given` behind those of `x`, whose batch may be twice as large."""
    return torch.cat([x, torch.cat([given] * (x.shape[0] // given.shape[0]))], dim=1)


def on_time(unet: Forward) -> Forward:
    """A U-Net that takes the sampler's timestep, one number for the whole batch."""
    return lambda x, timestep, text: unet(x, timestep.to(x).expand(x.shape[0]), text)


STEPS = {"denoise": "steps", "super_resolution_256": "sr256_steps", "super_resolution_1024": "sr1024_steps"}
FULL = dict(zip(STEPS, (imagen.BASE, imagen.SR_256, imagen.SR_1024), strict=True))


def narrow_unet(config: UNetConfig, text_dim: int, **changed: Any) -> UNetConfig:
    """An eighth of the width and of the norm groups; heads as wide as before."""
    smaller = {"dim": config.dim // NARROW, "context_dim": config.context_dim // NARROW, "norm_groups": 4}
    return replace(config, text_dim=text_dim, **{**smaller, **changed})


def build(reduced: bool) -> Imagen:
    _, t5 = component("imagen", "text_encoder")
    if not reduced:
        return Imagen(t5, FULL)
    t5 = narrow(t5, num_layers=3)
    return Imagen(t5, {name: narrow_unet(unet, t5["d_model"]) for name, unet in FULL.items()})


PIPELINE = Pipeline(
    workload="imagen",
    build=build,
    steps={"steps": 2, "sr256_steps": 1, "sr1024_steps": 1},
    stages=loops(**STEPS),
    notes=(
        "Reduced: base 64 to 256 channels wide, super-resolution 16 to 128, an eighth of the heads and norm groups, T5 "
        "512 wide with 3 of 24 layers; the published stages of 64, 256 and 1024 pixels. At other sizes the stages keep "
        "these names and make a sixteenth, a quarter and the whole of the picture's side.",
        "Sampler: DDIM for Imagen's DDPM; the low-resolution picture is joined without added noise.",
    ),
)
