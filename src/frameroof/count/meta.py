"""Run an operation on meta tensors, remembering what shape each call gives.

A meta kernel costs hundreds of microseconds in Python and a model repeats the same call in every
layer: for operations whose outputs are new tensors, the second call allocates them at once. Where the result is laid
out as the operands are, as of pointwise operations and norms, the same call at another size does, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import torch

from . import rules

Spec = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]

_REMEMBERED: dict[Any, Spec] = {}
_ALIKE: dict[Any, torch.dtype] = {}
"""Calls without the shape of their operands -> the type of a result that is laid out as these are."""
_NORMS = {torch.ops.aten.group_norm.default, torch.ops.aten.layer_norm.default}
_LIMIT = 200_000


def run_on_meta(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``func(*args, **kwargs)`` for meta tensors; a remembered result where that is the same."""
    if not _repeatable(func):
        return func(*args, **kwargs)
    try:
        key = (
            func,
            _key(args),
            tuple((name, _key(value)) for name, value in kwargs.items()),
            torch.get_default_dtype(),
        )
        spec = _REMEMBERED.get(key)
    except TypeError:  # an argument that cannot be a key
        return func(*args, **kwargs)
    if spec is not None:
        return torch.empty_strided(spec[0], spec[1], dtype=spec[2], device="meta")
    alike = _alike(func, args, kwargs)
    if alike in _ALIKE:
        return torch.empty_strided(args[0].shape, args[0].stride(), dtype=_ALIKE[alike], device="meta")
    out = func(*args, **kwargs)
    if isinstance(out, torch.Tensor) and out.device.type == "meta" and out.storage_offset() == 0:
        if len(_REMEMBERED) > _LIMIT:
            _REMEMBERED.clear()
        _REMEMBERED[key] = (tuple(out.shape), tuple(out.stride()), out.dtype)
        if alike is not None and out.shape == args[0].shape and out.stride() == args[0].stride():
            _ALIKE[alike] = out.dtype
    return out


@cache
def _repeatable(func: Any) -> bool:
    """Operations of one new output that depends on its inputs' shapes alone."""
    schema = func._schema
    if schema.is_mutable or len(schema.returns) != 1 or schema.returns[0].alias_info is not None:
        return False
    return func in rules.RULES or (rules.is_pointwise(func) and rules.base_name(func) not in _MAY_ALIAS)


_MAY_ALIAS = {"view_as_complex", "view_as_real", "native_dropout", "dropout", "to", "contiguous", "reshape"}


def _alike(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The call without the shape of its operands, if its result has that shape whatever it is; else None.

    Pointwise operations of operands of one shape do, and norms of their first; all in the order of their dimensions.
    """
    if not args or not isinstance(args[0], torch.Tensor) or not _in_order(args[0]):
        return None
    first, norm = args[0], func in _NORMS
    if not norm and torch.Tag.pointwise not in func.tags:
        return None
    rest: list[Any] = [*kwargs]
    for each in (*args[1:], *kwargs.values()):
        if isinstance(each, torch.memory_format):
            return None
        if norm or not isinstance(each, torch.Tensor):
            rest.append(_key(each))
        elif each.shape == first.shape and each.stride() == first.stride():
            rest.append(each.dtype)
        else:
            return None
    return func, first.dtype, first.dim(), tuple(rest), torch.get_default_dtype()


def _in_order(tensor: torch.Tensor) -> bool:
    """Whether a tensor has elements, all of them next to each other in the order of its dimensions."""
    wanted = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if stride != wanted:
            return False
        wanted *= size
    return wanted > 0 and tensor.dim() > 0


def _key(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if value.device.type != "meta":
            raise TypeError("not a meta tensor")
        return (tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(map(_key, value))
    hash(value)
    return (type(value), value)


@contextmanager
def autocast_on_meta() -> Iterator[None]:
    """Within, ``torch.autocast(device_type="meta")``, which PyTorch refuses, is entered and casts nothing.

    A module writes ``device_type=x.device.type`` to leave autocast as a rule; types stay as the module writes them.
    """
    autocast = torch.amp.autocast_mode.autocast
    before = autocast.__init__

    def entered(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        if device_type == "meta":
            device_type, args, kwargs = "cpu", (), {"enabled": False}
        before(self, device_type, *args, **kwargs)

    autocast.__init__ = entered
    try:
        yield
    finally:
        autocast.__init__ = before


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Within, `torch.compile` returns what it is given, and what it has made before runs as it was written."""
    before = torch.compile
    loaded = "torch._dynamo" in sys.modules  # nothing is compiled yet where it is not, and it takes seconds to load

    def as_it_is(model: Any = None, **options: Any) -> Any:
        return as_it_is if model is None else model

    torch.compile = as_it_is
    try:
        with torch.compiler.set_stance("force_eager") if loaded else nullcontext():
            yield
    finally:
        torch.compile = before
