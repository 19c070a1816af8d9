"""The roofline of every operation: what compute and memory each need, the larger of the two, summed.

*Limit* is the roofline at 100 %; *expected* divides it by a stated utilization. A stage's times are those of one
device, which does the share of it that a plan left it (`passes.parallel`); its counts are of the whole. Dense peaks
only; an operation's peak is that of the widest type among its operands. Causal attention is limited by the triangle
its kernel computes, while its FLOPs count the full square.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..hardware import Node
from ..passes.parallel import with_plan
from ..roofline import Limit, Roofline, bound_of, larger
from ..workload.expr import Poly, expr
from ..workload.records import COLLECTIVE, MATRIX_KINDS, Op, Stage, Workload
from .communication import ring_bytes
from .efficiency import DEFAULT_UTILIZATION, Utilization

MOST_TURNS = 1_000_000
"""Turns of a stage's loop."""
MOST_ROWS = 10_000_000
"""Operations and names of a stage, times turns of its loop."""


@dataclass(frozen=True)
class OpEstimate:
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
        """The limit through the utilization."""
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
    utilization: Utilization
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
    utilization: Utilization = DEFAULT_UTILIZATION,
) -> Estimate:
    """Limits and expected times of every operation, stage and the whole.

    `sizes` overrides the workload's default parameters. Raises `ValueError`, a sentence, for an
    inadmissible size, for work in a dtype that the device has no dense peak for, and for a workload whose
    plan is for another number of devices; one without a plan is shared perfectly.
    """
    workload = with_plan(workload, node.count)
    values = workload.sizes(sizes)
    roofline = Roofline(node.device)
    stages = tuple(_stage(stage, values, (roofline, node), utilization) for stage in workload.stages)
    assumptions = [*roofline.assumptions]
    if workload.plan:
        assumptions.append(workload.plan)
    if any(op.op.attrs.get("causal") for stage in stages for op in stage.ops):
        assumptions.append(
            "causal attention: FLOPs count the full square, its limit what its mask leaves (of a square, the triangle)"
        )
    return Estimate(workload, node, values, utilization, stages, tuple(assumptions))


Where = tuple[Roofline, Node]


def _stage(stage: Stage, values: Mapping[str, int], where: Where, utilization: Utilization) -> StageEstimate:
    repeat = int(expr(stage.repeat)(values))
    if repeat < 0:
        raise ValueError(f"stage {stage.name} would run {repeat} times")
    if not stage.loop:
        env: dict[str, Any] = stage.bind(values)
        turns = 1
    else:
        import numpy as np

        variable, count = stage.loop
        turns = int(expr(count)(values))
        if not 0 <= turns <= MOST_TURNS:
            raise ValueError(f"stage {stage.name} would loop {turns:,} times; at most {MOST_TURNS:,}")
        if turns * (len(stage.ops) + len(stage.let)) > MOST_ROWS:
            raise ValueError(f"stage {stage.name} would loop {turns:,} times over {len(stage.ops):,} operations")
        env = stage.bind({**values, variable: np.arange(turns, dtype=np.int64)})
    runs = Runs(turns, repeat, float(stage.share))
    ops = tuple(_op(op, env, runs, where, utilization) for op in stage.ops) if turns * repeat else ()
    return StageEstimate(stage.name, repeat * turns, ops)


@dataclass(frozen=True)
class Runs:
    """How often a stage runs: the turns of its loop, how often the whole of it repeats, and a device's share of it."""

    turns: int
    repeat: int
    share: float


def _op(op: Op, env: Mapping[str, Any], runs: Runs, where: Where, utilization: Utilization) -> OpEstimate:
    """One row at `env`, over all runs of its stage: counts of the whole, seconds of one device."""
    turns, repeat = runs.turns, runs.repeat
    flops, bits, calls, vector = op.flops()(env), op.bits()(env), op.times(env), op.vector_flops()(env)
    if any(_negative(value) for value in (flops, bits, calls, vector)):
        raise ValueError(f"{op.path} has a negative size: the sizes are beyond what it was recorded for")
    limit = limit_of(op, env, where, (vector, bits))

    def seconds(value: Any) -> float:
        return float(_total(value * calls, turns)) * repeat * runs.share

    limit_s = seconds(limit.seconds)
    return OpEstimate(
        op=op,
        count=int(_total(op.count(env), turns)) * repeat,
        flops=int(_total(flops * calls, turns)) * repeat,
        vector_flops=int(_total(vector * calls, turns)) * repeat,
        bytes=-(-int(_total(bits * calls, turns)) * repeat // 8),
        compute_s=seconds(limit.compute_s),
        memory_s=seconds(limit.memory_s),
        limit_s=limit_s,
        expected_s=limit_s / utilization.of(op.kind),
    )


def _negative(value: Any) -> bool:
    """Whether some of it is, or would be in more than 64 bits: the integers of arrays wrap."""
    return value < 0 if type(value) is int else bool((value < 0).any())


def limit_of(op: Op, env: Mapping[str, Any], where: Where, amounts: tuple[Any, Any]) -> Limit:
    """The limit of one call at `env`, whose FLOPs outside of matrix work and bits are `amounts`.

    A collective is limited by what a ring passes through the link of each device.
    """
    roofline, node = where
    vector, bits = amounts
    if op.kind == COLLECTIVE:
        read, written = (sum((t.bits for t in tensors), Poly())(env) for tensors in (op.reads, op.writes))
        passed = ring_bytes(op.name, larger(read, written) / 8, node.count)
        return roofline.limit(bytes=passed, bandwidth=node.link.bandwidth)
    executed = op.executed_flops()(env) if op.kind in MATRIX_KINDS else 0.0
    return roofline.limit(flops=executed, unit=op.unit, vector_flops=vector, bytes=bits / 8)


def _total(value: Any, turns: int) -> Any:
    """The sum over a loop: of an array, or of a value that does not depend on the loop variable."""
    if not hasattr(value, "sum"):
        return value * turns
    return sum(value.tolist()) if value.dtype.kind == "i" else value.sum()  # Python integers do not overflow


__all__ = ["Estimate", "OpEstimate", "StageEstimate", "estimate"]
