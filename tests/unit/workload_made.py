"""Operations and workloads made by hand, as small as a test needs them."""

from __future__ import annotations

from typing import Any

from frameroof.workload.expr import poly
from frameroof.workload.recipe import Size
from frameroof.workload.records import Op, Stage, Tensor, Workload


def tensor(shape: str, dtype: str = "bf16", **marks: Any) -> Tensor:
    """A tensor of a shape such as "2,n,64"."""
    return Tensor(tuple(poly(size) for size in shape.split(",")), dtype, **marks)


def op(
    kind: str, reads: Any = (), writes: Any = (), name: str = "", attrs: Any = None, path: str = "at", **dims: Any
) -> Op:  # a short way to write what has as many fields
    """One operation; `dims` are numbers or texts."""
    sizes = {name: poly(str(value)) for name, value in dims.items()}
    return Op(path, kind, name or kind, tuple(reads), tuple(writes), sizes, attrs or {})


def workload(*stages: Stage, **sizes: int) -> Workload:
    """Some stages over named sizes with these defaults; each may be 0."""
    return Workload("hand", {name: Size(value, least=0) for name, value in sizes.items()}, stages)
