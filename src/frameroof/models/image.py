"""What the text-to-image families share: a pipeline's defaults, its parameters, and a picture cut into patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..workload.recipe import B, Size, sizes
from .common import Defaults


@dataclass(frozen=True, kw_only=True)
class Preset(Defaults):
    """What a text-to-image pipeline is asked for; a user's folder brings none of it."""

    item = "image"
    side: int = 0  # pixels; 0 stands for what the configuration implies


def parameters(preset: Preset, pixels: Size, text_tokens: Size | None = None) -> dict[str, Size]:
    """The parameters of a whole text-to-image pipeline; `text_tokens` where the user may choose them."""
    params = {
        "batch": Size(1, doc="images made together"),
        "height": pixels,
        "width": pixels,
        "steps": Size(preset.steps, doc="denoising steps"),
        "guidance": Size(preset.guidance, least=1, most=2, doc="forwards per step: 2 with classifier-free guidance"),
    }
    return params if text_tokens is None else params | {"text_tokens": text_tokens}


def over_patches(patch: int, pixels: Size, text_tokens: Size) -> Callable[[B], B]:
    """The sizes of a forward over the patches of a picture (squares of `patch` pixels) beside a prompt."""
    return sizes(
        let={"b": "batch", "h": f"height//{patch}", "w": f"width//{patch}", "s": "text_tokens"},
        batch=Size(1),
        height=pixels,
        width=pixels,
        text_tokens=text_tokens,
    )
