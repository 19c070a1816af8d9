"""The Triton programs of fp8 attention: keys and values in 8 bits by tiles, then softmax attention over them.

A tile is BLOCK keys of one head, with one scale for its keys and one for its values; queries and weights are
quantized in registers. Values lie transposed, as the matrix units of sm_90 want 8-bit operands: both with the summed
axis contiguous. Softmax is the online one (Milakov and Gimelshein, arXiv:1805.02867) in base 2. As in `programs`,
pointers, strides and sizes are arguments one by one.
Shapes: B batch, N queries, L keys (P of them with the last tile filled up), H heads, D head width (WIDTH filled up).
"""

# Triton reads annotations as objects, so this file has no `from __future__ import annotations`.
# mypy: allow-untyped-defs, allow-incomplete-defs
import triton
import triton.language as tl

HEADROOM: tl.constexpr = tl.constexpr(8.0)  # weights lie within 2**8, of the 448 that fp8 can hold


@triton.jit
def _tile(x, scale_out, inside):
    """A tile's codes, fp32 values held within the format, and its scale, which is stored."""
    largest = tl.max(tl.max(tl.abs(tl.where(inside, x, 0.0)), 1), 0)
    scale = tl.maximum(tl.div_rn(largest, 448.0), 1e-30)
    tl.store(scale_out, scale)
    return tl.minimum(tl.maximum(x * tl.div_rn(1.0, scale), -448.0), 448.0)


@triton.jit(do_not_specialize=["keys", "tiles", "heads"])
def pack_fp8(
    k, v,
    k_codes, v_codes, k_scales, v_scales,
    keys, tiles, heads, k_batch, k_token, k_head, v_batch, v_token, v_head,
    D: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of keys to ``k_codes`` [B, H, P, WIDTH] and of values to ``v_codes`` [B, H, WIDTH, P]; zeros beyond."""
    program = tl.program_id(0)
    tile, both = program % tiles, (program // tiles).to(tl.int64)
    sample, head = both // heads, both % heads
    rows = tile * BLOCK + tl.arange(0, BLOCK)
    cols = tl.arange(0, WIDTH)
    inside = (rows < keys)[:, None] & (cols < D)[None, :]
    place = rows.to(tl.int64)[:, None]
    x = tl.load(k + sample * k_batch + head * k_head + place * k_token + cols[None, :], mask=inside, other=0.0)
    codes = _tile(x.to(tl.float32), k_scales + program, inside)
    padded = tiles * BLOCK
    start = both * padded * WIDTH
    tl.store(k_codes + start + place * WIDTH + cols[None, :], codes.to(k_codes.dtype.element_ty))
    x = tl.load(v + sample * v_batch + head * v_head + place * v_token + cols[None, :], mask=inside, other=0.0)
    codes = _tile(x.to(tl.float32), v_scales + program, inside)
    tl.store(v_codes + start + cols.to(tl.int64)[None, :] * padded + place, codes.to(v_codes.dtype.element_ty))


@triton.jit
def _attend_tile(
    tile, q, k, v, k_scales, v_scales, turn, most, total, sums, padded, left,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """One tile of keys more: the largest score of each query so far, the sum of weights and the weighted values.

    The tile's scale of values goes into the exponent, so that it costs nothing for each weight. The matrix units of
    sm_90 keep fewer than fp32's bits of an 8-bit sum (arXiv:2411.10958), so only one tile is summed there.
    """
    rows = tl.arange(0, BLOCK)
    cols = tl.arange(0, WIDTH)
    k_tile = tl.load(k + (tile * BLOCK + rows)[None, :] * WIDTH + cols[:, None])
    products = tl.dot(q, k_tile)
    if MASKED:
        products = tl.where((rows < left)[None, :], products, float("-inf"))
    turn = tl.maximum(turn * tl.load(k_scales + tile), 1e-37)  # above 0, for products that are -inf
    scale = tl.load(v_scales + tile)
    power = tl.log2(scale)
    higher = tl.maximum(most, tl.max(products, 1) * turn + power)
    weights = tl.exp2(products * turn[:, None] - (higher - power - HEADROOM)[:, None])
    fade = tl.exp2(most - higher)
    total = total * fade + tl.sum(weights, 1) / scale
    v_tile = tl.load(v + cols[None, :] * padded + (tile * BLOCK + rows)[:, None])
    sums = sums * fade[:, None] + tl.dot(weights.to(v.dtype.element_ty), v_tile)
    return higher, total, sums


@triton.jit(do_not_specialize=["queries", "keys", "tiles", "heads", "groups"])
def attend_fp8(
    q, k_codes, v_codes, k_scales, v_scales, out,
    queries, keys, tiles, heads, groups, q_batch, q_token, q_head, factor,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """ROWS queries of one head over all tiles; ``out`` is [B, N, H, D] and contiguous. TAIL: the last tile is short.

    From the last tile to the first: sinks lie in the first one, and weights beside theirs would be rounded to zero.
    """
    program = tl.program_id(0)
    group, both = program % groups, (program // groups).to(tl.int64)
    sample, head = both // heads, both % heads
    rows = group * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, WIDTH)
    inside = (rows < queries)[:, None] & (cols < D)[None, :]
    place = rows.to(tl.int64)[:, None]
    x = tl.load(q + sample * q_batch + head * q_head + place * q_token + cols[None, :], mask=inside, other=0.0)
    x = x.to(tl.float32)
    scale = tl.maximum(tl.div_rn(tl.max(tl.abs(x), 1), 448.0), 1e-30)
    x = tl.minimum(tl.maximum(x * tl.div_rn(1.0, scale)[:, None], -448.0), 448.0).to(k_codes.dtype.element_ty)

    padded = tiles * BLOCK
    k_head = k_codes + both * padded * WIDTH
    v_head = v_codes + both * padded * WIDTH
    k_scale, v_scale = k_scales + both * tiles, v_scales + both * tiles
    most = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    sums = tl.zeros((ROWS, WIDTH), tl.float32)
    turn = scale * factor
    whole = tiles - 1 if TAIL else tiles
    if TAIL:
        left = keys - whole * BLOCK
        most, total, sums = _attend_tile(
            whole, x, k_head, v_head, k_scale, v_scale, turn, most, total, sums, padded, left, WIDTH, BLOCK, True
        )
    for i in tl.range(0, whole):
        most, total, sums = _attend_tile(
            whole - 1 - i, x, k_head, v_head, k_scale, v_scale, turn, most, total, sums, padded, BLOCK, WIDTH, BLOCK,
            False,
        )  # fmt: skip
    y = sums / total[:, None]
    begin = out + sample * queries * heads * D + head * D
    tl.store(begin + place * (heads * D) + cols[None, :], y.to(out.dtype.element_ty), mask=inside)
