"""What `frameroof profile` is to run: a script, a function, a builder or a model's stages, as one callable."""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dtypes import held_in
from ..passes.maths import held_as
from ..units import format_bytes

if TYPE_CHECKING:
    from ..profiler.build import Work
    from ..workload.recipe import Builder, Part, Recipe
    from ..workload.records import Workload

Say = Callable[[str], None]


@dataclass
class Asked:
    """The options that say what is run and how it is made."""

    what: str
    arguments: Sequence[str] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    stages: Sequence[str] = ()
    dtype: str | None = None
    device: str = "cpu"


@dataclass
class Job:
    """What is run once a repetition; `roots` are the modules to name, None for whatever is called."""

    run: Callable[[], Any]
    roots: list[Any] | None = None
    works: list[Work] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    workload: Callable[[], Workload] | None = None
    """The workload that the run can be matched with, where there is one."""
    cold_ns: int | None = None
    """The first call, where it took place before the repetitions."""


def job_of(asked: Asked, say: Say) -> Job:
    """Find, build and bind what was asked for; `ValueError` with a sentence where that cannot be."""
    what = asked.what
    if what.endswith(".py") and ":" not in what:
        return _script(asked)
    if asked.arguments:
        raise ValueError(f"arguments belong to a script: frameroof profile my_script.py -- {' '.join(asked.arguments)}")
    if ":" in what:
        return _callable(asked, say)
    return _pipeline(asked, say)


# ------------------------------------------------------------------------------------- scripts


def _script(asked: Asked) -> Job:
    path = Path(asked.what)
    if not path.is_file():
        raise ValueError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    for name, given in (("--size", asked.sizes), ("--stage", asked.stages), ("--dtype", asked.dtype)):
        if given:
            raise ValueError(f"{name} is for builders and models; a script takes its own arguments after --")
    return Job(partial(run_script, path, list(asked.arguments)), source={"script": path.name})


def run_script(path: Path, arguments: list[str]) -> None:
    """Run a script as `python my_script.py …` does; `ValueError` where it fails or exits with a code."""
    before = sys.argv, sys.path[:]
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise ValueError(f"{path.name} ended with exit code {stop.code}; nothing was written") from stop
    except Exception as error:
        raise ValueError(f"{path.name} failed{_place(error, path)}: {_said(error)}; nothing was written") from error
    finally:
        sys.argv, sys.path[:] = before


def _place(error: BaseException, path: Path) -> str:
    """ " at line 12", the last line of the file that the error went through."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" at line {line}" if line else ""


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


# ------------------------------------------------------------------------ functions and builders


def _callable(asked: Asked, say: Say) -> Job:
    import inspect

    import torch

    from ..count import load_builder
    from ..profiler.build import called, is_built, real

    if asked.stages:
        raise ValueError(f"--stage chooses a stage of a model; {asked.what} is a function")
    function = load_builder(asked.what)
    try:
        inspect.signature(function).bind(**asked.sizes)
    except TypeError as error:
        raise ValueError(f"{asked.what} cannot be called with these sizes: {error}") from error
    except ValueError:  # a callable without a signature
        pass
    build = partial(function, **asked.sizes)
    say(f"calling {asked.what}")
    start = time.perf_counter_ns()
    try:
        _check_memory({"": build}, asked)
        found = called(build, asked.device, asked.dtype)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{asked.what} failed: {_said(error)}") from error
    taken = time.perf_counter_ns() - start
    source = {"callable": asked.what.rpartition("/")[2]}
    if not is_built(found):
        if any(isinstance(part, torch.nn.Module) for part in (found if isinstance(found, tuple) else (found,))):
            raise ValueError(f"{asked.what} returned a module without its inputs: return (module, args, kwargs)")
        return Job(build, source=source, sizes=dict(asked.sizes), cold_ns=taken)
    work = real("forward", found, asked.device)
    job = _job([work], source)
    job.sizes, job.workload = dict(asked.sizes), partial(_counted, function, asked)
    return job


def _counted(function: Builder, asked: Asked) -> Workload:
    """The same builder counted at these sizes, to compare with."""
    from ..count import fixed_recipe, recipe_of, record_recipe

    name = asked.what.rpartition(":")[0].rpartition("/")[2].removesuffix(".py")
    dtype = asked.dtype or "fp32"
    recipe = recipe_of(function, name, dict(asked.sizes), held_in(dtype), parametric=False)
    return held_as(record_recipe(fixed_recipe(recipe, asked.sizes)), dtype)


# ------------------------------------------------------------------------------------ pipelines


def _pipeline(asked: Asked, say: Say) -> Job:
    from ..models import folder_recipe, named_recipe
    from ..profiler.build import make

    recipe = folder_recipe(Path(asked.what)) if Path(asked.what).is_dir() else named_recipe(asked.what)
    dtype = asked.dtype or (recipe.dtype if asked.device != "cpu" else "fp32")
    values = _values(recipe, asked.sizes)
    parts = _chosen(recipe, asked.stages)
    bound = {part.name: bind(part, values) for part in parts}
    _check_memory(
        {name: build for name, (build, _, _) in bound.items()}, Asked(asked.what, dtype=dtype, device=asked.device)
    )
    works, notes = [], []
    for name, (build, repeat, note) in bound.items():
        say(f"building {name}")
        try:
            works.append(make(name, build, asked.device, dtype, repeat))
        except RuntimeError as error:
            raise ValueError(f"{name} of {recipe.name} cannot be built on {asked.device}: {_said(error)}") from error
        notes += [note] if note else []
    job = _job(works, {"model": recipe.name, "dtype": dtype})
    job.sizes, job.notes, job.workload = values, notes, partial(_recorded, recipe, dtype, values, bound)
    return job


def _values(recipe: Recipe, chosen: Mapping[str, int]) -> dict[str, int]:
    unknown = sorted(set(chosen) - set(recipe.params))
    if unknown:
        raise ValueError(f"{recipe.name} has no size {unknown[0]!r}; it has: {', '.join(recipe.params)}")
    values = {name: chosen.get(name, size.default) for name, size in recipe.params.items()}
    for name, size in recipe.params.items():
        size.check(name, values[name])
    return values


def _chosen(recipe: Recipe, stages: Sequence[str]) -> list[Part]:
    names = [part.name for part in recipe.parts]
    for name in stages:
        if name not in names:
            raise ValueError(f"{recipe.name} has no stage {name!r}; it has: {', '.join(names)}")
    return [part for part in recipe.parts if not stages or part.name in stages]


def bind(part: Part, values: Mapping[str, int]) -> tuple[Callable[[], Any], int, str]:
    """A part's builder at the sizes of its pipeline, how often it runs there, and a note on what stands for a loop."""
    from ..count.record import declared
    from ..workload.expr import expr

    env, repeat, note = dict(values), int(expr(part.repeat)(values)), ""
    if part.loop:
        variable, count = part.loop[0], int(expr(part.loop[1])(values))
        env[variable], repeat = count // 2, repeat * count
        note = f"{part.name} is run at {variable}={count // 2}, the middle of {count}"
    sizes = {}
    for name, size in declared(part.build).sizes.items():
        sizes[name] = int(expr(part.sizes.get(name, name if name in values else str(size.default)))(env))
        size.check(name, sizes[name])
    return partial(part.build, **sizes), repeat, note


def _recorded(recipe: Recipe, dtype: str, values: Mapping[str, int], bound: Mapping[str, Any]) -> Workload:
    """The catalogue's workload of the stages that were run, if it has one in this type; else counted now."""
    from dataclasses import replace

    from .. import catalogue
    from ..count import fixed_recipe, record_recipe

    if recipe.name in catalogue.names() and len(bound) == len(recipe.parts) and dtype == recipe.dtype:
        return catalogue.load(recipe.name)
    parts = tuple(part for part in recipe.parts if part.name in bound)
    return held_as(record_recipe(fixed_recipe(replace(recipe, parts=parts, dtype=held_in(dtype)), values)), dtype)


# --------------------------------------------------------------------------------------- common


def _job(works: list[Work], source: dict[str, Any]) -> Job:
    import torch

    from ..profiler import stage

    def run() -> None:
        with torch.inference_mode():
            for work in works:
                with stage(work.name):
                    work()

    return Job(run, [("", work.module) for work in works], works, source)


def _check_memory(builds: Mapping[str, Callable[[], Any]], asked: Asked) -> None:
    """Refuse what cannot fit before it is made: the weights alone against what is free."""
    from ..profiler.build import weight_bytes
    from ..profiler.environment import free_bytes

    if "" in builds and not asked.sizes and not getattr(builds[""].func, "__frameroof_sizes__", None):  # type: ignore[attr-defined]
        return  # it may be no builder: calling it twice could do something twice
    needed = {name: weight_bytes(build, asked.dtype) or 0 for name, build in builds.items()}
    free, total = free_bytes(asked.device), sum(needed.values())
    if free is not None and total > free:
        smaller = "; --stage picks one stage" if len(needed) > 1 and min(needed.values()) < free else ""
        raise ValueError(
            f"{asked.what} needs {format_bytes(total)} for its weights, and {format_bytes(free)} of memory are free "
            f"on {asked.device}{smaller}"
        )
