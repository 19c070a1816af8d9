"""FLOPs of a mixture of experts inside one operator, where the inputs tell hidden sizes and experts of each token.

    a layer      w1 maps hidden to inner sizes, twice where its activation is gated, w2 maps back: for every token and
                 each of the `k` experts that it is sent to
    one stage    the first or the second of these maps alone
    grouped      torch's products of many groups in one call

Which experts are asked is a value on the device, so the bytes of their weights are not told; nor are the FLOPs where
experts are spread over devices and some tokens go elsewhere.
Legend: T tokens, E experts, H hidden size, N inner size.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ...outside import whole
from ...rules import matmul_flops
from .recorded_inputs import Dims, Inputs

MOST_CHOSEN = 1024
"""Experts that one token may be sent to."""


class _Layer(NamedTuple):
    """Positions of the tokens (T, H), the two weights and what tells `k`: a tensor (T, k), or else a number."""

    tokens: int
    first: int
    second: int
    chosen: int = -1
    number: int = -1


_WEIGHTS_FIRST = _Layer(0, 1, 2, chosen=3)
_LAYERS = (
    (re.compile(r"(in|out)place_fused_experts$|(^|_)fused_experts(_impl)?$"), _WEIGHTS_FIRST),
    (re.compile(r"rocm_aiter_(fused_moe|asm_moe\w*)$"), _WEIGHTS_FIRST),
    (re.compile(r"^aiter::fmoe\w*$"), _Layer(1, 2, 3, number=8)),
)
_STAGES = re.compile(r"^aiter::(ck_moe|cktile_moe\w*|moe_cktile2stages\w*)_?(gemm\d_)?stage(?P<stage>[12])$")
_GROUPED = ("aten::_grouped_mm", "aten::_scaled_grouped_mm")


def flops(operator: str, inputs: Inputs) -> int | None:
    """FLOPs of the experts that a call computes; None where it is none or its inputs do not tell."""
    if operator in _GROUPED:
        return _grouped(inputs)
    stage = _STAGES.match(operator)
    if stage:
        return _stage(int(stage["stage"]), inputs)
    places = next((places for pattern, places in _LAYERS if pattern.search(operator)), None)
    return _layer(places, inputs) if places else None


def _layer(places: _Layer, inputs: Inputs) -> int | None:
    """Both maps of every token."""
    tokens, first, second = (inputs.tensor(at) for at in places[:3])
    sizes = _sizes(first, second)
    if tokens is None or len(tokens) != 2 or sizes is None or tokens[1] != sizes[0]:
        return None
    hidden, inner, wide = sizes
    chosen = inputs.tensor(places.chosen) if places.chosen >= 0 else None
    if chosen is not None:
        count = chosen[1] if len(chosen) == 2 and chosen[0] == tokens[0] else None
    else:
        count = whole(inputs.value(places.number), 1, MOST_CHOSEN) if places.number >= 0 else None
    if not count or first is None or _is_spread(first[0], inputs):
        return None
    return int(matmul_flops(1, tokens[0] * count, wide, hidden) + matmul_flops(1, tokens[0] * count, hidden, inner))


def _sizes(first: Dims | None, second: Dims | None) -> tuple[int, int, int] | None:
    """(H, N, rows of the first map) of weights (E, N or 2 N, H) and (E, H, N); two of four bits may share a byte."""
    if first is None or second is None or len(first) != 3 or len(second) != 3 or first[0] != second[0]:
        return None
    hidden = second[1]
    if not first[2] or hidden not in (first[2], 2 * first[2]):
        return None
    inner = second[2] * (hidden // first[2])
    return (hidden, inner, first[1]) if first[1] in (inner, 2 * inner) else None


def _stage(number: int, inputs: Inputs) -> int | None:
    """One of the two maps: the first from (T, H) to (T, k, N), the second back."""
    given, first, second = inputs.tensor(0), inputs.tensor(1), inputs.tensor(2)
    sizes, made = _sizes(first, second), inputs.tensor(6)
    if sizes is None or given is None or made is None or first is None or _is_spread(first[0], inputs):
        return None
    hidden, inner, wide = sizes
    middle = made if number == 1 else given
    if len(middle) != 3 or (given if number == 1 else made) != (middle[0], hidden) or middle[2] not in (inner, wide):
        return None
    rows = middle[0] * middle[1]
    return int(matmul_flops(1, rows, wide, hidden) if number == 1 else matmul_flops(1, rows, hidden, inner))


def _is_spread(experts: int, inputs: Inputs) -> bool:
    """Whether a map from all experts to those of this device is among the inputs."""
    lists = (inputs.tensor(at) for at in range(len(inputs)) if inputs.type(at) in ("int", "long int"))
    return any(dims is not None and len(dims) == 1 and dims[0] > experts and dims[0] % experts == 0 for dims in lists)


def _grouped(inputs: Inputs) -> int | None:
    """A product in groups: of rows, columns or the inner dimension, wherever a factor has no dimension for them."""
    a, b = inputs.tensor(0), inputs.tensor(1)
    if a is None or b is None or not {len(a), len(b)} <= {2, 3} or a[-1] != b[-2]:
        return None
    batch = a[0] if len(a) == len(b) == 3 and a[0] == b[0] else 1 if (len(a), len(b)) != (3, 3) else None
    return int(matmul_flops(batch, a[-2], b[-1], a[-1])) if batch else None
