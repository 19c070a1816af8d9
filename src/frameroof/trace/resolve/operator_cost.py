"""What one call of an operator must compute and move, from its recorded inputs.

FLOPs: 2 per multiply-add (design, rule 1).
Legend of dimensions: B batch, H heads, Q query length, K key length, D head dim; m x k times k x n.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from ...outside import whole
from ...rules import convolution_dims, convolution_flops, matmul_elements, matmul_flops
from .classify import NO_WORK
from .recorded_inputs import MOST_DIM, Inputs

MOST_NUMBERS = 16
"""Numbers of a list such as a convolution's strides."""


@dataclass(frozen=True)
class Cost:
    """What a call must compute and move at least: FLOPs of multiply-adds, bytes of its inputs and output once each.

    -1: not known. FLOPs of 0 mean "no multiply-adds that count", of any operator but products and convolutions.
    """

    flops: int
    bytes: int


def cost(operator: str, inputs: Inputs) -> Cost | None:
    """FLOPs and bytes of a matrix product or a convolution; bytes alone of others; None where nothing is known."""
    name = operator.removeprefix("aten::").rstrip("_")
    tensors = inputs.tensors
    product = matmul(name, inputs)
    batch, m, k, n = product or (0, 0, 0, 0)
    if not tensors:  # dimensions without types, as in NVTX ranges: they tell FLOPs and no bytes
        return Cost(matmul_flops(batch, m, n, k), -1) if product else None
    size = tensors[0][1]
    read = sum(math.prod(dims) * item for dims, item in tensors)
    if product:
        return Cost(matmul_flops(batch, m, n, k), read + matmul_elements(batch, m, n, k)[2] * size)
    if name in _LEFT:
        return Cost(-1, read)
    if name in _CONVOLUTIONS:
        made = _convolution(name, inputs)
        return Cost(-1, read) if made is None else Cost(convolution_flops(*made[0]), read + made[1] * size)
    return Cost(0, _moved(operator, name, inputs, read))


_READS_ONLY = re.compile(
    r"^(mean|sum|prod|amax|amin|max|min|argmax|argmin|all|any|norm|linalg_vector_norm|var|std|var_mean|\w*_pool\dd\w*|"
    r"_local_scalar_dense|item|copy|_foreach_copy|equal|is_nonzero)$"
)
"""What writes little beside what it reads; `copy_` names its target among its inputs, as kernels of Triton do."""
_VIEWS = re.compile(rf"^aten::({NO_WORK})$")
_PARTS = re.compile(r"^triton_.*_(slice|select|index|gather|embedding)(_|$)")
"""Kernels of torch.compile that read a part of some input: they name the whole of it."""
_PICKS = re.compile(r"^(index|_?index_put\w*|index_select|index_add|index_copy|scatter\w*|take|masked_\w+)$")

_RESIZES = re.compile(r"upsample|interpolate|grid_sampl")
"""What writes another number of elements than it reads, which its inputs alone do not tell."""
_TABLES = re.compile(r"cache|rotary|(^|_)rope(_|$)")
"""What takes a whole cache or table and touches a few of its rows."""


def _moved(operator: str, name: str, inputs: Inputs, read: int) -> int:
    """Bytes of an operator that is no product: inputs and output once; -1 where its inputs do not tell."""
    tensors = inputs.tensors
    largest = max(math.prod(dims) * item for dims, item in tensors)
    if _VIEWS.match(operator):
        return 0
    if name in ("cat", "stack"):
        return 2 * read
    if name in ("fill", "zero"):
        return largest
    if name in ("embedding", "gather"):  # of the table, only the rows that are asked for
        table, at = inputs.tensor(0), inputs.tensor(1 if name == "embedding" else 2)
        if table is None or at is None:
            return -1
        found = math.prod(at) * (table[-1] if name == "embedding" else 1)
        return 2 * found * tensors[0][1] + math.prod(at) * tensors[-1][1]
    if any(unknown.search(name) for unknown in (_PICKS, _TABLES, _RESIZES, _PARTS)):
        return -1
    return read if _READS_ONLY.match(name) or operator.startswith("triton_") else read + largest


def matmul(name: str, inputs: Inputs) -> tuple[int, int, int, int] | None:
    """(batch, m, k, n) of a matrix product; None if `name` is none or its dimensions do not fit."""
    name = name.rstrip("_")
    if name not in _LEFT:
        return None
    a, b = inputs.tensor(_LEFT[name]), inputs.tensor(_LEFT[name] + 1)
    if a is None or b is None or not a or not b:
        return None
    if name == "linear":
        b = (*b[:-2], b[-1], b[-2]) if len(b) > 1 else b
    k, n = (b[-2], b[-1]) if len(b) > 1 else (b[0], 1)
    if a[-1] != k:
        return None
    if len(b) <= 2:
        return 1, math.prod(a[:-1]), k, n
    return math.prod(a[:-2]), a[-2] if len(a) > 1 else 1, k, n


_LEFT = {
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "vdot", "linear", "_scaled_mm", "_int_mm"), 0),
    **dict.fromkeys(("addmm", "_addmm_activation", "baddbmm", "addmv"), 1),
}
"""Operator of a product -> position of its left factor; the right one follows, transposed for `linear`."""


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
_CONVOLUTIONS = {
    "convolution": _At(3, 4, 5, 6, 7, 8),
    "_convolution": _At(3, 4, 5, 6, 7, 8),
    "conv1d": _At(3, 4, 5),
    "conv2d": _At(3, 4, 5),
    "conv3d": _At(3, 4, 5),
    "cudnn_convolution_relu": _At(3, 4, 5),
    "cudnn_convolution": _At(3, 2, 4),
    "miopen_convolution": _At(4, 3, 5),
    "miopen_depthwise_convolution": _At(4, 3, 5),
    "mkldnn_convolution": _At(4, 3, 5),
    "_conv_depthwise2d": _At(4, 5, 6),
    "conv_depthwise3d": _At(4, 5, 6),
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


def _convolution(name: str, inputs: Inputs) -> tuple[tuple[int, int], int] | None:
    """(`rules.convolution_dims`, elements of the output) of a convolution, transposed or not."""
    x, w = inputs.tensor(0), inputs.tensor(1)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    at = _CONVOLUTIONS[name]
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
        return convolution_dims(x, w, out, transposed=True), math.prod(out)
    size = [
        max(0, (i + 2 * p - d * (f - 1) - 1) // max(s, 1) + 1)
        for i, p, d, f, s in zip(x[2:], padding, dilation, w[2:], stride, strict=True)
    ]
    out = (x[0], w[0], *size)
    return convolution_dims(x, w, out), math.prod(out)


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
