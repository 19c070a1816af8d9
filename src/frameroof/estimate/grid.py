"""Many sizes and machines at once: the same numbers as `estimate`, as arrays.

The polynomials of a stage become one matrix of coefficients over their monomials, so that a whole
grid of sizes costs a few matrix products. Rows whose sizes are in proportion are added up first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import BITS
from ..hardware import Node
from ..passes import set_maths, with_plan
from ..roofline import Roofline
from ..workload.expr import Monomial, Poly, expr, names_in, poly, value_of
from ..workload.records import COLLECTIVE, MATRIX_KINDS, Stage, Workload
from .by_size import BySize, Shared, Sizes
from .cost import cost_of
from .expected import DEFAULT_UTILIZATION, Expected, check_device
from .memory import resident_bytes

Floats = NDArray[np.float64]
CHUNK = 512  # configurations at a time: the working set then stays in cache


@dataclass(frozen=True)
class Grid:
    """Results for every machine (rows) and configuration (columns); seconds, bytes, US dollars.

    `usd_per_item` is NaN for a machine without a known price.
    """

    nodes: tuple[Node, ...]
    sizes: Mapping[str, NDArray[np.int64]]
    limit_s: Floats
    expected_s: Floats
    peak_bytes: Floats
    usd_per_item: Floats


def estimate_grid(
    workload: Workload,
    nodes: Sequence[Node],
    sizes: Mapping[str, Sequence[int] | NDArray[np.int64]],
    expected: Expected = DEFAULT_UTILIZATION,
    maths: str | None = None,
) -> Grid:
    """Limit, expected time, peak memory and cost for arrays of sizes of one length, on every node.

    Sizes that are not named have their defaults. A workload without a plan is shared perfectly by each node's
    devices. Equal to `estimate`, `memory_of` and `cost_of` at each point. Raises `ValueError` for an
    inadmissible size, arrays of differing length and what `estimate` refuses.
    """
    for node in nodes:
        check_device(expected, node.device)
    workload = set_maths(workload, maths)
    values = _checked(workload, sizes)
    count = len(next(iter(values.values()), (0,)))
    planned = [with_plan(workload, node.count) for node in nodes]
    rooflines = [Roofline(node.device) for node in nodes]
    stages = [(_Compiled(stage, workload.dtype, expected), BySize(stage, expected)) for stage in workload.stages]
    shares = [[float(plan.stages[at].share) for plan in planned] for at in range(len(stages))]
    limit, times = np.zeros((len(nodes), count)), np.zeros((len(nodes), count))
    held = np.zeros(count)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        chunk = {name: array[part] for name, array in values.items()}
        for (stage, by_size), share in zip(stages, shares, strict=True):
            machines = list(zip(rooflines, share, strict=True))
            stage.add(chunk, machines, Sums(limit[:, part], times[:, part], held[part]))
            by_size.add(chunk, machines, times[:, part])
    peak = np.broadcast_to(held + resident_bytes(workload), limit.shape)
    batch = values["batch"] if "batch" in values else np.ones(count, dtype=np.int64)
    prices = [cost_of(node, 1.0, 1).usd_per_hour for node in nodes]
    usd = np.array([np.nan if price is None else price / 3600 for price in prices])[:, None] * times / batch
    return Grid(tuple(nodes), values, limit, times, peak, usd)


def _checked(workload: Workload, sizes: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
    given = {name: np.atleast_1d(np.asarray(array)) for name, array in sizes.items()}
    for name, array in given.items():
        if array.dtype.kind not in "iu" or not array.size:
            raise ValueError(f"{name} must be an array of whole numbers")
    given = {name: array.astype(np.int64) for name, array in given.items()}
    lengths = {len(array) for array in given.values()} or {1}
    if len(lengths) > 1:
        raise ValueError(f"the arrays of sizes differ in length: {sorted(lengths)}")
    for name, array in given.items():
        if name not in workload.params:
            raise ValueError(f"{workload.name} has no size {name!r}; it has: {', '.join(workload.params)}")
        for value in np.unique(array):
            workload.params[name].check(name, int(value))
    count = lengths.pop()
    values = {n: given.get(n, np.full(count, s.default, dtype=np.int64)) for n, s in workload.params.items()}
    for at in _extremes(values):  # what a stage admits may depend on several sizes at once
        workload.sizes({n: int(v[at]) for n, v in values.items()})
    return values


def _extremes(values: Mapping[str, NDArray[np.int64]]) -> set[int]:
    return {int(pick(array)) for array in values.values() for pick in (np.argmin, np.argmax)}


@dataclass(frozen=True)
class Sums:
    """Where a stage adds its seconds (machines by configurations) and raises the bytes held."""

    limit: Floats
    expected: Floats
    held: Floats


class _Compiled:
    """One stage as matrices of coefficients over monomials."""

    def __init__(self, stage: Stage, base: str, expected: Expected) -> None:
        self.stage = stage
        rows: dict[tuple[Any, ...], Poly] = {}
        for op in stage.ops:
            if op.kind == COLLECTIVE:
                raise ValueError(f"{op.path}: a grid has no collectives; `estimate` takes one configuration at a time")
            reduced, factor = _reduced(op.executed_flops(), op.vector_flops(), op.bits())
            key = (*reduced, op.unit if op.kind in MATRIX_KINDS else "", expected.share(op))
            rows[key] = rows.get(key, Poly()) + op.times * factor
        bits = BITS[stage.dtype or base]
        groups: list[list[Poly]] = [[key[at] for key in rows] for at in range(3)]
        groups += [list(rows.values()), [h.elements * bits + h.fixed_bytes * 8 for h in stage.held]]
        self.monomials: dict[Monomial, int] = {}
        for polys in groups:
            for p in polys:
                for monomial in p.terms:
                    self.monomials.setdefault(monomial, len(self.monomials))
        self.columns = [[p.terms for p in polys] for polys in groups]
        self.work, self.vector, self.bits, self.times, self.held = (self._matrix(polys) for polys in groups)
        self.dtypes = [key[3] for key in rows]
        self.slower = np.array([1 / key[4] if key[4] else 0.0 for key in rows])
        """Expected time over the limit; 0 for rows whose share depends on sizes: `BySize` adds those."""

    def _matrix(self, polys: Sequence[Poly]) -> Floats:
        matrix = np.zeros((len(self.monomials), len(polys)))
        for at, p in enumerate(polys):
            for monomial, coefficient in p.terms.items():
                matrix[self.monomials[monomial], at] = coefficient
        return matrix

    def add(self, sizes: Sizes, machines: Sequence[Shared], out: Sums) -> None:
        """Add this stage's seconds at every size, and raise the memory held to its activations."""
        repeat = np.broadcast_to(np.asarray(expr(self.stage.repeat)(sizes), dtype=float), out.held.shape)
        if not self.stage.loop:
            self._once(self.stage.bind(sizes), repeat, machines, out)
            return
        turns = np.broadcast_to(np.asarray(expr(self.stage.loop[1])(sizes)), out.held.shape)
        if not (self._affine() and self._by_ends(sizes, repeat, turns, machines, out)):
            self._by_turns(sizes, repeat, turns, machines, out)

    def _bound(self, sizes: Sizes, turn: NDArray[np.int64]) -> Mapping[str, Any]:
        assert self.stage.loop
        return self.stage.bind({**sizes, self.stage.loop[0]: turn})

    def _affine(self) -> bool:
        """Whether every quantity is a straight line over the turns of the loop."""
        assert self.stage.loop
        bound = {self.stage.loop[0]}
        for name, text in self.stage.let.items():
            names = expr(text).names & bound
            if not names:
                continue
            try:
                straight = all(sum(n in bound for n in m) <= 1 for m in poly(text).terms)
            except ValueError:  # a division, a minimum
                return False
            if not straight:
                return False
            bound.add(name)
        if any(names_in(n) & bound for m in self.monomials for n in m if not n.isidentifier()):  # a minimum
            return False
        fixed = not any(n in bound for c in self.columns[3] for m in c for n in m)
        return fixed and all(sum(n in bound for n in m) <= 1 for m in self.monomials)

    def _by_ends(
        self, sizes: Sizes, repeat: Floats, turns: NDArray[np.int64], machines: Sequence[Shared], out: Sums
    ) -> bool:
        """The sum over a loop from its first and last turn; False, and nothing done, where that is not it.

        The longest of three straight lines is convex: if one of them is the longest at both ends, it
        is so throughout, and its sum is the number of turns times the mean of the ends.
        """
        ends = [self._bound(sizes, np.maximum(turn, 0)) for turn in (np.zeros_like(turns), turns - 1)]
        values = [self._values(env, len(turns)) for env in ends]
        means = []
        for roofline, share in machines:
            first, last = (self._three(v, roofline) for v in values)
            longest = [three.max(axis=0) for three in (first, last)]
            if not ((first == longest[0]) & (last == longest[1])).any(axis=0).all():
                return False
            means.append((longest[0] + longest[1]) / 2 * share)
        times = values[0] @ self.times * (repeat * turns)[:, None]
        for at, mean in enumerate(means):
            out.limit[at] += (mean * times).sum(axis=1)
            out.expected[at] += (mean * times) @ self.slower
        for value in values:
            self._hold(value, repeat * turns, out)
        return True

    def _by_turns(
        self, sizes: Sizes, repeat: Floats, turns: NDArray[np.int64], machines: Sequence[Shared], out: Sums
    ) -> None:
        """The sum over a loop turn by turn; turns whose sizes do not change (a full window) are one."""
        used = {name for monomial in self.monomials for factor in monomial for name in names_in(factor)}
        waiting: tuple[Mapping[str, Any], Floats] | None = None
        for turn in range(int(turns.max())):
            env, weight = self._bound(sizes, np.full_like(turns, turn)), repeat * (turn < turns)
            if waiting and all(np.array_equal(env[name], waiting[0][name]) for name in used):
                waiting = (env, waiting[1] + weight)
                continue
            if waiting:
                self._once(*waiting, machines, out)
            waiting = (env, weight)
        if waiting:
            self._once(*waiting, machines, out)

    def _three(self, values: Floats, roofline: Roofline) -> Floats:
        """Matrix, vector and memory seconds of every row, stacked."""
        per_flop, per_vector, per_bit = self._rates(roofline)
        amounts = [values @ matrix for matrix in (self.work, self.vector, self.bits)]
        return np.stack([amounts[0] * per_flop, amounts[1] * per_vector, amounts[2] * per_bit])

    def _rates(self, roofline: Roofline) -> tuple[Floats, float, float]:
        """Seconds per matrix FLOP of every row, per other FLOP and per bit."""
        matrix, vector, per_byte = roofline.inverse(self.dtypes)
        return np.array(matrix), vector, per_byte / 8

    def _values(self, env: Mapping[str, Any], count: int) -> Floats:
        values = np.empty((count, len(self.monomials)))
        for monomial, at in self.monomials.items():
            column: Any = 1.0
            for name in monomial:
                column = column * value_of(name, env)
            values[:, at] = column
        return values

    def _once(self, env: Mapping[str, Any], weight: Floats, machines: Sequence[Shared], out: Sums) -> None:
        values = self._values(env, len(weight))
        times = values @ self.times * weight[:, None]
        work, vector, moved = (values @ m for m in (self.work, self.vector, self.bits))
        longest, other = np.empty_like(times), np.empty_like(times)
        for at, (roofline, share) in enumerate(machines):
            per_flop, per_vector, per_bit = self._rates(roofline)
            np.multiply(moved, per_bit, out=longest)
            np.maximum(longest, np.multiply(work, per_flop, out=other), out=longest)
            if per_vector:
                np.maximum(longest, np.multiply(vector, per_vector, out=other), out=longest)
            longest *= times
            out.limit[at] += longest.sum(axis=1) * share
            out.expected[at] += longest @ self.slower * share
        self._hold(values, weight, out)

    def _hold(self, values: Floats, weight: Floats, out: Sums) -> None:
        if self.stage.held:
            alive = np.max(np.floor(values @ self.held / 8), axis=1) * (weight > 0)
            np.maximum(out.held, alive, out=out.held)


def _reduced(*polys: Poly) -> tuple[tuple[Poly, ...], int]:
    """The polynomials without their common integer factor: rows in proportion become one row."""
    factor = gcd(*(c for p in polys for c in p.terms.values())) or 1
    return tuple(Poly({m: c // factor for m, c in p.terms.items()}) for p in polys), factor
