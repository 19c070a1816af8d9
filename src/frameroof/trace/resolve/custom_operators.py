"""Cost of operators that are not torch's own, such as the kernels of vLLM, SGLang, FlashInfer and aiter.

Their schemas are not known here, and the result stands first, last or nowhere among the inputs. So each rule goes by
what such an operator does and by the sizes of its tensors, wherever they stand; where these do not fit, nothing is
known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from ...dtypes import PLACES, TRACE_TYPES
from ...rules import matmul_flops
from .recorded_inputs import Dims, Inputs, NotToldError


class Operand(NamedTuple):
    """One tensor among the inputs."""

    shape: Dims
    item: int
    whole: bool
    """Whether it holds integers that may be places."""

    @property
    def elements(self) -> int:
        """How many it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.elements * self.item


Rule = Callable[[str, list[Operand], Inputs], int]
_PRODUCT = re.compile(r"scaled_mm|gemm|(^|_)(mm|bmm|linear)(_|$)|f8f8bf16|bf16bf16bf16|i8i8bf16")
_NO_PRODUCT = re.compile(r"moe|grouped|marlin|gptq|awq|int4|w4a|fp4|group|backward|quant_|sparse|shuffle|permute")


def cost(space: str, name: str, inputs: Inputs) -> tuple[int, int]:
    """(FLOPs, bytes) of the operator ``space::name``, -1 for what is not told, as of a range that is no operator."""
    if not space or space.startswith(("torch", "autograd", "prim", "profiler")):
        return 0, -1
    try:
        operands = _operands(inputs)
        if _PRODUCT.search(name) and not _NO_PRODUCT.search(name):
            return _product(operands)
        rule = next((rule for pattern, rule in _RULES if pattern.search(name)), None)
        return 0, (rule(name, operands, inputs) if rule else -1)
    except (NotToldError, ValueError, IndexError):
        return 0, -1


def _operands(inputs: Inputs) -> list[Operand]:
    found = []
    for at in range(len(inputs)):
        shape = inputs.tensor(at)
        if shape is not None:
            kind = TRACE_TYPES.get(inputs.type(at), "")
            found.append(Operand(shape, inputs.item(at), kind in PLACES))
        elif inputs.is_list(at):
            raise NotToldError
    return found


# ---------------------------------------------------------------------------------------------- norms, activations


def _large(operands: list[Operand]) -> tuple[list[Operand], int]:
    """The tensors of as many elements as the largest, weights apart, and the bytes of all others together."""
    rows = [operand for operand in operands if len(operand.shape) > 1] or operands
    most = max(operand.elements for operand in rows)
    large = [operand for operand in rows if operand.elements == most]
    return large, sum(operand.bytes for operand in operands) - sum(operand.bytes for operand in large)


def _norm(name: str, operands: list[Operand], inputs: Inputs) -> int:
    """Input and result, and a weight; with a sum before it also the residual, read and written.

    In place, or with a new result, there are fewer tensors than passes: every missing one is as wide as the first.
    """
    large, rest = _large(operands)
    passes = 4 if "add" in name else 2
    missing = passes - len(large)
    if missing < 0:
        raise NotToldError
    unseen = missing * max(operand.item for operand in large) * large[0].elements
    return sum(operand.bytes for operand in large) + unseen + rest


def _gated(name: str, operands: list[Operand], inputs: Inputs) -> int:
    """An activation of one half of its input, times the other half: the result is half as large."""
    large, rest = _large(operands)
    if len(large) > 1 or large[0].shape[-1] % 2:
        raise NotToldError
    half = [operand for operand in operands if 2 * operand.elements == large[0].elements]
    if len(half) > 1:
        raise NotToldError
    return large[0].bytes + rest + (0 if half else large[0].bytes // 2)


def _converted(name: str, operands: list[Operand], inputs: Inputs) -> int:
    """A quantization whose result is given to it: input, result and scales once each."""
    large, rest = _large(operands)
    if len(large) != 2:
        raise NotToldError
    return sum(operand.bytes for operand in large) + rest


def _activated(name: str, operands: list[Operand], inputs: Inputs) -> int:
    """An activation: input and result once each, the result among the inputs or new."""
    large, _ = _large(operands)
    if len(large) != len(operands) or len(large) > 2:
        raise NotToldError
    return sum(operand.bytes for operand in large) * 2 // len(large)


def _each_once(name: str, operands: list[Operand], inputs: Inputs) -> int:
    """Inputs and results are all given, and each is passed over once."""
    if len(operands) < 2:
        raise NotToldError
    return sum(operand.bytes for operand in operands)


# ---------------------------------------------------------------------------------------------- positions, caches


def _rotary(name: str, operands: list[Operand], inputs: Inputs) -> int:
    """Queries and keys, in place or to others of their size; of the table a row for each position.

    A table narrower than a head turns that part of it alone.
    """
    places = [operand for operand in operands if operand.whole]
    if len(places) != 1 or not places[0].elements:
        raise NotToldError
    tokens = places[0].elements
    tables = [o for o in operands if not o.whole and len(o.shape) == 2 and o.elements % tokens]
    tables = tables or [o for o in operands if not o.whole and len(o.shape) == 2][-1:]
    turned = [o for o in operands if not o.whole and not any(o is table for table in tables)]
    if len(tables) != 1 or len(turned) not in (1, 2, 4) or any(o.elements % tokens for o in turned):
        raise NotToldError
    rows, width = tables[0].shape
    wide = turned[0].shape[-1]
    told = [int(value) for value in inputs.concrete if value.isdecimal() and int(value) >= width]
    head = next((size for size in told if wide % size == 0), wide if len(turned[0].shape) > 2 else width)
    passes = 1 if len(turned) == 4 else 2
    moved = sum(o.bytes for o in turned) * passes * min(width, head) // head
    return moved + places[0].bytes + min(tokens, rows) * width * tables[0].item


def _stored(name: str, operands: list[Operand], inputs: Inputs) -> int:
    """Keys and values go to their places in a cache: they are read, and as many elements of the cache written."""
    places = [operand for operand in operands if operand.whole and len(operand.shape) == 1]
    if len(places) != 1:
        raise NotToldError
    tokens = places[0].elements
    tensors = [operand for operand in operands if operand is not places[0] and len(operand.shape) > 1]
    tensors.sort(key=lambda operand: operand.elements)
    sources, caches = tensors[: (len(tensors) + 1) // 2], tensors[(len(tensors) + 1) // 2 :]
    if len(tensors) not in (2, 3, 4) or any(operand.shape[0] < tokens for operand in sources):
        raise NotToldError
    stored = [operand.elements // operand.shape[0] * tokens for operand in sources]
    read = sum(count * operand.item for count, operand in zip(stored, sources, strict=True))
    return read + sum(stored) * caches[0].item + places[0].bytes


# ---------------------------------------------------------------------------------------------- products


def _product(operands: list[Operand]) -> tuple[int, int]:
    """(FLOPs, bytes) of a product of two matrices; the weight may be transposed, the result given first or last."""
    matrices = [operand for operand in operands if len(operand.shape) >= 2 and not operand.whole]
    for at in (1, 0):  # where the result stands first its sizes may look like those of a factor
        if len(matrices) < at + 2:
            continue
        a, b = matrices[at], matrices[at + 1]
        m, k = math.prod(a.shape[:-1]), a.shape[-1]
        if len(b.shape) != 2 or k not in b.shape or k < 2:
            continue
        n = b.shape[1] if b.shape[0] == k else b.shape[0]
        given = [o for o in (*matrices[:at], *matrices[at + 2 :]) if (math.prod(o.shape[:-1]), o.shape[-1]) == (m, n)]
        if at and not given:
            continue
        if not given and a.item == 1:  # a product of eight bits has a wider result, of which nothing is told
            return matmul_flops(1, m, n, k), -1
        rest = sum(o.bytes for o in operands)
        return matmul_flops(1, m, n, k), rest + (0 if given else m * n * a.item)
    return -1, -1


_RULES: tuple[tuple[re.Pattern[str], Rule], ...] = (
    (
        re.compile(r"backward|bwd|all_?reduce|all_?gather|moe_(?!sum)|align|rope.*norm|norm.*rope|cache.*norm"),
        lambda *_: -1,
    ),
    (
        re.compile(r"(reshape|concat)_and_cache|store_(kv_)?cache|set_(mla_)?kv_buffer|save_kv_cache|write_kv_cache"),
        _stored,
    ),
    (re.compile(r"rotary|(^|_)rope(_|$)"), _rotary),
    (re.compile(r"rms_?norm|layer_?norm|group_?norm"), _norm),
    (re.compile(r"_and_mul|_mul_and|mul_and_|act_mul"), _gated),
    (
        re.compile(r"^(gelu|silu|relu|swish|sigmoid|tanh|relu2|squared_relu)(_(new|fast|quick|tanh|exact|erf))?_?$"),
        _activated,
    ),
    (re.compile(r"quant"), _converted),
    (re.compile(r"^moe_sum|topk_softmax$|^merge_(attn_)?states?(_v2)?$"), _each_once),
)
"""What the name of an operator says -> the rule of its bytes; the first that fits."""
