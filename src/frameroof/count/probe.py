"""Find out how a user's builder depends on its sizes, when it does not declare it.

For each size the smallest step is sought at which every dimension of every operation is an exact
polynomial. A size for which there is none stays fixed, and the workload says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..workload.recipe import Builder, Part, Recipe, Size, Sizes
from .align import StructureChanges, align
from .fit import Fitter
from .load import size_defaults
from .record import Progress, declared, record_stage, trace
from .recorder import CannotCount, Trace

STEPS = (1, 2, 3, 4, 6, 7, 8, 12, 14, 16, 24, 28, 32, 48, 56, 64, 96, 112, 128)
NEAR = (1, 2, 3, 5)  # in steps above the default
FAR = (2, 4)  # times the default: a division or a branch that is constant nearby shows there
SHORT = {"batch": "b", "batch_size": "b", "height": "h", "width": "w", "frames": "t", "num_frames": "t"}


def recipe_of(  # six arguments: two are keywords only, for the command line
    build: Builder,
    name: str,
    chosen: Mapping[str, int] | None = None,
    dtype: str = "bf16",
    *,
    parametric: bool = True,
    progress: Progress = lambda text: None,
) -> Recipe:
    """A one-stage recipe of a user's builder; `chosen` become its default sizes.

    Unless `parametric`, the builder's dependence on undeclared sizes is not looked into: the recipe
    is good for its default sizes alone.
    Raises `ValueError`, a sentence, for a size that the builder does not have or admit, and `CannotCount` where it
    does not run.
    """
    spec, notes = declared(build), list[str]()
    if not spec.sizes and not parametric:
        defaults = {**size_defaults(build)}
        unknown = sorted(set(chosen or {}) - set(defaults))
        if unknown:
            raise ValueError(f"the builder has no size {unknown[0]!r}; it has: {', '.join(defaults) or 'none'}")
        spec = Sizes({n: Size((chosen or {}).get(n, v), least=1) for n, v in defaults.items()})
    elif not spec.sizes:
        spec, notes = discover(build, chosen or {}, dtype, progress)
    for size, value in (chosen or {}).items():
        if size not in spec.sizes:
            raise ValueError(f"the builder has no size {size!r}; it has: {', '.join(spec.sizes) or 'none'}")
        spec.sizes[size].check(size, value)
    params = {n: _with_default(s, (chosen or {}).get(n, s.default)) for n, s in spec.sizes.items()}
    marked = _mark(build, Sizes(params, spec.let, spec.squared))
    return Recipe(name, name, params, (Part("forward", marked),), item="run", dtype=dtype, notes=tuple(notes))


def _with_default(size: Size, default: int) -> Size:
    return Size(default, size.step, size.offset, size.least, size.most, size.doc)


def _mark(build: Builder, spec: Sizes) -> Builder:
    def marked(**values: int) -> object:
        return build(**values)

    marked.__frameroof_sizes__ = spec  # type: ignore[attr-defined]
    return marked  # type: ignore[return-value]


@dataclass(frozen=True)
class _Probe:
    """A builder at its base sizes, and its trace there."""

    build: Builder
    base: Mapping[str, int]
    dtype: str
    first: Trace

    def at(self, name: str, value: int) -> Trace:
        """The trace with one size changed."""
        return trace(self.build, {**self.base, name: value}, self.dtype)

    def follows(self, name: str, step: int) -> bool:
        """Whether every dimension is a polynomial of this size at multiples of `step`, near the default and far."""
        base = self.base[name]
        traces, points = [self.first], [{"x": base // step}]
        near = [base + k * step for k in NEAR]
        far = [base + -(-base * (k - 1) // step) * step for k in FAR]
        for at, value in enumerate([*near[:2], *far, *near[2:]]):
            try:
                traces.append(self.at(name, value))
                points.append({"x": value // step})
                if traces[-1].params != self.first.params:
                    return False
                if at >= 2:
                    align(traces, Fitter(points, ("x",)))
            except (CannotCount, StructureChanges):
                return False
        return True

    def least(self, name: str, step: int) -> int:
        """The smallest size for which the rule holds, of a few candidates."""
        value = self.base[name]
        for least in (value % step + step, value % step + 2 * step, value // 2 - (value // 2 - value) % step):
            if not 0 < least < value:
                continue
            others = (least, least + step, value + step)
            points = [{"x": v // step} for v in (value, *others)]
            try:
                align([self.first, *(self.at(name, v) for v in others)], Fitter(points, ("x",)))
            except (CannotCount, StructureChanges):
                continue
            return least
        return value


def discover(build: Builder, chosen: Mapping[str, int], dtype: str, progress: Progress) -> tuple[Sizes, list[str]]:
    """Sizes that a builder without a declaration takes, and a sentence for each that stays fixed."""
    base = {**size_defaults(build), **dict(chosen.items())}
    probe = _Probe(build, base, dtype, trace(build, base, dtype))
    sizes: dict[str, Size] = {}
    let: dict[str, str] = {}
    notes: list[str] = []
    for name, value in base.items():
        progress(f"how it depends on {name}")
        step = next((g for g in STEPS if probe.follows(name, g)), None)
        if step is None:
            sizes[name] = Size(value, least=value, most=value)
            notes.append(f"{name} is fixed at {value}: the structure changes with it; count again for another value")
            continue
        offset = value % step
        sizes[name] = Size(value, step, offset, least=probe.least(name, step))
        short = SHORT.get(name, f"u_{name}")
        let[short] = name if step == 1 else f"({name}-{offset})//{step}" if offset else f"{name}//{step}"
    found = Sizes(sizes, let, tuple(let))
    try:
        record_stage("forward", _mark(build, found), dtype)
    except (StructureChanges, CannotCount) as error:
        fixed = {n: Size(s.default, least=s.default, most=s.default) for n, s in sizes.items()}
        together = f"all sizes are fixed: together they follow no rule ({error}); count again for others"
        return Sizes(fixed), [*notes, together]
    return found, notes
