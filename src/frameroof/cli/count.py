"""`frameroof count`: any nn.Module, or a diffusers folder, on meta tensors -> a workload."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..dtypes import BUILT, check
from ..written import check_new, check_place
from .needs import need_torch
from .sizes import parse_sizes

if TYPE_CHECKING:
    from ..workload.recipe import Recipe


def count(  # more than five arguments: each is an option of the command
    what: Annotated[
        str, typer.Argument(help="my_file.py:build, my_pkg.mod:build, a diffusers folder, or a model's name.")
    ],
    size: Annotated[list[str], typer.Option(help="A size: NAME=NUMBER; repeatable.")] = [],  # noqa: B006
    dtype: Annotated[str | None, typer.Option(help="bf16, fp16 or fp32: the type that the model is built in.")] = None,
    out: Annotated[Path | None, typer.Option(help="Record for every size and write NAME.workload.json.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count every operation of a module's forward: FLOPs, bytes, parameters; no weights, no GPU."""
    check(dtype, BUILT, "a model is built in", "predict --dtype quantizes")
    if out is not None and not out.name.endswith(".json"):
        raise ValueError(f"{out}: a workload file's name ends in .json, such as my-model.workload.json")
    if out is not None:
        check_place(out)
        check_new(out, force)
    need_torch("count")
    from ..count import fixed_recipe, record_recipe
    from ..report.progress import status
    from ..workload.file import save

    sizes = parse_sizes(size)
    with status(f"counting {what}") as say, redirect_stdout(sys.stderr):  # what a builder prints is not ours
        recipe = _recipe(what, sizes, dtype, parametric=out is not None, say=say)
        workload = record_recipe(recipe if out is not None else fixed_recipe(recipe, sizes), say)
    if out is not None:
        save(workload, out, force=force)
    from ..report.counted import print_counted

    print_counted(workload, out, as_json)


def _recipe(what: str, sizes: dict[str, int], dtype: str | None, parametric: bool, say: object) -> Recipe:
    from dataclasses import replace

    from ..count import load_builder, recipe_of
    from ..models import folder_recipe, named_recipe

    if Path(what).is_dir():
        recipe = folder_recipe(Path(what))
    elif ":" in what:
        build = load_builder(what)
        name = what.rpartition(":")[0].rpartition("/")[2].removesuffix(".py")
        return recipe_of(build, name, sizes, dtype or "bf16", parametric=parametric, progress=say)  # type: ignore[arg-type]
    else:
        recipe = named_recipe(what)
    recipe = replace(recipe, dtype=dtype or recipe.dtype)
    return recipe if not parametric else _with_defaults(recipe, sizes)


def _with_defaults(recipe: Recipe, sizes: dict[str, int]) -> Recipe:
    from dataclasses import replace

    params = dict(recipe.params)
    for name, value in sizes.items():
        if name not in params:
            raise ValueError(f"{recipe.name} has no size {name!r}; it has: {', '.join(params)}")
        params[name].check(name, value)
        params[name] = replace(params[name], default=value)
    return replace(recipe, params=params)
