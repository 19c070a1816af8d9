"""Workload -> Workload: one idea a file, loaded when asked for. Each writes its name into `Workload.passes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import on_demand

if TYPE_CHECKING:
    from .attention import materialize_attention
    from .guidance import batch_guidance
    from .maths import held_as, set_maths
    from .parallel import share_perfectly, with_plan
    from .precision import set_precision

_WHERE = {
    "batch_guidance": "guidance",
    "held_as": "maths",
    "materialize_attention": "attention",
    "set_maths": "maths",
    "set_precision": "precision",
    "share_perfectly": "parallel",
    "with_plan": "parallel",
}
__all__ = [
    "batch_guidance",
    "held_as",
    "materialize_attention",
    "set_maths",
    "set_precision",
    "share_perfectly",
    "with_plan",
]
__getattr__ = on_demand(__name__, _WHERE)
