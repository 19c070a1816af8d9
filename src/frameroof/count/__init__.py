"""Any nn.Module on meta tensors -> Workload: every operation, with exact sizes, without weights or GPU."""

from .align import StructureChanges
from .load import load_builder
from .probe import recipe_of
from .record import fixed_recipe, record_recipe, record_stage, trace
from .recorder import CannotCount

__all__ = [
    "CannotCount",
    "StructureChanges",
    "fixed_recipe",
    "load_builder",
    "recipe_of",
    "record_recipe",
    "record_stage",
    "trace",
]
