"""frameroof: how fast a generative model could run, how fast it does run, and what closes the gap."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue import load as load_workload
    from .estimate import Utilization, similarity_matrix_bytes
    from .hardware import device, parse_node
    from .profiler import profile, stage
    from .run import Run
    from .study.predict import Prediction, predict
    from .trace.analysis import analyze
    from .workload.records import Workload

__version__ = "0.1.0"

_WHERE = {
    "Prediction": "study.predict",
    "Run": "run",
    "Utilization": "estimate",
    "Workload": "workload.records",
    "analyze": "trace.analysis",
    "device": "hardware",
    "load_workload": "catalogue",
    "parse_node": "hardware",
    "predict": "study.predict",
    "profile": "profiler",
    "similarity_matrix_bytes": "estimate",
    "stage": "profiler.marks",
}
__all__ = [
    "Prediction",
    "Run",
    "Utilization",
    "Workload",
    "analyze",
    "device",
    "load_workload",
    "parse_node",
    "predict",
    "profile",
    "similarity_matrix_bytes",
    "stage",
]


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'frameroof' has no attribute {name!r}")
    module = import_module(f".{_WHERE[name]}", __name__)
    return getattr(module, "load" if name == "load_workload" else name)
