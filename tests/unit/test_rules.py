"""FLOPs and bytes beside torch's own counter and tensors, and the same rule over integers, arrays and polynomials."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from torch.utils.flop_counter import FlopCounterMode

from frameroof import rules
from frameroof.workload.expr import Poly


def counted(run: Callable[[], torch.Tensor]) -> tuple[int, tuple[int, ...]]:
    """FLOPs as torch counts them, and the shape of the result."""
    with FlopCounterMode(display=False) as counter:
        shape = tuple(run().shape)
    return counter.get_total_flops(), shape


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_products_are_those_of_torch() -> None:
    b, m, n, k = 3, 5, 7, 11
    left, right = meta(b, m, k), meta(b, k, n)
    flops, shape = counted(lambda: left @ right)
    assert rules.matmul_flops(b, m, n, k) == flops == 2 * 3 * 5 * 7 * 11
    assert rules.matmul_elements(b, m, n, k) == (left.numel(), right.numel(), 3 * 5 * 7)
    assert shape == (3, 5, 7)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_are_those_of_torch(groups: int, transposed: bool) -> None:
    x = meta(2, 4, 9, 8)
    w = meta(4, 6 // groups, 3, 2) if transposed else meta(6, 4 // groups, 3, 2)
    run = F.conv_transpose2d if transposed else F.conv2d
    _, out = counted(lambda: run(x, w, stride=2, groups=groups))
    n, k = rules.convolution_dims(x.shape, w.shape, out, transposed)
    at = (slice(None),) * 2
    # by hand: each of n elements meets the kernel's 3 x 2 positions and the channels of its group on the other side
    assert k == 3 * 2 * (6 if transposed else 4) // groups
    assert n == (x if transposed else torch.empty(out))[at].numel()
    if groups == 1:  # torch's counter multiplies by all channels in any case
        assert rules.convolution_flops(n, k) == counted(lambda: run(x, w, stride=2))[0]


def test_attention_is_that_of_torch() -> None:
    b, heads, kv_heads, q, kv, d = 2, 6, 3, 5, 7, 8
    query, key = meta(b, heads, q, d), meta(b, heads, kv, d)
    flops, _ = counted(lambda: (query @ key.mT).softmax(-1) @ key)
    assert rules.attention_flops(b, heads, q * kv, d, d) == flops
    assert rules.scores(b, heads, q, kv) == (query @ key.mT).numel()
    grouped = meta(b, kv_heads, kv, d)
    assert rules.attention_elements(b, (heads, kv_heads), q, kv, d) == 2 * query.numel() + 2 * grouped.numel()


def test_one_rule_for_integers_arrays_and_polynomials() -> None:
    sizes = {"b": 3, "m": 5, "n": 7, "k": 11}
    by_poly = rules.matmul_flops(*(Poly({(name,): 1}) for name in sizes))
    by_array = rules.matmul_flops(*(np.array([size, 1]) for size in sizes.values()))
    assert by_poly(sizes) == rules.matmul_flops(**sizes) == by_array[0]
    assert by_array[1] == 2


# ------------------------------------------------------------------------------------------------ causal masks

LENGTHS = (1, 2, 3, 5, 8, 13, 64)


def mask(q: int, kv: int, align: str) -> torch.Tensor:
    """Torch's own masks, made: `causal_upper_left` and `causal_lower_right`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more queries than keys give NaN
        made = {rules.UPPER_LEFT: causal_upper_left, rules.LOWER_RIGHT: causal_lower_right}[align](q, kv)
    return made._materialize()


@pytest.mark.parametrize("align", rules.ALIGNMENTS)
def test_causal_pairs_are_those_of_the_mask(align: str) -> None:
    lengths = [(q, kv) for q in LENGTHS for kv in LENGTHS]
    counted_pairs = [int(mask(q, kv, align).sum()) for q, kv in lengths]
    q, kv = (np.array(side) for side in zip(*lengths, strict=True))
    assert [rules.causal_pairs(a, b, align) for a, b in lengths] == counted_pairs
    assert rules.causal_pairs(q, kv, align).tolist() == counted_pairs
    sizes = [{"q": a, "kv": b} for a, b in lengths]
    twice = rules.twice_causal_pairs(Poly({("q",): 1}), Poly({("kv",): 1}), align)
    assert [twice(env) // 2 for env in sizes] == counted_pairs
    beside = rules.twice_causal_pairs(Poly({("q",): 1}), Poly({("q",): 1, (): 7}), align)  # q + 7 keys: no minimum
    assert beside.names == {"q"}
    assert [beside({"q": n}) // 2 for n in LENGTHS] == [int(mask(n, n + 7, align).sum()) for n in LENGTHS]


@pytest.mark.parametrize("align", rules.ALIGNMENTS)
def test_what_torch_computes_under_is_causal_is_the_upper_left(align: str) -> None:
    q, kv = torch.randn(1, 1, 3, 4), torch.randn(1, 1, 5, 4)
    by_mask = F.scaled_dot_product_attention(q, kv, kv, attn_mask=mask(3, 5, align))
    by_flag = F.scaled_dot_product_attention(q, kv, kv, is_causal=True)
    assert torch.allclose(by_mask, by_flag, atol=1e-6) is (align == rules.UPPER_LEFT)


def test_large_counts_are_exact_and_other_alignments_refused() -> None:
    assert rules.causal_pairs(512, 8192, rules.LOWER_RIGHT) == 512 * 7680 + 512 * 513 // 2  # 97 % of the rectangle
    assert rules.causal_pairs(2**40, 2**40, rules.UPPER_LEFT) == 2**39 * (2**40 + 1)
    with pytest.raises(ValueError, match="upper_left or lower_right, not 'middle'"):
        rules.causal_pairs(1, 1, "middle")
