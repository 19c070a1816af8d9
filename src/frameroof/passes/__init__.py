"""Workload -> Workload: one idea a file. Each writes its name into `Workload.passes`."""

from .attention import materialize_attention
from .maths import held_as, set_maths
from .parallel import share_perfectly, with_plan
from .precision import set_precision

__all__ = ["held_as", "materialize_attention", "set_maths", "set_precision", "share_perfectly", "with_plan"]
