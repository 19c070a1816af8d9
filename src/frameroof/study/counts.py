"""Counted work alone, without a machine: FLOPs, bytes, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..dtypes import COMPUTED
from ..estimate import estimate
from ..hardware import Node, devices
from ..workload.records import Workload
from .predict import FLOP_CONVENTION, prepare

SCHEMA = "frameroof.count/1"


def counts(workload: Workload, sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """FLOPs, bytes and parameters by stage and kind at the given sizes, repeats included."""
    prepared, choices = prepare(workload)
    result = estimate(prepared, _anywhere(), sizes)
    kinds: dict[str, dict[str, Any]] = {}
    for op in result.total.ops:
        entry = kinds.setdefault(
            op.op.kind, {"kind": op.op.kind, "calls": 0, "flops": 0, "vector_flops": 0, "bytes": 0}
        )
        entry["calls"] += op.count
        for name in ("flops", "vector_flops", "bytes"):
            entry[name] += getattr(op, name)
    params = {s.weights_name or s.name: sum(s.weights.values()) for s in workload.stages}
    return {
        "schema": SCHEMA,
        "model": workload.name,
        "sizes": dict(result.sizes),
        "total": {**_sums(result.total), "params": sum(params.values())},
        "stages": [
            {"name": s.name, "repeat": s.repeat, **_sums(s), "params": sum(w.weights.values())}
            for s, w in zip(result.stages, workload.stages, strict=True)
        ],
        "kinds": sorted(kinds.values(), key=lambda k: (-k["flops"], -k["bytes"])),
        "assumptions": {
            "flops": FLOP_CONVENTION,
            "bytes": f"attention {choices['attention']}; elementwise {choices['elementwise']}",
            "model": list(workload.notes),
        },
        "uncounted": [{"name": n, "count": c} for n, c in workload.uncounted.items()],
    }


def _sums(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in ("flops", "vector_flops", "bytes", "intensity")}


def _anywhere() -> Node:
    """A machine with a peak for every dtype: counts do not depend on it."""
    base = next(d for d in devices() if d.vector_peak)
    return Node(msgspec.structs.replace(base, dense_flops=dict.fromkeys(COMPUTED, 1.0)))
