"""FLOPs and least bytes of matrix products, convolutions and attention: the one place where they are written down.

2 FLOPs per multiply-add. Amounts are integers, NumPy arrays of them, or polynomials of a workload's sizes
(`workload.expr.Poly`): whatever adds and multiplies. Elements times the width of their type are bytes.
Nothing heavy is imported: recorded models, counted workloads, traces and benchmarks all ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

Amount: TypeAlias = Any
"""An integer, a NumPy array of integers, or a polynomial in sizes."""

UPPER_LEFT, LOWER_RIGHT = ALIGNMENTS = ("upper_left", "lower_right")
"""Where the triangle of a causal mask sits if there are not as many queries as keys: query i sees keys 0 to i (the
`is_causal` of torch's scaled_dot_product_attention, `torch.nn.attention.bias.causal_upper_left`), or keys 0 to
kv - q + i, so that the last query sees all (flash-attention since 2.1, `causal_lower_right`, and whatever attends to a
cache)."""

# Arithmetic per element outside of matrix work, a convention: a pointwise function is one operation
# whatever it computes; softmax = max, subtract, exp, sum, divide; a norm = mean, subtract, square,
# mean, add eps and rsqrt, multiply, scale and shift.
VECTOR_PER_ELEMENT = {"elementwise": 1, "reduction": 1, "softmax": 5, "norm": 8}
# Per score, for attention whole ("") and for the pieces that the baseline accounting cuts it into.
VECTOR_PER_SCORE = {"": 5, "scores": 0, "scale": 1, "mask": 1, "softmax": 5, "cast": 1, "values": 0}


def matmul_flops(b: Amount, m: Amount, n: Amount, k: Amount) -> Amount:
    """FLOPs of `b` products (m x k) (k x n)."""
    return b * m * n * k * 2


def matmul_elements(b: Amount, m: Amount, n: Amount, k: Amount) -> tuple[Amount, Amount, Amount]:
    """Elements of the left factor, the right one and the result of `b` products (m x k) (k x n)."""
    return b * m * k, b * k * n, b * m * n


def convolution_dims(
    x: Sequence[int], w: Sequence[int], out: Sequence[int], transposed: bool = False
) -> tuple[int, int]:
    """(n, k) of a convolution of `x` with the weight `w` into `out`: elements, and multiply-adds for each.

    The elements are those of the output, or, where it is transposed, of the input: each of them meets the same number
    of weights, ``w[1:]``, whatever the groups.
    """
    return prod(x if transposed else out), prod(w[1:])


def convolution_flops(n: Amount, k: Amount) -> Amount:
    """FLOPs of a convolution of `n` elements with `k` multiply-adds each (`convolution_dims`)."""
    return n * k * 2


def convolution_product(
    n: Amount, k: Amount, c: Amount, g: Amount, transposed: bool = False
) -> tuple[Amount, Amount, Amount, Amount]:
    """(b, m, n, k) of the matrix products that a convolution is: one for each of `g` groups, a row for each position.

    `n` and `k` are those of `convolution_dims`, `c` the channels of the tensor whose elements `n` are, so that it has
    n / c positions over its batch. Those of the output (n / c rows) are products of c / g columns and depth k = kernel
    positions x input channels / g. Where it is transposed `n` and `c` are those of the input: depth c / g, and k =
    kernel positions x output channels / g columns, which are added up where they overlap. 2 b m n k = 2 n k FLOPs.
    """
    rows, side = n // c, c // g
    return (g, rows, k, side) if transposed else (g, rows, side, k)


def scores(b: Amount, heads: Amount, q: Amount, kv: Amount) -> Amount:
    """Elements of the similarity matrix of an attention, over batch and heads."""
    return b * heads * q * kv


def attention_flops(b: Amount, heads: Amount, pairs: Amount, d: Amount, dv: Amount) -> Amount:
    """FLOPs of the two products of an attention over `pairs` of a query and a key in each head: q x kv for all."""
    return b * heads * pairs * (d + dv) * 2


def attention_backward_flops(b: Amount, heads: Amount, pairs: Amount, d: Amount, dv: Amount) -> Amount:
    """FLOPs of the five products of the gradient of an attention: scores computed again, and the gradients of
    probabilities, values, queries and keys (torch's convention for kernels that keep no scores)."""
    return b * heads * pairs * (3 * d + 2 * dv) * 2


def attention_elements(b: Amount, heads: tuple[Amount, Amount], q: Amount, kv: Amount, d: Amount) -> Amount:
    """Elements of queries, output, keys and values, each once: what a fused kernel must move.

    `heads` are those of queries and of keys; `d` is half of what a token has in both products (d + dv for unlike ones).
    """
    return b * d * 2 * (heads[0] * q + heads[1] * kv)


def causal_pairs(q: Amount, kv: Amount, align: str) -> Amount:
    """Pairs of a query and a key that a causal mask leaves, of q queries and kv keys; exact.

    `align` is one of `ALIGNMENTS`; `ValueError` for another. Queries may outnumber keys: aligned at the lower right the
    first of them then see nothing, at the upper left the last of them see everything.
    """
    return twice_causal_pairs(q, kv, align) // 2


def twice_causal_pairs(q: Amount, kv: Amount, align: str) -> Amount:
    """Twice `causal_pairs`, which is a polynomial with whole coefficients: a triangle of n rows, and a rectangle.

    Raises `ValueError`, a sentence, for an alignment that there is none of.
    """
    if align not in ALIGNMENTS:
        raise ValueError(f"a causal mask is aligned {' or '.join(ALIGNMENTS)}, not {align!r}")
    n = smaller(q, kv)
    beside = (q - n) * kv if align == UPPER_LEFT else n * (kv - n)
    return n * (n + 1) + beside * 2


def masked_pairs(q: int, kv: int, causal: bool | None, align: str) -> int:
    """Pairs that a kernel computes: all, or those under its causal mask; "" is torch's own alignment."""
    return int(causal_pairs(q, kv, align or UPPER_LEFT)) if causal else q * kv


def smaller(a: Amount, b: Amount) -> Amount:
    """The smaller of two amounts of any sort."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    if hasattr(a, "smaller"):
        return a.smaller(b)
    if hasattr(b, "smaller"):
        return b.smaller(a)
    import numpy as np

    return np.minimum(a, b)
