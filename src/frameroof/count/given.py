"""What is given to count, checked: a sentence for what is no module, no builder, or has no one shape."""

from __future__ import annotations

import os
from inspect import isfunction
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

NESTED = "a nested tensor has no one shape: pad it to one, or give its values and offsets"
TRIPLE = "a builder returns (module, args, kwargs): an nn.Module, a tuple of arguments and a dict of keywords"


def check_model(model: Any) -> None:
    """`ValueError` for what is neither a module, a builder nor a name, with what to give in its place."""
    owner = getattr(model, "__self__", None)
    if isinstance(owner, nn.Module):
        name = getattr(model, "__name__", "method")
        raise ValueError(
            f"{name} is a method of a {type(owner).__name__}: give the module itself; its forward is counted"
        )
    if parts := _components(model):
        raise ValueError(
            f"a {type(model).__name__} is a pipeline of several models: count them one by one, {parts}; "
            "or give its diffusers folder"
        )
    if not (isinstance(model, (nn.Module, str, os.PathLike)) or callable(model)):
        raise ValueError(f"a {type(model).__name__} is no module, builder or name of a model")


def check_named(what: str, found: Any) -> None:
    """`ValueError` for what a text such as ``my_file.py:build`` names, if that is no builder."""
    check_model(found)
    if isinstance(found, nn.Module):
        raise ValueError(
            f"{what} is a {type(found).__name__} without inputs; {TRIPLE}: name a function that returns these"
        )


def check_result(result: Any) -> None:
    """`ValueError` for what a builder returned, if that is not ``(module, args, kwargs)``."""
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        many = f" of {len(result)}" if isinstance(result, (tuple, list)) else ""
        raise ValueError(f"the builder returned a {type(result).__name__}{many}; {TRIPLE}")
    module, args, kwargs = result
    if not isinstance(module, nn.Module):
        if not (isfunction(module) or isinstance(module, (str, os.PathLike))):
            check_model(module)
        said = "a function: put it into the forward of an nn.Module" if isfunction(module) else type(module).__name__
        raise ValueError(f"the builder's first result is no nn.Module but {said}")
    for tensor in tree_leaves((args, kwargs)):
        if isinstance(tensor, torch.Tensor) and tensor.is_nested:
            raise ValueError(f"an input of the {type(module).__name__} is nested; {NESTED}")


def _components(model: Any) -> str:
    """The names of a pipeline's modules; "" where it is none."""
    if isinstance(model, (nn.Module, type)):
        return ""
    found = getattr(model, "components", None)
    named = found if isinstance(found, dict) else getattr(model, "__dict__", {})
    modules = [name for name, each in named.items() if isinstance(each, nn.Module)]
    return ", ".join(modules) if isinstance(found, dict) or hasattr(model, "save_pretrained") else ""
