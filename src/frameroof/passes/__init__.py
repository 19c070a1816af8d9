"""Workload -> Workload: one idea a file. Each writes its name into `Workload.passes`."""

from .attention import materialize_attention
from .fusion import fuse_elementwise
from .parallel import share_perfectly, with_plan
from .precision import set_precision

__all__ = ["fuse_elementwise", "materialize_attention", "set_precision", "share_perfectly", "with_plan"]
