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
        "_conj_copy _conj_physical abs absolute acos acosh alias_copy all any arccos arccosh arcsin arcsinh arctan "
        "arctanh asin asinh atan atanh bitwise_not ceil conj_physical cos cosh deg2rad detach_copy digamma erf erfc "
        "erfinv exp exp2 expm1 fix floor frac hardsigmoid hardswish i0 isinf isnan isneginf isposinf lgamma log log10 "
        "log1p log2 log_sigmoid logical_not mish neg negative rad2deg reciprocal relu round rsqrt sgn sigmoid sign "
        "signbit silu sin sinc sinh sqrt square squeeze_copy t_copy tan tanh trace trunc"
    ),
    "t-o": (
        "__lshift__ __rshift__ _adaptive_avg_pool2d _adaptive_avg_pool3d _logcumsumexp _pin_memory "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d bernoulli bitwise_and bitwise_left_shift "
        "bitwise_or bitwise_right_shift bitwise_xor celu channel_shuffle clamp_max clamp_min clone copysign "
        "count_nonzero div eq flip floor_divide fmod ge gelu glu greater greater_equal gt hardshrink le leaky_relu "
        "less less_equal logcumsumexp logit lt mean mul mvlgamma ne norm not_equal permute_copy pixel_shuffle "
        "pixel_unshuffle pow prod reflection_pad1d reflection_pad2d reflection_pad3d remainder repeat "
        "replication_pad1d replication_pad2d replication_pad3d round softshrink squeeze_copy sum tril triu "
        "unsqueeze_copy view_copy xlogy"
    ),
    "tto": (
        "__lshift__ __rshift__ _adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward _int_mm "
        "adaptive_avg_pool3d_backward arctan2 atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift "
        "bitwise_xor bmm clamp_max clamp_min copysign div divide dot eq floor_divide fmax fmin fmod gcd ge greater "
        "greater_equal gt hardsigmoid_backward hardswish_backward heaviside hypot igamma igammac lcm ldexp le less "
        "less_equal logaddexp logaddexp2 logical_and logical_or logical_xor lt matmul max maximum min minimum mm mul "
        "multiply mv ne nextafter not_equal pow remainder sigmoid_backward silu_backward tanh_backward true_divide "
        "vdot xlogy"
    ),
    "t--o": (
        "_add_relu _log_softmax _softmax _to_copy _upsample_nearest_exact1d add all amax amin any argmax argmin "
        "bernoulli clamp clip constant_pad_nd cumprod cumsum div hardtanh linspace log_softmax logsumexp norm roll "
        "rot90 rsub softmax softplus sub threshold transpose_copy upsample_nearest1d upsample_nearest2d"
    ),
    "t---o": (
        "_fft_c2c _fft_r2c _upsample_nearest_exact1d_backward _upsample_nearest_exact2d argsort elu logspace mean "
        "nan_to_num nanmean nansum norm prod renorm select_backward std sum upsample_bilinear2d upsample_linear1d "
        "upsample_nearest1d_backward upsample_nearest2d var"
    ),
    "tt-o": (
        "_add_relu _masked_scale add bernoulli bmm copy div divide gelu_backward glu_backward lerp linspace "
        "logit_backward masked_fill mm mse_loss native_dropout_backward reflection_pad1d_backward "
        "reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward replication_pad2d_backward "
        "replication_pad3d_backward rsub soft_margin_loss softshrink_backward sub subtract threshold_backward"
    ),
    "-to": "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor polygamma pow remainder xlogy",
    "t----o": (
        "_upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_lanczos2d_aa _upsample_nearest_exact2d_backward "
        "_upsample_nearest_exact3d diagonal_backward im2col linalg_vector_norm norm unfold_backward "
        "upsample_bicubic2d upsample_bilinear2d upsample_linear1d_backward upsample_nearest2d_backward "
        "upsample_nearest3d"
    ),
    "tt--o": (
        "_log_softmax_backward_data _softmax_backward_data hardtanh_backward huber_loss leaky_relu_backward logspace "
        "smooth_l1_loss softplus_backward"
    ),
    "t-----o": (
        "_upsample_bicubic2d_aa_backward _upsample_bilinear2d_aa_backward _upsample_nearest_exact3d_backward "
        "avg_pool1d col2im slice_backward upsample_bicubic2d_backward upsample_bilinear2d_backward "
        "upsample_nearest3d_backward upsample_trilinear3d"
    ),
    "--o": "eye full rand randint randn randperm range",
    "-o": "arange eye ones rand randn randperm zeros",
    "t--oo": "_fused_dropout aminmax max min native_dropout sort",
    "ttt--o": "addmm addmv baddbmm huber_loss_backward smooth_l1_loss_backward",
    "ttt-o": "addcdiv addcmul glu_jvp mse_loss_backward",
    "---o": "arange linspace randint range",
    "t-oo": "cummax cummin",
    "ttto": "lerp log_sigmoid_backward masked_fill where",
    "lo": "dstack hstack vstack",
    "too": "log_sigmoid_forward",
    "----o": "logspace randint",
    "l-o": "_stack cat concat concatenate stack",
    "ttt---o": "_addmm_activation addmm baddbmm",
    "t---oo": "sort std_mean var_mean",
    "tt-?---o": "_conv_depthwise2d conv_depthwise3d slow_conv_dilated2d slow_conv_dilated3d",
    "tt-?--o": "_slow_conv2d_forward slow_conv3d slow_conv3d_forward thnn_conv2d",
    "tt?------o": "convolution convolution_overrideable miopen_convolution miopen_depthwise_convolution",
    "-t--o": "logspace",
    "-t-o": "linspace",
    "t------o": "avg_pool2d avg_pool3d upsample_trilinear3d_backward",
    "tt-oo": "_weight_norm_interface",
    "tt?----o": "cudnn_convolution_relu mkldnn_convolution",
    "t-----oo": "max_pool2d_with_indices max_pool3d_with_indices",
    "t----oo": "topk",
    "t??o": "clamp clip",
    "tt------o": "avg_pool2d_backward avg_pool3d_backward",
    "tt-----to": "max_pool2d_with_indices_backward max_pool3d_with_indices_backward",
    "tt----o": "rrelu_with_noise",
    "tt-?----o": "slow_conv_transpose2d slow_conv_transpose3d",
    "tt?o": "linear",
    "t----to": "elu_backward",
    "t-??-ooo": "native_layer_norm",
    "t??-----ooo": "native_group_norm",
    "t??---ooo": "_native_batch_norm_legit",
    "t????---ooo": "native_batch_norm",
    "t??tt---ooo": "_native_batch_norm_legit",
    "t??tt--ooo": "_native_batch_norm_legit_no_training",
    "t??tt--oooo": "_batch_norm_with_update",
    "t??tt-o": "batch_norm_elemt",
    "tt--------o": "cudnn_convolution_transpose",
    "tt-------o": "cudnn_convolution",
    "tt-tt??-ooo": "native_layer_norm_backward",
    "tt?----------o": "_convolution",
    "tt?-------o": "miopen_convolution_transpose",
    "tt?-o": "binary_cross_entropy",
    "tt??-o": "binary_cross_entropy_with_logits",
    "tt???---ooo": "miopen_batch_norm",
    "tt???---oooo": "cudnn_batch_norm",
    "tt?????---ooo": "native_batch_norm_backward",
    "ttt--------ooo": "convolution_backward",
    "ttt-------ooo": "convolution_backward_overrideable",
    "ttt????-ooo": "miopen_batch_norm_backward",
    "ttt????-tooo": "cudnn_batch_norm_backward",
    "tttt?-----ooo": "native_group_norm_backward",
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
