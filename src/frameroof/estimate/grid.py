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

from ..hardware import Node
from ..workload.expr import Monomial, Poly, expr
from ..workload.records import DTYPE_BITS, MATRIX_KINDS, Stage, Workload
from .cost import cost_of
from .efficiency import DEFAULT_UTILIZATION, Utilization
from .limits import Machine
from .memory import weight_bytes

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
    utilization: Utilization = DEFAULT_UTILIZATION,
) -> Grid:
    """Limit, expected time, peak memory and cost for arrays of sizes of one length, on every node.

    Sizes that are not named have their defaults. Equal to `estimate`, `memory_of` and `cost_of` at
    each point. Raises `ValueError` for an inadmissible size or arrays of differing length.
    """
    values = _checked(workload, sizes)
    count = len(next(iter(values.values())))
    machines = [Machine(node) for node in nodes]
    stages = [_Compiled(stage, workload.dtype, utilization) for stage in workload.stages]
    limit, expected = np.zeros((len(nodes), count)), np.zeros((len(nodes), count))
    held = np.zeros(count)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        chunk = {name: array[part] for name, array in values.items()}
        for stage in stages:
            stage.add(chunk, machines, limit[:, part], expected[:, part], held[part])
    weights = {stage.weights_name or stage.name: weight_bytes(stage) for stage in workload.stages}
    peak = np.broadcast_to(held + sum(weights.values()), limit.shape)
    batch = values["batch"] if "batch" in values else np.ones(count, dtype=np.int64)
    prices = [cost_of(node, 1.0, 1).usd_per_hour for node in nodes]
    usd = np.array([np.nan if price is None else price / 3600 for price in prices])[:, None] * expected / batch
    return Grid(tuple(nodes), values, limit, expected, peak, usd)


def _checked(workload: Workload, sizes: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
    given = {name: np.atleast_1d(np.asarray(array, dtype=np.int64)) for name, array in sizes.items()}
    lengths = {len(array) for array in given.values()} or {1}
    if len(lengths) > 1:
        raise ValueError(f"the arrays of sizes differ in length: {sorted(lengths)}")
    for name, array in given.items():
        if name not in workload.params:
            raise ValueError(f"{workload.name} has no size {name!r}; it has: {', '.join(workload.params)}")
        for value in np.unique(array):
            workload.params[name].check(name, int(value))
    count = lengths.pop()
    return {n: given.get(n, np.full(count, s.default, dtype=np.int64)) for n, s in workload.params.items()}


class _Compiled:
    """One stage as matrices of coefficients over monomials."""

    def __init__(self, stage: Stage, base: str, utilization: Utilization) -> None:
        self.stage = stage
        rows: dict[tuple[Any, ...], Poly] = {}
        for op in stage.ops:
            polys, factor = _reduced(op.executed_flops(), op.vector_flops(), op.bits())
            key = (*polys, op.compute_dtype if op.kind in MATRIX_KINDS else "", utilization.of(op.kind))
            rows[key] = rows.get(key, Poly()) + op.times * factor
        self.monomials: dict[Monomial, int] = {}
        self.work = self._matrix([key[0] for key in rows])
        self.vector = self._matrix([key[1] for key in rows])
        self.bits = self._matrix([key[2] for key in rows])
        self.times = self._matrix(list(rows.values()))
        self.dtypes = [key[3] for key in rows]
        self.utilization = np.array([key[4] for key in rows])
        bits = DTYPE_BITS[stage.dtype or base]
        self.held = self._matrix([h.elements * bits + h.fixed_bytes * 8 for h in stage.held])
        matrices = (self.work, self.vector, self.bits, self.times, self.held)
        self.work, self.vector, self.bits, self.times, self.held = (self._padded(m) for m in matrices)

    def _matrix(self, polys: Sequence[Poly]) -> Any:
        return [{self.monomials.setdefault(m, len(self.monomials)): c for m, c in p.terms.items()} for p in polys]

    def _padded(self, columns: Any) -> Floats:
        matrix = np.zeros((len(self.monomials), len(columns)))
        for at, column in enumerate(columns):
            for row, coefficient in column.items():
                matrix[row, at] = coefficient
        return matrix

    def add(
        self,
        sizes: Mapping[str, Any],
        machines: Sequence[Machine],
        limit: Floats,
        expected: Floats,
        held: Floats,
    ) -> None:
        """Add this stage's seconds at every size, and raise `held` to its activations."""
        repeat = np.asarray(expr(self.stage.repeat)(sizes))
        turns = 1
        if self.stage.loop:
            variable, text = self.stage.loop
            turns = int(np.max(expr(text)(sizes)))
        for turn in range(turns):
            env, weight = dict(sizes), repeat
            if self.stage.loop:
                env[variable] = np.full(len(held), turn)
                weight = repeat * (turn < np.asarray(expr(text)(sizes)))
            self._once(self._values(self.stage.bind(env), len(held)), weight, machines, limit, expected, held)

    def _values(self, env: Mapping[str, Any], count: int) -> Floats:
        values = np.empty((count, len(self.monomials)))
        for monomial, at in self.monomials.items():
            column: Any = 1.0
            for name in monomial:
                column = column * env[name]
            values[:, at] = column
        return values

    def _once(
        self,
        values: Floats,
        weight: Any,
        machines: Sequence[Machine],
        limit: Floats,
        expected: Floats,
        held: Floats,
    ) -> None:
        times = values @ self.times * np.reshape(weight, (-1, 1))
        work, vector, moved = (values @ m for m in (self.work, self.vector, self.bits))
        longest, other = np.empty_like(times), np.empty_like(times)
        for at, machine in enumerate(machines):
            rates = np.array([1 / machine.peak(dtype) if dtype else 0.0 for dtype in self.dtypes])
            np.multiply(moved, 1 / (8 * machine.bandwidth), out=longest)
            np.maximum(longest, np.multiply(work, rates, out=other), out=longest)
            if machine.vector_peak is not None:
                np.maximum(longest, np.multiply(vector, 1 / machine.vector_peak, out=other), out=longest)
            longest *= times
            limit[at] += longest.sum(axis=1)
            expected[at] += longest @ (1 / self.utilization)
        if self.stage.held:
            alive = np.max(np.floor(values @ self.held / 8), axis=1) * (weight > 0)
            np.maximum(held, alive, out=held)


def _reduced(*polys: Poly) -> tuple[tuple[Poly, ...], int]:
    """The polynomials without their common integer factor: rows in proportion become one row."""
    factor = gcd(*(c for p in polys for c in p.terms.values())) or 1
    return tuple(Poly({m: c // factor for m, c in p.terms.items()}) for p in polys), factor
