"""What the posts' accounting sees of a counted workload: the matrix work of one layer, by operation.

A linear layer reads its input and its weight and writes its output (no bias); an attention reads queries,
keys and values and writes its output (no mask). Nothing else counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...estimate.memory import weight_bytes
from ...workload.fold import unfold
from ...workload.records import Op, Stage, Workload

GI = 2**30
MI = 2**20


@dataclass(frozen=True)
class Work:
    """FLOPs and bytes of one call, and how many layers make that call."""

    flops: int
    bytes: int
    layers: int = 1


def stage_of(workload: Workload, name: str) -> Stage:
    """The stage called `name`; `ValueError` names those there are."""
    for stage in workload.stages:
        if stage.name == name:
            return stage
    names = ", ".join(stage.name for stage in workload.stages)
    raise ValueError(f"{workload.name} has no stage {name!r}; it has: {names}")


def find(stage: Stage, pattern: str) -> tuple[Op, ...]:
    """The matrix operations whose folded path matches `pattern` whole; `ValueError` when there is none."""
    found = tuple(op for op in stage.ops if re.fullmatch(pattern, op.path) and op.dims)
    if not found:
        raise ValueError(f"stage {stage.name} has no operation at {pattern!r}; count the model again")
    return found


def layers_of(op: Op) -> int:
    """How many modules a folded row stands for."""
    return len(unfold(op.path))


def work(op: Op, env: Mapping[str, Any]) -> Work:
    """One call of `op` as the posts account for it."""
    operands = op.reads[: 3 if op.kind == "attention" else 2]
    bits = sum(tensor.bits(env) for tensor in (*operands, *op.writes))
    return Work(int(op.flops()(env)), int(bits) // 8, layers_of(op))


def moved(op: Op, env: Mapping[str, Any]) -> int:
    """Bytes of one call run alone, bias and mask included; an attention's once."""
    return int(op.bits()(env)) // 8


def layer(stage: Stage, env: Mapping[str, Any], parts: Mapping[str, str]) -> dict[str, Work]:
    """Work of one layer by part: `parts` maps the post's name to a pattern of paths.

    Several rows of one part (local and global layers) must be alike; their layers are added up.
    Raises `ValueError`, a sentence, where the layers of a part are not alike.
    """
    found: dict[str, Work] = {}
    for name, pattern in parts.items():
        rows = [work(op, env) for op in find(stage, pattern)]
        if len({(row.flops, row.bytes) for row in rows}) > 1:
            raise ValueError(f"stage {stage.name}: the layers of {name} are not alike")
        found[name] = Work(rows[0].flops, rows[0].bytes, sum(row.layers for row in rows))
    return found


def sum_flops(ops: Iterable[Op], env: Mapping[str, Any]) -> int:
    """Matrix FLOPs of all calls of `ops` in one run of their stage."""
    return sum(int((op.flops() * op.times)(env)) for op in ops)


def parameters(workload: Workload, stage: str = "") -> int:
    """Parameters of a workload, or of one of its stages; shared weights once."""
    stages = (s for s in workload.stages if stage in ("", s.name))
    return sum({s.weights_name or s.name: sum(s.weights.values()) for s in stages}.values())


def resident_bytes(workload: Workload, stage: str) -> int:
    """Bytes of a stage's weights."""
    return weight_bytes(stage_of(workload, stage))
