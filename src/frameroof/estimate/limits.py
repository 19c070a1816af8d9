"""The roofline of every operation: what compute and memory each need, the larger of the two, summed.

*Limit* is the roofline at 100 %; *expected* is what a model of expected time says. A stage's times are those of one
device, which does the share of it that a plan left it (`passes.parallel`); its counts are of the whole. Dense peaks
only; an operation's peak is that of the unit for its widest operand (`Op.unit`). Causal attention is limited by the
pairs that its mask leaves (`rules.causal_pairs`), while its FLOPs count the full rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from typing import Any

import msgspec

from ..hardware import Node
from ..passes.maths import set_maths
from ..passes.parallel import with_plan
from ..roofline import Limit, Roofline, bound_of, larger
from ..workload.expr import Poly, expr
from ..workload.records import COLLECTIVE, Op, Stage, Workload
from ..workload.table import Row, table_of
from .communication import ring_bytes
from .expected import DEFAULT_UTILIZATION, Bounds, Expected, Formulas, Work, check_device, total_s, units_of

MOST_TURNS = 1_000_000
"""Turns of a stage's loop."""
MOST_ROWS = 10_000_000
"""Operations and names of a stage, times turns of its loop."""


class OpEstimate(msgspec.Struct, frozen=True):
    """One row of a stage's table over the whole stage, repeats included: counts, FLOPs, bytes, seconds."""

    op: Op
    count: int
    flops: int
    vector_flops: int
    bytes: int
    compute_s: float
    memory_s: float
    limit_s: float
    expected_s: float

    @property
    def bound(self) -> str:
        """Which of the two is larger, "compute" or "memory"."""
        return bound_of(self.compute_s, self.memory_s)


@dataclass(frozen=True)
class StageEstimate:
    """One stage, repeats included. `repeat` counts its runs (loop iterations among them)."""

    name: str
    repeat: int
    ops: tuple[OpEstimate, ...]

    def _sum(self, name: str) -> Any:
        return sum(getattr(op, name) for op in self.ops)

    @cached_property
    def flops(self) -> int:
        """Matrix FLOPs: matmul, convolution and attention."""
        return int(self._sum("flops"))

    @cached_property
    def vector_flops(self) -> int:
        """All other arithmetic."""
        return int(self._sum("vector_flops"))

    @cached_property
    def bytes(self) -> int:
        """Bytes read and written."""
        return int(self._sum("bytes"))

    @cached_property
    def compute_s(self) -> float:
        """Seconds at the compute peaks."""
        return float(self._sum("compute_s"))

    @cached_property
    def memory_s(self) -> float:
        """Seconds at the memory bandwidth."""
        return float(self._sum("memory_s"))

    @cached_property
    def limit_s(self) -> float:
        """Sum over operations of the larger of the two."""
        return float(self._sum("limit_s"))

    @cached_property
    def expected_s(self) -> float:
        """The sum of what is expected of each."""
        return float(self._sum("expected_s"))

    @property
    def intensity(self) -> float:
        """Matrix FLOPs per byte moved."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def bound(self) -> str:
        """Which of the two is larger, "compute" or "memory"."""
        return bound_of(self.compute_s, self.memory_s)


@dataclass(frozen=True)
class Estimate:
    """A whole workload on a node at one set of sizes."""

    workload: Workload
    node: Node
    sizes: Mapping[str, int]
    expected: Expected
    stages: tuple[StageEstimate, ...]
    assumptions: tuple[str, ...]

    @cached_property
    def total(self) -> StageEstimate:
        """The sum of the stages, as one."""
        return StageEstimate("total", 1, tuple(op for stage in self.stages for op in stage.ops))


def estimate(
    workload: Workload,
    node: Node,
    sizes: Mapping[str, int] | None = None,
    expected: Expected = DEFAULT_UTILIZATION,
    maths: str | None = None,
) -> Estimate:
    """Limits and expected times of every operation, stage and the whole.

    `sizes` overrides the workload's default parameters; `maths` is what multiplies fp32
    (`passes.set_maths`; None: as the workload has it). Raises `ValueError`, a sentence, for an
    inadmissible size, for work in a dtype that the device has no dense peak for, for a workload whose
    plan is for another number of devices (one without a plan is shared perfectly), and for a model of
    expected time that says nothing of the device.
    """
    check_device(expected, node.device)
    workload = with_plan(set_maths(workload, maths), node.count)
    values = workload.sizes(sizes)
    roofline = Roofline(node.device)
    stages = tuple(estimate_stage(Pass.of(stage, values), (roofline, node), expected) for stage in workload.stages)
    assumptions = [*roofline.assumptions]
    if workload.plan:
        assumptions.append(workload.plan)
    if any(op.op.attrs.get("causal") for stage in stages for op in stage.ops):
        assumptions.append(
            "causal attention: FLOPs count the full square, its limit what its mask leaves (of a square, the triangle)"
        )
    return Estimate(workload, node, values, expected, stages, tuple(assumptions))


Where = tuple[Roofline, Node]


@dataclass(frozen=True)
class Pass:
    """One stage at one set of sizes: how often it repeats, the turns of its loop, and what its names stand for."""

    stage: Stage
    repeat: int
    turns: int
    env: Mapping[str, Any]

    @classmethod
    def of(cls, stage: Stage, values: Mapping[str, Any]) -> Pass:
        """At sizes that were checked (`Workload.sizes`).

        Raises `ValueError` for a stage that would run a negative number of times, or too often.
        """
        repeat = int(expr(stage.repeat)(values))
        if repeat < 0:
            raise ValueError(f"stage {stage.name} would run {repeat} times")
        turns, inside = 1, values
        if stage.loop:
            import numpy as np

            variable, count = stage.loop
            turns = int(expr(count)(values))
            if not 0 <= turns <= MOST_TURNS:
                raise ValueError(f"stage {stage.name} would loop {turns:,} times; at most {MOST_TURNS:,}")
            if turns * (len(stage.ops) + len(stage.let)) > MOST_ROWS:
                raise ValueError(f"stage {stage.name} would loop {turns:,} times over {len(stage.ops):,} operations")
            inside = {**values, variable: np.arange(turns, dtype=np.int64)}
        return cls(stage, repeat, turns, stage.bind(inside))

    @cached_property
    def share(self) -> float:
        """What of it each device does."""
        return float(self.stage.share)

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """One for each operation, at numbers or at arrays over the turns; empty where the stage does not run."""
        if not self.turns * self.repeat:
            return ()
        made = self.stage.remembered
        if Formulas not in made:
            made[Formulas] = tuple(map(Formulas, self.stage.ops))
        return tuple(Work(each, self.env) for each in made[Formulas])

    def over_turns(self, value: Any) -> Any:
        """A value as an array of one number for each turn."""
        import numpy as np

        return np.broadcast_to(np.asarray(value), (self.turns,))

    def total(self, value: Any) -> Any:
        """A value summed over turns and repeats: of an array, or of one that does not depend on the loop variable."""
        if isinstance(value, (float, int)):
            return value * self.turns * self.repeat
        if not value.ndim:
            return value.item() * self.turns * self.repeat
        if value.dtype.kind == "i":
            return sum(value.tolist()) * self.repeat  # Python integers do not overflow
        import numpy as np

        return float(np.add.reduce(value)) * self.repeat

    def seconds(self, value: Any) -> float:
        """Seconds of all calls in a turn, summed over turns and repeats: those of one device, its share of them."""
        return float(self.total(value)) * self.share


def estimate_stage(run: Pass, where: Where, expected: Expected) -> StageEstimate:
    """The rows of one stage, over all its turns and repeats: counts of the whole, seconds of one device.

    Raises `ValueError` for a negative size, and where the device has no peak for the work.
    """
    if not run.turns * run.repeat:
        return StageEstimate(run.stage.name, 0, ())
    table = table_of(run.stage)
    values = table.at(run.env)
    if any(map(_negative, values)):
        path = next(row.op.path for row in table.rows if any(_negative(values[at]) for at in row.at))
        raise ValueError(f"{path} has a negative size: the sizes are beyond what it was recorded for")
    in_turns: Mapping[int, Seconds] = {}
    if run.stage.loop:
        from .turns import seconds_in_turns  # NumPy

        in_turns = seconds_in_turns(run, table.distinct, values, where[0])
    found: dict[int, Amounts] = {}
    for row in table.rows:
        if row.alike not in found:
            found[row.alike] = _amounts(run, row, values, where, in_turns.get(row.alike))
    rows = tuple(_estimated(run, row, found[row.alike], where, expected) for row in table.rows)
    return StageEstimate(run.stage.name, run.repeat * run.turns, rows)


Seconds = tuple[float, float, float]
"""Of compute, of memory, and of the limit."""
Amounts = tuple[int, int, int, int, float, float, float]
"""What an operation has of an `OpEstimate`: count, FLOPs, other FLOPs, bytes, and its seconds."""


def _amounts(run: Pass, row: Row, values: list[Any], where: Where, seconds: Seconds | None) -> Amounts:
    """Of one row, and of all rows alike (layers of one size); `seconds` where they are known."""
    count, times, flops, _, vector, bits = (values[at] for at in row.at)
    if run.stage.loop:
        counts = [run.total(count), *(_sum(run, n, times) for n in (flops, vector, bits))]
        if seconds is None:
            limit = _limit(run, row, values, where)
            parts = (limit.compute_s, limit.memory_s, limit.seconds)
            compute_s, memory_s, limit_s = (float(_sum(run, part, times)) * run.share for part in parts)
            seconds = compute_s, memory_s, limit_s
    else:  # numbers: an operation costs a few multiplications
        limit, calls = _limit(run, row, values, where), times * run.repeat
        counts = [count * run.repeat, flops * calls, vector * calls, bits * calls]
        each = calls * run.share
        seconds = limit.compute_s * each, limit.memory_s * each, limit.seconds * each
    return counts[0], counts[1], counts[2], -(-counts[3] // 8), *seconds


def _limit(run: Pass, row: Row, values: list[Any], where: Where) -> Limit:
    """Of one call."""
    if row.op.kind == COLLECTIVE:
        return _collective(row.op, run.env, where)
    _, _, _, executed, vector, bits = row.at
    return where[0].limit(flops=values[executed], unit=row.unit, vector_flops=values[vector], bytes=values[bits] / 8)


def _in_turns(value: Any) -> bool:
    """Whether it is an array of integers, which wrap where they are multiplied."""
    return not isinstance(value, (int, float)) and bool(value.ndim) and value.dtype.kind == "i"


def _sum(run: Pass, value: Any, times: Any) -> Any:
    """Of so many calls in each turn, over all turns; an operation that runs once in each is not multiplied."""
    if isinstance(times, int) and times == 1:
        return run.total(value)
    if _in_turns(value) and _in_turns(times):  # Python integers do not overflow
        return sum(map(mul, value.tolist(), times.tolist())) * run.repeat
    for array, number in ((value, times), (times, value)):
        if _in_turns(array) and isinstance(number, int):
            return run.total(array) * number
    return run.total(value * times)
    if isinstance(times, int):
        return (
            run.total(value) * times if value.dtype.kind == "i" else run.total(value if times == 1 else value * times)
        )
    if isinstance(value, int):
        return run.total(times) * value
    if value.dtype.kind == "i" and value.ndim and times.ndim:  # Python integers do not overflow
        return sum(map(mul, value.tolist(), times.tolist())) * run.repeat
    return run.total(value * times)


def _estimated(run: Pass, row: Row, amounts: Amounts, where: Where, expected: Expected) -> OpEstimate:
    share = expected.share(row.op)
    if share:
        return OpEstimate(row.op, *amounts, amounts[-1] / share)
    work = Work(row.op, run.env)
    return OpEstimate(row.op, *amounts, run.seconds(total_s(expected, work, bounds_of(work, where))))


def _negative(value: Any) -> bool:
    """Whether some of it is, or would be in more than 64 bits: the integers of arrays wrap."""
    return value < 0 if type(value) is int else bool(value.min() < 0)


def _collective(op: Op, env: Mapping[str, Any], where: Where) -> Limit:
    """The limit of one collective: what a ring passes through the link of each device."""
    roofline, node = where
    read, written = (sum((t.bits for t in tensors), Poly())(env) for tensors in (op.reads, op.writes))
    passed = ring_bytes(op.name, larger(read, written) / 8, node.count)
    return roofline.limit(bytes=passed, bandwidth=node.link.bandwidth)


def bounds_of(work: Work, where: Where) -> Bounds:
    """The limit of one call with its parts, for a model of expected time that asks for them."""
    roofline, node = where
    if work.op.kind == COLLECTIVE:
        limit = _collective(work.op, work.env, where)
        return Bounds(limit, 0.0, 0.0, units_of(node.device.compute_units), node.link.kind)
    return Bounds.of(work, roofline)


__all__ = ["Estimate", "OpEstimate", "Pass", "StageEstimate", "bounds_of", "estimate", "estimate_stage"]
