"""The inputs of an operator as a profiler recorded them: dimensions, types and the values of scalars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec

from ...dtypes import TRACE_BYTES, TRACE_NAMES
from ..read.columns import Arguments

Dims = tuple[int, ...]
MOST_DIM, MOST_ELEMENTS = 2**48, 2**52
"""The largest dimension and the most elements of a tensor that are believed."""


@dataclass(frozen=True)
class Inputs:
    """The recorded inputs of one call: dimensions (None for what is no tensor), types, values of scalars as text."""

    dims: tuple[Dims | tuple[Dims, ...], ...]
    types: tuple[str, ...]
    concrete: tuple[str, ...]

    def tensor(self, index: int) -> Dims | None:
        """Dimensions of the tensor at `index`, or None."""
        if index >= len(self.dims) or not self.dims[index]:
            return None
        dims = self.dims[index]
        return dims if all(isinstance(d, int) for d in dims) else None  # type: ignore[return-value]

    @property
    def tensors(self) -> list[tuple[Dims, int]]:
        """(dimensions, bytes of an element) of every tensor, lists of tensors included."""
        found: list[tuple[Dims, int]] = []
        for i, dims in enumerate(self.dims):
            size = TRACE_BYTES.get(self.types[i] if i < len(self.types) else "", 0)
            if not dims:
                continue
            if isinstance(dims[0], int):
                found.append((dims, size))
            else:
                found += [(d, size or 2) for d in dims if d]
        return [(dims, size) for dims, size in found if size]

    @property
    def dtype(self) -> str | None:
        """The type of the first floating tensor, in the words of `frameroof.hardware`."""
        return next((TRACE_NAMES[t] for t in self.types if t in TRACE_NAMES), None)

    def value(self, index: int) -> str:
        """The scalar at `index` as text; "" if it was not recorded."""
        return self.concrete[index] if 0 <= index < len(self.concrete) else ""


def parse(arguments: Arguments) -> Inputs | None:
    """The recorded inputs; None where the text is none that a profiler writes."""
    try:
        dims = msgspec.json.decode(arguments.dims)
        types = msgspec.json.decode(arguments.types) if arguments.types else []
        concrete = msgspec.json.decode(arguments.concrete) if arguments.concrete else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not all(isinstance(x, list) for x in (dims, types, concrete)):
        return None
    return Inputs(
        tuple(_dims(d) for d in dims),
        tuple(t if isinstance(t, str) else "" for t in types),
        tuple(c if isinstance(c, str) else "" for c in concrete),
    )


def _dims(value: Any, levels: int = 1) -> Any:
    """The dimensions of a tensor, or of each of a list of tensors; () for what is neither or of no believable size."""
    if not isinstance(value, list):
        return ()
    if all(type(d) is int and 0 <= d < MOST_DIM for d in value):
        return tuple(value) if math.prod(value) <= MOST_ELEMENTS else ()
    return tuple(d for d in (_dims(each, levels - 1) for each in value) if d) if levels else ()
