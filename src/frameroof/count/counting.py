"""`frameroof.count`: what a user has (a module, a builder, a diffusers folder, a name) as a `Workload`.

The command and the function of Python ask here, so that both count the same. A module that exists already is counted
through a twin without data: nothing of it is run or copied but its shapes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dtypes import BUILT, check, held_in
from ..passes.maths import held_as
from ..public import need_torch

if TYPE_CHECKING:
    from torch import nn

    from ..workload.recipe import Builder, Recipe
    from ..workload.records import Workload

Inputs = Sequence[Any] | Mapping[str, Any]
Progress = Callable[[str], None]


def count(  # six arguments: what is counted, and one an option of the command
    model: nn.Module | Builder | str | os.PathLike[str],
    inputs: Inputs | Callable[..., Inputs] = (),
    *,
    sizes: Mapping[str, int] | None = None,
    dtype: str | None = None,
    fixed: bool = False,
    progress: Progress | None = None,
) -> Workload:
    """Count every operation of a model's forward, without weights or a GPU; `predict` takes what it returns.

    `model` is a module with its `inputs`: a tuple of arguments or a mapping of keywords (tensors whose shapes matter,
    and of small ones of integers or Booleans the values, should the forward read them), or a function that returns
    either and whose keyword arguments are sizes with whole numbers as defaults. Or it is a builder, a function of sizes
    that returns ``(module, args, kwargs)``; a text such as ``"my_file.py:build"``; a diffusers folder; or a model of
    `frameroof.models`.

    The workload holds for every admissible size, with `sizes` as its defaults; that takes some traces of the model.
    `fixed` counts at these sizes alone, which takes one. `dtype` is bf16, fp16 or fp32: the type that the model is
    built in; by default its own, of a builder bf16. It may be a unit: tf32 (built in fp32) or fp16_acc (fp16, summed in
    fp16). `progress` is told what is being done.

    Raises `ValueError`, a sentence, where PyTorch is missing, a size or type is not admissible, nothing has the name,
    or the module does not run without data (`CannotCount`, which names the line, or `StructureChanges`).
    """
    need_torch("count")
    check_dtype(dtype)
    from .record import fixed_recipe, record_recipe

    say = progress or _silent
    recipe = recipe_for(model, inputs, sizes or {}, held_in(dtype) if dtype else None, None if fixed else say)
    counted = record_recipe(fixed_recipe(recipe, sizes) if fixed else recipe, say)
    return held_as(counted, dtype) if dtype else counted


def _silent(text: str) -> None:
    pass


def check_dtype(dtype: str | None) -> None:
    """`ValueError` for a type that no model is built in."""
    check(dtype, BUILT, "a model is built in", "predict --dtype quantizes")


def recipe_for(model: Any, inputs: Any, sizes: Mapping[str, int], dtype: str | None, looks: Progress | None) -> Recipe:
    """The recipe of what was given, with `sizes` as its defaults.

    `looks` is told while a builder's dependence on its sizes is looked into; None: the recipe is good for these alone.
    Raises `ValueError`, a sentence, for inputs of a builder, sizes that nothing depends on, and what `count`
    refuses.
    """
    from torch import nn

    from .given import check_model, check_named
    from .probe import recipe_of

    check_model(model)
    if isinstance(model, nn.Module):
        build, base = _of_module(model, inputs, dtype)
        if not callable(inputs):
            looks = None
            if sizes:
                raise ValueError("sizes need inputs that depend on them: give a function of the sizes as inputs")
        name = type(model).__name__
    elif callable(inputs) or len(inputs):
        raise ValueError("inputs belong to a module; a builder returns its own: (module, args, kwargs)")
    elif callable(model):
        build, base, name = model, dtype or "bf16", getattr(model, "__name__", type(model).__name__)
    elif ":" in (what := os.fspath(model)) and not Path(what).is_dir():
        from .load import load_builder

        build, base = load_builder(what), dtype or "bf16"
        check_named(what, build)
        name = what.rpartition(":")[0].rpartition("/")[2].removesuffix(".py")
    else:
        return _of_catalogue(what, sizes, dtype, parametric=looks is not None)
    return recipe_of(build, name, sizes, base, parametric=looks is not None, progress=looks or _silent)


def _of_catalogue(what: str, sizes: Mapping[str, int], dtype: str | None, parametric: bool) -> Recipe:
    from ..models import folder_recipe, named_recipe

    recipe = folder_recipe(Path(what)) if Path(what).is_dir() else named_recipe(what)
    recipe = replace(recipe, dtype=dtype or recipe.dtype)
    if not parametric:
        return recipe  # `fixed_recipe` takes the sizes
    params = dict(recipe.params)
    for name, value in sizes.items():
        if name not in params:
            raise ValueError(f"{recipe.name} has no size {name!r}; it has: {', '.join(params)}")
        params[name].check(name, value)
        params[name] = replace(params[name], default=value)
    return replace(recipe, params=params)


def _of_module(module: nn.Module, inputs: Any, dtype: str | None) -> tuple[Builder, str]:
    """A builder of a module that exists, and the type that it is counted in."""
    from .twin import base_dtype, meta_inputs, meta_twin

    base = dtype or base_dtype(module)
    twin = meta_twin(module, dtype)
    changed = base if dtype else None

    def build(**values: int) -> Any:
        given = inputs(**values) if callable(inputs) else inputs
        args, kwargs = ((), dict(given)) if isinstance(given, Mapping) else (tuple(given), {})
        return meta_twin(twin, None), meta_inputs(args, changed), meta_inputs(kwargs, changed)

    build.__signature__ = signature(inputs if callable(inputs) else lambda: None)  # type: ignore[attr-defined]
    if declared := getattr(inputs, "__frameroof_sizes__", None):
        build.__frameroof_sizes__ = declared  # type: ignore[attr-defined]
    return build, base
