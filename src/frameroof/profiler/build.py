"""A builder's module made real: on a device, with random weights, and inputs that are no leftovers of memory.

Builders make their inputs with `torch.empty`, which is right for counting. What runs must not read what memory happens
to hold (subnormal numbers are slow, NaN and wrong ids fail): empty tensors are zeroed when they are made, and what
nothing else has filled by the end becomes random, because zeros run faster than data on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..dtypes import DTYPES, held_in, torch_name

_EMPTY = {torch.empty, torch.empty_like, torch.Tensor.new_empty}
WEIGHT_STD = 0.02


@dataclass
class Work:
    """One module and what it is called with; `repeat` is how often a whole pipeline runs it."""

    name: str
    module: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 1

    def __call__(self) -> Any:
        return self.module(*self.args, **self.kwargs)


def is_built(found: Any) -> bool:
    """Whether a callable returned what a builder returns: (module, args, kwargs)."""
    return (
        isinstance(found, tuple)
        and len(found) == 3
        and isinstance(found[0], nn.Module)
        and isinstance(found[1], (tuple, list))
        and isinstance(found[2], dict)
    )


def weight_bytes(build: Callable[[], Any], dtype: str | None) -> int | None:
    """Bytes of a builder's parameters and buffers, without making them; None where it does not run on meta tensors."""
    try:
        with _default(dtype), torch.device("meta"):
            found = build()
    except Exception:  # the real attempt says what is wrong
        return None
    if not is_built(found):
        return None
    tensors = {id(t): t for t in (*found[0].parameters(), *found[0].buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def make(name: str, build: Callable[[], Any], device: str, dtype: str | None = None, repeat: int = 1) -> Work:
    """Call a builder on a device and fill what it left empty; `ValueError` where it is no builder."""
    found = called(build, device, dtype)
    if not is_built(found):
        raise ValueError(f"{name}: a builder returns (module, args, kwargs), not {_kind(found)}")
    return real(name, found, device, repeat)


def called(build: Callable[[], Any], device: str, dtype: str | None = None) -> Any:
    """What `build` returns when the default device and type are these; empty tensors are zeros."""
    torch.manual_seed(0)
    where = torch.device(device) if device != "cpu" else nullcontext()
    with _default(dtype), where, _Zeroed():
        return build()


def real(name: str, built: tuple[nn.Module, Any, Any], device: str, repeat: int = 1) -> Work:
    """A builder's answer as work: evaluated, on the device, without empty inputs."""
    module, args, kwargs = built
    module = module.to(device).eval()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1 and weight.is_floating_point() and not weight.any():
                weight.normal_(0, WEIGHT_STD)
    return Work(name, module, _filled(tuple(args), device), _filled(kwargs, device), repeat)


class _Zeroed(TorchFunctionMode):
    """`torch.empty` gives zeros."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _EMPTY and out.device.type != "meta":
            out.zero_()
        return out


def _filled(value: Any, device: str) -> Any:
    """Inputs on the device, floating ones of two or more dimensions random where they are all zero."""
    if isinstance(value, torch.Tensor):
        moved = value.to(device)
        if moved.is_floating_point() and moved.dim() > 1 and not moved.any():
            moved = torch.randn(moved.shape, dtype=torch.float32, device=device).to(moved.dtype)
        return moved
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_filled(item, device) for item in value)
    if type(value) is dict:
        return {key: _filled(item, device) for key, item in value.items()}
    return value


@contextmanager
def multiplied_in(dtype: str | None, device: str) -> Iterator[None]:
    """With torch told to multiply fp32 in TF32, or to sum fp16 in fp16, where that is what `dtype` says.

    `ValueError`, a sentence, where there is no such unit: on a CPU, and in a torch that has no switch for it.
    """
    if dtype is None or held_in(dtype) == dtype:
        yield
        return
    if not device.startswith("cuda"):
        raise ValueError(f"{dtype} is a unit of GPUs; --dtype {held_in(dtype)} runs the same on {device}")
    products, switch = torch.backends.cuda.matmul, DTYPES[dtype].switch
    try:
        before = getattr(products, switch)
    except AttributeError:
        raise ValueError(f"torch {torch.__version__} has no switch for {dtype} (torch.backends.cuda.matmul)") from None
    setattr(products, switch, True)
    try:
        yield
    finally:
        setattr(products, switch, before)


@contextmanager
def _default(dtype: str | None) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, torch_name(dtype)) if dtype else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
