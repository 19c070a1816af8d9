"""The variables that one size's shapes are written in: the size, its floors and its ceilings.

Strides, patches, windows and padding make sizes such as ``(h+1)//2`` or ``8*ceil(h, 8)``. However they are nested, a
floor of a floor is one floor, ``((x+a)//m+b)//n = (x+a+m*b)//(m*n)``, so the candidates for a step g are
``(x+a)//d`` for the divisors d of g.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import combinations

from .align import Row, StructureChanges, align
from .batch_of_one import align_sometimes
from .fit import Fitter
from .recorder import Trace

WHOLE = 16  # up to half of this every offset is a candidate, to this some; beyond, the floor and the ceiling
Rule = tuple[int, int]  # (divisor, offset) of a floor
SHORT = {"batch": "b", "batch_size": "b", "height": "h", "width": "w", "frames": "t", "num_frames": "t"}


def candidates(step: int) -> list[Rule]:
    """The floors that shapes may depend on where they are polynomials at multiples of `step`; small ones first."""
    found: list[Rule] = []
    for d in range(1, step + 1):
        if step % d == 0:
            halves = (d // 2, d // 2 - 1, d // 4, 3 * d // 4, d - 2)
            small = () if d < step else halves  # of a long step itself
            others = small if step > WHOLE else range(1, d - 1) if d <= WHOLE // 2 else halves
            found += dict.fromkeys([(d, 0), (d, d - 1), *((d, a) for a in others)])
    return found


def text_of(rule: Rule, name: str) -> str:
    """A floor in the grammar of sizes: ``ceil(height, 8)`` for (8, 7)."""
    divisor, offset = rule
    if divisor == 1:
        return name
    if offset == 0:
        return f"{name}//{divisor}"
    return f"ceil({name}, {divisor})" if offset == divisor - 1 else f"({name}+{offset})//{divisor}"


def residues(step: int) -> list[int]:
    """Distances from a size that tell the candidates of `step` apart."""
    if step <= WHOLE:
        return list(range(1, step + 1))
    return sorted({1, 2, 3, step // 4, step // 2 - 1, step // 2, step // 2 + 1, step - 2, step - 1, step})


def written(traces: Sequence[Trace], values: Sequence[int], step: int) -> tuple[list[Rule], bool]:
    """The floors that the traces at these values need, and whether some operations occur only where one divides.

    Raises `StructureChanges` where there are none.
    """
    rules = candidates(step)
    names = {f"x{i:03d}": rule for i, rule in enumerate(rules)}
    points = [{n: (x + a) // d for n, (d, a) in names.items()} for x in values]
    try:
        rows, often = align(list(traces), Fitter(points, ("x",))), False
    except StructureChanges:
        if step == 1:
            raise
        rows, often = _where_divided(traces, values, step, points, names), True
    used = {n for row in rows for n in names_of(row)}
    found = [rule for n, rule in names.items() if n in used]
    if often:
        found = list(dict.fromkeys([*found, (step, 0), (step, step - 1)]))
    return found, often


def _where_divided(
    traces: Sequence[Trace], values: Sequence[int], step: int, points: list[dict[str, int]], names: Mapping[str, Rule]
) -> list[Row]:
    """Rows where padding occurs only if the step does not divide."""
    flags = [{**p, "padded": int(x % step != 0)} for p, x in zip(points, values, strict=True)]
    return align_sometimes(list(traces), flags, ("x",), {"padded": ""})[0]


def names_of(row: Row) -> set[str]:
    """Every name in a row's sizes."""
    op = row.op
    sizes = [op.count, *op.dims.values(), *(d for t in (*op.reads, *op.writes) for d in t.shape)]
    return {name for size in sizes for name in size.names}


def short_name(name: str, taken: Iterable[str]) -> str:
    """The variable of a size: ``h`` of ``height``; of another ``u_`` and its name, which ends in no digit."""
    short = SHORT.get(name)
    if short and short not in taken:
        return short
    return f"u_{name}_" if name[-1].isdigit() else f"u_{name}"


def lets(name: str, short: str, rules: Sequence[Rule], taken: Container[str]) -> dict[str, str]:
    """`let` of one size: a variable for each floor, named by its divisor (``h8``) and unlike any that is taken."""
    found: dict[str, str] = {}
    for rule in rules:
        label = short if rule[0] == 1 else f"{short}{rule[0]}"
        while label in found or label in taken:
            label += "0"
        found[label] = text_of(rule, name)
    return found


def conditions(let: Mapping[str, str], owners: Mapping[str, str], divided: Mapping[str, int]) -> dict[str, str]:
    """Names of 0 or 1: whether sizes are more than one, alone and together, and whether a step does not divide."""
    found: dict[str, str] = {}
    units = {owners[v]: v for v, text in let.items() if text == owners[v]}
    for count in (1, 2, 3):
        for chosen in combinations(units.values(), count):
            found["_".join(chosen) + "_over1"] = f"min({'*'.join(chosen)}-1, 1)"
    padded = {}
    for name, step in divided.items():
        by_text = {text: v for v, text in let.items() if owners[v] == name}
        padded[name] = f"{by_text[text_of((step, step - 1), name)]}-{by_text[text_of((step, 0), name)]}"
    found |= {f"{name}_padded": text for name, text in padded.items()}
    for one, other in combinations(padded, 2):
        found[f"{one}_or_{other}_padded"] = f"min({padded[one]}+{padded[other]}, 1)"
    return found


def samples(least: int, most: int | None, step: int) -> tuple[int, ...]:
    """Sizes to trace: the smallest, and sizes at, before and after multiples of the largest divisor; () for a dozen."""
    if step == 1:
        return ()
    first = -(-least // step) * step
    wanted = {least, least + 1, least + 2, least + 5}
    wanted |= {first + k * step + d for k in range(4) for d in (-1, 0, 1 + k)}
    return tuple(sorted(v for v in wanted if v >= least and (most is None or v <= most)))
