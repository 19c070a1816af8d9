"""Check a workload against counts that it was not made from: torch's counter, and fresh traces."""

from __future__ import annotations

import random
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..dtypes import BITS
from ..workload.expr import Poly, expr
from ..workload.recipe import Part, Recipe, Size, Sizes
from ..workload.records import MATRIX_KINDS, Op, Stage, Workload
from .batch_of_one import INDICATOR
from .record import declared, meta_device, trace
from .recorder import Trace
from .sample import variables

TORCH_TOLERANCE = 1e-3


def verify_recipe(recipe: Recipe, workload: Workload, sizes: int, seed: int = 1) -> list[dict[str, Any]]:
    """For every stage: torch's FLOPs at the default sizes, and exactness at `sizes` random ones."""
    results = []
    for part, stage in zip(recipe.parts, workload.stages, strict=True):
        spec = declared(part.build)
        values = default_sizes(part, recipe, spec)
        ours = stage_totals(stage, spec, values)
        torch_flops = count_with_torch(part, values, recipe.dtype)
        wrong = [v for v in random_sizes(spec, sizes, seed) if not matches(part, stage, spec, v, recipe.dtype)]
        close = abs(ours["flops"] - torch_flops) <= TORCH_TOLERANCE * max(1, torch_flops)
        results.append(
            {
                "stage": part.name,
                "ok": close and not wrong,
                "sizes": values,
                "flops": ours["flops"],
                "torch_flops": torch_flops,
                "random_sizes": sizes,
                "wrong": wrong,
            }
        )
    return results


def default_sizes(part: Part, recipe: Recipe, spec: Sizes) -> dict[str, int]:
    """A part's builder sizes at the recipe's defaults (in a loop: at its last turn)."""
    values: dict[str, int] = {name: size.default for name, size in recipe.params.items()}
    if part.loop:
        values[part.loop[0]] = int(expr(part.loop[1])(values)) - 1
    return {
        name: int(expr(part.sizes.get(name, name if name in recipe.params else str(size.default)))(values))
        for name, size in spec.sizes.items()
    }


def count_with_torch(part: Part, values: Mapping[str, int], dtype: str) -> int:
    """Matmul, convolution and attention FLOPs by torch's own counter on meta tensors."""
    with meta_device(dtype):
        module, args, kwargs = part.build(**values)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*args, **kwargs)
    return int(counter.get_total_flops())


def stage_totals(stage: Stage, spec: Sizes, values: Mapping[str, int]) -> dict[str, int]:
    """FLOPs, bits and calls of one run of a stage at builder sizes."""
    env = variables(spec, dict(values), [*spec.sizes, *spec.let])
    env.setdefault(INDICATOR, min(env.get("b", 1) - 1, 1))
    env.update({name: int(expr(text)(env)) for name, text in spec.when.items()})
    return {
        "flops": sum(op.flops()(env) * op.times(env) for op in stage.ops),
        "bits": sum(op.bits()(env) * op.times(env) for op in stage.ops),
        "calls": sum(op.count(env) for op in stage.ops),
    }


def trace_totals(found: Trace) -> dict[str, int]:
    """The same of a fresh trace."""
    flops = bits = 0
    for raw in found.ops:
        if raw.kind in MATRIX_KINDS:
            dims = {name: Poly.of(value) for name, value in raw.dims.items()}
            flops += Op(raw.path, raw.kind, raw.name, (), (), dims, raw.attrs).flops()({})
        bits += sum(prod(t.touched) * BITS[t.dtype] for t in (*raw.reads, *raw.writes))
    return {"flops": flops, "bits": bits, "calls": len(found.ops)}


def matches(part: Part, stage: Stage, spec: Sizes, values: Mapping[str, int], dtype: str) -> bool:
    """Whether evaluation at `values` equals a fresh count there: FLOPs, bytes and calls."""
    return stage_totals(stage, spec, values) == trace_totals(trace(part.build, values, dtype))


def random_sizes(spec: Sizes, count: int, seed: int) -> list[dict[str, int]]:
    """Admissible sizes up to well above the recorded ones."""
    rng = random.Random(seed)
    return [{name: _random(size, rng) for name, size in spec.sizes.items()} for _ in range(count)]


def _random(size: Size, rng: random.Random) -> int:
    first = size.lowest + (size.offset - size.lowest) % size.step
    room = (max(size.default, first) - first) // size.step + 8
    if size.most is not None:
        room = min(room, (size.most - first) // size.step)
    return first + rng.randint(0, max(0, room)) * size.step
