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
from .records import COLLECTIVE, MATRIX_KINDS, Op, Stage, Tensor

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


def split(op: Op) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The operands of an operation that must move whatever the program does, those that pass between regions, the rest.

    The rest stay on the chip. What devices send each other passes a link: a collective has none of them.
    """
    given: list[Tensor] = []
    between: list[Tensor] = []
    chip: list[Tensor] = []
    for tensor in () if op.kind == COLLECTIVE else (*op.reads, *op.writes):
        (given if tensor.given else chip if tensor.fusable else between).append(tensor)
    return given, between, chip


def regions_of(ops: Sequence[Op]) -> tuple[tuple[int, ...], ...]:
    """Rows by region, in the order in which regions begin; a row of region 0, and a collective, is one of its own."""
    found: dict[Any, list[int]] = {}
    for row, op in enumerate(ops):
        own = not op.region or op.kind == COLLECTIVE
        found.setdefault(("row", row) if own else op.region, []).append(row)
    return tuple(map(tuple, found.values()))


class Kernels(NamedTuple):
    """Rows that are one kernel each: the rows of each, and the distinct kernels.

    `members` are numbers of distinct rows (`Row.alike`), `many` how often each distinct kernel occurs; `places` are for
    every row its place among the members of all of them, one kernel after another.
    """

    groups: tuple[tuple[int, ...], ...]
    members: tuple[tuple[int, ...], ...]
    many: tuple[int, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, groups: tuple[tuple[int, ...], ...], rows: Sequence[Row]) -> Kernels:
        """From the rows of each."""
        alike = [tuple(rows[at].alike for at in group) for group in groups]
        many = Counter(alike)
        starts, start = {}, 0
        for kernel in many:
            starts[kernel] = start
            start += len(kernel)
        places = [0] * len(rows)
        for kernel, group in zip(alike, groups, strict=True):
            for at, row in enumerate(group, starts[kernel]):
                places[row] = at
        return cls(groups, tuple(many), tuple(many.values()), tuple(places))

    def summed(self, column: Sequence[Any]) -> list[Any]:
        """Of each distinct kernel the sum over its members, from values of distinct rows."""
        if len(self.places) == len(self.groups):  # each row is one
            return list(column)
        return [
            column[group[0]] if len(group) == 1 else sum((column[at] for at in group), 0.0) for group in self.members
        ]


class Columns(NamedTuple):
    """Where quantities of all distinct rows stand, a list each: as parts of regions, or apart; see `Places`.

    `passed` are the operands from which a cache may take something off. A collective has none of all this.
    """

    executed: list[int]
    vector: list[int]
    moved: list[int]
    given: list[int]
    passed: list[Operands]


class Table:
    """The rows of a stage, its regions, and the distinct polynomials that they use.

    `distinct` are the first rows of each number `alike`, in the order of the numbers.
    """

    def __init__(self, stage: Stage) -> None:
        self._monomials: dict[Monomial, int] = {}
        self._polys: dict[Poly, int] = {}
        self._sizes: dict[Any, int] = {}
        self._zero = self._place(Poly())
        self.rows = self._rows(stage.ops)
        first: dict[int, Row] = {}
        for row in self.rows:
            first.setdefault(row.alike, row)
        self.distinct = tuple(first.values())
        self.regions = Kernels.of(regions_of(stage.ops), self.rows)
        self.apart = Kernels.of(tuple((at,) for at in range(len(self.rows))), self.rows)
        self.columns = {apart: self._columns(apart) for apart in (False, True)}
        self._sums = [(poly, [(c, self._of(m)) for m, c in poly.terms.items()]) for poly in self._polys]
        self._minima = [factor for factor in {f for m in self._monomials for f in m} if not factor.isidentifier()]
        self._sizes.clear()  # its keys are of objects that may go

    def _of(self, monomial: Monomial) -> int:
        return self._monomials.setdefault(monomial, len(self._monomials))

    def _place(self, poly: Poly) -> int:
        return self._polys.setdefault(poly, len(self._polys))

    def _bits(self, tensors: Sequence[Tensor]) -> int:
        """The place of their bits together; they are shared objects, of which few combinations occur."""
        key = tuple(map(id, tensors))
        if key not in self._sizes:
            self._sizes[key] = self._place(total(tensor.bits for tensor in tensors))
        return self._sizes[key]

    def _rows(self, ops: Sequence[Op]) -> tuple[Row, ...]:
        """Of rows that are told apart by their paths alone the first is worked out."""
        known: dict[Any, Row] = {}
        alike: dict[Any, int] = {}
        rows = []
        for op in ops:
            operands = tuple(map(id, op.reads)), tuple(map(id, op.writes))
            key = (op.kind, op.name, *operands, tuple(op.dims.items()), tuple(op.attrs.items()), op.count)
            if (first := known.get(key)) is not None:
                rows.append(Row(op, *first[1:]))
                continue
            unit, at, between, chip = made = self._made(op)
            sends = (op.name, op.reads, op.writes) if op.kind == COLLECTIVE else ()
            number = alike.setdefault((made, op.unused, sends), len(alike))
            known[key] = Row(op, unit, at, between, chip, number)
            rows.append(known[key])
        return tuple(rows)

    def _made(self, op: Op) -> tuple[str, Places, Operands, Operands]:
        """A row without its operation and its number."""
        matrix = op.kind in MATRIX_KINDS
        flops = op.flops()
        executed = op.executed_flops() if op.kind == "attention" else flops  # no other has a mask
        operands = (*op.reads, *op.writes)
        given, between, chip = split(op)
        moved, kept = ((), ()) if op.unused else ([t for t in operands if not t.fusable], given)
        calls = self._place(op.count)
        at = Places(
            calls=calls,
            times=calls if op.times is op.count else self._place(op.times),
            flops=self._place(flops) if matrix else self._zero,
            executed=self._place(executed) if matrix else self._zero,
            vector=self._place(op.vector_flops()),
            moved=self._bits(moved),
            every=self._bits(operands),
            given=self._bits(kept),
            given_apart=self._bits(given),
        )
        return op.unit if matrix else "", at, self._counted(between), self._counted(chip)

    def _counted(self, tensors: Sequence[Tensor]) -> Operands:
        found: dict[int, int] = {}
        for tensor in tensors:
            at = self._bits((tensor,))
            found[at] = found.get(at, 0) + 1
        return tuple(found.items())

    def _columns(self, apart: bool) -> Columns:
        found = Columns([], [], [], [], [])
        zero = self._zero
        for row in self.distinct:
            at = row.at
            none = row.op.kind == COLLECTIVE or (row.op.unused and not apart)
            found.executed.append(zero if none else at.executed)
            found.vector.append(zero if none else at.vector)
            found.moved.append(zero if none else at.every if apart else at.moved)
            found.given.append(zero if none else at.given_apart if apart else at.given)
            found.passed.append(() if none else row.between + row.chip if apart else row.between)
        return found

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
