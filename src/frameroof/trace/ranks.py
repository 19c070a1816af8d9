"""Several ranks of one job side by side: who waits for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..run import Run


def overall(runs: Sequence[Run]) -> dict[str, Any]:
    """One row a rank and the extremes over them; times in ns.

    A rank that communicates least waits least: it is the one that the others wait for (the straggler).
    """
    rows = []
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
    waits = any(row["communication_ns"] for row in rows)
    return {
        "ranks": rows,
        "span_ns": max((row["span_ns"] for row in rows), default=0),
        "busy_ns": sum(row["busy_ns"] for row in rows),
        "exposed_ns": sum(row["exposed_ns"] for row in rows),
        "overlapped_ns": sum(row["overlapped_ns"] for row in rows),
        "slowest_rank": rows[compute.index(max(compute))]["rank"] if rows and waits else None,
        "imbalance": max(compute) / (sum(compute) / len(compute)) - 1 if rows and sum(compute) else 0.0,
    }
