"""Exact polynomials through a few traces: every size of every operation as a function of the sizes.

A dimension seen at a dozen sizes is the value of some short integer polynomial of the declared
variables. The fitter looks for one term, then two, then three, then for a product of sums such as
``(h-2)*(w-2)``, then for all products of two or three variables, and accepts only what is exact at
every traced size; nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from ..workload.expr import Monomial, Poly

_SQUARED = ("t", "n", "kv")  # sums over a growing loop are quadratic in these
MOST_FOR_THREE = 80  # monomials up to which three terms are tried: 80 choose 3 are 82,160 choices
SLOPES = (1, 2, 3, 4, 8)  # of the factors of a product of sums
SHIFTS = tuple(sorted(range(-16, 17), key=abs))
SPARE = 3  # points beyond the coefficients: those that could refuse a polynomial
Ints = NDArray[np.int64]


class NoPolynomial(ValueError):
    """No short integer polynomial passes through the samples."""


class Fitter:
    """Finds the polynomial through values sampled at `points` (one mapping of variables each).

    At most one variable of each family occurs in a term; those `squared` may occur twice.
    """

    def __init__(self, points: Sequence[Mapping[str, int]], squared: Sequence[str] = ()) -> None:
        self.points = points
        self.names = [n for n in points[0] if len({p[n] for p in points}) > 1]
        self.squared = (*_SQUARED, *squared)
        self.monomials = _monomials(self.names, self.squared)
        columns = [[_value(m, p) for p in points] for m in self.monomials]
        self.table: Ints = np.array(columns, dtype=np.int64)
        self._known: dict[tuple[int, ...], Poly | None] = {}

    def fit(self, samples: Sequence[int]) -> Poly:
        """The polynomial with these values at the points; `NoPolynomial` if there is none."""
        key = tuple(samples)
        if key not in self._known:
            self._known[key] = self._search(np.array(key, dtype=np.int64))
        found = self._known[key]
        if found is None:
            raise NoPolynomial(str(key))
        return found

    def _search(self, y: Ints) -> Poly | None:
        if (y == y[0]).all():
            return Poly({(): int(y[0])})
        quotient = y[0] // np.where(self.table[:, 0] == 0, 1, self.table[:, 0])
        exact = (self.table * quotient[:, None] == y).all(axis=1)
        if exact.any():
            at = int(np.argmax(exact))
            return Poly({self.monomials[at]: int(quotient[at])})
        for terms in (2, 3):
            found = self._combination(y, terms)
            if found is not None:
                return found
        return self._product(y) or self._dense(y)

    def _product(self, y: Ints) -> Poly | None:
        """A number times one factor ``slope*x + shift`` of each of some families: ``3*(h-2)*(w-2)``.

        A family that may be squared has up to two: ``(n-2)*(n-2)`` of a square picture. Factors are tried one after
        another; the rest must divide by each at every point, so few are ever followed.
        """
        if not y.all():
            return None
        columns = {n: np.array([p[n] for p in self.points], dtype=np.int64) for n in self.names}
        families: dict[str, list[str]] = {}
        for name in self.names:
            families.setdefault(name.rstrip("0123456789"), []).append(name)

        def search(rest: Ints, left: tuple[str, ...], made: Poly) -> Poly | None:
            if (rest == rest[0]).all():
                return made * int(rest[0])
            if not left:
                return None
            for name, slope, shift in product(families[left[0]], SLOPES, SHIFTS):
                factor = slope * columns[name] + shift
                if factor.all() and not (rest % factor).any():
                    sums = Poly({(name,): slope}) + shift
                    if found := search(rest // factor, left[1:], made * sums):
                        return found
            return search(rest, left[1:], made)

        twice = tuple(name for name in families if name in self.squared)
        found = search(y, (*families, *twice), Poly({(): 1}))
        return (
            found
            if found is not None and 2 * len(families) + 2 <= len({tuple(p.items()) for p in self.points})
            else None
        )

    def _dense(self, y: Ints) -> Poly | None:
        """All products of up to three variables of different families at once, where the points could refuse it."""
        singles = [m for m in self.monomials if len(set(m)) == len(m)]
        for count in (2, 3):
            for chosen in combinations(self.names, count):
                basis = [i for i, m in enumerate(self.monomials) if m in singles and set(m) <= set(chosen)]
                if len(basis) != 2**count or len(y) < len(basis) + SPARE:
                    continue
                if (found := self._solved(y, basis)) is not None:
                    return found
        return None

    def _solved(self, y: Ints, basis: list[int]) -> Poly | None:
        """The whole coefficients of these monomials that give `y` at every point, if there are any."""
        table = self.table[basis].astype(float)
        scale = np.maximum(1, np.abs(table).max(axis=1))
        found, _, rank, _ = np.linalg.lstsq((table / scale[:, None]).T, y.astype(float), rcond=None)
        if rank < len(basis):
            return None
        whole = np.rint(found / scale).astype(np.int64)
        if not ((whole[:, None] * self.table[basis]).sum(axis=0) == y).all():
            return None
        return Poly({self.monomials[i]: int(c) for i, c in zip(basis, whole, strict=True)})

    def _combination(self, y: Ints, terms: int) -> Poly | None:
        """Exactly `terms` monomials with integer coefficients, by least squares over all choices."""
        tried: Sequence[int] = range(len(self.monomials))
        if terms == 3 and len(tried) > MOST_FOR_THREE:  # of many sizes those products that hold no square
            tried = [i for i, m in enumerate(self.monomials) if len(set(m)) == len(m)]
            if len(tried) > MOST_FOR_THREE:
                return None
        index = np.array(list(combinations(tried, terms)))
        if not len(index):
            return None
        scale = np.maximum(1, np.abs(self.table).max(axis=1)).astype(float)
        table = self.table / scale[:, None]
        target = y / max(1, int(np.abs(y).max()))
        for chunk in np.array_split(index, max(1, len(index) // 20000)):
            basis = table[chunk]
            gram = basis @ basis.transpose(0, 2, 1) + 1e-15 * np.eye(terms)
            found = np.linalg.solve(gram, (basis @ target)[..., None])[..., 0]
            error = np.abs((found[:, :, None] * basis).sum(axis=1) - target).max(axis=1)
            for at in np.flatnonzero(error < 1e-6):
                raw = found[at] / scale[chunk[at]] * max(1, int(np.abs(y).max()))
                coefficients = np.rint(raw).astype(np.int64)
                if ((coefficients[:, None] * self.table[chunk[at]]).sum(axis=0) == y).all():
                    chosen = zip(chunk[at], coefficients, strict=True)
                    return Poly({self.monomials[i]: int(c) for i, c in chosen})
        return None


def _monomials(names: Sequence[str], squared: Sequence[str]) -> list[Monomial]:
    """Products with at most one variable of each family (h, h2, h4 … are one family), small ones first."""
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.rstrip("0123456789"), []).append(name)
    options = [
        [(), *((n,) for n in members), *((n, n) for n in members if family in squared)]
        for family, members in families.items()
    ]
    products = [tuple(sorted(sum(choice, ()))) for choice in product(*options)]
    return sorted(set(products), key=lambda m: (len(m), m))


def _value(monomial: Monomial, point: Mapping[str, int]) -> int:
    value = 1
    for name in monomial:
        value *= point[name]
    return value
