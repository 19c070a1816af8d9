"""Counted work alone, without a machine: FLOPs, bytes, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..dtypes import COMPUTED
from ..estimate import estimate
from ..hardware import Node, devices
from ..workload.records import Workload
from ..workload.verified import outside
from .predict import FLOP_CONVENTION, prepare

SCHEMA = "frameroof.count/1"


class KindCount(msgspec.Struct, kw_only=True):
    """All operations of one kind, repeats included."""

    kind: str
    calls: int = 0
    flops: int = 0
    vector_flops: int = 0
    bytes: int = 0


class Sums(msgspec.Struct, kw_only=True):
    """The whole, repeats included; weights that stages share count once."""

    flops: int
    vector_flops: int
    bytes: int
    intensity: float
    params: int


class StageCount(msgspec.Struct, kw_only=True):
    """One stage, repeats included."""

    name: str
    repeat: int
    flops: int
    vector_flops: int
    bytes: int
    intensity: float
    params: int


class Basis(msgspec.Struct, kw_only=True):
    """What the counts rest on."""

    flops: str
    bytes: str
    model: list[str]


class Uncounted(msgspec.Struct, kw_only=True):
    """An operation without a FLOP rule, and how often it is called."""

    name: str
    count: int


class Counted(msgspec.Struct, kw_only=True):
    """`frameroof count --json` but for `out` (docs/reference/json.rst)."""

    schema: str = SCHEMA
    model: str
    sizes: dict[str, int]
    total: Sums
    stages: list[StageCount]
    kinds: list[KindCount]
    assumptions: Basis
    uncounted: list[Uncounted]


def counts(workload: Workload, sizes: Mapping[str, int] | None = None) -> Counted:
    """FLOPs, bytes and parameters by stage and kind at the given sizes, repeats included."""
    prepared, choices = prepare(workload)
    result = estimate(prepared, _anywhere(), sizes)
    kinds: dict[str, KindCount] = {}
    for op in result.total.ops:
        entry = kinds.setdefault(op.op.kind, KindCount(kind=op.op.kind))
        entry.calls += op.count
        entry.flops += op.flops
        entry.vector_flops += op.vector_flops
        entry.bytes += op.bytes
    params = {s.weights_name or s.name: sum(s.weights.values()) for s in workload.stages}
    return Counted(
        model=workload.name,
        sizes=dict(result.sizes),
        total=Sums(**_sums(result.total), params=sum(params.values())),
        stages=[
            StageCount(name=s.name, repeat=s.repeat, **_sums(s), params=sum(w.weights.values()))
            for s, w in zip(result.stages, workload.stages, strict=True)
        ],
        kinds=sorted(kinds.values(), key=lambda k: (-k.flops, -k.bytes)),
        assumptions=Basis(
            flops=FLOP_CONVENTION,
            bytes=f"attention {choices['attention']}; elementwise {choices['elementwise']}",
            model=[*workload.notes, *outside(workload, result.sizes)],
        ),
        uncounted=[Uncounted(name=n, count=c) for n, c in workload.uncounted.items()],
    )


def _sums(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in ("flops", "vector_flops", "bytes", "intensity")}


def _anywhere() -> Node:
    """A machine with a peak for every dtype: counts do not depend on it."""
    base = next(d for d in devices() if d.vector_peak)
    return Node(msgspec.structs.replace(base, dense_flops=dict.fromkeys(COMPUTED, 1.0)))
