"""The Triton programs: each reads its inputs once, computes in fp32 and writes its outputs once.

A program holds whole rows of C channels in registers (BLOCK = the next power of two). Element counts that
may pass 2^31 are computed in 64 bits. A program takes pointers, strides and sizes one by one, so it has more
arguments than other functions here. Counts are not specialized: Triton would compile a program anew for those that are
1 or multiples of 16, forward by forward. Shapes and letters: see ``records``.
"""

# Triton reads annotations as objects, so this file has no `from __future__ import annotations`.
# mypy: allow-untyped-defs, allow-incomplete-defs
import triton
import triton.language as tl

PLAIN, FP8, INT8 = 0, 1, 2  # FORMAT of an output row


@triton.jit
def _row(start, cols, mask):
    """A row's values in fp32; zero where the mask is off."""
    return tl.load(start + cols, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _rms_rotated(row, weight, cos, sin, cols, mask, eps, C: tl.constexpr, BLOCK: tl.constexpr):
    """One row of C values: RMS norm over all of it, then each pair (2j, 2j+1) turned by its angle."""
    x = _row(row, cols, mask)
    y = x * tl.rsqrt(tl.sum(x * x, 0) / C + eps) * _row(weight, cols, mask)
    real, imaginary = tl.split(tl.reshape(y, (BLOCK // 2, 2)))
    return tl.reshape(tl.join(real * cos - imaginary * sin, real * sin + imaginary * cos), (BLOCK,))


@triton.jit(do_not_specialize=["tokens", "per_frame"])
def qk_norm_rope_write(
    q, k, v, weight_q, weight_k, cos, sin, slots,
    q_out, k_cache, v_cache,
    tokens, per_frame, q_batch, q_token, k_batch, k_token, v_batch, v_token, cache_batch, eps,
    C: tl.constexpr, J: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One token: q to ``q_out`` [B, N, C]; k and v to the cache row of the token's slot."""
    row = tl.program_id(0)
    sample, token = (row // tokens).to(tl.int64), row % tokens
    cols = tl.arange(0, BLOCK)
    mask = cols < C
    pairs = tl.arange(0, BLOCK // 2)
    angle = token * J + pairs % J
    c = tl.load(cos + angle, mask=pairs < C // 2, other=0.0)
    s = tl.load(sin + angle, mask=pairs < C // 2, other=0.0)

    q_row = q + sample * q_batch + token.to(tl.int64) * q_token
    turned = _rms_rotated(q_row, weight_q, c, s, cols, mask, eps, C, BLOCK)
    tl.store(q_out + row.to(tl.int64) * C + cols, turned.to(q_out.dtype.element_ty), mask=mask)

    slot = tl.load(slots + token // per_frame).to(tl.int64)
    place = sample * cache_batch + (slot * per_frame + token % per_frame) * C + cols
    k_row = k + sample * k_batch + token.to(tl.int64) * k_token
    turned = _rms_rotated(k_row, weight_k, c, s, cols, mask, eps, C, BLOCK)
    tl.store(k_cache + place, turned.to(k_cache.dtype.element_ty), mask=mask)
    value = tl.load(v + sample * v_batch + token.to(tl.int64) * v_token + cols, mask=mask)
    tl.store(v_cache + place, value.to(v_cache.dtype.element_ty), mask=mask)


@triton.jit
def _store_row(y, out, scales, row, valid, cols, mask, C: tl.constexpr, FORMAT: tl.constexpr):
    """Write one row, fp32 in registers, in the type of ``out``, or in 8 bits with its scale where ``valid``."""
    place = out + row.to(tl.int64) * C + cols
    if FORMAT == 0:
        tl.store(place, y.to(out.dtype.element_ty), mask=mask)
    else:
        largest = 448.0 if FORMAT == 1 else 127.0
        scale = tl.maximum(tl.div_rn(tl.max(tl.abs(tl.where(mask, y, 0.0)), 0), largest), 1e-30)
        tl.store(scales + row, scale, mask=valid)
        scaled = tl.minimum(tl.maximum(y * tl.div_rn(1.0, scale), -largest), largest)
        if FORMAT == 2:  # 1.5 * 2^23: adding it leaves no fraction, rounded to nearest even
            scaled = (scaled + 12582912.0) - 12582912.0
        tl.store(place, scaled.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["per_frame", "groups", "frames"])
def norm(
    x, y, gate, scale, shift,
    sum_out, out, scales,
    per_frame, groups, frames, x_batch, x_token, y_batch, y_token,
    gate_batch, gate_frame, scale_batch, scale_frame, shift_batch, shift_frame, base, eps,
    C: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    RESIDUAL: tl.constexpr, GATED: tl.constexpr, NORMED: tl.constexpr, FORMAT: tl.constexpr,
):  # fmt: skip
    """ROWS tokens of one frame: (x + gate * y), LayerNorm, times (base + scale), plus shift.

    Without RESIDUAL only x is normalized, without NORMED only summed; without GATED the gate is 1. The
    frame's rows of gate, scale and shift stay in registers.
    """
    program = tl.program_id(0)
    first = (program % groups) * ROWS
    frame = (program // groups) % frames
    sample = (program // (groups * frames)).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < C
    if NORMED:
        times = base + _row(scale + sample * scale_batch + frame * scale_frame, cols, mask)
        plus = _row(shift + sample * shift_batch + frame * shift_frame, cols, mask)
    if GATED:
        opened = _row(gate + sample * gate_batch + frame * gate_frame, cols, mask)
    for i in tl.static_range(ROWS):
        valid = first + i < per_frame
        inside = mask & valid
        token = (frame * per_frame + first + i).to(tl.int64)
        row = sample * frames * per_frame + token
        h = _row(x + sample * x_batch + token * x_token, cols, inside)
        if RESIDUAL:
            branch = _row(y + sample * y_batch + token * y_token, cols, inside)
            if GATED:
                branch = branch * opened
            rounded = (h + branch).to(sum_out.dtype.element_ty)
            tl.store(sum_out + row * C + cols, rounded, mask=inside)
            h = rounded.to(tl.float32)
        if NORMED:
            centerd = tl.where(mask, h - tl.sum(h, 0) / C, 0.0)
            normed = centerd * tl.rsqrt(tl.sum(centerd * centerd, 0) / C + eps)
            _store_row(normed * times + plus, out, scales, row, valid, cols, inside, C, FORMAT)


@triton.jit
def quantize(
    x, codes, scales, x_row,
    C: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr, FORMAT: tl.constexpr,
):  # fmt: skip
    """One row in 8 bits with its scale, after GELU (tanh form) where asked."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < C
    y = _row(x + row * x_row, cols, mask)
    if GELU:  # tanh(u) = 1 - 2 / (exp(2u) + 1), exact at both ends
        u = 0.7978845608028654 * (y + 0.044715 * y * y * y)
        y = 0.5 * y * (2.0 - 2.0 / (tl.exp(2.0 * u) + 1.0))
    _store_row(y, codes, scales, row, row >= 0, cols, mask, C, FORMAT)


@triton.jit
def dequantize(
    sums, row_scales, column_scales, bias, out, sums_row,
    N: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    """BLOCK outputs of one row of int32 sums, times the scales of row and output, plus bias."""
    row = (tl.program_id(0) // CHUNKS).to(tl.int64)
    cols = tl.program_id(0) % CHUNKS * BLOCK + tl.arange(0, BLOCK)
    mask = cols < N
    y = tl.load(sums + row * sums_row + cols, mask=mask, other=0).to(tl.float32) * tl.load(row_scales + row)
    y = y * tl.load(column_scales + cols, mask=mask, other=0.0)
    if BIASED:
        y += tl.load(bias + cols, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row * N + cols, y.to(out.dtype.element_ty), mask=mask)
