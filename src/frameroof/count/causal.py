"""Which causal mask an attention has: aligned at the upper left, as torch's `is_causal`, or at the lower right.

`torch.nn.attention.bias` would make a mask on meta tensors, which hides what it is; flash-attention's operators say
`causal` and mean the lower right. Both are recorded as what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.attention.bias import CausalBias, CausalVariant
from torch.utils._python_dispatch import _disable_current_modes

from ..rules import LOWER_RIGHT, UPPER_LEFT

_align = ContextVar("align", default=UPPER_LEFT)
_FLASH = {
    "flash_attn::_flash_attn_forward": ("BNHD", "causal"),
    "aten::_flash_attention_forward": ("BNHD", "is_causal"),
    "aten::_scaled_dot_product_flash_attention": ("BHND", "is_causal"),
}
"""Operator -> layout of q, k and v, and the argument that says causal. Theirs is the lower right, aten's too: the
comment on it in torch/nn/attention/bias.py."""

Shapes = tuple[Sequence[int], Sequence[int], Sequence[int]]


def causal_attrs(causal: bool) -> dict[str, Any]:
    """What is recorded of a call of `scaled_dot_product_attention`."""
    return {"causal": causal, "align": _align.get()} if causal else {"causal": False}


@cache
def flash_attention(func: Any) -> Callable[[Sequence[Any], Mapping[str, Any]], tuple[Shapes, dict[str, Any]]] | None:
    """For an operator of flash-attention: (arguments) -> shapes of q, k, v with heads before tokens, and attributes.

    None for others, and for those over sequences of many lengths in one: how long each is is data.
    """
    if func._schema.name not in _FLASH:
        return None
    layout, flag = _FLASH[func._schema.name]
    at = [argument.name for argument in func._schema.arguments].index(flag)

    def read(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Shapes, dict[str, Any]]:
        q, k, v = (x.transpose(-3, -2).shape if layout == "BNHD" else x.shape for x in args[:3])
        causal = bool(args[at] if len(args) > at else kwargs.get(flag, False))
        return (q, k, v), {"causal": causal, "align": LOWER_RIGHT} if causal else {"causal": False}

    return read


@contextmanager
def causal_biases() -> Iterator[None]:
    """Take `causal_upper_left` and `causal_lower_right` for what they are inside the block, without making a mask."""
    before = CausalBias.__dict__["_dispatch"]

    def dispatch(query: Any, key: Any, value: Any, attn_mask: Any, *more: Any, **options: Any) -> torch.Tensor:
        given = dict(zip(("dropout_p", "is_causal", "scale", "enable_gqa"), more, strict=False)) | options
        token = _align.set(LOWER_RIGHT if attn_mask.variant == CausalVariant.LOWER_RIGHT else UPPER_LEFT)
        try:
            return F.scaled_dot_product_attention(query, key, value, **{**given, "is_causal": True})
        finally:
            _align.reset(token)

    def make(cls: Any, *size: Any) -> torch.Tensor:
        """A bias made while a model is recorded: torch cannot make one beneath a mode that sees every operation."""
        with _disable_current_modes():
            made: torch.Tensor = torch.Tensor.__new__(cls)
            return made

    CausalBias._dispatch, CausalBias.__new__ = staticmethod(dispatch), staticmethod(make)
    try:
        yield
    finally:
        CausalBias._dispatch = before
        del CausalBias.__new__
