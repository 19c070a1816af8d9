"""Launch the Triton programs: the same functions as in ``reference``, with the same arguments.

Importing this module imports Triton. Tensors lie on a CUDA device, or anywhere under Triton's interpreter.
Nothing here reads a device value on the host, so every call can be captured in a CUDA graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton

from . import programs, programs_fp8
from .records import FP8, QKV, TILE, Affine, Format, Normed, Quantized, Residual, Ring, Rotary

ROWS = 4  # tokens a program of `norm` takes, so that a frame's scale and shift are read a quarter as often


@dataclass(frozen=True)
class Launch:
    """One call of a program: how many programs, what they get, and the warps of each."""

    program: Any
    grid: int
    arguments: tuple[torch.Tensor | int | float, ...]
    constants: dict[str, int | bool]
    warps: int

    def run(self) -> None:
        """Put the call on the current stream."""
        self.program[(self.grid,)](*self.arguments, **self.constants, num_warps=self.warps)


def qk_norm_rope_write(
    qkv: QKV, weights: tuple[torch.Tensor, torch.Tensor], rotary: Rotary, ring: Ring, eps: float = 1e-6
) -> torch.Tensor:
    """As ``reference.qk_norm_rope_write``, in one launch."""
    q_BNHD, launch = qk_launch(qkv, weights, rotary, ring, eps)
    launch.run()
    return q_BNHD


def norm_modulate(x_BNC: torch.Tensor, affine: Affine, to: Format | None = None, eps: float = 1e-6) -> Normed:
    """As ``reference.norm_modulate``, in one launch."""
    (_, out), launch = norm_launch((x_BNC, None, None), affine, to, eps)
    launch.run()
    return out


def gate_residual_norm(
    residual: Residual, affine: Affine, to: Format | None = None, eps: float = 1e-6
) -> tuple[torch.Tensor, Normed]:
    """As ``reference.gate_residual_norm``, in one launch."""
    out, launch = norm_launch(residual, affine, to, eps)
    launch.run()
    return out


def gate_residual(residual: Residual) -> torch.Tensor:
    """As ``reference.gate_residual``, in one launch."""
    (total, _), launch = norm_launch(residual, None, None, 0.0)
    launch.run()
    return total


def quantize_rows(x: torch.Tensor, to: Format, gelu: bool = False) -> Quantized:
    """As ``reference.quantize_rows``, in one launch."""
    out, launch = quantize_launch(x, to, gelu)
    launch.run()
    return out


def dequantize(
    sums_RN: torch.Tensor, scales: tuple[torch.Tensor, torch.Tensor], bias_N: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """As ``reference.dequantize``, in one launch."""
    out, launch = dequantize_launch(sums_RN, scales, bias_N, dtype)
    launch.run()
    return out


def attend_fp8(q_BNHD: torch.Tensor, k_BLHD: torch.Tensor, v_BLHD: torch.Tensor, rows: int = 128) -> torch.Tensor:
    """As ``reference.attend_fp8``, in two launches: keys and values to fp8, then attention."""
    packed, launch = pack_launch(k_BLHD, v_BLHD)
    launch.run()
    out_BNHD, launch = attend_launch(q_BNHD, packed, k_BLHD.shape[1], rows)
    launch.run()
    return out_BNHD


def qk_launch(
    qkv: QKV, weights: tuple[torch.Tensor, torch.Tensor], rotary: Rotary, ring: Ring, eps: float
) -> tuple[torch.Tensor, Launch]:
    """Where the queries will be, and the launch that puts them there: one program a token."""
    q, k, v = qkv
    samples, tokens, channels = q.shape
    heads, width = ring.k_BLHD.shape[2:]
    out = torch.empty((samples, tokens, heads, width), dtype=q.dtype, device=q.device)
    strides = [stride for x in qkv for stride in x.stride()[:2]]
    arguments = (
        *(q, k, v, *weights, rotary.cos_NJ, rotary.sin_NJ, ring.slot_T, out, ring.k_BLHD, ring.v_BLHD),
        *(tokens, tokens // ring.slot_T.numel(), *strides, ring.k_BLHD.stride(0), eps),
    )
    block, warps = _spread(channels)
    constants = {"C": channels, "J": width // 2, "BLOCK": block}
    return out, Launch(programs.qk_norm_rope_write, samples * tokens, arguments, constants, warps)


def norm_launch(
    residual: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None],
    affine: Affine | None,
    to: Format | None,
    eps: float,
) -> tuple[tuple[torch.Tensor, torch.Tensor | Quantized], Launch]:
    """Where the sum and its norm will be, and the launch: one program for ROWS tokens of a frame.

    What is not there (y, the gate, the norm without an ``affine``) is replaced by x, and not read or written.
    """
    x, y, gate = residual
    samples, tokens, channels = x.shape
    given = [*((affine.scale_BTC, affine.shift_BTC) if affine else ()), *(() if gate is None else (gate,))]
    frames = max((values.shape[1] for values in given), default=1)
    rows = [values.expand(samples, frames, channels) for values in given]
    scale, shift = rows[:2] if affine else (x, x)
    gate_BTC = x if gate is None else rows[-1]
    branch = x if y is None else y
    total = x if y is None else torch.empty((samples, tokens, channels), dtype=x.dtype, device=x.device)
    out: torch.Tensor | Quantized = total
    if affine:
        out = torch.empty(total.shape, dtype=x.dtype, device=x.device) if to is None else _empty_quantized(x, to)
    codes, scales = (out, out) if isinstance(out, torch.Tensor) else out
    groups = triton.cdiv(tokens // frames, ROWS)
    strides = [stride for values in (x, branch, gate_BTC, scale, shift) for stride in values.stride()[:2]]
    arguments = (
        *(x, branch, gate_BTC, scale, shift, total, codes, scales),
        *(tokens // frames, groups, frames, *strides, affine.base if affine else 0.0, eps),
    )
    block, warps = _spread(channels)
    constants = {"C": channels, "BLOCK": block, "ROWS": ROWS, "FORMAT": programs.PLAIN if to is None else _code(to)}
    constants |= {"RESIDUAL": y is not None, "GATED": gate is not None, "NORMED": affine is not None}
    return (total, out), Launch(programs.norm, samples * frames * groups, arguments, constants, warps)


def quantize_launch(x: torch.Tensor, to: Format, gelu: bool) -> tuple[Quantized, Launch]:
    """Where the 8-bit rows will be, and the launch: one program a row."""
    rows_RC = x.reshape(-1, x.shape[-1])
    out = _empty_quantized(x, to)
    block, warps = _spread(rows_RC.shape[1])
    constants = {"C": rows_RC.shape[1], "BLOCK": block, "GELU": gelu, "FORMAT": _code(to)}
    return out, Launch(programs.quantize, len(rows_RC), (rows_RC, *out, rows_RC.stride(0)), constants, warps)


def dequantize_launch(
    sums_RN: torch.Tensor, scales: tuple[torch.Tensor, torch.Tensor], bias_N: torch.Tensor | None, dtype: torch.dtype
) -> tuple[torch.Tensor, Launch]:
    """Where the values will be, and the launch: one program for 2,048 outputs of a row."""
    rows, outputs = sums_RN.shape
    out_RN = torch.empty((rows, outputs), dtype=dtype, device=sums_RN.device)
    block, warps = _spread(min(outputs, 2048))
    chunks = triton.cdiv(outputs, block)
    bias = scales[1] if bias_N is None else bias_N  # not read without a bias
    constants = {"N": outputs, "BLOCK": block, "CHUNKS": chunks, "BIASED": bias_N is not None}
    arguments = (sums_RN, *scales, bias, out_RN, sums_RN.stride(0))
    return out_RN, Launch(programs.dequantize, rows * chunks, arguments, constants, warps)


def pack_launch(k_BLHD: torch.Tensor, v_BLHD: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], Launch]:
    """Codes of keys [B, H, P, W] and of values [B, H, W, P], scales of both [B, H, tiles]: one program a tile."""
    samples, keys, heads, width = k_BLHD.shape
    tiles, wide = triton.cdiv(keys, TILE), _width(width)
    like = {"device": k_BLHD.device}
    codes = [
        torch.empty(shape, dtype=FP8.dtype, **like)
        for shape in ((samples, heads, tiles * TILE, wide), (samples, heads, wide, tiles * TILE))
    ]
    scales = [torch.empty((samples, heads, tiles), dtype=torch.float32, **like) for _ in range(2)]
    strides = [stride for x in (k_BLHD, v_BLHD) for stride in x.stride()[:3]]
    arguments = (k_BLHD, v_BLHD, *codes, *scales, keys, tiles, heads, *strides)
    constants = {"D": width, "WIDTH": wide, "BLOCK": TILE}
    return (*codes, *scales), Launch(programs_fp8.pack_fp8, samples * heads * tiles, arguments, constants, 8)


def attend_launch(
    q_BNHD: torch.Tensor, packed: tuple[torch.Tensor, ...], keys: int, rows: int
) -> tuple[torch.Tensor, Launch]:
    """Where the result will be, and the launch: one program for `rows` queries of a head, 16 a warp."""
    samples, queries, heads, width = q_BNHD.shape
    out = torch.empty(q_BNHD.shape, dtype=q_BNHD.dtype, device=q_BNHD.device)
    tiles, groups = triton.cdiv(keys, TILE), triton.cdiv(queries, rows)
    factor = width**-0.5 / math.log(2)
    arguments = (q_BNHD, *packed, out, queries, keys, tiles, heads, groups, *q_BNHD.stride()[:3], factor)
    constants = {"D": width, "WIDTH": _width(width), "ROWS": rows, "BLOCK": TILE, "TAIL": keys % TILE != 0}
    return out, Launch(programs_fp8.attend_fp8, samples * heads * groups, arguments, constants, rows // 16)


def _width(width: int) -> int:
    """The matrix units sum 32 or more 8-bit products at once, and Triton wants a power of two."""
    return max(32, triton.next_power_of_2(width))


def _spread(channels: int) -> tuple[int, int]:
    """The elements a program holds, a power of two, and its warps: 16 elements a thread, at most 16 warps."""
    block = triton.next_power_of_2(channels)
    return block, min(max(block // 512, 1), 16)


def _code(to: Format) -> int:
    return programs.FP8 if to == FP8 else programs.INT8


def _empty_quantized(x: torch.Tensor, to: Format) -> Quantized:
    codes = torch.empty(x.shape, dtype=to.dtype, device=x.device)
    return Quantized(codes, torch.empty((*x.shape[:-1], 1), dtype=torch.float32, device=x.device))
