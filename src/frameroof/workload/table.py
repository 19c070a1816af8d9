"""A stage's operations as formulas, each distinct polynomial once, so that all of them are evaluated together.

Layers share sizes: some 400 operations of a pipeline have about 250 distinct polynomials over 100 products of sizes. A
table is made once for a stage and kept with it; an evaluation is then a few multiplications for each polynomial.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

from .expr import ONE, Monomial, Poly, check_reach, check_value, largest, value_of
from .records import COLLECTIVE, MATRIX_KINDS, Op, Stage


class Row(NamedTuple):
    """One operation, its unit ("" without matrix work), and where its quantities stand among its table's values.

    `at` are the places of six quantities of one call: how often it runs, what the others are multiplied by (that, or 1
    where sizes are sums over all calls), matrix FLOPs, those of them that are executed, other FLOPs, and bits. Rows
    with one number `alike` differ in nothing but what they are called: their limits are one.
    """

    op: Op
    unit: str
    at: tuple[int, ...]
    alike: int


class Table:
    """The rows of a stage, and the distinct polynomials that they use."""

    def __init__(self, stage: Stage) -> None:
        self._monomials: dict[Monomial, int] = {}
        self._polys: dict[Poly, int] = {}
        self._alike: dict[Any, int] = {}
        self.rows = tuple(map(self._row, stage.ops))
        self.distinct = tuple({row.alike: row for row in self.rows if row.op.kind != COLLECTIVE}.values())
        self._sums = [(poly, [(c, self._of(m)) for m, c in poly.terms.items()]) for poly in self._polys]
        self._minima = [factor for factor in {f for m in self._monomials for f in m} if not factor.isidentifier()]

    def _of(self, monomial: Monomial) -> int:
        return self._monomials.setdefault(monomial, len(self._monomials))

    def _row(self, op: Op) -> Row:
        matrix = op.kind in MATRIX_KINDS
        executed = op.executed_flops() if matrix else Poly()
        times = ONE if op.attrs.get("total") else op.count
        polys = (op.count, times, op.flops(), executed, op.vector_flops(), op.bits())
        unit, at = op.unit if matrix else "", tuple(self._polys.setdefault(p, len(self._polys)) for p in polys)
        sends = (op.name, op.reads, op.writes) if op.kind == COLLECTIVE else ()
        return Row(op, unit, at, self._alike.setdefault((unit, at, sends), len(self._alike)))

    def at(self, env: Mapping[str, Any]) -> list[Any]:
        """The values that rows point at, for sizes `env` (`Stage.bind`): integers, or arrays over a loop's turns.

        Raises `ValueError` as a polynomial does.
        """
        env = {**env, **{factor: value_of(factor, env) for factor in self._minima}}
        products = []
        for monomial in self._monomials:
            value: Any = 1
            for name in monomial:
                value = value * env[name]
            products.append(value)
        values: list[Any] = []
        reaches: list[float] = []
        for poly, terms in self._sums:
            total: Any = 0
            for coefficient, at in terms:
                total = total + coefficient * products[at]
            check_value(total, poly)
            if type(total) is not int:
                reaches = reaches or self._reaches(env)
                check_reach(poly, sum(abs(coefficient) * reaches[at] for coefficient, at in terms))
            values.append(total)
        return values

    def _reaches(self, env: Mapping[str, Any]) -> list[float]:
        """The largest magnitude that each product of sizes may have, over the turns of a loop."""
        known = {name: largest(env[name]) for name in {name for monomial in self._monomials for name in monomial}}
        return [prod(map(known.__getitem__, monomial), start=1.0) for monomial in self._monomials]


def table_of(stage: Stage) -> Table:
    """The table of a stage, made when it is first asked for."""
    made = stage.remembered
    if Table not in made:
        made[Table] = Table(stage)
    found: Table = made[Table]
    return found
