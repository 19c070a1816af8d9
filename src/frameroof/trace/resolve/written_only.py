"""Which inputs of a call it only writes: the tensors that an ``out=`` overload of torch is given for its results.

A trace names an operator without its overload, and such a tensor looks like one more input. The schemas of torch tell
them apart: what each overload takes. The table holds those of the operators whose bytes have a rule; a test compares
it with torch itself.
"""

from __future__ import annotations

from functools import lru_cache

from .recorded_inputs import Inputs

OVERLOADS = {
    "to": (
        "abs absolute acos acosh all any arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh "
        "bitwise_not ceil conj_physical cos cosh deg2rad digamma erf erfc erfinv exp exp2 expm1 fix floor frac "
        "hardsigmoid hardswish i0 isneginf isposinf lgamma log log10 log1p log2 log_sigmoid logical_not mish neg "
        "negative rad2deg reciprocal round rsqrt sgn sigmoid sign signbit silu sin sinc sinh sqrt square tan tanh "
        "trunc"
    ),
    "tto": (
        "_int_mm adaptive_avg_pool3d_backward arctan2 atan2 bitwise_and bitwise_left_shift bitwise_or "
        "bitwise_right_shift bitwise_xor bmm clamp_max clamp_min copysign div divide dot eq floor_divide fmax fmin "
        "fmod gcd ge greater greater_equal gt hardsigmoid_backward heaviside hypot igamma igammac lcm ldexp le less "
        "less_equal logaddexp logaddexp2 logical_and logical_or logical_xor lt matmul max maximum min minimum mm mul "
        "multiply mv ne nextafter not_equal pow remainder sigmoid_backward silu_backward tanh_backward true_divide "
        "vdot xlogy"
    ),
    "t-o": (
        "_logcumsumexp adaptive_avg_pool2d adaptive_avg_pool3d bernoulli bitwise_and bitwise_left_shift bitwise_or "
        "bitwise_right_shift bitwise_xor clamp_max clamp_min copysign eq fmod ge gelu glu greater greater_equal gt "
        "hardshrink le leaky_relu less less_equal logcumsumexp logit lt mean mvlgamma ne not_equal pow "
        "reflection_pad1d reflection_pad2d reflection_pad3d remainder replication_pad1d replication_pad2d "
        "replication_pad3d round softshrink tril triu xlogy"
    ),
    "t---o": (
        "_fft_c2c _fft_r2c _upsample_nearest_exact1d_backward _upsample_nearest_exact2d argsort elu logspace mean "
        "nan_to_num nanmean nansum norm prod renorm std sum upsample_linear1d upsample_nearest1d_backward "
        "upsample_nearest2d var"
    ),
    "tt-o": (
        "_add_relu add bmm div divide gelu_backward glu_backward lerp linspace logit_backward mm mse_loss "
        "reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward "
        "replication_pad2d_backward replication_pad3d_backward soft_margin_loss softshrink_backward sub subtract "
        "threshold_backward"
    ),
    "t--o": (
        "_log_softmax _softmax _upsample_nearest_exact1d all amax amin any argmax argmin clamp clip cumprod cumsum "
        "hardtanh linspace log_softmax logsumexp softmax softplus threshold upsample_nearest1d"
    ),
    "-to": "polygamma pow xlogy",
    "t----o": (
        "_upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_lanczos2d_aa _upsample_nearest_exact2d_backward "
        "_upsample_nearest_exact3d im2col linalg_vector_norm norm upsample_bicubic2d upsample_bilinear2d "
        "upsample_linear1d_backward upsample_nearest2d_backward upsample_nearest3d"
    ),
    "tt--o": (
        "_log_softmax_backward_data _softmax_backward_data hardtanh_backward huber_loss leaky_relu_backward logspace "
        "smooth_l1_loss softplus_backward"
    ),
    "ttt--o": "addmm addmv baddbmm huber_loss_backward smooth_l1_loss_backward",
    "--o": "eye full rand randint randn randperm range",
    "t-oo": "cummax cummin",
    "t-----o": (
        "_upsample_bicubic2d_aa_backward _upsample_bilinear2d_aa_backward _upsample_nearest_exact3d_backward col2im "
        "upsample_bicubic2d_backward upsample_bilinear2d_backward upsample_nearest3d_backward upsample_trilinear3d"
    ),
    "t--oo": "aminmax max min sort",
    "-o": "arange eye ones rand randn randperm zeros",
    "lo": "dstack hstack vstack",
    "too": "log_sigmoid_forward",
    "ttto": "lerp log_sigmoid_backward where",
    "l-o": "_stack cat concat concatenate stack",
    "ttt-o": "addcdiv addcmul mse_loss_backward",
    "---o": "arange linspace randint range",
    "tt-?--o": "_slow_conv2d_forward slow_conv3d_forward",
    "----o": "logspace randint",
    "t------o": "avg_pool2d avg_pool3d upsample_trilinear3d_backward",
    "ttt---o": "_addmm_activation addmm baddbmm",
    "-t--o": "logspace",
    "-t-o": "linspace",
    "t-----oo": "max_pool2d_with_indices max_pool3d_with_indices",
    "t---oo": "sort",
    "t--p": "split_copy split_with_sizes_copy",
    "t??o": "clamp clip",
    "tt------o": "avg_pool2d_backward avg_pool3d_backward",
    "tt-----to": "max_pool2d_with_indices_backward max_pool3d_with_indices_backward",
    "tt-?----o": "slow_conv_transpose2d slow_conv_transpose3d",
    "t----oo": "topk",
    "t----to": "elu_backward",
    "t-p": "unbind_copy",
    "t??---ooo": "_native_batch_norm_legit",
    "t????---ooo": "native_batch_norm",
    "t??tt---ooo": "_native_batch_norm_legit",
    "t??tt--oooo": "_batch_norm_with_update",
    "t??tt-o": "batch_norm_elemt",
    "tt-------o": "cudnn_convolution",
    "tt----o": "rrelu_with_noise",
    "tt-?---o": "_conv_depthwise2d",
    "tt?-o": "binary_cross_entropy",
    "tt???---oooo": "cudnn_batch_norm",
    "tt?o": "linear",
    "tttt??--o": "_scaled_mm",
}
"""Arguments of an overload with ``out=`` -> operators that have one, without the mark of working in place.

t a tensor, ? a tensor or none, l a list of tensors, o a tensor for a result, - anything else.
"""


@lru_cache(maxsize=1)
def _by_name() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for arguments, names in OVERLOADS.items():
        for name in names.split():
            found.setdefault(name, []).append(arguments)
    return found


def written_only(name: str, inputs: Inputs) -> tuple[int, ...]:
    """Positions of the tensors that a call of ``aten::`` + `name` was given for its results."""
    for arguments in _by_name().get(name, ()):
        if len(arguments) == len(inputs) and all(_fits(sign, inputs, at) for at, sign in enumerate(arguments)):
            return tuple(at for at, sign in enumerate(arguments) if sign == "o")
    return ()


def _fits(sign: str, inputs: Inputs, at: int) -> bool:
    if sign == "?":
        return not inputs.is_list(at)
    if sign == "l":
        return inputs.is_list(at) or not inputs.is_tensor(at)
    return inputs.is_tensor(at) == (sign != "-")
