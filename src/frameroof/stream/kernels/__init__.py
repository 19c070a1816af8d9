"""Fused operations of the streaming transformer: Triton on a CUDA device, plain PyTorch elsewhere.

Each function takes the same arguments on every device (``records`` has the types, ``reference`` the meaning).
``backend(device)`` says which of the two runs. Importing this package does not import Triton.
"""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

import torch

from . import reference
from .check import check_attention, check_format, check_norm, check_qk, check_rows, check_sums
from .records import (
    ATTEND_ROWS,
    FORMATS,
    FP8,
    INT8,
    QKV,
    Affine,
    Format,
    Normed,
    Quantized,
    Residual,
    Ring,
    Rotary,
)

__all__ = [
    "ATTEND_ROWS",
    "FORMATS",
    "FP8",
    "INT8",
    "Affine",
    "Format",
    "Quantized",
    "Ring",
    "Rotary",
    "attend_fp8",
    "backend",
    "dequantize",
    "gate_residual",
    "gate_residual_norm",
    "norm_modulate",
    "qk_norm_rope_write",
    "quantize_rows",
]

_TRITON = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def backend(device: torch.device) -> str:
    """``"triton"`` or ``"torch"``: what runs for tensors on this device."""
    return "triton" if _TRITON and (device.type == "cuda" or _INTERPRETED) else "torch"


def qk_norm_rope_write(
    qkv: QKV, weights: tuple[torch.Tensor, torch.Tensor], rotary: Rotary, ring: Ring, eps: float = 1e-6
) -> torch.Tensor:
    """RMS norm of q and k over all heads, rotary embedding, k and v into the ring; gives q [B, N, H, D]."""
    check_qk(qkv, weights, rotary, ring)
    result: torch.Tensor = _module(qkv[0]).qk_norm_rope_write(qkv, weights, rotary, ring, eps)
    return result


def norm_modulate(x_BNC: torch.Tensor, affine: Affine, to: Format | None = None, eps: float = 1e-6) -> Normed:
    """LayerNorm, times scale, plus shift, each frame with its own; in 8 bits where ``to`` says so."""
    check_norm((x_BNC, None, None), affine)
    check_format(x_BNC.device, to)
    result: Normed = _module(x_BNC).norm_modulate(x_BNC, affine, to, eps)
    return result


def gate_residual_norm(
    residual: Residual, affine: Affine, to: Format | None = None, eps: float = 1e-6
) -> tuple[torch.Tensor, Normed]:
    """``x + gate * y`` (the gate may be None), and the LayerNorm of that, scaled and shifted."""
    check_norm(residual, affine)
    check_format(residual[0].device, to)
    result: tuple[torch.Tensor, Normed]
    result = _module(residual[0]).gate_residual_norm(residual, affine, to, eps)
    return result


def gate_residual(residual: Residual) -> torch.Tensor:
    """``x + gate * y``; the gate may be None."""
    check_norm(residual, None)
    result: torch.Tensor = _module(residual[0]).gate_residual(residual)
    return result


def attend_fp8(q_BNHD: torch.Tensor, k_BLHD: torch.Tensor, v_BLHD: torch.Tensor, rows: int = 128) -> torch.Tensor:
    """Softmax attention without a mask, both products in fp8: gives [B, N, H, D] in the type of q."""
    check_attention(q_BNHD, k_BLHD, v_BLHD, rows)
    check_format(q_BNHD.device, FP8)
    result: torch.Tensor = _module(q_BNHD).attend_fp8(q_BNHD, k_BLHD, v_BLHD, rows)
    return result


def quantize_rows(x: torch.Tensor, to: Format, gelu: bool = False) -> Quantized:
    """Each row in 8 bits with its own scale, after GELU (tanh form) where asked."""
    check_rows(x)
    check_format(x.device, to)
    result: Quantized = _module(x).quantize_rows(x, to, gelu)
    return result


def dequantize(
    sums_RN: torch.Tensor, scales: tuple[torch.Tensor, torch.Tensor], bias_N: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """An int8 product's int32 sums, times the scale of the row [R, 1] and of the output [N, 1], plus bias [N]."""
    check_sums(sums_RN, scales, bias_N)
    result: torch.Tensor = _module(sums_RN).dequantize(sums_RN, scales, bias_N, dtype)
    return result


def _module(x: torch.Tensor) -> ModuleType:
    if backend(x.device) == "torch":
        return reference
    from . import launch

    return launch
