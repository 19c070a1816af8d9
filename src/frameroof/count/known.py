"""Small tensors whose values are known: kept on the CPU beside their twins on meta, for modules that read values.

A vision tower reads its grid, a mixture its routing, a mask what it keeps. Builders give such tensors small and real;
on meta their values are lost. Here every operation whose operands are all known is also done on the CPU, for small
tensors only, so that ``grid.tolist()``, ``lengths.max().item()``, a Boolean mask or ``bincount`` have their answer.
Weights and activations have no values, and take no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

MOST_INTEGERS = 1 << 16  # elements of an integer or Boolean tensor whose values are kept
MOST_FLOATS = 1 << 12  # of another
SPREAD = "what topk chooses by activations, such as experts for tokens, is taken to be spread evenly over what there is"
NOTE = "sizes that the forward reads from values are those of the values that the builder gave"

aten = torch.ops.aten
_ATTRIBUTE = "_frameroof_known"  # (value, [whether it still holds]); the list is shared by views, longer if assumed
_READS = {
    "nonzero",
    "bincount",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "unique_dim_consecutive",
    "equal",
    "nonzero_numpy",
}
_ASKS = {"_local_scalar_dense", "item", "is_nonzero"}
_MAKERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor}
_OUTSIDE = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist}
_UNKNOWN = {
    "empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "rand", "randn",
    "rand_like", "randn_like", "normal_", "uniform_",
}  # fmt: skip
_FILLS = {
    torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.fill_, torch.Tensor.zero_,
    nn.init.uniform_, nn.init.normal_, nn.init.constant_, nn.init.kaiming_uniform_,
}  # fmt: skip
MISSING = object()


def value_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """The values of a tensor, on the CPU; None where they are not known."""
    if tensor.device.type == "cpu":
        return tensor if _small(tensor) else None
    found = getattr(tensor, _ATTRIBUTE, None)
    return found[0] if found is not None and found[1][0] else None


def keep(tensor: torch.Tensor, value: torch.Tensor, alive: list[bool] | None = None) -> None:
    """Note the values of a tensor on meta, if it is small."""
    if tensor.device.type == "meta" and tensor.shape == value.shape and _small(value):
        setattr(tensor, _ATTRIBUTE, (value, alive or [True]))


def keep_inputs(real: torch.Tensor, twin: torch.Tensor) -> None:
    """Note the values of a small real tensor of integers or Booleans at its twin without data."""
    if real.device.type != "meta" and not real.is_floating_point() and not real.is_complex() and _small(real):
        keep(twin, real.detach().cpu().to(twin.dtype))


def note_of(args: Any, kwargs: Any = None) -> str:
    """Where the values that a call asks for come from: the builder, or what is assumed of `topk`."""
    return SPREAD if any(map(_assumed, tensors(args, kwargs))) else NOTE


def _assumed(tensor: torch.Tensor) -> bool:
    found = getattr(tensor, _ATTRIBUTE, None)
    return found is not None and len(found[1]) > 1


def spread(func: Any, args: Sequence[Any], out: Any) -> None:
    """Give what `topk` chooses by unknown values along the last dimension the indices of an even choice."""
    if func._opname != "topk" or out[1].device.type != "meta" or value_of(out[1]) is not None:
        return
    if not out[1].numel() or out[1].numel() > MOST_INTEGERS or args[0].shape[:-1] != out[1].shape[:-1]:
        return
    with _disable_current_modes():
        even = torch.arange(out[1].numel()).view(out[1].shape) % args[0].shape[-1]
    keep(out[1], even, [True, True])


def _small(tensor: torch.Tensor) -> bool:
    floating = tensor.is_floating_point() or tensor.is_complex()
    return tensor.numel() <= (MOST_FLOATS if floating else MOST_INTEGERS)


def answer(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What an operation that meta tensors cannot do gives for known values; `MISSING` for any other operation.

    Numbers and tensors on the CPU are the module's own from then on; tensors that it makes on its device are on meta
    and known.
    """
    name = str(func._opname)
    first = args[0] if args else None
    if not isinstance(first, torch.Tensor):
        return MISSING
    reads = name in _READS or func in (aten.repeat_interleave.Tensor, aten.where.default)
    to_cpu = name == "_to_copy" and str(kwargs.get("device")) == "cpu" and first.device.type == "meta"
    if not (reads or to_cpu or name in _ASKS):
        return MISSING
    values = [value_of(t) for t in tensors(args, kwargs)]
    if any(v is None for v in values) or first.device.type != "meta":
        return MISSING
    out = _on_cpu(func, args, kwargs)
    if name in _ASKS or to_cpu or not tensors(out):
        return out.clone() if isinstance(out, torch.Tensor) else out
    alive = [True, True] if any(map(_assumed, tensors(args, kwargs))) else None
    return tree_map(lambda t: _twin(t, alive) if isinstance(t, torch.Tensor) else t, out)


def chosen(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """A call whose result's size depends on known values, as the call of the same result that meta tensors can do.

    A Boolean mask becomes the places that it chooses; repeats get the size of their result.
    """
    if func is aten.masked_select.default and (mask := value_of(args[1])) is not None:
        shape = torch.broadcast_shapes(args[0].shape, mask.shape)
        return aten.index.Tensor, (args[0].expand(shape), _places(mask.expand(shape))), {}
    if func is aten.repeat_interleave.self_Tensor and (repeats := value_of(args[1])) is not None:
        size = int(repeats.sum()) * (args[0].shape[args[2] if len(args) > 2 else 0] if repeats.numel() == 1 else 1)
        return func, args, {"output_size": size, **kwargs}
    if func is not aten.index.Tensor or len(args) < 2:
        return func, args, kwargs
    places: list[Any] = []
    for index in args[1]:
        mask = value_of(index) if isinstance(index, torch.Tensor) and index.device.type == "meta" else None
        places += _places(mask) if mask is not None and mask.dtype == torch.bool else [index]
    return func, (args[0], places, *args[2:]), kwargs


def _places(mask: torch.Tensor) -> list[torch.Tensor]:
    with _disable_current_modes():
        return [_twin(each.contiguous()) for each in mask.nonzero().unbind(1)]


def follow(func: Any, args: Sequence[Any], kwargs: dict[str, Any], inputs: Sequence[torch.Tensor], out: Any) -> None:
    """Do the same on the CPU where every operand is known, and note the values of the result."""
    results = tensors(out)
    if not results or all(t.device.type != "meta" for t in results):
        return
    mutable = func._schema.is_mutable
    if any(value_of(t) is None for t in inputs) or any(t.numel() > MOST_INTEGERS for t in results):
        for tensor in inputs if mutable else ():
            found = getattr(tensor, _ATTRIBUTE, None)
            if found is not None and any(tensor is r for r in results):
                found[1][0] = False
        return
    if func._opname in _UNKNOWN:
        return
    try:
        made = tensors(_on_cpu(func, args, kwargs))
    except Exception:  # what the CPU cannot do stays unknown
        return
    for tensor, value in zip(results, made, strict=False):
        if any(tensor is t for t in inputs):
            continue  # changed in place, and so are its values
        shared = next((t for t in inputs if _same(value_of(t), value)), None)
        known = getattr(shared, _ATTRIBUTE, None)
        keep(tensor, value, known[1] if known else [True, True] if any(map(_assumed, inputs)) else None)


def _same(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    return one is not None and one.untyped_storage()._cdata == other.untyped_storage()._cdata


def tensors(*given: Any) -> list[torch.Tensor]:
    """The tensors among the arguments or results of an operation, in order.

    These are nested in lists, tuples and dicts alone, and a walk through those costs a tenth of torch's `tree_leaves`.
    """
    found: list[torch.Tensor] = []
    for each in given:
        if isinstance(each, torch.Tensor):
            found.append(each)
        elif isinstance(each, (list, tuple)):
            found += tensors(*each)
        elif isinstance(each, dict):
            found += tensors(*each.values())
    return found


def _on_cpu(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    def moved(each: Any) -> Any:
        if isinstance(each, torch.Tensor):
            return value_of(each)
        return torch.device("cpu") if isinstance(each, torch.device) else each

    with _disable_current_modes():
        return func(*tree_map(moved, args), **tree_map(moved, kwargs))


def _twin(value: torch.Tensor, alive: list[bool] | None = None) -> torch.Tensor:
    with _disable_current_modes():
        made = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    keep(made, value, alive)
    return made


class Values(TorchFunctionMode):
    """Keeps what `torch.tensor` is given, and gives NumPy and lists what is known; `notes` is told of that."""

    def __init__(self, notes: dict[str, None] | None = None) -> None:
        super().__init__()
        self.notes = {} if notes is None else notes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _OUTSIDE and (value := value_of(args[0])) is not None and args[0].device.type == "meta":
            self.notes[note_of(args[0])] = None
            with _disable_current_modes():
                return func(value.clone(), *args[1:], **kwargs)
        out = func(*args, **kwargs)
        if func in _MAKERS and isinstance(out, torch.Tensor) and out.device.type == "meta" and _small(out):
            with _disable_current_modes():
                try:
                    keep(out, func(*args, **{**kwargs, "device": "cpu"}))
                except Exception:  # made of what is not known
                    return out
        return out


class _Building(Values):
    """The same while a builder makes its module: weights without values are not filled, which would give them none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FILLS:
            filled = args[0] if args else kwargs["tensor"]
            odd = func is nn.init.kaiming_uniform_ and filled.dim() < 2  # which is an error
            if filled.device.type == "meta" and not hasattr(filled, _ATTRIBUTE) and not odd:
                return filled
        return super().__torch_function__(func, types, args, kwargs)


class _Follow(TorchDispatchMode):
    """Follows values while a builder makes its module and inputs."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten.empty.memory_format:  # of which nothing is known
            return func(*args, **kwargs)
        found = answer(func, args, kwargs)
        if found is not MISSING:
            return found
        func, args, kwargs = chosen(func, args, kwargs)
        out = func(*args, **kwargs)
        follow(func, args, kwargs, tensors(args, kwargs), out)
        return out


@contextmanager
def values_kept() -> Iterator[None]:
    """Within, builders' small tensors keep their values; random ones are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with _Building(), _Follow():
            yield
