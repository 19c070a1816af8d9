"""A stage's operations as formulas, each distinct polynomial once, so that all of them are evaluated together.

Layers share sizes: some 400 operations of a pipeline have about 250 distinct polynomials over 100 products of sizes. A
table is made once for a stage and kept with it; an evaluation is then a few multiplications for each polynomial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from .expr import Monomial, Poly, check_reach, check_value, largest, total, value_of
from .records import COLLECTIVE, MATRIX_KINDS, Op, Stage

Operands = tuple[tuple[int, int], ...]
"""Places of sizes in bits, each with how many operands have it."""


class Places(NamedTuple):
    """Where the quantities of one call stand among the values of a table.

    How often it runs, and what the others are multiplied by (that, or 1 where sizes are sums over all calls); matrix
    FLOPs, those of them that are executed, and other FLOPs; bits that leave the chip where regions are one kernel each,
    all that are read and written, and those of them that must move whatever the program does: in regions, and apart.
    """

    calls: int
    times: int
    flops: int
    executed: int
    vector: int
    moved: int
    every: int
    given: int
    given_apart: int


class Row(NamedTuple):
    """One operation, its unit ("" without matrix work), where its quantities stand, and its other operands' sizes.

    `between` are operands that pass from one region to another, `chip` those that stay on the chip within one. Rows
    with one number `alike` differ in nothing but what they are called and in their region: alone, their limits are one.
    """

    op: Op
    unit: str
    at: Places
    between: Operands
    chip: Operands
    alike: int

    @property
    def places(self) -> tuple[int, ...]:
        """All places among the values that it uses."""
        return (*self.at, *(at for at, _ in (*self.between, *self.chip)))


def split(op: Op) -> tuple[Poly, Counter[Poly], Counter[Poly]]:
    """Bits of an operation that must move whatever the program does, and sizes in bits of its other operands.

    First those that pass from one region to another, then those that stay on the chip. What devices send each other
    passes a link: a collective has none of them.
    """
    given: list[Poly] = []
    between, chip = Counter[Poly](), Counter[Poly]()
    for tensor in () if op.kind == COLLECTIVE else (*op.reads, *op.writes):
        if tensor.given:
            given.append(tensor.bits)
        else:
            (chip if tensor.fusable else between)[tensor.bits] += 1
    return total(given), between, chip


def regions_of(ops: Sequence[Op]) -> tuple[tuple[int, ...], ...]:
    """Rows by region, in the order in which regions begin; a row of region 0, and a collective, is one of its own."""
    found: dict[Any, list[int]] = {}
    for row, op in enumerate(ops):
        own = not op.region or op.kind == COLLECTIVE
        found.setdefault(("row", row) if own else op.region, []).append(row)
    return tuple(map(tuple, found.values()))


class Kernels(NamedTuple):
    """Rows that are one kernel each: all groups of them, and the distinct ones.

    `which` is for every group its number among the distinct ones, `first` the rows of the first of each of those, and
    `many` how many groups there are of it.
    """

    groups: tuple[tuple[int, ...], ...]
    which: tuple[int, ...]
    first: tuple[tuple[int, ...], ...]
    many: tuple[int, ...]


class Table:
    """The rows of a stage, its regions, and the distinct polynomials that they use."""

    def __init__(self, stage: Stage) -> None:
        self._monomials: dict[Monomial, int] = {}
        self._polys: dict[Poly, int] = {}
        self._alike: dict[Any, int] = {}
        self._known: dict[Any, Row] = {}
        self.rows = tuple(map(self._row, stage.ops))
        self.regions = self._kernels(regions_of(stage.ops))
        self.apart = self._kernels(tuple((at,) for at in range(len(self.rows))))
        self._sums = [(poly, [(c, self._of(m)) for m, c in poly.terms.items()]) for poly in self._polys]
        self._minima = [factor for factor in {f for m in self._monomials for f in m} if not factor.isidentifier()]

    def _kernels(self, groups: tuple[tuple[int, ...], ...]) -> Kernels:
        first: dict[Any, tuple[int, ...]] = {}
        alike = [tuple(self.rows[at].alike for at in group) for group in groups]
        for kind, group in zip(alike, groups, strict=True):
            first.setdefault(kind, group)
        place = {kind: at for at, kind in enumerate(first)}
        which = tuple(place[kind] for kind in alike)
        many = Counter(which)
        return Kernels(groups, which, tuple(first.values()), tuple(many[at] for at in range(len(first))))

    def _of(self, monomial: Monomial) -> int:
        return self._monomials.setdefault(monomial, len(self._monomials))

    def _place(self, poly: Poly) -> int:
        return self._polys.setdefault(poly, len(self._polys))

    def _row(self, op: Op) -> Row:
        """Of rows that are told apart by their paths alone the first is worked out; operands are shared objects."""
        operands = tuple(map(id, op.reads)), tuple(map(id, op.writes))
        key = (op.kind, op.name, *operands, tuple(op.dims.items()), tuple(op.attrs.items()), op.count)
        if key not in self._known:
            self._known[key] = self._made(op)
        return self._known[key]._replace(op=op)

    def _made(self, op: Op) -> Row:
        matrix = op.kind in MATRIX_KINDS
        executed = op.executed_flops() if matrix else Poly()
        given, between, chip = split(op)
        polys = (op.count, op.times, op.flops(), executed, op.vector_flops(), op.moved_bits(), op.bits())
        kept = Poly() if op.unused else given
        at = Places(*map(self._place, (*polys, kept, given)))
        beside, kept_on = (tuple((self._place(p), n) for p, n in each.items()) for each in (between, chip))
        unit = op.unit if matrix else ""
        sends = (op.name, op.reads, op.writes) if op.kind == COLLECTIVE else ()
        alike = self._alike.setdefault((unit, at, beside, kept_on, op.unused, sends), len(self._alike))
        return Row(op, unit, at, beside, kept_on, alike)

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
