"""Workload -> Workload: one idea a file. Each writes its name into `Workload.passes`."""

from .attention import materialise_attention
from .fusion import fuse_elementwise
from .precision import set_precision

__all__ = ["fuse_elementwise", "materialise_attention", "set_precision"]
