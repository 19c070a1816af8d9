"""A module that exists, once more without data: its twin on meta tensors, at no cost of memory."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from ..dtypes import BUILT, held_in, torch_name
from .known import keep_inputs
from .recorder import CannotCount


def meta_twin(module: nn.Module, dtype: str | None) -> nn.Module:
    """A copy whose tensors have shapes and no data, floating ones in `dtype` (None: as they are).

    Tied weights stay tied. Raises `CannotCount` for a module that cannot be copied.
    """
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    memo: dict[int, Any] = {}
    for part in module.modules():
        own = tree_leaves(dict(vars(part)))  # parameters, buffers, and tensors that are mere attributes
        memo |= {id(t): _without_data(t, dtype) for t in own if isinstance(t, torch.Tensor)}
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise CannotCount(
            f"a {type(module).__name__} cannot be copied without its weights ({type(error).__name__}: {text}); "
            "give a function that builds it in place of the module"
        ) from error


def _without_data(tensor: torch.Tensor, dtype: str | None) -> torch.Tensor:
    kept = getattr(torch, torch_name(dtype)) if dtype and tensor.is_floating_point() else tensor.dtype
    with torch.no_grad():
        empty = torch.empty_like(tensor, device="meta", dtype=kept)
        if not isinstance(tensor, nn.Parameter):
            keep_inputs(tensor, empty)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def meta_inputs(inputs: Any, dtype: str | None) -> Any:
    """Inputs without data, floating ones in `dtype` (None: as they are)."""
    return tree_map(lambda x: _without_data(x, dtype) if isinstance(x, torch.Tensor) else x, inputs)


def base_dtype(module: nn.Module) -> str:
    """The type of most of a module's floating parameters, fp32 where it has none.

    Raises `CannotCount` where that is a type in which nothing is counted.
    """
    sizes: Counter[torch.dtype] = Counter()
    for parameter in module.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] += parameter.numel()
    most = sizes.most_common(1)[0][0] if sizes else torch.float32
    known = {str(getattr(torch, torch_name(name))): name for name in BUILT if held_in(name) == name}
    if str(most) not in known:
        named = str(most).removeprefix("torch.")
        raise CannotCount(f"the module is in {named}; count it in one of {', '.join(BUILT)}, with dtype='fp32'")
    return known[str(most)]
