"""8-bit linears at the sizes of the streaming transformer: time and error beside bf16.

Shapes: R rows (tokens), K inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from frameroof.stream.kernels import quantize_rows
from frameroof.stream.quantize import SCHEMES, QuantizedLinear

from . import works
from .check import relative
from .clock import Case, randn, timed
from .record import Log, Session

NOTES = (
    "bf16: torch's linear. SCHEME: the whole layer, which quantizes its input. SCHEME-product: its input is in 8 bits "
    "already, as a fused norm leaves it.",
    "On CUDA each is replayed from a graph of its own, so the host's launches are in no figure.",
    "error_of_bf16: relative L2 error of the layer's output against bf16's, for normal inputs and default weights.",
)
BYTE, SCALE = 1, 4


def run(session: Session) -> Log:
    """Times of all schemes in turns, then errors."""
    log = Log.open(session, "quant", NOTES)
    cases = [case for shape in _shapes(session) for case in _cases(session, shape)]
    timed(log, cases, group=2 * len(SCHEMES), graphs=True)
    for shape in _shapes(session):
        for scheme in SCHEMES:
            row = log.rows.get(f"{_name(shape)}/{scheme}", {})
            if row.get("state") == "measured" and "error_of_bf16" not in row:
                row |= _errors(session, shape, scheme)
                log.save()
    return log


def _shapes(s: Session) -> list[tuple[int, int, int]]:
    """(R, K, O): a step, a folded step and a recache of three blocks, by each kind of linear; tiny: one."""
    if s.tiny:
        return [(24, 32, 64)]
    kinds = ((1536, 4608), (1536, 1536), (1536, 8960), (8960, 1536))
    return [(rows, *kind) for kind in kinds for rows in (4680, 9360, 14040)]


def _name(shape: tuple[int, int, int]) -> str:
    return "linear/{}x{}x{}".format(*shape)


def _cases(s: Session, shape: tuple[int, int, int]) -> list[Case]:
    R, K, O = shape  # noqa: E741
    name = _name(shape)
    about = {"rows": R, "inputs": K, "outputs": O}
    more = SCALE * (R + O) + 2 * O  # scales and bias; codes in, bf16 out
    plain = s.machine.predict(works.product(R, O, K, more=2 * O))
    found = [Case(f"{name}/bf16", plain, _plain(s, shape), about)]
    for scheme in SCHEMES:
        dtype = "int8" if scheme == "int8" else "fp8"
        sums = 6 * R * O if dtype == "int8" else 0  # int32 sums, written by the product, are read by another kernel
        quantized = s.machine.predict(works.product(R, O, K, dtype, more + sums))
        whole = s.machine.predict(works.product(R, O, K, dtype, more + sums + 3 * R * K))  # bf16 read, codes written
        found.append(Case(f"{name}/{scheme}", whole, _layer(s, shape, scheme), about))
        if scheme != "fp8-tensor":
            found.append(Case(f"{name}/{scheme}-product", quantized, _layer(s, shape, scheme, before=True), about))
    return found


def _linear(s: Session, shape: tuple[int, int, int]) -> tuple[torch.nn.Linear, torch.Tensor]:
    rows, inputs, outputs = shape
    linear = torch.nn.Linear(inputs, outputs, device=s.device, dtype=torch.bfloat16)
    return linear, randn(s, rows, inputs, dtype=torch.bfloat16)


def _plain(s: Session, shape: tuple[int, int, int]) -> Callable[[], Callable[[], Any]]:
    def make() -> Callable[[], Any]:
        linear, x_RK = _linear(s, shape)
        return lambda: linear(x_RK)

    return make


def _layer(
    s: Session, shape: tuple[int, int, int], scheme: str, before: bool = False
) -> Callable[[], Callable[[], Any]]:
    def make() -> Callable[[], Any]:
        linear, x_RK = _linear(s, shape)
        layer = QuantizedLinear.of(linear, scheme)
        given = quantize_rows(x_RK, layer.format) if before else x_RK
        return lambda: layer(given)

    return make


@torch.inference_mode()
def _errors(s: Session, shape: tuple[int, int, int], scheme: str) -> dict[str, float]:
    linear, x_RK = _linear(s, shape)
    return {"error_of_bf16": relative(linear(x_RK), QuantizedLinear.of(linear, scheme)(x_RK))}
