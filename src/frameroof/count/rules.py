"""What each ATen operation is: its kind, and the sizes its FLOP rule needs.

An operation without a rule here is still recorded with its bytes, and is listed by name in every
output: nothing is silently zero. Matrix rules are checked against torch's own counter in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from ..rules import convolution_dims
from ..workload.records import MATRIX_KINDS
from . import flex
from .causal import causal_attrs, flash_attention

Dims = dict[str, int]
Rule = Callable[[Sequence[Any], dict[str, Any], Any], tuple[str, Dims, dict[str, Any]]]

aten = torch.ops.aten


def _linear(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    x, weight = args[0], args[1]
    return "linear", {"b": 1, "m": prod(x.shape[:-1]), "n": prod(weight.shape[:-1]), "k": x.shape[-1]}, {}


def _matmul(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    x, y = args[0], args[1]
    m = x.shape[-2] if x.dim() > 1 else 1
    n = y.shape[-1] if y.dim() > 1 else 1
    k = x.shape[-1]
    return "matmul", {"b": prod(out.shape) // max(1, m * n), "m": m, "n": n, "k": k}, {}


def _addmm(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    return _matmul(args[1:3], kwargs, out)


def _addbmm(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    b, m, k = args[1].shape
    return "matmul", {"b": b, "m": m, "n": args[2].shape[-1], "k": k}, {}


def _packed(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    """A linear layer whose weight has a shape of its own: the sizes are those of input and output."""
    return "linear", {"b": 1, "m": prod(out.shape[:-1]), "n": out.shape[-1], "k": args[0].shape[-1]}, {}


def _grouped(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    """One product for each group of rows (experts): every row meets one group, whichever it is."""
    x, y = args[0], args[1]
    groups = x.shape[0] if x.dim() == 3 and y.dim() == 3 else 1
    return "matmul", {"b": groups, "m": x.shape[-2], "n": y.shape[-1], "k": x.shape[-1]}, {}


def groups_touched(x: Sequence[int], y: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a grouped product can read of its two operands: no more groups than there are rows to send."""
    if len(x) == 2 and len(y) == 3:
        return tuple(x), (min(y[0], x[0]), *y[1:])
    if len(x) == 3 and len(y) == 2:
        return (min(x[0], y[1]), *x[1:]), tuple(y)
    return tuple(x), tuple(y)


def _convolution(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    x, weight, transposed = args[0], args[1], args[6]
    n, k = convolution_dims(x.shape, weight.shape, out.shape, transposed)
    attrs: dict[str, Any] = {"kernel": "x".join(map(str, weight.shape[2:]))}
    if transposed:
        attrs["transposed"] = True
    return f"conv{weight.dim() - 2}d", {"n": n, "k": k, "c": weight.shape[0], "g": args[8]}, attrs


def steps_over(name: str, args: Sequence[Any], outputs: Sequence[Any]) -> tuple[int, ...]:
    """The shape that windows read of their input, which may be less than it: strides step over some, or end before it.

    Of convolutions and pools without padding; () for anything else, and where all of it is read.
    """
    if name == "convolution" and not args[6]:
        kernel, stride, padding, dilation = args[1].shape[2:], args[3], args[4], args[5]
    elif "_pool" in name and "adaptive" not in name and len(args) > 1 and isinstance(args[1], (list, tuple)):
        kernel, stride, padding, dilation = args[1], (args[2] if len(args) > 2 else ()) or args[1], args[3:4], [1]
    else:
        return ()
    if any(tree_leaves(padding)):
        return ()
    rank, shape = len(kernel), args[0].shape
    sides = list(shape[-rank:])
    for at, count in enumerate(outputs[0].shape[-rank:]):
        step, apart, wide = (each[at if len(each) > 1 else 0] for each in (stride, dilation, kernel))
        window = apart * (wide - 1) + 1
        sides[at] = min(sides[at], (count - 1) * min(step, window) + window)
    return (*shape[:-rank], *sides) if sides != list(shape[-rank:]) else ()


def _softmax(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    last = args[1] in (-1, args[0].dim() - 1)
    return "softmax", {}, {} if last else {"dim": args[1]}


def _sdpa(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    q, k, v = args[:3]
    causal = is_causal(args, kwargs)
    return "attention", attention_dims(q.shape, k.shape, v.shape), causal_attrs(causal)


def is_causal(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of `scaled_dot_product_attention` asks for torch's own causal mask."""
    return bool(args[5] if len(args) > 5 else kwargs.get("is_causal", False))


def attention_dims(q: Sequence[int], k: Sequence[int], v: Sequence[int]) -> Dims:
    """Sizes of one attention call from (…, heads, tokens, head dim) shapes of q, k and v."""
    lead = attention_lead(q, k, v)
    return {
        "b": prod(lead[:-1]),
        "heads": lead[-1] if lead else 1,
        "kv_heads": k[-3] if len(k) > 2 else 1,
        "q": q[-2],
        "kv": k[-2],
        "d": q[-1],
        "dv": v[-1],
    }


def attention_lead(q: Sequence[int], k: Sequence[int], v: Sequence[int]) -> tuple[int, ...]:
    """Batch and heads of the result: those of q, k and v broadcast; grouped keys keep the queries' heads."""
    grouped = len(q) > 2 and q[-3] != k[-3]
    cut = -3 if grouped else -2
    lead = tuple(torch.broadcast_shapes(tuple(q[:cut]), tuple(k[:cut]), tuple(v[:cut])))
    return (*lead, max(q[-3], k[-3])) if grouped else lead


def _kind(kind: str) -> Rule:
    return lambda args, kwargs, out: (kind, {}, {})


RULES: dict[Any, Rule] = {
    aten.linear.default: _linear,
    aten.matmul.default: _matmul,
    aten.mm.default: _matmul,
    aten.bmm.default: _matmul,
    aten.mv.default: _matmul,
    aten.dot.default: _matmul,
    aten.vdot.default: _matmul,
    aten._int_mm.default: _matmul,
    aten._scaled_mm.default: _matmul,
    aten.addmm.default: _addmm,
    aten.addmv.default: _addmm,
    aten._addmm_activation.default: _addmm,
    aten.addbmm.default: _addbmm,
    aten.baddbmm.default: _addmm,
    aten.convolution.default: _convolution,
    aten.scaled_dot_product_attention.default: _sdpa,
    flex.OPERATOR: flex.rule,
    aten.embedding.default: _kind("embedding"),
    aten._softmax.default: _softmax,
    aten._log_softmax.default: _softmax,
    aten._safe_softmax.default: _softmax,
}
for _name, _rule in {
    "_grouped_mm": _grouped, "_scaled_grouped_mm": _grouped, "_weight_int8pack_mm": _packed,
    "_weight_int4pack_mm": _packed, "_mixed_dtypes_linear": _packed, "_dyn_quant_matmul_4bit": _packed,
}.items():  # fmt: skip
    if hasattr(aten, _name):  # not in every torch
        RULES[getattr(aten, _name).default] = _rule
for _name in (
    "layer_norm native_layer_norm group_norm native_group_norm rms_norm _fused_rms_norm batch_norm "
    "native_batch_norm _native_batch_norm_legit instance_norm"
).split():
    for _overload in getattr(aten, _name).overloads() if hasattr(aten, _name) else ():
        RULES[getattr(getattr(aten, _name), _overload)] = _kind("norm")

_REDUCTIONS = set(
    "sum mean amax amin max min argmax argmin var std var_mean prod any all cumsum cumprod logsumexp norm "
    "linalg_vector_norm topk sort argsort histc bincount count_nonzero avg_pool1d avg_pool2d avg_pool3d "
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d "
    "adaptive_max_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d nll_loss_forward nll_loss2d_forward mse_loss "
    "smooth_l1_loss huber_loss soft_margin_loss binary_cross_entropy binary_cross_entropy_with_logits median nanmedian "
    "kthvalue mode aminmax cummax cummin logcumsumexp trace searchsorted bucketize multinomial _euclidean_dist "
    "_cdist_forward _pdist_forward _trilinear _embedding_bag _embedding_bag_forward_only".split()
)
_COPIES = set(
    "clone copy copy_ cat stack repeat repeat_interleave constant_pad_nd roll flip index _unsafe_index index_select "
    "gather take scatter scatter_ scatter_add scatter_add_ index_add_ masked_scatter_ index_fill_ index_put "
    "index_put_ _index_put_impl_ index_copy index_copy_ index_fill "
    "select_scatter slice_scatter tril triu pad _pad_circular reflection_pad1d reflection_pad2d "
    "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d upsample_nearest1d "
    "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle unfold_copy "
    "expand_copy one_hot split_with_sizes_copy zeros ones full arange linspace zeros_like ones_like "
    "index_add scatter_reduce scatter_reduce_ diag_embed diagonal_copy diagonal_scatter index_reduce index_reduce_ "
    "full_like new_zeros new_ones new_full fill_ zero_ fill scalar_tensor eye tril_indices triu_indices randn "
    "rand randint randn_like rand_like normal_ uniform_ bernoulli_ lift_fresh_copy masked_scatter".split()
)
OVERWRITES = {"copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_"} | (
    SCATTERS := {
        "index_copy_", "index_put_", "_index_put_impl_", "scatter_", "scatter_add_", "index_add_", "masked_scatter_",
    }
)  # fmt: skip
FILLS = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "randn_like", "rand_like"}
ADDS_TO = {"addmm", "addmv", "addbmm", "baddbmm", "_addmm_activation"}  # `beta` of their first operand
_CHANNEL_NORMS = {"batch_norm", "native_batch_norm", "_native_batch_norm_legit", "instance_norm"}
GROUPED = {"_grouped_mm", "_scaled_grouped_mm"}
BAGS = {"_embedding_bag", "_embedding_bag_forward_only"}  # table first, then the rows chosen
PICKS = {"nll_loss_forward", "nll_loss2d_forward"}  # of the first operand one entry for each target
GATHERS = {"embedding", "index_select", "gather", "index", "_unsafe_index", "take", "diagonal_copy"}  # source first
_POINTWISE_TOO = set(
    "_to_copy upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler_2d grid_sampler_3d masked_fill masked_fill_ "
    "hardswish hardswish_ _prelu_kernel log_sigmoid log_sigmoid_forward native_dropout glu view_as_complex "
    "view_as_real floor_divide complex polar outer nan_to_num where".split()
)
_NOTHING = set(
    "empty empty_like new_empty empty_strided new_empty_strided empty_permuted sym_size sym_numel sym_stride "
    "sym_storage_offset detach_ lift_fresh lift is_contiguous set_ resize_ _assert_async _assert_scalar "
    "_assert_tensor_metadata".split()
)


COMPLEX_NOTE = (
    "a complex multiply-add is counted as one multiply-add, as torch's counter does; in real arithmetic it is four"
)
GROUPED_NOTE = "experts: every row is sent to one expert, and as many experts are read as rows can reach, up to all"


def note_of(name: str, kind: str, dtype: str) -> str:
    """What the count of a matrix operation assumes beyond its sizes; "" for nothing."""
    if name in GROUPED:
        return GROUPED_NOTE
    return COMPLEX_NOTE if dtype.startswith("complex") and kind in MATRIX_KINDS else ""


def moves_nothing(func: Any) -> bool:
    """Whether an operation allocates or asks without touching memory."""
    return base_name(func) in _NOTHING or func.namespace == "prim"


def base_name(func: Any) -> str:
    """``aten.add.Tensor`` -> ``add``."""
    return str(func._opname)


@cache
def is_pointwise(func: Any) -> bool:
    """Whether each output element depends on one element of each input: fit for fusion."""
    return torch.Tag.pointwise in func.tags or base_name(func) in _POINTWISE_TOO


def scales_channels(name: str, args: Sequence[Any]) -> bool:
    """Whether a call is a norm by statistics that it is given, in evaluation: a scale and a shift of each channel."""
    return name in _CHANNEL_NORMS and len(args) > 5 and args[5] is False


@cache
def plain(func: Any) -> Any:
    """The overload of an operation that makes its result itself, for one that is given it with ``out=``."""
    schema = func._schema
    if not any(a.is_out for a in schema.arguments):
        return func
    wanted = [(a.name, str(a.type)) for a in schema.arguments if not a.is_out]
    every = (getattr(func._overloadpacket, name) for name in func._overloadpacket.overloads())
    return next((o for o in every if [(a.name, str(a.type)) for a in o._schema.arguments] == wanted), func)


def formula_of(func: Any) -> Any:
    """The FLOP formula that a custom operator has registered with `register_flop_formula`, or None."""
    from torch.utils.flop_counter import flop_registry

    return None if func.namespace in ("aten", "prim") else flop_registry.get(func._overloadpacket)


def is_known(func: Any) -> bool:
    """Whether an operation is recorded whole instead of being decomposed further."""
    name = base_name(func)
    return (
        func in RULES
        or formula_of(func) is not None
        or flash_attention(func) is not None
        or name in _REDUCTIONS
        or name in _COPIES
        or is_pointwise(func)
    )


def classify(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[str, Dims, dict[str, Any]]:
    """Kind, dims and attributes of one call; kind "other" where there is no rule."""
    rule = RULES.get(func)
    if rule is not None:
        return rule(args, kwargs, out)
    if formula := formula_of(func):
        flops = int(formula(*args, **kwargs, out_val=out))
        return "matmul", {"b": 1, "m": -(-flops // 2), "n": 1, "k": 1}, {"formula": str(func)}
    if flash := flash_attention(func):
        shapes, attrs = flash(args, kwargs)
        return "attention", attention_dims(*shapes), attrs
    name = base_name(func)
    if name in _REDUCTIONS:
        return "reduction", {}, {}
    if name in _COPIES:
        return "copy", {}, {}
    if is_pointwise(func):
        return "elementwise", {}, {}
    return "other", {}, {}
