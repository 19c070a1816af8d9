"""Any nn.Module on meta tensors -> Workload: every operation, with exact sizes, without weights or GPU.

The room can be called: ``frameroof.count(model, inputs)`` is `counting.count`, which `help(frameroof.count.counting)`
describes. Its other names load PyTorch when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..public import make_callable
from .counting import count

if TYPE_CHECKING:
    from .align import StructureChanges
    from .load import load_builder
    from .probe import recipe_of
    from .record import fixed_recipe, record_recipe, record_stage, trace
    from .recorder import CannotCount

_WHERE = {
    "CannotCount": "recorder",
    "StructureChanges": "align",
    "fixed_recipe": "record",
    "load_builder": "load",
    "recipe_of": "probe",
    "record_recipe": "record",
    "record_stage": "record",
    "trace": "record",
}
__all__ = [
    "CannotCount",
    "StructureChanges",
    "count",
    "fixed_recipe",
    "load_builder",
    "recipe_of",
    "record_recipe",
    "record_stage",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


make_callable(__name__, count)
