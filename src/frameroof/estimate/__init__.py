"""From counted work to seconds, bytes and dollars: limits, expected times, memory, cost; each imported when asked for.

A script that measures a GPU asks `expected` where msgspec is missing, which machines and costs need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import on_demand

if TYPE_CHECKING:
    from .cost import Cost, cost_of
    from .expected import DEFAULT_UTILIZATION, Expected, Utilization, parse_utilization
    from .grid import Grid, estimate_grid
    from .ladder import RUNGS, Ladder, Rung
    from .limits import estimate
    from .memory import Memory, memory_of
    from .results import Estimate, OpEstimate, StageEstimate
    from .similarity import similarity_matrix_bytes

_WHERE = {
    "Cost": "cost",
    "DEFAULT_UTILIZATION": "expected",
    "Estimate": "results",
    "Expected": "expected",
    "Grid": "grid",
    "Ladder": "ladder",
    "Memory": "memory",
    "OpEstimate": "results",
    "RUNGS": "ladder",
    "Rung": "ladder",
    "StageEstimate": "results",
    "Utilization": "expected",
    "cost_of": "cost",
    "estimate": "limits",
    "estimate_grid": "grid",
    "memory_of": "memory",
    "parse_utilization": "expected",
    "similarity_matrix_bytes": "similarity",
}
__all__ = [
    "DEFAULT_UTILIZATION",
    "RUNGS",
    "Cost",
    "Estimate",
    "Expected",
    "Grid",
    "Ladder",
    "Memory",
    "OpEstimate",
    "Rung",
    "StageEstimate",
    "Utilization",
    "cost_of",
    "estimate",
    "estimate_grid",
    "memory_of",
    "parse_utilization",
    "similarity_matrix_bytes",
]
__getattr__ = on_demand(__name__, _WHERE)
