"""Bytes of an operator of torch that multiplies nothing: what it reads once, and what it writes once.

Read are all inputs but those that it only writes (`written_only`); written is what it is given for its results, what
it changes, or a new result (`results`). What picks parts of a tensor has rules of its own (`gathered`). -1 for an
operator that no rule knows: nothing is guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache

from . import gathered, results
from .classify import NO_WORK
from .recorded_inputs import Inputs, NotToldError
from .results import Rule
from .written_only import written_only

_NOTHING = re.compile(
    rf"^({NO_WORK}|to|contiguous|type_as|real|imag|view_as_(real|complex)|adjoint|mH|ravel|unfold|is_\w+|_has_\w+|size|stride|"
    r"_assert_\w+|_coalesced|_(in|)dices|unsafe_chunk|hsplit|vsplit|dsplit|tensor_split|detach|requires_grad)_?$"
)
"""Operators that touch no element, or leave it to others inside them."""


def _of(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_RESULTS: dict[str, Rule] = {
    **_of(
        results.comparison,
        "eq ge gt isfinite isinf isnan isneginf isposinf le logical_and logical_not logical_or logical_xor lt ne "
        "signbit greater greater_equal less less_equal not_equal isclose isreal",
    ),
    **_of(
        results.floating,
        "acos acosh arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh copysign cos cosh "
        "deg2rad digamma div divide erf erfc erfinv exp exp2 expm1 "
        "i0 ldexp lgamma log log10 log1p log2 logit mvlgamma polygamma "
        "rad2deg reciprocal rsqrt sigmoid sin sinc sinh sqrt tan tanh true_divide xlogy",
    ),
    **_of(
        results.pointwise,
        "__and__ __iand__ __ilshift__ __irshift__ __ior__ __ixor__ __lshift__ __or__ __rshift__ __xor__ _conj_physical "
        "_add_relu abs absolute add addcdiv addcmul bitwise_and bitwise_left_shift bitwise_not bitwise_or "
        "bitwise_right_shift bitwise_xor ceil celu clamp clamp_max clamp_min clip conj_physical elu fix floor "
        "floor_divide fmax fmin fmod frac gcd gelu gelu_backward hardshrink hardsigmoid hardsigmoid_backward hardswish "
        "hardswish_backward hardtanh hardtanh_backward heaviside hypot igamma igammac lcm leaky_relu "
        "leaky_relu_backward lerp logaddexp logaddexp2 log_sigmoid log_sigmoid_forward logit_backward maximum minimum "
        "mish mish_backward mul multiply nan_to_num neg negative nextafter positive pow relu relu6 remainder "
        "round rsub selu sgn sigmoid_backward sign silu silu_backward softplus softplus_backward softshrink "
        "softshrink_backward elu_backward square sub subtract tanh_backward threshold threshold_backward trunc prelu "
        "_prelu_kernel rrelu_with_noise mse_loss_backward huber_loss_backward smooth_l1_loss_backward "
        "native_dropout_backward _masked_scale celu_backward masked_scale",
    ),
    **_of(results.choice, "where"),
    **_of(results.first_type, "masked_fill"),
    **_of(
        results.same,
        "native_layer_norm layer_norm rms_norm _fused_rms_norm native_group_norm group_norm batch_norm "
        "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit "
        "_native_batch_norm_legit_no_training _batch_norm_impl_index _batch_norm_with_update "
        "_batch_norm_with_update_functional batch_norm_elemt "
        "instance_norm flip roll rot90 tril triu clone cumprod logcumsumexp _logcumsumexp renorm bernoulli copy "
        "permute_copy view_copy t_copy transpose_copy alias_copy detach_copy squeeze_copy unsqueeze_copy "
        "_softmax_backward_data _log_softmax_backward_data pixel_shuffle "
        "pixel_unshuffle channel_shuffle native_channel_shuffle _fft_c2c _pin_memory pin_memory _weight_norm_interface "
        "log_sigmoid_backward glu_jvp _conj_copy alpha_dropout dropout feature_dropout",
    ),
    **_of(results.softmax, "_softmax _log_softmax softmax log_softmax _safe_softmax"),
    **_of(results.with_mask, "native_dropout _fused_dropout"),
    **_of(results.cast, "_to_copy"),
    **_of(results.running, "cumsum"),
    **_of(results.halved, "glu"),
    **_of(results.joined, "cat _cat concat concatenate stack _stack hstack vstack dstack"),
    **_of(
        results.reduction,
        "sum mean amax amin nansum nanmean logsumexp linalg_vector_norm norm var std var_mean std_mean",
    ),
    **_of(results.largest_of, "max min"),
    **_of(results.place_of, "argmax argmin"),
    **_of(results.truth, "all any"),
    **_of(results.loss, "mse_loss smooth_l1_loss huber_loss l1_loss soft_margin_loss"),
    **_of(
        results.nothing,
        "prod aminmax equal is_nonzero item _local_scalar_dense binary_cross_entropy binary_cross_entropy_with_logits "
        "trace count_nonzero _cross_entropy_forward",
    ),
    **_of(results.ordered, "sort cummax cummin"),
    **_of(results.places, "argsort"),
    **_of(results.top, "topk"),
    **_of(
        results.resized,
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
        "_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
        "_upsample_bilinear2d_aa _upsample_bicubic2d_aa _upsample_lanczos2d_aa",
    ),
    **_of(
        results.sized_by(2),
        "upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward "
        "_upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward "
        "upsample_linear1d_backward upsample_bilinear2d_backward upsample_trilinear3d_backward "
        "upsample_bicubic2d_backward _upsample_bilinear2d_aa_backward _upsample_bicubic2d_aa_backward",
    ),
    **_of(results.sized_by(1), "slice_backward select_backward unfold_backward diagonal_backward"),
    **_of(
        results.grown,
        "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
        "replication_pad3d",
    ),
    **_of(results.pooled, "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d miopen_max_pool2d"),
    **_of(results.pooled_with_places, "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices"),
    **_of(
        results.pooled_to,
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d",
    ),
    **_of(results.repeated, "repeat tile"),
    **_of(results.columns, "im2col"),
    **_of(results.of_columns, "col2im"),
    **_of(results.spectrum, "_fft_r2c"),
    **_of(results.as_large_as(1, 5, 6), "native_layer_norm_backward layer_norm_backward"),
    **_of(results.as_large_as(1, 2), "native_batch_norm_backward batch_norm_backward _fused_rms_norm_backward"),
    **_of(results.as_large_as(0, 2), "cudnn_batch_norm_backward miopen_batch_norm_backward"),
    **_of(results.as_large_as(1, 4), "native_group_norm_backward"),
    **_of(
        results.as_large_as(1),
        "max_pool2d_with_indices_backward max_pool3d_with_indices_backward avg_pool2d_backward avg_pool3d_backward "
        "_adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward adaptive_avg_pool3d_backward glu_backward "
        "reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward "
        "replication_pad2d_backward replication_pad3d_backward",
    ),
}
_NOT_READ: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        "copy_ fill_ zero_ normal_ uniform_ random_ bernoulli_ exponential_ log_normal_ geometric_ cauchy_ fill zero "
        "_foreach_copy_ _foreach_zero_".split(),
        (0,),
    ),
    **dict.fromkeys(
        "max_pool2d_with_indices_backward max_pool3d_with_indices_backward avg_pool2d_backward avg_pool3d_backward "
        "_adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward adaptive_avg_pool3d_backward "
        "reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward "
        "replication_pad2d_backward replication_pad3d_backward".split(),
        (1,),
    ),
}
"""Inputs that are overwritten, or asked for their sizes alone."""
_PARTS = ("split_with_sizes_copy", "split_copy", "unbind_copy")
"""What copies all of a tensor to several, new or given as a list."""
_MADE = frozenset("arange linspace logspace eye range randperm rand randn randint zeros ones full".split())
"""What makes a tensor of numbers: known where it is given the tensor."""
_UPDATES = ("_fused_adam_", "_fused_adamw_", "_fused_sgd_", "_fused_adagrad_")
"""Steps of an optimizer: lists of weights, of gradients, and of states."""


def bytes_moved(name: str, inputs: Inputs) -> int:
    """Bytes that the operator ``aten::`` + `name` reads and writes at least; -1 where it is not told."""
    if _is_nothing(name):
        return 0
    try:
        return _moved(name, inputs)
    except (NotToldError, ValueError, IndexError):
        return -1


@lru_cache(maxsize=4096)
def _is_nothing(name: str) -> bool:
    return _NOTHING.match(name) is not None


def _moved(name: str, inputs: Inputs) -> int:
    plain = name if name.endswith("__") else name.removesuffix("_")
    if plain in gathered.RULES:
        return gathered.RULES[plain](inputs)
    if name in _UPDATES:
        return _step(name, inputs)
    if name in _PARTS:
        return inputs.read(0) + inputs.size(0)
    outs = written_only(name, inputs)
    skipped = {*outs, *_NOT_READ.get(name, ())}
    read = sum(inputs.read(i) for i in range(len(inputs)) if i not in skipped)
    if outs and (plain in _RESULTS or plain in _MADE):
        return read + sum(inputs.size(i) for i in outs)
    if plain.startswith("_foreach_"):
        return read + (0 if "norm" in plain or plain == "_foreach_max" else inputs.size(0))
    changes = name != plain and (plain in _RESULTS or name in _NOT_READ)
    if changes or name in ("fill", "zero"):
        return read + inputs.size(0)
    rule = results.floating if plain.startswith("special_") else _RESULTS.get(plain)
    if rule is None:
        raise NotToldError
    return read + rule(inputs)


def _step(name: str, inputs: Inputs) -> int:
    """Weights, gradients and states are read; weights and states are written."""
    lists = [inputs.size(i) for i in range(len(inputs)) if inputs.is_list(i)]
    if len(lists) < 2:
        raise NotToldError
    states = [size for size in lists[2:] if size >= lists[0]]  # not the numbers of steps
    return 2 * (lists[0] + sum(states)) + lists[1]
