"""What an operation moves of each of its operands: the part that it touches, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from . import rules
from .causal import flash_attention


@dataclass(slots=True)
class RawTensor:
    """One operand at one size: its shape, dtype, and the value it holds (storage and writer)."""

    shape: tuple[int, ...]
    dtype: str
    value: tuple[int, int]  # (storage, index of the operation that wrote it; -1 = given)
    weight: bool = False
    traffic: str = ""  # see `Tensor`
    place: tuple[int, ...] = ()  # offset and strides within the storage; () where it is not known which part is meant
    most: int = 0  # elements that there are to choose from, where the shape is that of what is chosen

    @property
    def touched(self) -> tuple[int, ...]:
        """The shape of what is moved: what is chosen more often than it is there is read once."""
        return (min(prod(self.shape), self.most),) if self.most else self.shape


Tensors = tuple[list[RawTensor], list[torch.Tensor], list[torch.Tensor]]
"""What is read, the tensors that it is read from, and the outputs."""


def operands(func: Any, call: tuple[Sequence[Any], Mapping[str, Any]], kind: str, tensors: Tensors) -> list[RawTensor]:
    """What an operation really reads of its operands."""
    reads, inputs, outputs = tensors
    if flash_attention(func):
        return reads[:3]
    name = rules.base_name(func)
    if name in rules.FILLS:
        return []
    if name in rules.OVERWRITES:  # the target is written, not read
        reads = reads[1:]
    if name in rules.ADDS_TO and call[1].get("beta", 1) == 0:
        reads = reads[1:]
    if name == "linear":  # of an expanded input as it is written: a batch of one may expand what a larger one copies
        reads[0].shape = tuple(inputs[0].shape)
    elif name in rules.GROUPED:
        reads[0].shape, reads[1].shape = rules.groups_touched(inputs[0].shape, inputs[1].shape)
        reads[0].place = reads[1].place = ()
    elif name in rules.BAGS:
        _choose(reads[0], (inputs[1].numel(), *inputs[0].shape[1:]))
    elif name in rules.PICKS:
        _choose(reads[0], touched(inputs[1]))
    elif stepped := rules.steps_over(name, call[0], outputs):
        reads[0].shape, reads[0].place = stepped, ()
    elif name in rules.GATHERS:
        _choose(reads[0], touched(outputs[0]))
    return _seen(name, call, reads) if kind == "attention" else _once(reads)


def _seen(name: str, call: tuple[Sequence[Any], Mapping[str, Any]], reads: list[RawTensor]) -> list[RawTensor]:
    """Queries, keys and values in their places, without keys that no causal query sees (aligned at the upper left)."""
    if name == "scaled_dot_product_attention" and rules.is_causal(*call):
        for raw in reads[1:3]:
            raw.shape = (*raw.shape[:-2], min(raw.shape[-2], reads[0].shape[-2]), raw.shape[-1])
    return reads


def changed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors among the arguments of a call that it writes, as its schema says."""
    named = [*zip(func._schema.arguments, args, strict=False)]
    named += [(a, kwargs[a.name]) for a in func._schema.arguments if a.name in kwargs]
    written = [value for argument, value in named if argument.alias_info and argument.alias_info.is_write]
    return [t for t in tree_leaves(written) if isinstance(t, torch.Tensor)]


def only_given(name: str, reads: Sequence[RawTensor], written: RawTensor) -> None:
    """Where entries are scattered to a target, no more of it is written than is given."""
    if name in rules.SCATTERS and reads:
        _choose(written, reads[-1].shape)


def _choose(raw: RawTensor, chosen: tuple[int, ...]) -> None:
    """Only the chosen entries are moved, and no more than there are."""
    raw.most, raw.shape, raw.place = prod(raw.shape), chosen, ()


def _once(reads: list[RawTensor]) -> list[RawTensor]:
    """Operands without repeats: x * x reads x once."""
    seen: set[tuple[Any, ...]] = set()
    out = []
    for raw in reads:
        key = (raw.value, raw.shape, raw.place)
        if key not in seen:
            seen.add(key)
            out.append(raw)
    return out


def touched(tensor: torch.Tensor) -> tuple[int, ...]:
    """Shape without broadcast dimensions: a stride of 0 reads the same memory again."""
    return tuple(1 if stride == 0 else size for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def raw_of(tensor: torch.Tensor, dtype: str, value: tuple[int, int], weight: bool = False) -> RawTensor:
    """A tensor as an operand: windows that overlap share elements, and are no more than there is."""
    place = (tensor.storage_offset(), *tensor.stride())
    most = 0
    if not tensor.is_contiguous() and _overlaps(tensor):
        most = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
    return RawTensor(touched(tensor), dtype, value, weight, place=place, most=most)


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether two elements of a tensor may be one in memory, but for a stride of 0."""
    reach = 1
    for stride, size in sorted((t, n) for t, n in zip(tensor.stride(), tensor.shape, strict=True) if t and n > 1):
        if stride < reach:
            return True
        reach += stride * (size - 1)
    return False
