"""Make-A-Video: 16 small frames, 76 by interpolation, super-resolution over all of them, and once more frame by frame.

The networks and what is assumed of them are `frameroof.models.make_a_video`'s.

Shape letters: B batch, C channels, T frames, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import make_a_video as model
from ...models.common import transformers_model
from ...models.imagen import EfficientUNet, UNetConfig
from ...profiler import stage
from .common import Pipeline, denoise, like, loops, noise, prompt, with_and_without
from .imagen import beside, narrow_unet, on_time
from .stable_diffusion import reduced_clip


class MakeAVideo(nn.Module):
    """Text to video; the answer is (B, T, C, R, S)."""

    def __init__(self, clip: Mapping[str, Any], unets: Mapping[str, UNetConfig]) -> None:
        super().__init__()
        self.text_encoder = transformers_model("CLIPTextModel", clip)
        *videos, image = unets
        self.videos = nn.ModuleDict({name: EfficientUNet(unets[name], model.VIDEO_LAYERS) for name in videos})
        self.image = EfficientUNet(unets[image])
        self.register_buffer("empty_text", torch.randn(1, 1, clip["hidden_size"]))  # states of no prompt, a constant

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, frames, pixels = sizes["batch"], sizes["frames"], (sizes["height"], sizes["width"])
        ids_BM = prompt(self, batch, sizes["text_tokens"], self.text_encoder.config.vocab_size)
        with stage("text_encoder"):
            text_BMD = self.text_encoder(ids_BM).last_hidden_state
        guidance = sizes["guidance"]
        text_BMD = with_and_without(text_BMD, self.empty_text, guidance)
        small, middle = ([n // factor for n in pixels] for factor in (12, 3))

        x_BCTRS = noise(self, batch, 3, frames, *small)
        x_BCTRS = denoise("denoise", on_time(self.videos["denoise"]), x_BCTRS, text_BMD, sizes["steps"], guidance)

        interpolate = on_time(beside(self.videos["interpolate"], self.known(x_BCTRS)))
        frames = 5 * frames - 4
        x_BCTRS = noise(self, batch, 3, frames, *small)
        x_BCTRS = denoise("interpolate", interpolate, x_BCTRS, text_BMD, sizes["interpolation_steps"], guidance)

        coarse_BCTRS = F.interpolate(x_BCTRS, (frames, *middle), mode="nearest")
        refine = on_time(beside(self.videos["super_resolution_256"], coarse_BCTRS))
        x_BCTRS = noise(self, batch, 3, frames, *middle)
        x_BCTRS = denoise("super_resolution_256", refine, x_BCTRS, text_BMD, sizes["sr256_steps"], guidance)

        coarse_BCRS = F.interpolate(x_BCTRS.transpose(1, 2).flatten(0, 1), pixels, mode="bilinear")
        refine = on_time(beside(self.image, coarse_BCRS))
        text_BMD = text_BMD.repeat_interleave(frames, dim=0)
        x_BCRS = noise(self, batch * frames, 3, *pixels)
        x_BCRS = denoise("super_resolution_768", refine, x_BCRS, text_BMD, sizes["sr768_steps"], guidance)
        return x_BCRS.unflatten(0, (batch, frames))

    def known(self, x_BCTRS: Tensor) -> Tensor:
        """What interpolation is given: every fifth frame of the longer video, zeros between, and a mask."""
        batch, channels, frames, rows, columns = x_BCTRS.shape
        with like(self):
            given = torch.zeros(batch, channels + 1, 5 * frames - 4, rows, columns)
        given[:, :channels, ::5] = x_BCTRS
        given[:, channels, ::5] = 1
        return given


STEPS = {
    "denoise": "steps",
    "interpolate": "interpolation_steps",
    "super_resolution_256": "sr256_steps",
    "super_resolution_768": "sr768_steps",
}
FULL = dict(zip(STEPS, (model.DECODER, model.INTERPOLATION, model.SR_256, model.SR_768), strict=True))


def build(reduced: bool) -> MakeAVideo:
    if not reduced:
        return MakeAVideo(model.CLIP_L, FULL)
    clip = reduced_clip(model.CLIP_L, heads=2)
    unets = {name: narrow_unet(unet, clip["hidden_size"]) for name, unet in FULL.items()}
    # 24 channels (an eighth) would not be whole heads of 64 at the lowest level
    unets |= {name: narrow_unet(FULL[name], clip["hidden_size"], dim=32) for name in list(STEPS)[2:]}
    return MakeAVideo(clip, unets)


PIPELINE = Pipeline(
    workload="make-a-video",
    build=build,
    reduced={"frames": 3, "height": 192, "width": 192},
    least={"height": 96, "width": 96},
    steps={"steps": 2, "interpolation_steps": 1, "sr256_steps": 1, "sr768_steps": 1},
    stages=loops(**STEPS),
    sides=(192, 384, 768),
    notes=(
        "Reduced: decoder and interpolation 64 to 256 channels wide, super-resolution 32 to 192, heads of 64, 4 "
        "norm groups, CLIP 128 wide with 2 of 12 layers; 3 frames that become 11, stages of 16, 64 and 192 pixels, "
        "named as those of the full model.",
        "Sampler: DDIM.",
    ),
)
