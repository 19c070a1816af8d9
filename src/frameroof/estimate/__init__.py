"""From counted work to seconds, bytes and dollars: limits, utilization, memory, cost."""

from .cost import Cost, cost_of
from .efficiency import DEFAULT_UTILIZATION, Utilization, parse_utilization
from .limits import Estimate, OpEstimate, StageEstimate, estimate
from .memory import Memory, memory_of
from .similarity import similarity_matrix_bytes

__all__ = [
    "DEFAULT_UTILIZATION",
    "Cost",
    "Estimate",
    "Memory",
    "OpEstimate",
    "StageEstimate",
    "Utilization",
    "cost_of",
    "estimate",
    "memory_of",
    "parse_utilization",
    "similarity_matrix_bytes",
]
