"""What the kernels take and give beside plain tensors.

Shapes: B samples, N new tokens, T frames (N = T tokens-a-frame), C channels, H heads, D head width,
J = D/2 rotary pairs, L cached tokens, R rows (B*N).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

TILE = 128  # keys of a head that share a scale in fp8 attention
ATTEND_ROWS = (128, 64)  # queries of a head that one program of fp8 attention takes
LEAST_SCALE = 1e-30  # keeps 1 / scale finite for a row of zeros
QKV = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Residual = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # x, y and a gate: x + gate * y; 1 where None


class Rotary(NamedTuple):
    """Cosine and sine of every token's angles, fp32 [N, J]: the pair (2j, 2j+1) of a head turns by angle j."""

    cos_NJ: torch.Tensor
    sin_NJ: torch.Tensor


class Ring(NamedTuple):
    """One layer's cache in slots of one frame, and the slot that each new frame goes to.

    ``slot_T`` lies on the cache's device, so that a captured CUDA graph can be replayed with other slots.
    """

    k_BLHD: torch.Tensor
    v_BLHD: torch.Tensor
    slot_T: torch.Tensor


class Affine(NamedTuple):
    """What follows a LayerNorm: ``norm * (base + scale) + shift``.

    ``base`` is 1 for the modulation of a DiT (scale and shift per frame, [B or 1, T, C]); it is 0 for a
    LayerNorm's own weight and bias (``scale`` = weight, ``shift`` = bias, each [1, 1, C]).
    """

    scale_BTC: torch.Tensor
    shift_BTC: torch.Tensor
    base: float = 1.0


@dataclass(frozen=True)
class Format:
    """An 8-bit format: its name, torch type and largest finite value used."""

    name: str
    dtype: torch.dtype
    largest: float


FP8 = Format("fp8", torch.float8_e4m3fn, 448.0)
INT8 = Format("int8", torch.int8, 127.0)  # -128 is left out, so that the format is symmetric
FORMATS = {f.name: f for f in (FP8, INT8)}


class Quantized(NamedTuple):
    """Rows in 8 bits: the value is ``codes * scale``. Codes [..., C]; scale fp32 [..., 1], or [] for one of all."""

    codes: torch.Tensor
    scale: torch.Tensor

    def dequantized(self) -> torch.Tensor:
        """The values in fp32."""
        return self.codes.to(torch.float32) * self.scale


Normed = torch.Tensor | Quantized  # what a norm gives: values, or rows in 8 bits
