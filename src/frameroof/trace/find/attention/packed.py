"""The lengths of attention over sequences that are packed into one tensor, or whose keys are read from a cache.

The second tensor of such a call is not the keys that its queries see: it is the new tokens of all sequences, or the
whole pool that all sequences share. The lengths are known from

    the step       sums that a serving engine wrote into its annotation (`steps`)
    one sequence   as many boundaries as one sequence has: queries and keys are those of the tensors
    boundaries     where they were recorded as a list of numbers
    alike          as many tokens as all sequences have if each is as long as the longest: they all are

and from nothing else: boundaries in a tensor are values on the device, which no profiler records.
Legend: T tokens of all sequences, H heads, D head dimension.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from ....outside import whole
from ....rules import LOWER_RIGHT, masked_pairs
from ....run import Packed
from ...resolve.recorded_inputs import MOST_DIM, Dims, Inputs
from .steps import Step, Sums

_SERVED = re.compile(
    r"unified_(mla_)?attention|^sglang_profiler::|paged_attention|trtllm_paged|batch_prefill|decode|(^|::)pa_"
)
"""Operators of an engine's own layers, whose tokens are those of the step, perhaps padded for a graph."""
_POOLED = re.compile(
    r"paged|batch_prefill|batch_decode|mla_decode|kvcache|kv_cache|(^|::)pa_(fwd|decode|ragged)|ragged|unified_(mla_)?attention|"
    r"mqa_|flash_?mla|decode",
    re.I,
)
"""Operators that read keys from a cache or pool, whatever the shape of their tensors."""
_GENERATES = re.compile(r"decode|(^|::)paged_attention|(^|::)pa_(fwd|decode|ragged)", re.I)
_LATENT = re.compile(r"mla", re.I)
MOST_WIDE = 1024
"""Heads of a call, and the dimension of one."""
_WHOLE_NUMBERS = ("int", "long int", "unsigned int", "long", "long long")


class Places(NamedTuple):
    """Positions among the inputs of an operator of packed sequences; -1: it has none.

    `cu_q` and `cu_k` are boundaries of the sequences, `max_q` and `max_k` the longest of them."""

    q: int = 0
    cu_q: int = 3
    cu_k: int = 4
    max_q: int = 5
    max_k: int = 6
    causal: int = -1
    window: int = -1
    """Of the keys before a query that it sees; those after it follow. -1 and 0: no window."""


PLACES = {
    "aten::_flash_attention_forward": Places(causal=8),
    "aten::_efficient_attention_forward": Places(0, 4, 5, 6, 7),
    "aten::_flash_attention_backward": Places(1, 6, 7, 8, 9, 11),
    "aten::_efficient_attention_backward": Places(1, 6, 7, 8, 9),
    "flash_attn::_flash_attn_varlen_forward": Places(causal=9, window=10),
    "flash_attn::_flash_attn_varlen_backward": Places(1, 9, 10, 11, 12, 15, 16),
    "aiter::mha_varlen_fwd": Places(causal=12, window=13),
    "aiter::fmha_v3_varlen_fwd": Places(causal=12, window=13),
    "aiter::mha_batch_prefill": Places(0, 3, 4, 6, 7, 12, 13),
    "xformers_flash::flash_fwd": Places(0, 3, 4, 6, 7, 10, 11),
    "xformers::efficient_attention_forward_cutlass": Places(0, 4, 5, 6, 7),
    "_vllm_fa2_C::varlen_fwd": Places(0, 4, 5, 10, 11, 15, 16),
    "_vllm_fa3_C::fwd": Places(0, 7, 8, 12, 13, 24, 25),
    "flash_attn_3::fwd": Places(0, 7, 8, 12, 13, 24, 25),
    "sgl_kernel::fwd": Places(0, 7, 8, 12, 13, 24, 25),
}
"""Where PyTorch, flash-attention, AITER, xFormers, vLLM and SGLang put the lengths."""


class PackedSizes(NamedTuple):
    """What is known of a packed call: `q`, `k` of every sequence where they are alike, otherwise 0."""

    packed: Packed
    heads: int
    kv_heads: int
    q: int
    k: int
    head_dim: int
    value_dim: int
    causal: bool | None


_BACKWARD = re.compile(r"backward|(^|_|::)bwd(_|$)", re.I)


def is_backward(operator: str) -> bool:
    """Whether an operator of attention computes gradients: that of its output stands before the queries."""
    return bool(_BACKWARD.search(operator))


def is_packed(operator: str, inputs: Inputs) -> bool:
    """Whether a call's sequences may differ in length: by its name, its boundaries, or three dimensions of q."""
    tensors = _tensors(inputs)
    if operator.startswith("aten::"):
        return operator in PLACES and bool(_boundaries(operator, inputs)[0] or (tensors and len(tensors[0]) == 3))
    if _POOLED.search(operator) or "varlen" in operator.lower() or (tensors and len(tensors[0]) == 3):
        return True
    return bool(_boundaries(operator, inputs)[0])


def measure_packed(operator: str, inputs: Inputs, step: Step | None) -> PackedSizes | None:
    """Lengths, heads and head dimension of a call that `is_packed`; None where its inputs are none of attention."""
    tensors = _tensors(inputs)[int(is_backward(operator)) :]
    places = PLACES.get(operator, Places())
    q = inputs.tensor(places.q) if operator in PLACES else None
    q = q if q and len(q) >= 3 else tensors[0] if tensors else None
    if q is None or len(tensors) < 2:
        return None
    tokens, heads, dim = (q[0], q[1], q[2]) if len(q) == 3 else (q[0] * q[1], math.prod(q[2:-1]), q[-1])
    if max(heads, dim) > MOST_WIDE:  # (batch, tokens, all heads together), or another layout
        return None
    after = tensors[tensors.index(q) + 1 :] if q in tensors else tensors[1:]
    if len(after) > 2 and after[0] == q and _POOLED.search(operator) and len(after[1]) > 3:
        after = after[1:]  # the output stands before the queries
    k, v = (after[0] if after else None), (after[1] if len(after) > 1 else None)
    kv_heads = _kv_heads(operator, heads, dim, k)
    values, latent = _values(operator, (q, k, v), after)
    causal = {"True": True, "False": False}.get(inputs.value(places.causal)) if operator in PLACES else None
    unknown = PackedSizes(Packed(tokens), heads, kv_heads, 0, 0, dim, values, causal)
    if values < 0:  # a latent attention whose values are not told
        return unknown._replace(value_dim=0)
    window = _window(operator, inputs, places)
    if step is not None and (sums := _part(operator, step, tokens, k)):
        told = sums.packed()
        least = None if window else told.pairs if causal is False else told.least_pairs
        packed = Packed(told.queries, told.sequences, told.keys, told.pairs, least, latent)
        return unknown._replace(packed=packed, q=sums.uniform[0], k=sums.uniform[1])
    own = _recorded(operator, inputs, places, (q, k))
    if own is None:
        return unknown
    masked = bool(_POOLED.search(operator)) if causal is None else causal  # what reads a cache generates
    count, queries, keys = sum(n for n, _, _ in own), sum(n * q for n, q, _ in own), sum(n * k for n, _, k in own)
    least = None if window else sum(n * masked_pairs(q, k, masked, LOWER_RIGHT) for n, q, k in own)
    packed = Packed(queries, count, keys, sum(n * q * k for n, q, k in own), least, latent)
    alike = own[0][1:] if len(own) == 1 else (0, 0)
    return unknown._replace(packed=packed, q=alike[0], k=alike[1])


def _tensors(inputs: Inputs) -> list[Dims]:
    found = (inputs.tensor(i) for i in range(len(inputs.dims)))
    return [dims for dims in found if dims is not None and len(dims) >= 3]


def _kv_heads(operator: str, heads: int, dim: int, k: Dims | None) -> int:
    """Heads of the keys; 0 where the layout of a cache does not tell."""
    if k is None or k[-1] != dim:
        return 0
    found = k[2] if len(k) == 5 else k[-2]  # of groups of heads, one for each
    told = len(k) != 4 or operator in PLACES or not _POOLED.search(operator) or 1 in k[1:3] or "ragged" in operator
    return found if told and found and heads % found == 0 else 0


def _window(operator: str, inputs: Inputs, places: Places) -> bool:
    """Whether a query sees only the keys of a window, whose pairs are not counted here."""
    at = places.window if operator in PLACES else -1
    sizes = [whole(inputs.value(each), -1, MOST_DIM) for each in (at, at + 1)] if at >= 0 else []
    return any(size is not None and size > 0 for size in sizes)


def _values(operator: str, qkv: tuple[Dims, Dims | None, Dims | None], after: list[Dims]) -> tuple[int, bool]:
    """(head dimension of the values, whether keys and values are one latent tensor); -1: not told."""
    q, k, v = qkv
    if _LATENT.search(operator):
        out = next((each for each in after if each[:-1] == q[:-1] and each[-1] < q[-1]), None)
        if k and k[-1] == q[-1] and k[-2] == 1:
            return (out[-1], True) if out else (-1, True)
        if k and v and k[:-1] == v[:-1] and k[-1] == q[-1]:
            return v[-1], False
        return -1, False
    if k and v and k[-1] == q[-1] and v[:-1] == k[:-1]:
        return v[-1], False
    return q[-1], False


def _part(operator: str, step: Step, tokens: int, k: Dims | None) -> Sums | None:
    """The part of a step that a call of so many tokens computes; None where they are not its tokens."""
    all_of_it = step.whole
    if all_of_it is None:
        return None
    if "unified" in operator and (k is None or k[0] != tokens):  # of another sequence: an encoder's
        return None
    if _GENERATES.search(operator):
        return step.generation if step.generation and _fits(operator, step.generation.q, tokens) else None
    if _fits(operator, all_of_it.q, tokens):
        return all_of_it
    parts = [part for part in (step.context, step.generation) if part and part.q == tokens]
    return parts[0] if len(parts) == 1 else None


def _fits(operator: str, wanted: int, tokens: int) -> bool:
    """Whether a tensor of so many tokens holds those of the step: exactly, or padded as graphs are."""
    return tokens == wanted or (wanted < tokens <= 2 * wanted and bool(_SERVED.search(operator)))


def _boundaries(operator: str, inputs: Inputs) -> tuple[Dims, Dims]:
    """Dimensions of the boundaries of queries and keys; () where there are none."""
    if operator in PLACES:
        places = PLACES[operator]
        return inputs.tensor(places.cu_q) or (), inputs.tensor(places.cu_k) or ()
    if operator.startswith("aten::"):
        return (), ()
    lists = [
        dims
        for i, kind in enumerate(inputs.types)
        if kind in _WHOLE_NUMBERS and (dims := inputs.tensor(i)) is not None and len(dims) == 1 and dims[0] > 1
        if kind == "int" or dims != (2,)  # two long numbers are the state of a generator
    ]
    return (lists[0], lists[1] if len(lists) > 1 else ()) if lists else ((), ())


Lengths = list[tuple[int, int, int]]
"""(how many sequences, queries, keys of each)"""


def _recorded(operator: str, inputs: Inputs, places: Places, qk: tuple[Dims, Dims | None]) -> Lengths | None:
    """The lengths of all sequences where the inputs tell; None where sequences may differ."""
    q, k = qk
    if k is None or (len(q) > 3 and q[0] != 1):
        return None
    tokens, keys = (dims[0] * (dims[1] if len(dims) > 3 else 1) for dims in (q, k))
    pooled = bool(_POOLED.search(operator)) or len(k) != len(q) or _has_pages(inputs)
    if operator in PLACES and not pooled:
        of = (_listed(inputs.value(at), most) for at, most in ((places.cu_q, tokens), (places.cu_k, keys)))
        each = list(zip(*of, strict=False))
        if each and sum(a for a, _ in each) == tokens and sum(b for _, b in each) == keys:
            return [(times, *lengths) for lengths, times in Counter(each).items()]
    of_q, of_k = _boundaries(operator, inputs)
    if len(of_q) != 1 or of_q[0] < 2:
        return None
    count, at = of_q[0] - 1, (places.max_q, places.max_k) if operator in PLACES else (-1, -1)
    longest = [whole(inputs.value(each), 0, MOST_DIM) for each in at]
    q_len = tokens if count == 1 else longest[0] if longest[0] and longest[0] * count == tokens else None
    if q_len is None:
        return None
    if pooled:  # a sequence's keys hold its queries, and are no more than the longest
        return [(count, q_len, q_len)] if longest[1] == q_len else None
    if of_k and of_k != of_q:
        return None
    k_len = keys if count == 1 else longest[1] if longest[1] and longest[1] * count == keys else None
    return [(count, q_len, k_len)] if k_len is not None else None


def _listed(text: str, most: int) -> list[int]:
    """Lengths between boundaries that were recorded as a list, "[0, 100, 350]"; [] where they were not."""
    if not (text.startswith("[") and text.endswith("]")):
        return []
    bounds = [whole(part.strip(), 0, most) for part in text[1:-1].split(",")]
    found = [b - a if a is not None and b is not None else -1 for a, b in pairwise(bounds)]
    return found if bounds[0] == 0 and min(found, default=-1) >= 0 else []


def _has_pages(inputs: Inputs) -> bool:
    """Whether a table of pages is among the inputs: keys then stand in a pool."""
    pairs = zip(inputs.dims, inputs.types, strict=False)
    return any(kind in _WHOLE_NUMBERS and len(dims) == 2 and isinstance(dims[0], int) for dims, kind in pairs)
