"""What the video families share: a pipeline's sizes, and its defaults read from the sourced configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..workload.recipe import Builder, Part, Size, sizes
from .common import (
    Built,
    Components,
    Defaults,
    activations,
    component,
    configuration,
    provenance,
    transformers_model,
)
from .text_encoders import encoder_parts

NO_TILING = "The VAE runs without spatial tiling and without slicing, as it does by default."


@dataclass(frozen=True, kw_only=True)
class Setting(Defaults):
    """What a text- or image-to-video pipeline is asked for."""

    item = "video"
    width: int
    height: int
    frames: int
    text_tokens: int = 256


@dataclass(frozen=True)
class Grid:
    """Which sizes a family admits: frames are offset + k*step, pixels are a multiple of one step."""

    frame_step: int = 4
    frame_offset: int = 1
    least_frames: int = 5
    pixel_step: int = 16
    least_pixels: int = 32

    def frames(self, default: int) -> Size:
        return Size(default, self.frame_step, self.frame_offset, self.least_frames, doc="frames of the video")

    def height(self, default: int) -> Size:
        return Size(default, self.pixel_step, least=self.least_pixels, doc="rows of pixels")

    def width(self, default: int) -> Size:
        return Size(default, self.pixel_step, least=self.least_pixels, doc="columns of pixels")

    def video(self, frames: int, height: int, width: int) -> dict[str, Size]:
        """The sizes that every stage on whole videos has."""
        return {
            "batch": Size(1, doc="videos made together"),
            "frames": self.frames(frames),
            "height": self.height(height),
            "width": self.width(width),
        }


def parameters(setting: Setting, grid: Grid) -> dict[str, Size]:
    """The parameters of a whole text- or image-to-video pipeline."""
    return {
        **grid.video(setting.frames, setting.height, setting.width),
        "steps": Size(setting.steps, doc="denoising steps"),
        "guidance": Size(
            setting.guidance, least=1, most=2, doc="forwards per denoising step; 2 = classifier-free guidance"
        ),
        "text_tokens": Size(setting.text_tokens, least=8, doc="tokens of a prompt, padding included"),
    }


def setting_of(model: str, title: str, base: Setting) -> Setting:
    """`base` with the defaults, notes and sources that the catalogue's file of `model` states."""
    defaults = configuration(model)["defaults"]
    stated: dict[str, Any] = {}
    if clip := re.search(r"(\d+)x(\d+)x(\d+)", str(defaults.get("resolution", ""))):
        stated |= dict(zip(("width", "height", "frames"), map(int, clip.groups()), strict=True))
    if steps := re.search(r"\d+", str(defaults.get("steps", ""))):
        stated["steps"] = int(steps.group())
    for ours, theirs in (("guidance", "forwards_per_step"), ("text_tokens", "text_tokens")):
        if isinstance(defaults.get(theirs), int):
            stated[ours] = defaults[theirs]
    return replace(base, title=title, source=provenance(model), **stated)


def listed(model: str, **renamed: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """The components that the catalogue's file of `model` lists whole, under a pipeline's names."""
    roles = configuration(model)["components"]
    names = {role: role for role in roles} | renamed
    whole = {name: role for name, role in names.items() if isinstance(roles[role]["config"], Mapping)}
    return {name: component(model, role) for name, role in whole.items()}


def stages(components: Components, denoise: Builder, decode: Builder) -> tuple[Part, ...]:
    """The plain text-to-video pipeline: its text encoders, denoising with guidance, decoding all frames."""
    return (
        *encoder_parts(components),
        Part("denoise", denoise, repeat="steps*guidance"),
        Part("vae_decode", decode),
    )


def clip_vision(cls: str, config: Mapping[str, Any]) -> Builder:
    """A CLIP vision tower on one picture at its own size; hidden states are kept, as pipelines ask."""
    side = config.get("image_size", 224)

    @sizes(let={"b": "batch"}, batch=Size(1))
    def build(batch: int = 1) -> Built:
        pixels_BCHW = activations(batch, 3, side, side)
        return transformers_model(cls, config), (pixels_BCHW,), {"output_hidden_states": True}

    return build
