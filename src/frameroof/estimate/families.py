"""Rows whose time depends on the same sizes, so that a grid asks for it once for each combination of these that occurs.

Few combinations do: a convolution's time depends on the product of batch, height and width alone, a product's on its
rows. Rows of one form are asked for together, as arrays of rows by points, which shares what a call of NumPy costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..roofline import Roofline
from ..workload.expr import ONE, Monomial, Poly, value_of
from ..workload.records import MATRIX_KINDS, Op
from .expected import Bounds, Expected, Formulas, Work

Floats = NDArray[np.float64]
Points = Mapping[str, Floats]
CELLS = 1 << 14  # rows times points that are asked for at once: the working set then stays in cache


class Family:
    """Rows whose sizes all follow from the same `variables`, and how often each runs: polynomials of sizes.

    `counts` are the distinct numbers of calls; a row that runs a fixed number of times weighs so much in that of 1.
    """

    def __init__(self, variables: tuple[Poly, ...]) -> None:
        self.variables = variables
        self.counts: dict[Poly, int] = {}
        self._rows: dict[Any, dict[Any, tuple[Formulas, dict[Poly, int]]]] = {}
        self._forms: list[_Form] | None = None

    @property
    def names(self) -> frozenset[str]:
        """Sizes that its times and numbers of calls depend on."""
        return frozenset().union(*(each.names for each in (*self.variables, *self.counts)))

    def add(self, row: Formulas, sizes: Mapping[str, Poly]) -> None:
        """One more row, of these sizes."""
        times = row.op.times
        alone = not times.names
        column, weight = (ONE, times({})) if alone else (times, 1)
        self.counts.setdefault(column, len(self.counts))
        alike = self._rows.setdefault(form_of(row.op), {})
        _, weights = alike.setdefault(tuple(sizes.items()), (row, {}))
        weights[column] = weights.get(column, 0) + weight

    def seconds(self, points: Points, count: int, machines: Sequence[Roofline], expected: Expected) -> Floats:
        """Of all its rows at `count` points: by number of calls, machine and point."""
        if self._forms is None:
            self._forms = [_Form(list(alike.items()), self.counts) for alike in self._rows.values()]
        found = np.zeros((len(self.counts), len(machines), count))
        for form in self._forms:
            step = max(1, CELLS // len(form.rows))
            for start in range(0, count, step):
                part = slice(start, min(start + step, count))
                here = {name: value[part] if value.ndim else value for name, value in points.items()}
                work = form.at(here, part.stop - part.start)
                for at, machine in enumerate(machines):
                    seconds = expected.call_s(work, Bounds.of(work, machine))
                    whole = np.broadcast_to(np.asarray(seconds, dtype=float), (len(form.rows), part.stop - start))
                    found[:, at, part] += form.weights @ whole
        return found


class _Form:
    """Rows that differ in nothing but their sizes, and how often each is counted, by number of calls."""

    def __init__(self, rows: Sequence[tuple[Any, tuple[Formulas, Mapping[Poly, int]]]], counts: Iterable[Poly]) -> None:
        self.rows = [row for _, (row, _) in rows]
        self.weights = np.array([[float(weights.get(each, 0)) for _, (_, weights) in rows] for each in counts])
        self._places: dict[Poly, int] = {}
        self._sizes: list[tuple[str, list[int] | float]] = []
        for name, *polys in zip(
            *([name for name, _ in rows[0][0]], *([p for _, p in s] for s, _ in rows)), strict=True
        ):
            fixed = not any(each.names for each in polys) and len(set(polys)) == 1
            places = [self._places.setdefault(each, len(self._places)) for each in polys if not fixed]
            self._sizes.append((name, float(polys[0]({})) if fixed else places))
        self._monomials: dict[Monomial, int] = {}
        for each in self._places:
            for monomial in each.terms:
                self._monomials.setdefault(monomial, len(self._monomials))
        self._factors = np.zeros((len(self._places), len(self._monomials)))
        for each, at in self._places.items():
            for monomial, factor in each.terms.items():
                self._factors[at, self._monomials[monomial]] = factor

    def at(self, points: Points, count: int) -> Work:
        """All of them at once: arrays of rows by points."""
        products = np.ones((len(self._monomials), count))
        for monomial, at in self._monomials.items():
            for factor in monomial:
                products[at] *= value_of(factor, points)
        values = self._factors @ products
        known = {name: at if isinstance(at, float) else values[at] for name, at in self._sizes}
        return Work.given(self.rows[0], known)


def families_of(rows: Iterable[Formulas]) -> list[Family]:
    """The families of some rows."""
    found: dict[Any, Family] = {}
    known: dict[Any, tuple[Family, Formulas, Mapping[str, Poly]]] = {}
    for row in rows:
        op = row.op
        key = (*form_of(op), *map(id, (*op.reads, *op.writes)), tuple(op.dims.items()), op.count)
        if key not in known:
            sizes = row.sizes()
            variables = variables_of(sizes.values())
            known[key] = (found.setdefault(variables, Family(variables)), row, sizes)
        family, first, named = known[key]
        family.add(first, named)
    return list(found.values())


def form_of(op: Op) -> tuple[Any, ...]:
    """What a model of expected time may tell rows apart by, their sizes aside."""
    dims: Any = tuple(op.dims)
    if op.kind == "attention":  # the width of heads chooses a kernel
        dims = tuple((name, op.dims[name]) if name in ("d", "dv") else name for name in op.dims)
    elif op.kind in MATRIX_KINDS and "g" in op.dims:  # a depthwise convolution is no product
        dims = (*dims, op.dims["g"], op.dims["g"] == op.dims["c"])
    operands = (tuple((t.dtype, t.weight) for t in each) for each in (op.reads, op.writes))
    return op.kind, op.name, op.unit if op.kind in MATRIX_KINDS else "", dims, tuple(op.attrs.items()), *operands


def variables_of(polys: Iterable[Poly]) -> tuple[Poly, ...]:
    """The fewest polynomials found from whose values those of all `polys` follow.

    One where all are a number and a multiple of it; else products of sizes that stand in every term to the same power.
    """
    changing = {Poly({m: c for m, c in each.terms.items() if m}) for each in polys} - {Poly()}
    lines = {_line(each) for each in changing}
    if len(lines) < 2:
        return tuple(lines)
    monomials = sorted({m for each in changing for m in each.terms})
    powers: dict[tuple[int, ...], list[str]] = {}
    for name in sorted({factor for m in monomials for factor in m}):
        powers.setdefault(tuple(m.count(name) for m in monomials), []).append(name)
    return tuple(sorted((Poly({tuple(names): 1}) for names in powers.values()), key=str))


def _line(of: Poly) -> Poly:
    """The smallest polynomial that it is a multiple of."""
    by = gcd(*of.terms.values())
    return of // (by if next(iter(sorted(of.terms.items())))[1] > 0 else -by)


def distinct(values: Sequence[Floats], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of `count` points with these values (whole numbers): one of each combination, and which of these each has."""
    most = 8 * count + 1024  # combinations that are looked up, not sorted
    code, radix = np.zeros(count, dtype=np.int64), 1
    for digit, many in (_digits(each, most) for each in values):
        code, radix = code * many + digit, radix * many
        if radix > most:
            found, code = np.unique(code, return_inverse=True)
            radix = len(found)
    first = np.full(radix, -1, dtype=np.int64)
    first[code] = np.arange(count)
    seen = np.flatnonzero(first >= 0)
    number = np.empty(radix, dtype=np.int64)
    number[seen] = np.arange(len(seen))
    return first[seen], number[code]


def _digits(values: Floats, most: int) -> tuple[NDArray[np.int64], int]:
    """Whole numbers from 0 on in place of values, and how many at most."""
    low, high = float(values.min()), float(values.max())
    if high - low < most:
        return (values - low).astype(np.int64), int(high - low) + 1
    found, places = np.unique(values, return_inverse=True)
    return places, len(found)
