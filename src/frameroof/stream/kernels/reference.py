"""The fused operations in plain PyTorch, on any device: what the Triton kernels are held against.

All arithmetic is fp32, rounded once to the type of the input. Shapes: see ``records``.
Source of the operations: github:NVlabs/LongLive branch v1.0 (Wan 2.1's block: RMS norm of queries and keys
over all heads at once, 3D rotary embedding, scale, shift and gate per frame).
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from .records import (
    FP8,
    LEAST_SCALE,
    QKV,
    TILE,
    Affine,
    Format,
    Normed,
    Quantized,
    Residual,
    Ring,
    Rotary,
)

HEADROOM = 8  # weights of fp8 attention lie within 2**8, of the 448 that the format can hold


def qk_norm_rope_write(
    qkv: QKV, weights: tuple[torch.Tensor, torch.Tensor], rotary: Rotary, ring: Ring, eps: float = 1e-6
) -> torch.Tensor:
    """Normalize q and k over all heads, turn them, and write k and v into the ring.

    Args:
        qkv: the outputs of the three projections, each [B, N, C]; the last dimension is contiguous.
        weights: the RMS norms' weights of q and of k, [C].
        rotary: the new tokens' angles.
        ring: the cache; frame t of the new tokens goes to slot ``slot_T[t]``. Slots are distinct.
        eps: added to the mean square.

    Returns:
        The queries, [B, N, H, D], in the type of q. The cache is changed in place.
    """
    heads = ring.k_BLHD.shape[2]
    q_BNC, k_BNC, v_BNC = qkv
    q_BNHD = _rotated(_rms_norm(q_BNC, weights[0], eps).unflatten(-1, (heads, -1)), rotary).to(q_BNC.dtype)
    k_BNHD = _rotated(_rms_norm(k_BNC, weights[1], eps).unflatten(-1, (heads, -1)), rotary)
    per_frame = q_BNC.shape[1] // ring.slot_T.numel()
    rows_N = (ring.slot_T[:, None] * per_frame + torch.arange(per_frame, device=q_BNC.device)).flatten()
    ring.k_BLHD.index_copy_(1, rows_N, k_BNHD.to(ring.k_BLHD.dtype))
    ring.v_BLHD.index_copy_(1, rows_N, v_BNC.unflatten(-1, (heads, -1)).to(ring.v_BLHD.dtype))
    return q_BNHD


def norm_modulate(x_BNC: torch.Tensor, affine: Affine, to: Format | None = None, eps: float = 1e-6) -> Normed:
    """LayerNorm without weights, then scale and shift, each frame with its own; in 8 bits where ``to`` says so.

    The 8-bit rows are quantized from the fp32 result, not from one rounded to the type of ``x``.
    """
    y_BNC = _layer_norm(x_BNC, eps) * (affine.base + _per_token(affine.scale_BTC, x_BNC))
    y_BNC = y_BNC + _per_token(affine.shift_BTC, x_BNC)
    return y_BNC.to(x_BNC.dtype) if to is None else quantize_rows(y_BNC, to)


def gate_residual_norm(
    residual: Residual, affine: Affine, to: Format | None = None, eps: float = 1e-6
) -> tuple[torch.Tensor, Normed]:
    """``x + gate * y``, and the modulated LayerNorm of that.

    Args:
        residual: x and y [B, N, C], and the gate [B or 1, T, C], or None for a plain sum.
        affine: what follows the LayerNorm.
        to: the 8-bit format of the norm, or None for the type of x.
        eps: added to the variance.

    Returns:
        The sum, rounded to the type of x, and the norm of that rounded sum.
    """
    sum_BNC = gate_residual(residual)
    return sum_BNC, norm_modulate(sum_BNC, affine, to, eps)


def gate_residual(residual: Residual) -> torch.Tensor:
    """``x + gate * y`` in the type of x; arguments as for ``gate_residual_norm``."""
    x_BNC, y_BNC, gate_BTC = residual
    y = y_BNC.float() if gate_BTC is None else y_BNC.float() * _per_token(gate_BTC, y_BNC)
    return (x_BNC.float() + y).to(x_BNC.dtype)


def quantize_rows(x: torch.Tensor, to: Format, gelu: bool = False) -> Quantized:
    """Each row in 8 bits with its own scale; ``gelu`` puts GELU (tanh form) before it."""
    x = x.float()
    if gelu:
        x = F.gelu(x, approximate="tanh")
    return with_scale(x, row_scale(x, to), to)


def dequantize(
    sums_RN: torch.Tensor, scales: tuple[torch.Tensor, torch.Tensor], bias_N: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """An int8 product's int32 sums as values: times the scale of the row [R, 1] and of the output [N, 1], plus bias."""
    out_RN = sums_RN.float() * scales[0] * scales[1].t()
    return (out_RN if bias_N is None else out_RN + bias_N.float()).to(dtype)


def attend_fp8(q_BNHD: torch.Tensor, k_BLHD: torch.Tensor, v_BLHD: torch.Tensor, rows: int = 128) -> torch.Tensor:
    """Softmax attention with all operands of both products in e4m3, sums in fp32; the result in the type of q.

    Each query of a head has its own scale, so have the keys and the values of each `TILE` of a head. Weights are
    quantized relative to the largest so far (online softmax), times the scale of the values, from the last tile to the
    first: sinks lie there, and what is quantized beside their weights is lost (arXiv:2606.06521).
    `rows` queries share a program of the kernel; here it changes nothing.
    """
    q_BHND, k_BHLD, v_BHLD = (x.transpose(1, 2).float() for x in (q_BNHD, k_BLHD, v_BLHD))
    scale_BHN1 = row_scale(q_BHND, FP8)
    codes_BHND = _values(with_scale(q_BHND, scale_BHN1, FP8))
    turn_BHN1 = scale_BHN1 * (q_BHND.shape[-1] ** -0.5 / math.log(2))
    most = torch.full_like(scale_BHN1, -math.inf)
    total, sums = torch.zeros_like(scale_BHN1), torch.zeros_like(q_BHND)
    for k, v in reversed([*zip(k_BHLD.split(TILE, 2), v_BHLD.split(TILE, 2), strict=True)]):
        (k, k_scale), (v, v_scale) = (_tile(x) for x in (k, v))
        scores = (codes_BHND @ k.transpose(-2, -1)) * (turn_BHN1 * k_scale)
        power = torch.log2(v_scale)
        higher = torch.maximum(most, scores.amax(-1, keepdim=True) + power)
        weights = torch.exp2(scores - (higher - power - HEADROOM))
        fade = torch.exp2(most - higher)
        total = total * fade + weights.sum(-1, keepdim=True) / v_scale
        sums = sums * fade + weights.to(FP8.dtype).float() @ v
        most = higher
    return (sums / total).transpose(1, 2).to(q_BNHD.dtype)


def row_scale(x: torch.Tensor, to: Format) -> torch.Tensor:
    """The scale of each row, fp32 [..., 1]: its largest magnitude becomes the format's largest value."""
    return (x.float().abs().amax(-1, keepdim=True) / to.largest).clamp_min(LEAST_SCALE)


def with_scale(x: torch.Tensor, scale: torch.Tensor, to: Format) -> Quantized:
    """The values over the scale, rounded to the nearest code (ties to even) and held within the format's range."""
    scaled = (x.float() * (1 / scale)).clamp(-to.largest, to.largest)
    codes = scaled if to.dtype.is_floating_point else scaled.round()
    return Quantized(codes.to(to.dtype), scale)


def _tile(x_BHLD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A tile's codes as fp32 values, and the scale of each head, [B, H, 1, 1]."""
    scale = row_scale(x_BHLD.flatten(2), FP8).unsqueeze(-1)
    return _values(with_scale(x_BHLD, scale, FP8)), scale


def _values(x: Quantized) -> torch.Tensor:
    return x.codes.float()


def _rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight.float()


def _layer_norm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.layer_norm(x.float(), x.shape[-1:], eps=eps)


def _rotated(x_BNHD: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    real, imaginary = x_BNHD.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = (table[:, None] for table in rotary)
    return torch.stack((real * cos - imaginary * sin, real * sin + imaginary * cos), -1).flatten(-2)


def _per_token(values_BTC: torch.Tensor, x_BNC: torch.Tensor) -> torch.Tensor:
    """Each frame's row repeated for its tokens, fp32; one frame's row serves all tokens as it is."""
    frames = values_BTC.shape[1]
    if frames == 1:
        return values_BTC.float()
    return values_BTC.float().repeat_interleave(x_BNC.shape[1] // frames, 1)
