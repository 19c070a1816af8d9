"""frameroof: how fast a generative model could run, how fast it does run, and what closes the gap."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue import load as load_workload
    from .count.counting import count
    from .estimate import Utilization, similarity_matrix_bytes
    from .gap import find_gap
    from .hardware import device, devices, parse_node
    from .models import models
    from .profiler import profile, stage
    from .run import Run, load_run
    from .stream.engine import Engine
    from .study.compare import compare
    from .study.grid import estimate_grid
    from .study.predict import Prediction, predict
    from .trace.to_run import analyze
    from .workload.records import Workload

__version__ = "0.1.0"

_WHERE = {  # file and name there; without a name it is the room itself, which can be called
    "Engine": "stream.engine:Engine",
    "Prediction": "study.predict:Prediction",
    "Run": "run:Run",
    "Utilization": "estimate:Utilization",
    "Workload": "workload.records:Workload",
    "analyze": "trace.to_run:analyze",
    "compare": "study.compare:compare",
    "count": "count",
    "device": "hardware:device",
    "devices": "hardware:devices",
    "estimate_grid": "study.grid:estimate_grid",
    "find_gap": "gap:find_gap",
    "load_run": "run:load_run",
    "load_workload": "catalogue:load",
    "models": "models",
    "parse_node": "hardware:parse_node",
    "predict": "study.predict:predict",
    "profile": "profiler:profile",
    "similarity_matrix_bytes": "estimate:similarity_matrix_bytes",
    "stage": "profiler.marks:stage",
}
_NEED_TORCH = ("Engine", "profile")  # to be had at all; `count` needs it when it is called
__all__ = [
    "Engine",
    "Prediction",
    "Run",
    "Utilization",
    "Workload",
    "analyze",
    "compare",
    "count",
    "device",
    "devices",
    "estimate_grid",
    "find_gap",
    "load_run",
    "load_workload",
    "models",
    "parse_node",
    "predict",
    "profile",
    "similarity_matrix_bytes",
    "stage",
]


def __dir__() -> list[str]:
    from importlib.util import find_spec

    missing = () if find_spec("torch") else _NEED_TORCH  # `help` asks for every name that is listed
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))} - {*missing})


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'frameroof' has no attribute {name!r}")
    where, _, there = _WHERE[name].partition(":")
    try:
        module = import_module(f".{where}", __name__)
        return getattr(module, there) if there else module
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise ImportError(f"frameroof.{name} needs PyTorch: pip install 'frameroof[torch]'") from error
        raise
