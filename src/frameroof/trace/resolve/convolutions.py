"""What a convolution computes and moves, forward and backward, from its recorded inputs."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...outside import whole
from ...rules import convolution_dims, convolution_flops
from .recorded_inputs import MOST_DIM, Dims, Inputs, NotToldError
from .written_only import written_only

MOST_NUMBERS = 16
"""Numbers of a list such as a convolution's strides."""


class _At(NamedTuple):
    """Positions of a convolution's numbers among its inputs; -1: it has none. Output padding and groups are looked up
    only where it is transposed."""

    stride: int
    padding: int
    dilation: int = -1
    transposed: int = -1
    output_padding: int = -1
    groups: int = -1


_ALWAYS = -2
"""In place of the position of the flag `transposed`: it always is."""
CONVOLUTIONS = {
    "convolution": _At(3, 4, 5, 6, 7, 8),
    "_convolution": _At(3, 4, 5, 6, 7, 8),
    "convolution_overrideable": _At(3, 4, 5, 6, 7, 8),
    "conv1d": _At(3, 4, 5),
    "conv2d": _At(3, 4, 5),
    "conv3d": _At(3, 4, 5),
    "cudnn_convolution_relu": _At(3, 4, 5),
    "miopen_convolution_relu": _At(3, 4, 5),
    "cudnn_convolution_add_relu": _At(5, 6, 7),
    "miopen_convolution_add_relu": _At(5, 6, 7),
    "cudnn_convolution": _At(3, 2, 4),
    "miopen_convolution": _At(4, 3, 5),
    "miopen_depthwise_convolution": _At(4, 3, 5),
    "mkldnn_convolution": _At(4, 3, 5),
    "_conv_depthwise2d": _At(4, 5, 6),
    "conv_depthwise3d": _At(4, 5, 6),
    "thnn_conv2d": _At(4, 5),
    "slow_conv3d": _At(4, 5),
    "_slow_conv2d_forward": _At(4, 5),
    "slow_conv3d_forward": _At(4, 5),
    "slow_conv_dilated2d": _At(4, 5, 6),
    "slow_conv_dilated3d": _At(4, 5, 6),
    "conv_transpose1d": _At(3, 4, 7, _ALWAYS, 5, 6),
    "conv_transpose2d": _At(3, 4, 7, _ALWAYS, 5, 6),
    "conv_transpose3d": _At(3, 4, 7, _ALWAYS, 5, 6),
    "slow_conv_transpose2d": _At(4, 5, 7, _ALWAYS, 6),
    "slow_conv_transpose3d": _At(4, 5, 7, _ALWAYS, 6),
    "cudnn_convolution_transpose": _At(4, 2, 5, _ALWAYS, 3, 6),
    "miopen_convolution_transpose": _At(5, 3, 6, _ALWAYS, 4, 7),
}


class _Backward(NamedTuple):
    """Positions of the gradient of the output, the input, the weight, the flag `transposed`, and the mask of what is
    wanted (input, weight, bias)."""

    gradient: int
    x: int
    weight: int
    transposed: int
    mask: int


BACKWARD = {
    "convolution_backward": _Backward(0, 1, 2, 7, 10),
    "convolution_backward_overrideable": _Backward(0, 1, 2, 6, 9),
    "cudnn_convolution_backward": _Backward(1, 0, 2, -1, 9),
    "miopen_convolution_backward": _Backward(1, 0, 2, -1, 8),
    "mkldnn_convolution_backward": _Backward(1, 0, 2, -1, 7),
    "cudnn_convolution_transpose_backward": _Backward(1, 0, 2, _ALWAYS, 10),
    "miopen_convolution_transpose_backward": _Backward(1, 0, 2, _ALWAYS, 9),
}


def convolution(name: str, inputs: Inputs) -> tuple[int, int]:
    """(FLOPs, bytes) of a convolution; -1 for what the inputs do not tell, as where its stride was not recorded."""
    found = _output(name, inputs)
    if found is None:
        return -1, -1
    dims, elements, _ = found
    try:
        outs = written_only(name, inputs)
        read = sum(inputs.read(i) for i in range(len(inputs)) if i not in outs)
        moved = read + (sum(inputs.size(i) for i in outs) or elements * inputs.item(0))
    except NotToldError:
        moved = -1
    return convolution_flops(*dims), moved


def bias(inputs: Inputs) -> int:
    """Bytes of the bias among the inputs of a convolution: a vector after input and weight; 0 where it has none."""
    vectors = (i for i in range(2, len(inputs)) if len(inputs.tensor(i) or ()) == 1)
    return next((inputs.size(i) for i in vectors), 0)


def output_dims(name: str, inputs: Inputs) -> Dims | None:
    """Dimensions of the output of a convolution; None where its inputs do not tell."""
    found = _output(name, inputs)
    return found[2] if found else None


def convolution_backward(name: str, inputs: Inputs) -> tuple[int, int]:
    """(FLOPs, bytes) of the gradients of a convolution that are wanted; -1 for what the inputs do not tell.

    The gradients of the input and of the weight take as many multiply-adds each as the convolution itself.
    """
    at = BACKWARD[name]
    gradient, x, weight = (inputs.tensor(i) for i in at[:3])
    wanted = [word.strip() == "True" for word in inputs.value(at.mask).strip("[]").split(",")]
    if (
        gradient is None
        or x is None
        or weight is None
        or len(wanted) != 3
        or not len(gradient) == len(x) == len(weight)
    ):
        return -1, -1
    transposed = at.transposed == _ALWAYS or (at.transposed >= 0 and inputs.value(at.transposed) == "True")
    flops = convolution_flops(*convolution_dims(x, weight, gradient, transposed)) * sum(wanted[:2])
    try:
        sizes = [inputs.size(i) for i in at[:3]]
        made = wanted[0] * sizes[1] + wanted[1] * sizes[2] + wanted[2] * gradient[1] * inputs.item(at.gradient)
    except NotToldError:
        return flops, -1
    return flops, sizes[0] + wanted[0] * sizes[2] + wanted[1] * sizes[1] + made


def _output(name: str, inputs: Inputs) -> tuple[tuple[int, int], int, Dims] | None:
    """(`rules.convolution_dims`, elements of the output, its dimensions) of a convolution, transposed or not."""
    x, w = inputs.tensor(0), inputs.tensor(1)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    at = CONVOLUTIONS[name]
    stride, padding, dilation = (_numbers(inputs.value(i) if i >= 0 else "[1]", len(x) - 2) for i in at[:3])
    if stride is None or padding is None or dilation is None:
        return None
    if at.transposed == _ALWAYS or (at.transposed >= 0 and inputs.value(at.transposed) == "True"):
        extra = _numbers(inputs.value(at.output_padding), len(x) - 2) or (0,) * (len(x) - 2)
        size = [
            max(0, (i - 1) * s - 2 * p + d * (f - 1) + 1 + e)
            for i, p, d, f, s, e in zip(x[2:], padding, dilation, w[2:], stride, extra, strict=True)
        ]
        count = whole(inputs.value(at.groups) if at.groups >= 0 else 1, 1, MOST_DIM)
        out = (x[0], w[1] * (count or 1), *size)
        return convolution_dims(x, w, out, transposed=True), math.prod(out), out
    size = [
        max(0, (i + 2 * p - d * (f - 1) - 1) // max(s, 1) + 1)
        for i, p, d, f, s in zip(x[2:], padding, dilation, w[2:], stride, strict=True)
    ]
    out = (x[0], w[0], *size)
    return convolution_dims(x, w, out), math.prod(out), out


def _numbers(text: str, count: int) -> tuple[int, ...] | None:
    """ "[2, 2]" -> (2, 2), one number repeated `count` times; None for anything else."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = tuple(int(float(part)) for part in text[1:-1].split(",", MOST_NUMBERS) if part.strip())
    except (ValueError, OverflowError):
        return None
    if any(abs(each) > MOST_DIM for each in found):
        return None
    return found * count if len(found) == 1 else found if len(found) == count else None
