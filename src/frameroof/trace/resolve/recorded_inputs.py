"""The inputs of an operator as a profiler recorded them: dimensions, types and the values of scalars."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from ...dtypes import BITS, TRACE_BYTES, TRACE_NAMES, UNRECORDED
from ..read.columns import Arguments

Dims = tuple[int, ...]
MOST_DIM, MOST_ELEMENTS = 2**48, 2**52
"""The largest dimension and the most elements of a tensor that are believed."""


LIST = "TensorList"
"""How a list of tensors is typed; the types of its tensors are not recorded."""


class NotToldError(Exception):
    """What the recorded inputs of a call do not tell."""


@dataclass(frozen=True)
class Inputs:
    """The recorded inputs of one call: dimensions (None for what is no tensor), types, values of scalars as text.

    `list_item` is the bytes of an element of the tensors in lists: a trace holds no type of theirs. `strides` are kept
    where one is 0: of a call with an expanded tensor, () of all others.
    """

    dims: tuple[Dims | tuple[Dims, ...], ...]
    types: tuple[str, ...]
    concrete: tuple[str, ...]
    list_item: int = BITS[UNRECORDED] // 8
    strides: tuple[Dims, ...] = ()

    def __len__(self) -> int:
        return len(self.dims)

    def type(self, index: int) -> str:
        """The type of the input at `index`; "" if it was not recorded."""
        return self.types[index] if index < len(self.types) else ""

    def is_list(self, index: int) -> bool:
        """Whether a list of tensors stands at `index`."""
        dims = self.dims[index] if index < len(self.dims) else ()
        return self.type(index) == LIST or bool(dims and not isinstance(dims[0], int))

    def is_tensor(self, index: int) -> bool:
        """Whether one tensor stands at `index`, be it of no dimensions: traces of 2021 name numbers ``Int``."""
        kind = self.type(index)
        return self.tensor(index) is not None or (kind in TRACE_BYTES and kind[:1].islower())

    def item(self, index: int) -> int:
        """Bytes of an element of the tensor, or of those in the list, at `index`; `NotToldError` for another type."""
        if self.is_list(index):
            return self.list_item
        try:
            return TRACE_BYTES[self.type(index)]
        except KeyError:
            raise NotToldError from None

    def elements(self, index: int) -> int:
        """Elements of the tensor, or of all in the list, at `index`; 0 for what is neither."""
        dims = self.dims[index] if index < len(self.dims) else ()
        if not dims:
            return 0
        listed = dims if self.is_list(index) else (dims,)
        return sum(math.prod(each) for each in listed)  # type: ignore[arg-type,misc]

    def size(self, index: int) -> int:
        """Bytes of what stands at `index`: 0 for what is no tensor or has no dimensions."""
        found = self.elements(index)
        return found * self.item(index) if found else 0

    def read(self, index: int) -> int:
        """Bytes that reading what stands at `index` takes: of an expanded tensor those that it holds."""
        strides = self.strides[index] if index < len(self.strides) else ()
        dims = self.tensor(index)
        if dims is None or 0 not in strides or len(strides) != len(dims):
            return self.size(index)
        return math.prod(side for side, stride in zip(dims, strides, strict=True) if stride) * self.item(index)

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
                found += [(d, size or self.list_item) for d in dims if d]
        return [(dims, size) for dims, size in found if size]

    @property
    def dtype(self) -> str | None:
        """The type of the first floating tensor, in the words of `frameroof.hardware`."""
        return next((TRACE_NAMES[t] for t in self.types if t in TRACE_NAMES), None)

    def value(self, index: int) -> str:
        """The scalar at `index` as text; "" if it was not recorded."""
        return self.concrete[index] if 0 <= index < len(self.concrete) else ""


_ELEMENT = re.compile(
    r"OpaqueType<(?P<size>\d+)|[<, ](?P<type>double|float|c10::Half|c10::BFloat16|__half|__hip_bfloat16|__nv_bfloat16|"
    r"long|int|bool|unsigned char)[,>]"
)


@lru_cache(maxsize=4096)
def element_of(kernel: str) -> int | None:
    """Bytes of an element that a kernel over a list of tensors works on, from its template; None where not told.

    Seen: ``CatArrayBatchedCopy<at::native::OpaqueType<2u>, …>``, ``multi_tensor_apply_kernel<…, Functor<float, …>>``.
    """
    found = _ELEMENT.search(kernel)
    if found is None:
        return None
    return int(found["size"]) if found["size"] else TRACE_BYTES.get(found["type"], 2)


def parse(arguments: Arguments) -> Inputs | None:
    """The recorded inputs; None where the text is none that a profiler writes."""
    try:
        dims = msgspec.json.decode(arguments.dims)
        types = msgspec.json.decode(arguments.types) if arguments.types else []
        concrete = msgspec.json.decode(arguments.concrete) if arguments.concrete else []
        strides = msgspec.json.decode(arguments.strides) if arguments.strides else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(dims, str) and isinstance(types, str):
        dims, types = _of_ascend(dims), types.split(";")
    if not all(isinstance(x, list) for x in (dims, types, concrete, strides)):
        return None
    return Inputs(
        tuple(_dims(d) for d in dims),
        tuple(t if isinstance(t, str) else "" for t in types),
        tuple(c if isinstance(c, str) else "" for c in concrete),
        strides=tuple(_strides(s) for s in strides),
    )


def _of_ascend(dims: str) -> list[list[int]]:
    """Ascend's "2,3;3,4;" as lists: one of each input, empty for what is no tensor."""
    return [
        [int(d) for d in each.split(",")] if re.fullmatch(r"\d{1,15}(,\d{1,15})*", each) else []
        for each in dims.split(";")
    ]


def _strides(value: Any) -> Dims:
    """The strides of a tensor; () for those of a list of tensors, and for what are none."""
    whole = isinstance(value, list) and all(type(s) is int for s in value)
    return tuple(value) if whole else ()


def _dims(value: Any, levels: int = 1) -> Any:
    """The dimensions of a tensor, or of each of a list of tensors; () for what is neither or of no believable size."""
    if not isinstance(value, list):
        return ()
    if all(type(d) is int and 0 <= d < MOST_DIM for d in value):
        return tuple(value) if math.prod(value) <= MOST_ELEMENTS else ()
    return tuple(d for d in (_dims(each, levels - 1) for each in value) if d) if levels else ()
