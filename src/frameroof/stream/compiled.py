"""The transformer's operations through torch.compile: each one compiled function of tensors, with static shapes.

Caches and layers stay outside, so nothing is compiled again when a block moves to the next place. Another shape is
compiled again: more shapes than `SHAPES` are an error, for torch.compile would then run the function uncompiled and say
nothing.
Shapes: B batch, N tokens, C channels, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from ..models.causal_wan import (
    EPS,
    QKV,
    Attend,
    Attention,
    Ops,
    Residual,
    Rotary,
    gated,
    modulated,
    rotated,
    sdpa,
)

Function = TypeVar("Function", bound=Callable[..., Any])
# Shapes that one function may be compiled for in a process: a window of n blocks has n + 3 (a block, two folded, a
# recache of each length), twice as many where samples switch alone, and a bench runs several sizes.
SHAPES = 128


def strictly(function: Function, **options: Any) -> Function:
    """`function` through torch.compile, each shape on its own; `options` go there (backend, mode …).

    Sets torch's own limits, for the whole process: more than `SHAPES` shapes raise `FailOnRecompileLimitHit`.
    """
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, SHAPES)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, SHAPES)
    config.fail_on_recompile_limit_hit = True
    made: Function = torch.compile(function, dynamic=False, fullgraph=True, **options)
    return made


class CompiledOps(Ops):
    """`options` go to torch.compile (backend, mode …)."""

    def __init__(self, attend: Attend = sdpa, **options: Any) -> None:
        super().__init__(attend)

        def compiled(function: Function) -> Function:
            return strictly(function, **options)

        self._norm_modulate = compiled(_norm_modulate)
        self._residual_norm = compiled(_residual_norm)
        self._residual_modulate = compiled(_residual_modulate)
        self._norm_rope = compiled(_norm_rope)
        self._residual = compiled(_residual)
        self._ffn = compiled(_ffn)

    def qkv(self, attn: Attention, x_BNC: torch.Tensor, rotary: Rotary) -> QKV:
        q, k = (
            self._norm_rope(y, norm.weight, *rotary, attn.heads)
            for y, norm in ((attn.q(x_BNC), attn.norm_q), (attn.k(x_BNC), attn.norm_k))
        )
        return q, k, attn.by_head(attn.v(x_BNC))

    def norm_modulate(
        self, norm: nn.LayerNorm, x_BNC: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        return self._norm_modulate(x_BNC, shift, scale)

    def residual_norm(
        self, summed: Residual, norm: nn.LayerNorm, modulate: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if modulate:
            return self._residual_modulate(*summed, *modulate)
        return self._residual_norm(*summed, norm.weight, norm.bias)

    def residual(self, summed: Residual) -> torch.Tensor:
        return self._residual(*summed)

    def ffn(self, ffn: nn.Sequential, x_BNC: torch.Tensor) -> torch.Tensor:
        first, _, last = ffn
        if not (isinstance(first, nn.Linear) and isinstance(last, nn.Linear)):
            return super().ffn(ffn, x_BNC)  # quantized, or with a LoRA beside
        return self._ffn(x_BNC, first.weight, first.bias, last.weight, last.bias)


def _norm_modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return modulated(F.layer_norm(x, x.shape[-1:], eps=EPS), shift, scale)


def _residual(x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor | None) -> torch.Tensor:
    return x + (y if gate is None else gated(y, gate))


def _residual_norm(  # tensors only, for the compiler
    x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    x = _residual(x, y, gate)
    return x, F.layer_norm(x, x.shape[-1:], weight, bias, EPS)


def _residual_modulate(  # tensors only, for the compiler
    x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor | None, shift: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    x = _residual(x, y, gate)
    return x, _norm_modulate(x, shift, scale)


def _norm_rope(y: torch.Tensor, weight: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> torch.Tensor:
    return rotated(F.rms_norm(y, y.shape[-1:], weight, EPS).unflatten(-1, (heads, -1)), (cos, sin))


def _ffn(x: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor) -> torch.Tensor:
    return F.linear(F.gelu(F.linear(x, w1, b1), approximate="tanh"), w2, b2)
