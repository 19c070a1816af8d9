"""A recipe or a builder -> a Workload: trace at a few sizes, fit, fold, and write down the stages."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ..dtypes import torch_name
from ..workload.expr import Poly, expr
from ..workload.fold import fold
from ..workload.recipe import Builder, Part, Recipe, Size, Sizes
from ..workload.records import Op, Stage, Workload
from .align import Row, StructureChanges
from .batch_of_one import INDICATOR, INDICATOR_LET, align_batches, align_sometimes
from .dataflow import given_caches, hold_tables, mark_buffers, mark_roles
from .eager import merge_eager_attention
from .ends import ends_refused
from .fit import Fitter, NoPolynomial
from .flex import flex_attention_recorded
from .given import NESTED, check_result
from .held import held_candidates
from .known import values_kept
from .meta import autocast_on_meta, nothing_compiled
from .recorder import CannotCount, Trace, line_of, record
from .sample import beyond, points_when, sample_points, variables, when_values
from .traced import Recorded, Traced, traced_of
from .traffic import mark_traffic

Progress = Callable[[str], None]


def trace(build: Builder, values: Mapping[str, int], dtype: str = "bf16") -> Trace:
    """One forward of a builder's module at the given sizes, with attention seen whole.

    Raises `CannotCount`, which names the line, where the builder fails or its module does not run without data.
    """
    notes: dict[str, None] = {}
    with collector_paused():
        module, args, kwargs = _built(build, values, dtype, notes)
        result = record(module, args, kwargs)
        result.notes.update(notes)
        merge_eager_attention(result)
        mark_buffers(result)
        mark_roles(result)
    return result


@contextmanager
def collector_paused() -> Iterator[None]:
    """Within, Python does not look for garbage in cycles: a trace makes a million objects and hardly any of those."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _built(build: Builder, values: Mapping[str, int], dtype: str, notes: dict[str, None]) -> tuple[Any, Any, Any]:
    """What the builder makes at these sizes, checked; what it assumes is added to `notes`."""
    with meta_device(dtype), values_kept(), autocast_on_meta(), nothing_compiled(), flex_attention_recorded(notes):
        try:
            with ends_refused():
                made = build(**values)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a builder may end the process, or raise what is no Exception
            hint = f"; {NESTED}" if "nested" in str(error).lower() and NESTED not in str(error) else ""
            raise CannotCount(f"the builder failed at {_said(values)}: {line_of(error)}{hint}") from error
    try:
        check_result(made)
    except ValueError as error:
        raise CannotCount(str(error)) from error
    module, args, kwargs = made
    return module, args, kwargs


@contextmanager
def meta_device(dtype: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, torch_name(dtype)))
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)


def _said(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items()) or "its defaults"


def declared(build: Builder) -> Sizes:
    """What a builder declares with `@sizes`, or a `Sizes` without sizes."""
    found: Sizes = getattr(build, "__frameroof_sizes__", Sizes({}))
    return found


def record_recipe(recipe: Recipe, progress: Progress = lambda text: None) -> Workload:
    """Record every part of a recipe: a workload that can be evaluated at any admissible size.

    Raises `CannotCount` and `StructureChanges`, a sentence each, where a part does not run without data or follows no
    rule.
    """
    stages = []
    notes: dict[str, None] = dict.fromkeys(recipe.notes)
    seen: dict[tuple[int, str], tuple[Stage, list[str]]] = {}
    for part in recipe.parts:
        progress(f"{recipe.name}: {part.name}")
        key = (id(part.build), recipe.dtype)
        if key not in seen:
            seen[key] = _record(part.name, part.build, recipe.dtype)
        stage, assumed = seen[key]
        stages.append(_bind(stage, part, recipe))
        notes.update(dict.fromkeys(note if len(recipe.parts) == 1 else f"{part.name}: {note}" for note in assumed))
    return Workload(
        name=recipe.name,
        params=dict(recipe.params),
        stages=tuple(stages),
        title=recipe.title,
        item=recipe.item,
        dtype=recipe.dtype,
        notes=tuple(notes),
        source=recipe.source,
        made_by=versions(),
    )


def fixed_recipe(recipe: Recipe, chosen: Mapping[str, int] | None = None) -> Recipe:
    """The recipe at one size only: every part is traced once, which takes seconds.

    Raises `ValueError`, a sentence, for a size that the recipe does not have or admit.
    """
    given = dict(chosen or {})
    unknown = sorted(set(given) - set(recipe.params))
    if unknown:
        raise ValueError(f"{recipe.name} has no size {unknown[0]!r}; it has: {', '.join(recipe.params)}")
    params: dict[str, Size] = {}
    for name, size in recipe.params.items():
        value = given.get(name, size.default)
        size.check(name, value)
        params[name] = Size(value, size.step, size.offset, value, value, size.doc)
    values = {name: size.default for name, size in params.items()}
    return replace(recipe, params=params, parts=tuple(_fixed_part(part, values) for part in recipe.parts))


def _fixed_part(part: Part, values: Mapping[str, int]) -> Part:
    """A part whose builder is pinned to its sizes; in a loop the sizes that change stay free."""
    spec = declared(part.build)
    loop = part.loop[0] if part.loop else None
    pinned: dict[str, Size] = {}
    for name, size in spec.sizes.items():
        text = part.sizes.get(name, name if name in values else str(size.default))
        if loop in expr(text).names:
            pinned[name] = size
        else:
            value = int(expr(text)(values))
            size.check(name, value)
            pinned[name] = Size(value, size.step, size.offset, value, value)

    def build(**sizes: int) -> Any:
        return part.build(**sizes)

    build.__frameroof_sizes__ = Sizes(pinned, spec.let, spec.squared)  # type: ignore[attr-defined]
    return replace(part, build=build)


def versions() -> dict[str, str]:
    """The versions that a count depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("frameroof", "torch", "diffusers", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _bind(stage: Stage, part: Part, recipe: Recipe) -> Stage:
    """A recorded stage put into a pipeline: the builder's sizes become expressions of the parameters.

    A builder's size that shares a parameter's name but means an expression of it gets that value
    by being bound after everything that reads the parameter: `let` is evaluated in order.
    """
    loop = part.loop[0] if part.loop else None
    let: dict[str, str] = {}
    for name, size in stage.limits.items():
        text = part.sizes.get(name, name if name in recipe.params else str(size.default))
        unknown = expr(text).names - set(recipe.params) - {loop}
        if unknown:
            raise ValueError(f"{recipe.name}/{part.name}: {name}={text!r} uses {sorted(unknown)[0]!r}, not a parameter")
        let[f"{name}_"] = text
    let.update({name: f"{name}_" for name in stage.limits})
    let.update({name: text for name, text in stage.let.items() if name != text})
    return Stage(
        name=part.name,
        ops=stage.ops,
        let=let,
        limits=stage.limits,
        repeat=part.repeat,
        loop=part.loop,
        weights=stage.weights,
        weights_name=part.weights,
        held=stage.held,
        held_exact=stage.held_exact,
        cache=stage.cache,
        cache_dtype=stage.cache_dtype,
        uncounted=stage.uncounted,
    )


def record_stage(name: str, build: Builder, dtype: str = "bf16") -> Stage:
    """Record one builder at a dozen small sizes and fit its table of operations.

    Raises `CannotCount` and `StructureChanges`, a sentence each, where it does not run without data or follows no rule.
    """
    return _record(name, build, dtype)[0]


def _record(name: str, build: Builder, dtype: str) -> Recorded:
    """A stage, and what its traces assumed; what was traced or recorded of the builder before is taken."""
    spec = declared(build)
    traced = traced_of(build, dtype) or Traced(build, dtype, trace)
    if traced.stage is None or traced.stage[0] != spec:
        traced.stage = spec, _fitted(spec, traced)
    stage, notes = traced.stage[1]
    return replace(stage, name=name), notes


@collector_paused()
def _fitted(spec: Sizes, traced: Traced) -> Recorded:
    points = sample_points(spec)
    if spec.when:
        points = [*points, *points_when(spec, points)]
    names = [*spec.sizes, *spec.let]
    traces, envs = [], []
    for values in points:
        traces.append(traced.at(values))
        envs.append(variables(spec, values, names))
    far = beyond(spec)
    if far is not None:
        try:
            traces.append(traced.at(far))
            envs.append(variables(spec, far, names))
        except CannotCount:  # the module ends before twice its default: nothing above the default is verified
            pass
    mark_traffic(traces)
    defaults = {size: given.default for size, given in spec.sizes.items()}
    held_tables = traced.holds_tables(traces[points.index(defaults) if defaults in points else -1])
    for each in traces:
        hold_tables(each, held_tables)
    if any(t.params != traces[0].params for t in traces):
        raise StructureChanges("the number of parameters changes with the sizes")
    if spec.when:
        known = [{**env, **when_values(spec, env)} for env in envs]
        rows, fitted, fitter = align_sometimes(traces, known, spec.squared, spec.when)
        let = {**spec.let, **{n: spec.when[n] for n in _occurring(rows, spec.when)}}
    else:
        rows, fitted, fitter, batch_of_one = align_batches(traces, envs, spec.squared)
        let = {**spec.let, **({INDICATOR: INDICATOR_LET} if batch_of_one else {})}
    ops, where = fold([_with_axis(row.op, envs) for row in rows])
    held, reached = held_candidates(fitted, rows, fitter, traced.dtype)
    stage = Stage(
        name="",
        ops=tuple(ops),
        let=let,
        limits=_verified(spec, [*points, *([far] if far and len(traces) > len(points) else [])]),
        weights=traces[0].params,
        held=tuple(replace(h, row=where[h.row]) for h in held),
        held_exact=reached,
        cache=_cache(fitted, fitter),
        cache_dtype=_cache_dtype(traces[0], traced.dtype),
        uncounted=dict(traces[0].uncounted),
    )
    return stage, list(dict.fromkeys(note for t in traces for note in t.notes))


def _verified(spec: Sizes, points: Sequence[Mapping[str, int]]) -> dict[str, Size]:
    """The sizes with the range of what was traced: at these points, and while the sizes were found."""
    found: dict[str, Size] = {}
    for name, size in spec.sizes.items():
        seen = [*(size.verified or ()), *(point[name] for point in points)]
        seen = [value for value in seen if value >= size.lowest]
        fixed = size.most == size.lowest or not seen
        found[name] = replace(size, verified=None if fixed else (min(seen), max(seen)))
    return found


def _occurring(rows: Sequence[Row], when: Mapping[str, str]) -> list[str]:
    used = {name for row in rows for name in row.op.count.names}
    return [name for name in when if name in used]


def _with_axis(op: Op, envs: list[dict[str, int]]) -> Op:
    """Video attention gets its axis from the variables that its query length depends on."""
    if op.kind != "attention" or not any(n.rstrip("0123456789") == "t" for n in envs[0]):
        return op
    families = {n.rstrip("0123456789") for n in op.dims["q"].names}
    time, space = "t" in families, bool(families & {"h", "w"})
    axis = {(True, True): "full", (True, False): "temporal", (False, True): "spatial"}.get((time, space))
    if axis is None:
        return op
    return Op(op.path, op.kind, op.name, op.reads, op.writes, op.dims, {**op.attrs, "axis": axis}, op.count)


def _cache(traces: list[Trace], fitter: Fitter) -> Poly:
    try:
        return fitter.fit([sum(t.storages[uid].elements for uid in given_caches(t)) for t in traces])
    except NoPolynomial as error:
        raise StructureChanges(f"the size of the key-value caches is no polynomial of the sizes: {error}") from error


def _cache_dtype(trace: Trace, dtype: str) -> str:
    """The type of the key-value caches where it is another one than the pipeline's, else ""."""
    found = {trace.storages[uid].dtype for uid in given_caches(trace)}
    return found.pop() if len(found) == 1 and dtype not in found else ""


__all__ = ["CannotCount", "StructureChanges", "declared", "record_recipe", "record_stage", "trace"]
