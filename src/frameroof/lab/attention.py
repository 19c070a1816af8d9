"""The switch between baseline and flash attention, for every model that calls PyTorch's SDPA.

Baseline attention writes the similarity matrix to memory, as Golden et al.'s baseline does: scores, scale, mask,
softmax, values, each a kernel of its own. Flash is PyTorch's own choice, which is a fused kernel wherever there is one.

Shape letters: B batch, H heads, N queries, M keys, C channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NAMES = ("baseline", "flash")


@contextmanager
def attention(name: str) -> Iterator[None]:
    """Run the block with ``baseline`` or ``flash`` attention. It changes `torch.nn.functional`, so all threads.

    Raises `ValueError`, a sentence, for another name.
    """
    if name not in NAMES:
        raise ValueError(f"attention is {' or '.join(NAMES)}, not {name!r}")
    before: Any = F.scaled_dot_product_attention
    if name == "baseline":
        F.scaled_dot_product_attention = baseline_attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before


def baseline_attention(  # eight arguments: the signature of the function it stands for
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` with its similarity matrix in memory; the softmax of sixteen bits is in fp32."""
    q_BHNC, k_BHMC, v_BHMC = query, key, value
    if enable_gqa and k_BHMC.shape[-3] != q_BHNC.shape[-3]:
        groups = q_BHNC.shape[-3] // k_BHMC.shape[-3]
        k_BHMC, v_BHMC = (x.repeat_interleave(groups, dim=-3) for x in (k_BHMC, v_BHMC))
    scores_BHNM = torch.matmul(q_BHNC, k_BHMC.transpose(-2, -1))
    scores_BHNM = scores_BHNM * (1 / math.sqrt(q_BHNC.shape[-1]) if scale is None else scale)
    if is_causal:
        rows, columns = scores_BHNM.shape[-2:]
        attn_mask = torch.ones(rows, columns, dtype=torch.bool, device=q_BHNC.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores_BHNM = scores_BHNM.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores_BHNM = scores_BHNM + attn_mask
    weights_BHNM = torch.softmax(scores_BHNM, dim=-1, dtype=torch.float32).to(q_BHNC.dtype)
    if dropout_p:
        weights_BHNM = F.dropout(weights_BHNM, dropout_p)
    return torch.matmul(weights_BHNM, v_BHMC)
