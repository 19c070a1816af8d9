"""Find out how a user's builder depends on its sizes, when it does not declare it.

For each size the smallest step is sought at which every dimension of every operation is an exact polynomial, above
the default or else below it; then the floors and ceilings that make it one at every size. A size for which there is
none stays fixed, and the workload says which operation did it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..workload.recipe import Builder, Part, Recipe, Size, Sizes
from . import floors
from .align import StructureChanges, align
from .fit import Fitter
from .load import size_defaults
from .loops import fewer_steps, holds
from .record import Progress, collector_paused, declared, record_stage, trace
from .recorder import CannotCount, Trace
from .traced import Traced, give

STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 256)
TOLD = 3  # steps that two traces tell beside these
NEAR = (1, 2, 3, 5)  # in steps from the default
FAR = (2, 4)  # times the default: a division or a branch that is constant nearby shows there
LARGE = 500  # operations of a trace: a larger module keeps its step, as all that floors need would take minutes
PATIENCE = 40_000  # operations traced for the floors of one size; both are counts, so that all machines find the same


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
    spec, notes, defaults = declared(build), list[str](), dict(chosen or {})
    traced = Traced(build, dtype, trace)
    if not spec.sizes and not parametric:
        own = size_defaults(build)
        unknown = sorted(set(defaults) - set(own))
        if unknown:
            raise ValueError(f"the builder has no size {unknown[0]!r}; it has: {', '.join(own) or 'none'}")
        spec = Sizes({n: Size(defaults.get(n, v), least=1) for n, v in own.items()})
    elif not spec.sizes:
        defaults = {**size_defaults(build), **defaults}
        spec, notes = discover(traced, defaults, progress)
    for size, value in (chosen or {}).items():
        if size not in spec.sizes:
            raise ValueError(f"the builder has no size {size!r}; it has: {', '.join(spec.sizes) or 'none'}")
        spec.sizes[size].check(size, value)
    params = {n: replace(s, default=defaults.get(n, s.default)) for n, s in spec.sizes.items()}
    marked = _mark(traced, spec if traced.stage else replace(spec, sizes=params))
    return Recipe(name, name, params, (Part("forward", marked),), item="run", dtype=dtype, notes=tuple(notes))


def _mark(traced: Traced, spec: Sizes) -> Builder:
    def marked(**values: int) -> object:
        return traced.build(**values)

    marked.__frameroof_sizes__ = spec  # type: ignore[attr-defined]
    give(marked, traced)  # type: ignore[arg-type]
    return marked  # type: ignore[return-value]


@dataclass(frozen=True)
class _Rule:
    """How shapes depend on one size."""

    size: Size
    rules: tuple[floors.Rule, ...] = ()
    divided: int = 0  # the step that does not always divide where some operations occur
    below: bool = False  # it holds up to the default only
    coarse: Size | None = None  # the same at multiples of a step, should the floors not hold together with others


@dataclass
class _Probe:
    """A builder at its base sizes, and its traces with one size changed."""

    traced: Traced
    base: Mapping[str, int]
    why: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Trace:
        """The trace at the base sizes."""
        return self.traced.at(self.base)

    @property
    def is_large(self) -> bool:
        """Whether floors are not looked for."""
        return len(self.first.ops) > LARGE

    def at(self, name: str, value: int) -> Trace:
        """The trace with one size changed."""
        found = self.traced.at({**self.base, name: value})
        if found.params != self.first.params:
            raise StructureChanges("the number of parameters changes with it")
        return found

    def rule(self, name: str) -> _Rule | None:
        """The rule of one size, with the smallest step; None where there is none."""
        start = max(self.base[name], 2)  # copies vanish at one
        most_traced = self.traced.operations + PATIENCE
        for below in (False, True):
            coarse: _Rule | None = None
            for step in (*STEPS, *self._told(name, start)):
                values = _below(start, step) if below else _above(start, step)
                if not values or not self.follows(name, step, start, values):
                    continue
                most = start if below else None
                seen = (min(start, *values), max(start, *values))
                size = Size(start, step, start % step, self._least(name, step, start, below), most, verified=seen)
                if step == 1:
                    return self._for_default(name, _Rule(size, ((1, 0),), 0, below))
                coarse = coarse or _Rule(size, (), 0, below)
                if self.is_large or self.traced.operations > most_traced:
                    break
                if finer := self._finer(name, step, start, values, below):
                    return self._for_default(name, replace(finer, coarse=coarse.size))
            if coarse:
                return self._for_default(name, coarse)
        return None

    def _told(self, name: str, start: int) -> list[int]:
        """Longer steps, such as the hop of a window over samples: how far the size moves for one more of another."""
        try:
            one, other = self.at(name, start), self.at(name, FAR[-1] * start)
        except (CannotCount, StructureChanges):
            return []
        grown = Counter(
            round((FAR[-1] - 1) * start / (after - before))
            for a, b in zip(one.ops, other.ops, strict=False)
            for x, y in zip(a.reads, b.reads, strict=False)
            for before, after in zip(x.shape, y.shape, strict=False)
            if after > before
        )
        return [step for step, _ in grown.most_common(TOLD) if STEPS[0] < step < start and step not in STEPS]

    def follows(self, name: str, step: int, start: int, values: list[int]) -> bool:
        """Whether every dimension is a polynomial of this size at these values, `step` apart."""
        traces, points = [], []
        for at, value in enumerate([start, *values]):
            try:
                traces.append(self.at(name, value))
                points.append({"x": value // step})
                if at >= 3:
                    align(traces, Fitter(points, ("x",)))
            except (CannotCount, StructureChanges) as error:
                self.why.setdefault(name, str(error))
                return False
        return True

    def _finer(self, name: str, step: int, start: int, values: list[int], below: bool) -> _Rule | None:
        """The same with floors and ceilings at every size; None where there are none."""
        near = [start - r if below else start + r for r in floors.residues(step)]
        every = {start, *values, *(v for v in near if v > 1)}
        odd = [v + (1 if v % 2 == 0 else 2) for v in values[2:4]] if not below else []
        try:
            tried = sorted({*every, *odd})
            found, often = floors.written([self.at(name, v) for v in tried], tried, step)
        except (CannotCount, StructureChanges):
            return None
        most = start if below else None
        least = self._small(name, found, start, sorted(every))
        size = Size(start, least=least, most=most, verified=(tried[0], max(start, *values)))
        return _Rule(size, tuple(found), step if often else 0, below)

    def _for_default(self, name: str, rule: _Rule) -> _Rule:
        """The rule with the builder's own default, which may be one."""
        base = self.base[name]
        if base == rule.size.default:
            return rule
        return replace(rule, coarse=None, size=replace(rule.size, default=base, least=base))

    def _runs(self, name: str, value: int) -> bool:
        try:
            self.at(name, value)
        except (CannotCount, StructureChanges):
            return False
        return True

    def _small(self, name: str, found: list[floors.Rule], start: int, every: list[int]) -> int:
        """The smallest size at which the floors that were found still hold: from the smallest that runs, upward."""
        low, high = 0, min(every)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._runs(name, middle) else (middle, high)
        largest = max(d for d, _ in found)
        for value in sorted({high, high + 1, high + 3, high + 7, largest, 2 * largest}):
            if not high <= value < min(every):
                continue
            some = list(dict.fromkeys([max(value, 2), value + 1, value + 2, *every]))
            try:
                floors.written([self.at(name, v) for v in some], some, largest)
            except (CannotCount, StructureChanges):
                continue
            return value
        return min(every)

    def _least(self, name: str, step: int, start: int, below: bool) -> int:
        """The smallest size for which the rule holds, of a few candidates."""
        small = [(start % step or step) + k * step for k in range(5)]
        for least in (*small, start // 2 - (start // 2 - start) % step):
            if not 0 < least < start:
                continue
            whole = least if least > 1 else 2
            beside = start - step if below else start + step
            others = sorted(v for v in {whole, whole + step, beside, start} if v > 0)
            points = [{"x": v // step} for v in others]
            try:
                self.at(name, least)
                align([self.at(name, v) for v in others], Fitter(points, ("x",)))
            except (CannotCount, StructureChanges):
                continue
            return least
        return start


def _above(start: int, step: int) -> list[int]:
    near = [start + k * step for k in NEAR]
    far = [start + -(-start * (k - 1) // step) * step for k in FAR]
    return [*near[:2], *far, *near[2:]]


def _below(start: int, step: int) -> list[int]:
    """At least five sizes from the default down."""
    room = (start - 1) // step
    if room < 5:
        return []
    steps = dict.fromkeys([1, 2, 3, 5, room // 2, room * 3 // 4, room - 1 if room > 6 else 4])
    return [start - k * step for k in steps]


@collector_paused()
def discover(traced: Traced, base: Mapping[str, int], progress: Progress) -> tuple[Sizes, list[str]]:
    """Sizes that a builder without a declaration takes, and a sentence for each that stays fixed.

    Where that is enough, they are found at fewer steps of a loop, and their defaults are these.
    """
    few = fewer_steps(traced, base)
    if few != base:
        spec, notes = _found(traced, few, progress)
        if held := holds(traced, spec, base):
            return held, notes
        traced.stage = None
    return _found(traced, base, progress)


def _found(traced: Traced, base: Mapping[str, int], progress: Progress) -> tuple[Sizes, list[str]]:
    probe = _Probe(traced, base)
    rules: dict[str, _Rule] = {}
    notes: list[str] = []
    for name, value in base.items():
        progress(f"how it depends on {name}")
        found = probe.rule(name)
        if found is None:
            rules[name] = _Rule(Size(value, least=value, most=value))
            notes.append(_fixed(name, value, probe.why.get(name, "")))
            continue
        rules[name] = found
        if found.below:
            notes.append(f"{name} holds up to {value}: above, {_said(probe.why.get(name, ''))}")
    return _together(traced, rules, notes, probe.is_large)


def _together(traced: Traced, rules: dict[str, _Rule], notes: list[str], large: bool) -> tuple[Sizes, list[str]]:
    """The sizes with their rules checked together: as found, with what is missing at one, without one, one fixed."""
    free = [name for name, rule in rules.items() if rule.rules or rule.size.most is None]
    first: Exception | None = None
    raised = {n: _raised(r) for n, r in rules.items() if _may_start_higher(n, r)}
    attempts: list[tuple[dict[str, _Rule], list[str], bool]] = [
        *([] if large else [(rules, [], False), (rules, [], True)]),
        ({**rules, **raised}, [], not large),
    ]
    if any(rule.coarse for rule in rules.values()):
        attempts.append(({n: _Rule(r.coarse) if r.coarse else r for n, r in rules.items()}, [], False))
    if len(free) > 1 and not large:
        attempts += [({**rules, n: _pinned(rules[n])}, [n], True) for n in free]
    for tried, fixed, when in attempts:
        spec = _sizes(tried, when)
        try:
            record_stage("forward", _mark(traced, spec), traced.dtype)
        except (StructureChanges, CannotCount) as error:
            first = first or error
            continue
        return spec, [*notes, *(_fixed(n, rules[n].size.default, str(first)) for n in fixed)]
    pinned = Sizes({n: _pinned(r).size for n, r in rules.items()})
    together = f"all sizes are fixed: together they follow no rule ({first}); count again for others, or {DECLARE}"
    return pinned, [*notes, together]


def _may_start_higher(name: str, rule: _Rule) -> bool:
    """Whether a size may do without its smallest value; a batch of one has a rule of its own."""
    size = rule.size
    return size.lowest <= size.step < size.default and size.most != size.lowest and floors.SHORT.get(name) != "b"


def _raised(rule: _Rule) -> _Rule:
    return replace(rule, size=replace(rule.size, least=rule.size.lowest + rule.size.step))


def _pinned(rule: _Rule) -> _Rule:
    value = rule.size.default
    return _Rule(Size(value, least=value, most=value))


def _sizes(rules: Mapping[str, _Rule], when: bool) -> Sizes:
    """What the rules declare; with `when`, also what may be missing at some sizes."""
    let: dict[str, str] = {}
    owners: dict[str, str] = {}
    divided: dict[str, int] = {}
    samples: dict[str, tuple[int, ...]] = {}
    largest: dict[str, int] = {}
    for name, rule in rules.items():
        size = rule.size
        if size.least == size.most:
            continue
        short = floors.short_name(name, {*rules, *let} - {name})
        step = rule.divided or max((d for d, a in rule.rules if when and d > 1 and a == d - 1), default=0)
        if rule.rules:
            wanted = [*rule.rules, *([(step, 0), (step, step - 1)] if step else [])]
            own = floors.lets(name, short, list(dict.fromkeys(wanted)), {*rules, *let})
            largest[name] = max(d for d, _ in rule.rules)
            samples[name] = floors.samples(size.lowest, size.most, largest[name])
        else:
            own = {short: f"({name}-{size.offset})//{size.step}" if size.offset else f"{name}//{size.step}"}
        let |= own
        owners |= dict.fromkeys(own, name)
        divided |= {name: step} if step else {}
    when = when or any(rule.divided for rule in rules.values())
    found = floors.conditions(let, owners, divided) if when else {}
    squared = tuple({variable.rstrip("0123456789"): None for variable in let})
    sizes = {n: r.size for n, r in rules.items()}
    divide = {n: [v for v in samples.get(n, ()) if v % largest.get(n, 1) == 0][1:] for n in sizes}
    also = [{n: divide[n][k] if k < len(divide[n]) else s.default for n, s in sizes.items()} for k in (0, 1)]
    return Sizes(sizes, let, squared, found, samples, tuple(also) if len(samples) > 1 else ())


DECLARE = "declare the sizes with frameroof.workload.recipe.sizes, with a `let` for what shapes are written in"


def _said(error: str) -> str:
    return error.partition("\n")[0] or "the structure changes"


def _fixed(name: str, value: int, why: str) -> str:
    return (
        f"{name} is fixed at {value}: the structure changes with it ({_said(why)}); "
        f"count again for another value, or {DECLARE}"
    )
