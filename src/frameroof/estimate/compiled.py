"""A stage's regions as matrices of coefficients over monomials: its limits at many sizes are a few matrix products.

The formulas are those of `ladder`. Regions in proportion are added up first: thirty layers are one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..workload.expr import ONE, Monomial, Poly, names_in, value_of
from ..workload.records import MATRIX_KINDS, Op, Stage
from ..workload.table import regions_of, split
from .expected import Expected
from .ladder import Asked, Rates, region_of

Floats = NDArray[np.float64]
Operand = tuple[Poly, Poly, Poly]
"""Its size in bits, the calls that the size is a sum over, and how often it is passed, but for a whole number."""


@dataclass
class _Part:
    """The members of a region that reach one share of their limit: matrix FLOPs by unit, other FLOPs, bits moved."""

    work: dict[str, Poly] = field(default_factory=dict)
    vector: Poly = Poly()
    moved: Poly = Poly()

    def polys(self) -> list[Poly]:
        return [*self.work.values(), self.vector, self.moved]

    def over(self, factor: int) -> tuple[Any, ...]:
        return frozenset((u, p // factor) for u, p in self.work.items()), self.vector // factor, self.moved // factor


@dataclass
class _Region:
    """What the members of a region need, all their calls together."""

    parts: dict[float | None, _Part] = field(default_factory=dict)
    given: Poly = Poly()
    operands: dict[Operand, int] = field(default_factory=dict)

    def add(self, op: Op, share: float | None, apart: bool) -> None:
        times = op.times
        whole = gcd(*times.terms.values()) or 1
        each = times // whole
        given, between, chip = split(op)
        calls = op.count if op.attrs.get("total") else ONE
        for size, n in (between + chip if apart else between).items():
            self.operands[size, calls, each] = self.operands.get((size, calls, each), 0) + n * whole
        self.given = self.given + given * times
        part = self.parts.setdefault(share, _Part())
        if op.kind in MATRIX_KINDS:
            part.work[op.unit] = part.work.get(op.unit, Poly()) + op.executed_flops() * times
        part.vector = part.vector + op.vector_flops() * times
        part.moved = part.moved + (op.bits() if apart else op.moved_bits()) * times

    def reduced(self) -> tuple[Any, int]:
        """What it is, but for a whole factor, and that factor."""
        polys = [self.given, *(p for part in self.parts.values() for p in part.polys())]
        factor = gcd(*(c for p in polys for c in p.terms.values()), *self.operands.values()) or 1
        parts = frozenset((share, part.over(factor)) for share, part in self.parts.items())
        return (parts, self.given // factor, frozenset((o, n // factor) for o, n in self.operands.items())), factor


class Seconds(NamedTuple):
    """Of each size: the rung that was asked for, and what is expected of all rows whose share does not depend on it."""

    limit: Floats
    expected: Floats


class Compiled:
    """The regions of one stage, or its operations apart, as matrices over the monomials of their sizes."""

    def __init__(self, stage: Stage, expected: Expected, asked: Asked, more: Sequence[Poly] = ()) -> None:
        self.asked = asked
        merged: dict[Any, int] = {}
        groups = [(at,) for at in range(len(stage.ops))] if asked.apart else regions_of(stage.ops)
        for group in groups:
            region = _Region()
            for op in (stage.ops[at] for at in group):
                if asked.apart or not op.unused:
                    region.add(op, expected.share(op), asked.apart)
            if region.parts:
                key, factor = region.reduced()
                merged[key] = merged.get(key, 0) + factor
        self.monomials: dict[Monomial, int] = {}
        self._lay_out(list(merged.items()), more)

    def _lay_out(self, regions: list[tuple[Any, int]], more: Sequence[Poly]) -> None:
        parts = [(at, part, n) for at, ((found, _, _), n) in enumerate(regions) for part in found]
        work = [(at, u, p * n) for at, (_, (_, (w, _, _)), n) in enumerate(parts) for u, p in (w or {("", Poly())})]
        operands: dict[Operand, int] = {}
        passed = [
            (operands.setdefault(operand, len(operands)), at, k * n)
            for at, ((_, _, found), n) in enumerate(regions)
            for operand, k in found
        ]
        self.columns = {
            "work": [p for _, _, p in work],
            "vector": [vector * n for _, (_, (_, vector, _)), n in parts],
            "moved": [moved * n for _, (_, (_, _, moved)), n in parts],
            "given": [given * n for (_, given, _), n in regions],
            "size": [size for size, _, _ in operands],
            "calls": [calls for _, calls, _ in operands],
            "each": [each for _, _, each in operands],
            "more": list(more),
        }
        for p in (p for polys in self.columns.values() for p in polys):
            for monomial in p.terms:
                self.monomials.setdefault(monomial, len(self.monomials))
        self._matrices = {name: self._matrix(polys) for name, polys in self.columns.items()}
        self._plain = all(p == ONE for name in ("calls", "each") for p in self.columns[name])
        self.units = [unit for _, unit, _ in work]
        self._by_part = _joined([at for at, _, _ in work], len(parts))
        self._by_region = _joined([at for at, _, _ in parts], len(regions))
        self._owner = np.array([at for at, _, _ in parts], dtype=int)
        self._slower = np.array([1 / share if share else 0.0 for _, (share, _), _ in parts])
        self._passed = np.zeros((len(operands), len(regions)))
        for operand, at, n in passed:
            self._passed[operand, at] += n

    def _matrix(self, polys: Sequence[Poly]) -> Floats:
        matrix = np.zeros((len(self.monomials), len(polys)))
        for at, p in enumerate(polys):
            for monomial, coefficient in p.terms.items():
                matrix[self.monomials[monomial], at] = coefficient
        return matrix

    @property
    def names(self) -> set[str]:
        """Every name that its quantities use."""
        return {name for monomial in self.monomials for factor in monomial for name in names_in(factor)}

    def values(self, env: Mapping[str, Any], count: int) -> Floats:
        """The monomials (columns) at every size (rows)."""
        values = np.empty((count, len(self.monomials)))
        for monomial, at in self.monomials.items():
            column: Any = 1.0
            for name in monomial:
                column = column * value_of(name, env)
            values[:, at] = column
        return values

    def more(self, values: Floats) -> Floats:
        """The polynomials that were compiled beside the regions."""
        return values @ self._matrices["more"]

    def amounts(self, values: Floats) -> dict[str, Floats]:
        """FLOPs and bits of parts, regions and operands at every size: the same on all machines."""
        left = {"more", *(("calls", "each") if self._plain else ())}
        return {name: values @ matrix for name, matrix in self._matrices.items() if name not in left}

    def seconds(self, found: Mapping[str, Floats], rates: Rates, seen: list[Any]) -> Seconds:
        """At every size on one machine; into `seen` the difference of every two numbers that were compared."""
        of_part = [
            _summed(found["work"] * np.array([rates.per_flop_s(unit) for unit in self.units]), self._by_part),
            found["vector"] * rates.per_vector_s,
            found["moved"] * rates.per_bit_s,
        ]
        matrix_s, vector_s, cold_s = (_summed(each, self._by_region) for each in of_part)
        given_s = found["given"] * rates.per_bit_s
        memory_s = given_s + self._passed_s(found, rates, seen) if rates.cache_bits else cold_s
        limit_s = self._limit_s((matrix_s, vector_s, memory_s, given_s), rates, seen)
        return Seconds(limit_s, self._expected_s(of_part, (matrix_s, vector_s, cold_s), seen))

    def _passed_s(self, found: Mapping[str, Floats], rates: Rates, seen: list[Any]) -> Floats:
        """What passes between regions beyond the cache."""
        beyond = found["size"] - rates.cache_bits * (1.0 if self._plain else found["calls"])
        seen.append(beyond)
        beyond = np.maximum(beyond, 0.0)
        if not self._plain:
            beyond = beyond * found["each"]
        total: Floats = (beyond @ self._passed) * rates.per_bit_s
        return total

    def _limit_s(self, sums: tuple[Floats, ...], rates: Rates, seen: list[Any]) -> Floats:
        matrix_s, vector_s, memory_s, given_s = sums
        if self.asked.bound in ("compulsory", "light"):
            traffic_s = given_s.sum(axis=1) - rates.cache_s
            compute = matrix_s.sum(axis=1), vector_s.sum(axis=1)
            seen += [traffic_s, compute[0] - compute[1], compute[0] - traffic_s, compute[1] - traffic_s]
            least: Floats = np.maximum(traffic_s, 0.0)
            return least if self.asked.bound == "compulsory" else np.maximum(least, np.maximum(*compute))
        region = region_of(matrix_s, vector_s, memory_s, given_s)
        seen += [matrix_s - vector_s, region.compute_s - memory_s, given_s - (region.seconds - region.compute_s)]
        seconds: Floats = region.seconds.sum(axis=1)
        if not rates.cache_bits:
            return seconds
        room_s = region.room_s.sum(axis=1)
        seen.append(room_s - rates.cache_s)
        seconds -= np.minimum(room_s, rates.cache_s)
        return seconds

    def _expected_s(self, of_part: Sequence[Floats], sums: tuple[Floats, ...], seen: list[Any]) -> Floats:
        """Each row's part of its region with a cold cache, over its share."""
        matrix_s, vector_s, cold_s = sums
        compute_s: Floats = np.maximum(matrix_s, vector_s)
        seen += [matrix_s - vector_s, compute_s - cold_s]
        if self._by_region is None:
            whole: Floats = np.maximum(compute_s, cold_s) @ self._slower
            return whole
        own = self._owner
        compute = np.where((matrix_s >= vector_s)[:, own], of_part[0], of_part[1])
        found: Floats = np.where((compute_s >= cold_s)[:, own], compute, of_part[2]) @ self._slower
        return found


def _joined(owners: Sequence[int], count: int) -> Floats | None:
    """The matrix that adds up columns by owner; None where each owner has one, in order."""
    if list(owners) == list(range(count)):
        return None
    matrix = np.zeros((len(owners), count))
    matrix[np.arange(len(owners)), list(owners)] = 1.0
    return matrix


def _summed(columns: Floats, by: Floats | None) -> Floats:
    if by is None:
        return columns
    summed: Floats = columns @ by
    return summed
