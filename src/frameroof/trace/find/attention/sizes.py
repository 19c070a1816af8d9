"""What the recorded inputs of a fused attention tell: batch, heads, lengths, head dimension, and its causal mask.

Legend: B batch, N tokens, H heads, D head dimension.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ....rules import LOWER_RIGHT, UPPER_LEFT
from ....run import Packed
from ...resolve.recorded_inputs import Dims, Inputs
from .packed import PackedSizes, is_backward, is_packed, measure_packed
from .steps import Step

SDPA = "aten::scaled_dot_product_attention"


class _Operator(NamedTuple):
    """The layout of q, k and v; the position of `is_causal` among the inputs, -1: not told; how its mask is aligned."""

    layout: str
    flag: int
    align: str = UPPER_LEFT


_OPERATORS = {
    "aten::_flash_attention_forward": _Operator("BNHD", 8, LOWER_RIGHT),
    "aten::_efficient_attention_forward": _Operator("BNHD", 9),
    "aten::_cudnn_attention_forward": _Operator("BHND", -1),
    "aten::_scaled_dot_product_flash_attention": _Operator("BHND", 4, LOWER_RIGHT),
    "aten::_scaled_dot_product_efficient_attention": _Operator("BHND", 6),
    "aten::_scaled_dot_product_cudnn_attention": _Operator("BHND", 6),
    "aten::_scaled_dot_product_fused_attention_overrideable": _Operator("BHND", 5),
    "aten::_scaled_dot_product_flash_attention_for_cpu": _Operator("BHND", 4),
    SDPA: _Operator("BHND", 5),
    "aten::_flash_attention_backward": _Operator("BNHD", 11, LOWER_RIGHT),
    "aten::_efficient_attention_backward": _Operator("BNHD", 14),
    "aten::_scaled_dot_product_flash_attention_backward": _Operator("BHND", 11),
    "aten::_scaled_dot_product_efficient_attention_backward": _Operator("BHND", 11),
    "aten::_scaled_dot_product_cudnn_attention_backward": _Operator("BHND", 14),
    "flash_attn::_flash_attn_backward": _Operator("BNHD", 11, LOWER_RIGHT),
    "flash_attn::_flash_attn_forward": _Operator("BNHD", 5, LOWER_RIGHT),
    "flash_attn::_flash_attn_varlen_forward": _Operator("BNHD", 9, LOWER_RIGHT),
}
"""Operators of attention. `scaled_dot_product_attention` means the upper left, and takes the flash kernel only where
that is the same. Called by itself, as `causal_lower_right` does, the flash kernel means the lower right
(torch/nn/attention/bias.py); flash-attention does since 2.1."""
_MASKS = {"0": (False, ""), "1": (True, UPPER_LEFT), "2": (True, LOWER_RIGHT)}
"""`custom_mask_type` of the memory-efficient kernel -> causal, and how it is aligned."""


_NO_PRODUCTS = re.compile(r"merge_|_merge|combine|metadata|indptr|indices|schedule", re.I)
"""Operators that put parts of an attention together, or plan one: no queries stand among their inputs."""


class Sizes(NamedTuple):
    """The geometry of a call; lengths and batch of 0 where `packed` says all that is known of them."""

    batch: int
    heads: int
    kv_heads: int
    query_len: int
    key_len: int
    head_dim: int
    item: int
    """Bytes of an element of q."""
    causal: bool | None
    align: str
    packed: Packed | None = None
    value_dim: int = 0


def measure(operator: str, inputs: Inputs, step: Step | None = None) -> Sizes | None:
    """What the inputs of an attention operator tell, and the annotation of its step; None where they are not of one."""
    if _NO_PRODUCTS.search(operator):
        return None
    item = inputs.tensors[0][1] if inputs.tensors else 2
    if is_packed(operator, inputs):
        return _packed(measure_packed(operator, inputs, step), item)
    tensors = [dims for i in range(len(inputs.dims)) if (dims := inputs.tensor(i)) is not None and len(dims) >= 3]
    first = int(is_backward(operator))
    if len(tensors) < first + 2:
        return None
    q, k = tensors[first], tensors[first + 1]
    if operator == "aten::_native_multi_head_attention":  # (batch, tokens, width); the number of heads is the fifth
        heads = int(inputs.value(4)) if inputs.value(4).isdecimal() else 0
        width = q[-1] // heads if heads else 0
        return Sizes(q[0], heads, heads, q[1], k[1], width, item, None, "") if heads else None
    known = _OPERATORS.get(operator, _Operator("BNHD" if _is_bnhd(q, k) else "BHND", -1))
    causal, align = _mask(known, inputs)
    if len(q) == len(k) == 3:  # of PyTorch, one head of each
        return Sizes(q[0], 1, 1, q[1], k[1], q[2], item, causal, align)
    if len(q) == 4 and len(k) == 4:
        n, h = (1, 2) if known.layout == "BNHD" else (2, 1)
        return Sizes(q[0], q[h], k[h], q[n], k[n], q[3], item, causal, align, None, _value_dim(k, tensors[first + 2 :]))
    return None


def _value_dim(k: Dims, behind: list[Dims]) -> int:
    """Head dimension of the values, which follow the keys, where it is another one; otherwise 0."""
    values = behind[0] if behind else k
    return values[3] if values[:3] == k[:3] and values[3:] != k[3:] else 0


def _packed(found: PackedSizes | None, item: int) -> Sizes | None:
    if found is None:
        return None
    batch = found.packed.sequences or 0 if found.q else 0
    align = LOWER_RIGHT if found.causal else ""
    return Sizes(
        batch, found.heads, found.kv_heads, found.q, found.k, found.head_dim, item, found.causal, align,
        found.packed, found.value_dim if found.value_dim != found.head_dim else 0,
    )  # fmt: skip


def _mask(known: _Operator, inputs: Inputs) -> tuple[bool | None, str]:
    """Whether it is causal (None: not told), and how its mask is aligned."""
    value = inputs.value(known.flag) if known.flag >= 0 else ""
    if value in _MASKS:
        return _MASKS[value]
    return (value == "True", known.align if value == "True" else "") if value in ("True", "False") else (None, "")


def _is_bnhd(q: Dims, k: Dims) -> bool:
    """Whether tokens stand before heads: keys share the heads of the queries, or have a part of them (grouped queries);
    where both fit, the shorter are heads."""
    if len(q) != 4 or len(k) != 4:
        return True
    if q[1] == k[1] and q[2] == k[2]:
        return q[2] < q[1]
    if q[2] == k[2]:  # heads at 2, or grouped heads at 1 over as many tokens
        return not (q[1] % max(1, k[1]) == 0 and q[2] > max(q[1], k[1]))
    if q[1] == k[1]:
        return q[2] % max(1, k[2]) == 0 and q[1] > max(q[2], k[2])
    return not (q[1] > k[1] and q[2] < k[2])  # grouped heads and fewer queries than keys
