"""A stage's regions as matrices of coefficients over monomials: its limits at many sizes are a few matrix products.

The formulas are those of `ladder`. Regions in proportion are added up first: thirty layers are one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..workload.expr import ONE, Monomial, Poly, names_in, total, value_of
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
        for size, n in Counter(tensor.bits for tensor in (between + chip if apart else between)).items():
            self.operands[size, calls, each] = self.operands.get((size, calls, each), 0) + n * whole
        self.given = self.given + total(tensor.bits for tensor in given) * times
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
    sums: tuple[Floats, ...] = ()
    """Of all regions, each a sum of convex or of concave functions of the sizes: compute, the longer, room."""


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
        self._buffers: dict[tuple[str, int], Floats] = {}
        self._lay_out(sorted(merged.items(), key=_order), more)

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
        orders = [_order(region) for region in regions]
        self._both, self._roomy = (sum(order <= most for order in orders) for most in (BOTH, ROOMY))
        self._plain = all(p == ONE for name in ("calls", "each") for p in self.columns[name])
        self.units = [unit for _, unit, _ in work]
        self._by_part = _joined([at for at, _, _ in work], len(parts))
        self._by_region = _joined([at for at, _, _ in parts], len(regions))
        self._owner = np.array([at for at, _, _ in parts], dtype=int)
        self._slower = np.array([1 / share if share else 0.0 for _, (share, _), _ in parts])
        self._passed = np.zeros((len(operands), len(regions)))
        for operand, at, n in passed:
            self._passed[operand, at] += n
        self._traffic = np.vstack([self._passed, self._matrices["given"]])
        self._quick = self._by_part is self._by_region is None and self.asked.bound in ("fused", "unfused")
        if self._quick:
            products = np.array([bool(p) for p in self.columns["work"]])
            self.units = [unit if product else "" for unit, product in zip(self.units, products, strict=True)]
            self._matrices["longer"] = np.where(products, self._matrices["work"], self._matrices["vector"])
            self._matrices["other"] = self._matrices["vector"][:, : self._both]

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

    @property
    def quick(self) -> bool:
        """Whether its seconds come with their sums."""
        return self._quick

    def amounts(self, values: Floats, quick: bool = False) -> dict[str, Floats]:
        """FLOPs and bits of parts, regions and operands at every size: the same on all machines.

        `quick` ones are for `seconds`, until they are asked for again.
        """
        left = {"more", *(("calls", "each") if self._plain else ())}
        quick = quick and self._quick
        left |= {"work", "vector"} if quick else {"longer", "other"}
        named = {name: matrix for name, matrix in self._matrices.items() if name not in left}
        if not quick:
            return {name: values @ matrix for name, matrix in named.items()} | {"values": values}
        found = {name: np.matmul(values, m, out=self._buffer(name, values, m.shape[1])) for name, m in named.items()}
        operands = self._passed.shape[0]
        traffic = self._buffer("traffic", values, operands + values.shape[1])
        traffic[:, operands:] = values
        return found | {"values": values, "traffic": traffic}

    def _buffer(self, name: str, values: Floats, columns: int) -> Floats:
        """Memory that is used again: new memory costs more than what is computed into it."""
        key = name, len(values)
        if key not in self._buffers:
            self._buffers[key] = np.empty((len(values), columns))
        return self._buffers[key]

    def seconds(self, found: Mapping[str, Floats], rates: Rates) -> Seconds:
        """At every size on one machine, of `quick` amounts."""
        return self._quickly(found, rates) if self._quick else self.compared(found, rates, [])

    def _quickly(self, found: Mapping[str, Floats], rates: Rates) -> Seconds:
        """The formulas of `region_of` in as few passes over as little memory as there can be; times are in bits."""
        many = len(self.units)
        compute, longer, memory = (self._buffer(name, found["values"], many) for name in ("c", "longest", "m"))
        each = [rates.per_flop_s(unit) if unit else rates.per_vector_s for unit in self.units]
        np.multiply(found["longer"], np.array(each) / rates.per_bit_s, out=compute)
        if self._both:
            both = compute[:, : self._both]
            np.maximum(both, found["other"] * (rates.per_vector_s / rates.per_bit_s), out=both)
        np.maximum(compute, found["moved"], out=longer)
        ones = np.ones(many)
        expected, limit = longer @ self._slower, longer @ ones
        sums: tuple[Floats, ...] = compute @ ones, limit
        if rates.cached:
            self._beyond(found, rates, found["traffic"][:, : self._passed.shape[0]])
            np.matmul(found["traffic"], self._traffic, out=memory)
            np.maximum(compute, memory, out=longer)
            limit = longer @ ones
            room = longer[:, : self._roomy]
            room -= compute[:, : self._roomy]
            room_bits = np.minimum(room, found["given"][:, : self._roomy], out=room) @ ones[: self._roomy]
            sums = *sums, limit, room_bits
            limit = limit - np.minimum(room_bits, rates.off_bits)
        return Seconds(limit * rates.per_bit_s, expected * rates.per_bit_s, sums)

    def _beyond(self, found: Mapping[str, Floats], rates: Rates, out: Floats) -> None:
        """Into `out`: bits of every operand that passes between regions beyond the cache."""
        np.subtract(found["size"], rates.cache_bits * (1.0 if self._plain else found["calls"]), out=out)
        np.maximum(out, 0.0, out=out)
        if not self._plain:
            out *= found["each"]

    def compared(self, found: Mapping[str, Floats], rates: Rates, seen: list[Any]) -> Seconds:
        """At every size on one machine; into `seen` the difference of every two numbers that were compared."""
        of_part = [
            _summed(found["work"] * np.array([rates.per_flop_s(unit) for unit in self.units]), self._by_part),
            found["vector"] * rates.per_vector_s,
            found["moved"] * rates.per_bit_s,
        ]
        matrix_s, vector_s, cold_s = (_summed(each, self._by_region) for each in of_part)
        given_s = found["given"] * rates.per_bit_s
        memory_s = cold_s
        if rates.cached:
            beyond = np.empty_like(found["size"])
            self._beyond(found, rates, beyond)
            seen.append(found["size"] - rates.cache_bits * (1.0 if self._plain else found["calls"]))
            memory_s = given_s + (beyond @ self._passed) * rates.per_bit_s
        limit_s = self._limit_s((matrix_s, vector_s, memory_s, given_s), rates, seen)
        return Seconds(limit_s, self._expected_s(of_part, (matrix_s, vector_s, cold_s), seen))

    def _limit_s(self, sums: tuple[Floats, ...], rates: Rates, seen: list[Any]) -> Floats:
        matrix_s, vector_s, memory_s, given_s = sums
        if self.asked.bound in ("compulsory", "light"):
            traffic_s = given_s.sum(axis=1) - rates.off_s
            compute = matrix_s.sum(axis=1), vector_s.sum(axis=1)
            seen += [traffic_s, compute[0] - compute[1], compute[0] - traffic_s, compute[1] - traffic_s]
            least: Floats = np.maximum(traffic_s, 0.0)
            return least if self.asked.bound == "compulsory" else np.maximum(least, np.maximum(*compute))
        region = region_of(matrix_s, vector_s, memory_s, given_s)
        seen += [matrix_s - vector_s, region.compute_s - memory_s, given_s - (region.seconds - region.compute_s)]
        seconds: Floats = region.seconds.sum(axis=1)
        if not rates.cached:
            return seconds
        room_s = region.room_s.sum(axis=1)
        seen.append(room_s - rates.off_s)
        seconds -= np.minimum(room_s, rates.off_s)
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


BOTH, ROOMY, REST = range(3)


def _order(region: tuple[Any, int]) -> int:
    """Those first that do both kinds of arithmetic, of which either may be the longer; then what has given bytes."""
    (parts, given, _), _ = region
    both = any(vector and any(p for _, p in work) for _, (work, vector, _) in parts)
    return BOTH if both else ROOMY if given else REST


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
