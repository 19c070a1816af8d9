"""The tensors that attention is called with over space and over time (Golden et al., figure 11): shapes and strides.

Shape letters: B batch, H heads, N queries, C channels of a head, T frames, R rows, S columns, M text tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pipelines import pipeline
from .memory import on_meta

MODEL = "make-a-video"
KINDS = ("spatial", "temporal")


def layout_rows(sizes: Mapping[str, int], reduced: bool) -> list[dict[str, Any]]:
    """Shape and stride (in elements) of q, k and v in the first spatial and the first temporal attention.

    Make-A-Video's first U-Net runs once on meta tensors, whose shapes and strides are those of real ones.
    """
    unet: Any = cast("Any", on_meta(pipeline(MODEL), reduced)).videos["denoise"]
    batch, rows, columns = sizes["batch"] * sizes["guidance"], sizes["height"] // 12, sizes["width"] // 12
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        attn = _first(unet, kind)
        attn.register_forward_pre_hook(_switch(found.setdefault(kind, []), kind))
        attn.register_forward_hook(_back)
    with torch.inference_mode(), torch.device("meta"):
        x_BCTRS = torch.empty(batch, 3, sizes["frames"], rows, columns)
        text_BMD = torch.empty(batch, sizes["text_tokens"], unet.text.in_features)
        unet(x_BCTRS, torch.empty(batch), text_BMD)
    return [row for kind in KINDS for row in found[kind]]


REAL: Callable[..., Tensor] = F.scaled_dot_product_attention


def _switch(rows: list[dict[str, Any]], kind: str) -> Callable[..., None]:
    """A hook after which the next attention is noted in `rows`."""

    def note(q_BHNC: Tensor, k_BHNC: Tensor, v_BHNC: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        for name, x in zip("qkv", (q_BHNC, k_BHNC, v_BHNC), strict=True):
            shape, stride = list(x.shape), list(x.stride())
            rows.append({"model": MODEL, "kind": kind, "tensor": name, "shape": shape, "stride": stride})
        return REAL(q_BHNC, k_BHNC, v_BHNC, *args, **kwargs)

    def before(*_: Any) -> None:
        F.scaled_dot_product_attention = cast("Any", note)

    return before


def _back(*_: Any) -> None:
    F.scaled_dot_product_attention = cast("Any", REAL)


def _first(unet: nn.Module, kind: str) -> nn.Module:
    """The first attention over space, or over time, of a U-Net of videos, highest resolution first."""
    return next(module for path, module in unet.named_modules() if path.endswith(f"{kind}.attn"))
