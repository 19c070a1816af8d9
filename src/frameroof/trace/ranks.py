"""Several ranks of one job side by side: who waits for whom; several devices of one trace, each by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..run import DeviceRow, Run
from .columns import Array, distinct
from .idle import explain_idle
from .placed import Placed
from .schema import Kind


def by_device(placed: Placed) -> list[DeviceRow]:
    """Each device's own busy and idle time, where a trace holds the work of several; else nothing."""
    numbers = distinct(placed.device)
    if placed.on_cpu or len(numbers) < 2:
        return []
    names = {d.id: d.name for d in placed.trace.header.devices}
    kernel = np.array(placed.kind) == int(Kind.KERNEL)
    rows = []
    for number in numbers.tolist():
        here = np.flatnonzero(placed.device == number)
        idle = explain_idle(_only(placed, here))
        times = idle.busy_ns, idle.span_ns, idle.idle_ns
        rows.append(DeviceRow(number, names.get(number) or None, *times, int(kernel[here].sum()), idle.causes))
    return rows


_WHOLE = ("trace", "links", "on_cpu", "inputs", "host_only")
"""The fields of `Placed` that are not one value a row."""


def _only(placed: Placed, rows: Array) -> Placed:
    """Some rows of the work, beside the whole trace."""
    at = rows.tolist()
    kept: dict[str, Any] = {}
    for name in (field.name for field in fields(placed) if field.name not in _WHOLE):
        column = getattr(placed, name)
        kept[name] = column[rows] if isinstance(column, np.ndarray) else [column[row] for row in at]
    return replace(placed, **kept)


def overall(runs: Sequence[Run]) -> dict[str, Any]:
    """One row a rank and the extremes over them; times in ns.

    A rank that communicates least waits least: it is the one that the others wait for (the straggler).
    """
    rows: list[dict[str, Any]] = []
    for i, run in enumerate(runs):
        s, c = run.summary, run.communication
        rows.append(
            {
                "rank": run.source.get("rank", i) if run.source.get("rank") is not None else i,
                "path": run.source.get("path"),
                "busy_ns": s.busy_ns,
                "span_ns": s.span_ns,
                "idle_ns": s.idle_ns,
                "kernels": s.kernels,
                "communication_ns": c.get("time_ns", 0),
                "exposed_ns": c.get("exposed_ns", 0),
                "overlapped_ns": c.get("overlapped_ns", 0),
                "computation_ns": s.busy_ns - c.get("exposed_ns", 0),
            }
        )
    compute = [row["computation_ns"] for row in rows]
    named = Counter(run.source["rank"] for run in runs if run.source.get("rank") is not None)
    waits = any(row["communication_ns"] for row in rows)
    return {
        "ranks": rows,
        "span_ns": max((row["span_ns"] for row in rows), default=0),
        "busy_ns": sum(row["busy_ns"] for row in rows),
        "exposed_ns": sum(row["exposed_ns"] for row in rows),
        "overlapped_ns": sum(row["overlapped_ns"] for row in rows),
        "slowest_rank": rows[compute.index(max(compute))]["rank"] if rows and waits else None,
        "problems": [f"{n} of the traces are of rank {rank}" for rank, n in sorted(named.items()) if n > 1],
        "imbalance": max(compute) / (sum(compute) / len(compute)) - 1 if rows and sum(compute) else 0.0,
    }
