"""At which sizes to record a builder: small ones, different in every trace, that tell its variables apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import combinations, permutations

from ..workload.expr import Expr, expr
from ..workload.recipe import Size, Sizes
from .align import StructureChanges

ATTEMPTS = 500  # draws of sample sizes until they tell all variables apart


def when_values(spec: Sizes, env: Mapping[str, int]) -> dict[str, int]:
    """The conditions of a builder, 0 or 1 each, where its variables are `env`."""
    return {name: int(expr(text)(env)) for name, text in spec.when.items()}


def points_when(spec: Sizes, points: list[dict[str, int]]) -> list[dict[str, int]]:
    """More sizes: enough at which every condition is 1, and each set of sizes at their smallest, alone.

    Raises `StructureChanges` where no sizes are found at which all conditions hold.
    """
    free = {name: _choices(size) for name, size in spec.sizes.items()}
    rng = random.Random(11)
    names = [*spec.sizes, *spec.let]

    def drawn(holds: Callable[[dict[str, int]], bool]) -> dict[str, int] | None:
        for _ in range(ATTEMPTS):
            point = {name: rng.choice(choices) for name, choices in free.items()}
            if holds(when_values(spec, variables(spec, point, names))):
                return point
        return None

    several = [name for name, choices in free.items() if len(choices) > 1]
    more = [drawn(lambda flags: all(flags.values())) for _ in range(4 + 2 * len(several))]
    if None in more:
        raise StructureChanges("no sizes were found at which every operation occurs")
    seen = [when_values(spec, variables(spec, point, names)) for point in [*points, *filter(None, more)]]
    for zero, one in permutations(spec.when, 2):
        if not any(flags[one] and not flags[zero] for flags in seen):
            point = drawn(lambda flags, zero=zero, one=one: bool(flags[one] and not flags[zero]))  # type: ignore[misc]
            if point is not None:
                more.append(point)
                seen.append(when_values(spec, variables(spec, point, names)))
    found = [point for point in more if point is not None]
    for count in (1, 2, 3):
        found += [{**found[count], **{n: free[n][0] for n in chosen}} for chosen in combinations(several, count)]
    return [point for i, point in enumerate(found) if point not in points and point not in found[:i]]


def variables(spec: Sizes, values: Mapping[str, int], names: list[str]) -> dict[str, int]:
    """What the variables are at these sizes: those that shapes are written in, of `names`."""
    env = dict(values)
    for name, text in spec.let.items():
        env[name] = int(Expr(text)(env))
    stands_for = set(spec.let.values())
    return {n: env[n] for n in names if n in spec.let or (n not in stands_for and not _used(n, spec))}


def _used(size: str, spec: Sizes) -> bool:
    """Whether a size is expressed by variables, so that shapes are written in those."""
    return any(size in expr(text).names for text in spec.let.values())


def sample_points(spec: Sizes, seed: int = 7) -> list[dict[str, int]]:
    """Small admissible sizes, different in every trace; fixed by the seed. More sizes, more traces."""
    if not spec.sizes:
        return [{}]
    free = _free(spec)
    if all(len(choices) == 1 for choices in free.values()):
        return [{name: choices[0] for name, choices in free.items()}]
    for attempt in range(ATTEMPTS):
        points = _drawn(free, random.Random(seed + attempt))
        if _tells_apart(points, spec):
            break
    defaults = {name: size.default for name, size in spec.sizes.items()}
    return [*points, *(dict(point) for point in (*spec.also, defaults) if point not in points)]


def beyond(spec: Sizes) -> dict[str, int] | None:
    """Sizes well above the defaults, where a rule that only holds for small ones would show."""
    values = {}
    for name, size in spec.sizes.items():
        value = size.default + max(1, (size.default - size.lowest) // size.step) * size.step
        most = size.most if size.most is not None else value
        values[name] = value if value <= most else most - (most - size.offset) % size.step
    return values if any(values[n] > s.default for n, s in spec.sizes.items()) else None


def _drawn(free: Mapping[str, list[int]], rng: random.Random) -> list[dict[str, int]]:
    count = 4 + 2 * sum(len(choices) > 1 for choices in free.values())
    points = [{name: choices[0] for name, choices in free.items()}]
    while len(points) < count:
        # the smallest value often: a batch of one must follow the same rule as a batch of two
        points.append({n: c[0] if rng.random() < 0.2 else rng.choice(c) for n, c in free.items()})
    return points


def _tells_apart(points: list[dict[str, int]], spec: Sizes) -> bool:
    """Whether no two variables of a family (h, h2, h4 …) are in proportion at every point.

    If h4 were twice h8 in every trace, no trace could say which of the two a size depends on. Points
    with a batch of one are left out, because the table may have to be fitted without them.
    """
    envs = [variables(spec, values, [*spec.sizes, *spec.let]) for values in points]
    envs = [env for env in envs if env.get("b", 2) > 1]
    families: dict[str, list[str]] = {}
    for name in envs[0] if envs else ():
        families.setdefault(name.rstrip("0123456789"), []).append(name)
    pairs = [pair for names in families.values() for pair in combinations(names, 2)]
    return all(len({Fraction(env[a], env[b]) if env[b] else None for env in envs}) > 1 for a, b in pairs)


def _free(spec: Sizes) -> dict[str, list[int]]:
    return {name: list(spec.samples.get(name, ())) or _choices(size) for name, size in spec.sizes.items()}


def _choices(size: Size, how_many: int = 12) -> list[int]:
    start = size.lowest + (size.offset - size.lowest) % size.step
    values = [start + k * size.step for k in range(how_many)]
    return [v for v in values if size.most is None or v <= size.most] or [start]
