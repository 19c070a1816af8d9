"""What one call of an operator must compute and move, from its recorded inputs.

FLOPs: 2 per multiply-add (design, rule 1). Bytes: what is read once and what is written once; -1 where no rule knows
them. Ranges that only hand tensors on, such as compiled regions and the functions of autograd, cost nothing that could
be told.
Legend of dimensions: m x k times k x n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...dtypes import CODE_BYTES
from ...rules import matmul_flops
from . import compiled_kernels, custom_operators, experts
from .bytes_moved import bytes_moved
from .convolutions import BACKWARD, CONVOLUTIONS, bias, convolution, convolution_backward, output_dims
from .recorded_inputs import Inputs, NotToldError
from .written_only import written_only


@dataclass(frozen=True)
class Cost:
    """What a call must compute and move at least: FLOPs of multiply-adds, bytes of its inputs and output once each.

    -1: not known. FLOPs of 0 mean "no multiply-adds that count", of any operator but products and convolutions.
    """

    flops: int
    bytes: int


def cost(operator: str, inputs: Inputs) -> Cost | None:
    """FLOPs and bytes of a matrix product or a convolution; bytes alone of others; None where nothing is known."""
    if operator.startswith("triton_"):
        return Cost(0, compiled_kernels.bytes_moved(operator, inputs)) if inputs.tensors else None
    space, _, name = operator.rpartition("::")
    plain = name.rstrip("_")
    if space == "aten" and plain in _LEFT:
        return _product(plain, inputs)
    if not inputs.tensors:  # dimensions without types, as in NVTX ranges: they tell FLOPs of products and no bytes
        return None
    of_experts = experts.flops(operator, inputs)
    if of_experts is not None:
        return Cost(of_experts, -1)
    if space != "aten":
        return Cost(*custom_operators.cost(space, name, inputs))
    if plain in CONVOLUTIONS:
        return Cost(*convolution(plain, inputs))
    if plain in BACKWARD:
        return Cost(*convolution_backward(plain, inputs))
    return Cost(0, bytes_moved(name, inputs))


ADDITIONS = ("aten::add_", "aten::add")


def adds_bias(operator: str, inputs: Inputs, given: Inputs) -> int:
    """Bytes of the bias of a convolution where the addition of the inputs `given` adds it: it does not read that."""
    name = operator.removeprefix("aten::")
    if name not in CONVOLUTIONS or given.tensor(0) is None or given.tensor(0) != output_dims(name, inputs):
        return 0
    return bias(inputs)


def _product(name: str, inputs: Inputs) -> Cost | None:
    """FLOPs and bytes of a matrix product; None where it has neither."""
    sizes = matmul(name, inputs)
    flops = matmul_flops(*_in_order(sizes)) if sizes else -1
    if not inputs.tensors:
        return Cost(flops, -1) if sizes else None
    if sizes is None:
        return Cost(-1, -1)
    batch, m, _, n = sizes
    try:
        outs = written_only(name, inputs)
        read = sum(inputs.read(i) for i in range(len(inputs)) if i not in outs)
        beta = inputs.value(4 if _asked_at(name, inputs) else 3)
        if _LEFT[name] and beta in ("0", "0.", "0.0"):  # what is added to is not read
            read -= inputs.read(0)
        written = sum(inputs.size(i) for i in outs) or batch * m * n * _item_of_product(name, inputs)
    except NotToldError:
        return Cost(flops, -1)
    return Cost(flops, read + written)


def _in_order(sizes: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    batch, m, k, n = sizes
    return batch, m, n, k


def _item_of_product(name: str, inputs: Inputs) -> int:
    """Bytes of an element of a product: as its factors, but int32 of int8, and what it is asked for where it is."""
    if name == "_int_mm":
        return 4
    if at := _asked_at(name, inputs):
        return CODE_BYTES.get(inputs.value(at), inputs.item(_LEFT[name]))
    if name == "_scaled_mm":
        asked = next((value for value in inputs.concrete[2:] if value in CODE_BYTES), "")
        return CODE_BYTES.get(asked, inputs.item(0))
    return inputs.item(_LEFT[name])


def _asked_at(name: str, inputs: Inputs) -> int:
    """Where a product is told the type of its result (overloads ``dtype`` and ``dtype_out``); 0: it is not."""
    at = _LEFT[name] + 2
    if name in ("mm", "bmm"):
        return at if len(inputs) > at and not inputs.is_tensor(at) else 0
    if name in ("addmm", "baddbmm"):  # with two numbers behind the type, and perhaps the result
        return at if len(inputs) == 7 or (len(inputs) == 6 and not inputs.is_tensor(5)) else 0
    return 0


def matmul(name: str, inputs: Inputs) -> tuple[int, int, int, int] | None:
    """(batch, m, k, n) of a matrix product; None if `name` is none or its dimensions do not fit."""
    name = name.rstrip("_")
    if name not in _LEFT:
        return None
    a, b = inputs.tensor(_LEFT[name]), inputs.tensor(_LEFT[name] + 1)
    if a is None or b is None or not a or not b:
        return None
    if name in _TRANSPOSED:
        b = (*b[:-2], b[-1], b[-2]) if len(b) > 1 else b
    k, n = (b[-2], b[-1]) if len(b) > 1 else (b[0], 1)
    if a[-1] != k:
        return None
    if len(b) <= 2:
        return 1, math.prod(a[:-1]), k, n
    return math.prod(a[:-2]), a[-2] if len(a) > 1 else 1, k, n


_LEFT = {
    **dict.fromkeys(
        ("mm", "bmm", "matmul", "mv", "dot", "vdot", "linear", "_scaled_mm", "_int_mm", "_weight_int8pack_mm"), 0
    ),
    **dict.fromkeys(("addmm", "_addmm_activation", "baddbmm", "addmv"), 1),
}
"""Operator of a product -> position of its left factor; the right one follows."""
_TRANSPOSED = ("linear", "_weight_int8pack_mm")
"""Products whose right factor stands transposed."""
