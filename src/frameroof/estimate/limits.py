"""The roofline of every operation: what compute and memory each need, the larger of the two, summed.

*Limit* is the roofline at 100 %; *expected* divides it by a stated utilization. Several devices share
the work perfectly: an idealization, said in every output. Dense peaks only; an operation's peak is
that of the widest type among its operands. Causal attention is limited by the triangle its kernel
computes, while its FLOPs count the full square.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..dtypes import DTYPES
from ..hardware import Node
from ..workload.expr import expr
from ..workload.records import MATRIX_KINDS, Op, Stage, Workload
from .efficiency import DEFAULT_UTILIZATION, Utilization

MOST_TURNS = 1_000_000


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
        return "compute" if self.compute_s >= self.memory_s else "memory"


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
        return "compute" if self.compute_s >= self.memory_s else "memory"


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


class Machine:
    """Peaks of a node as used here, and the substitutions that had to be made."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.bandwidth = node.bandwidth
        self.vector_peak = node.device.vector_peak * node.count if node.device.vector_peak else None
        self.assumptions: dict[str, None] = {}
        self._peaks: dict[str, float] = {}
        if self.vector_peak is None:
            self._assume(
                f"{node.device.name} states no fp32 rate outside of matrix units: elementwise arithmetic is free"
            )

    def _assume(self, text: str) -> None:
        self.assumptions[text] = None

    def peak(self, dtype: str) -> float:
        if dtype not in self._peaks:
            try:
                self._peaks[dtype] = self.node.peak(dtype)
            except ValueError:
                other = DTYPES[dtype].counted_as if dtype in DTYPES else ""
                if not other:
                    raise
                self._peaks[dtype] = self.node.peak(other)
                self._assume(
                    f"{self.node.device.name} states no {dtype} matrix peak: {dtype} matrix work is limited at its "
                    f"{other} peak"
                )
        return self._peaks[dtype]


def estimate(
    workload: Workload,
    node: Node,
    sizes: Mapping[str, int] | None = None,
    utilization: Utilization = DEFAULT_UTILIZATION,
) -> Estimate:
    """Limits and expected times of every operation, stage and the whole.

    `sizes` overrides the workload's default parameters. Raises `ValueError`, a sentence, for an
    inadmissible size and for work in a dtype that the device has no dense peak for.
    """
    values = workload.sizes(sizes)
    machine = Machine(node)
    stages = tuple(_stage(stage, values, machine, utilization) for stage in workload.stages)
    assumptions = [*machine.assumptions]
    if node.count > 1:
        assumptions.append(f"{node.count} devices share the work perfectly, without communication (an idealization)")
    if any(op.op.attrs.get("causal") for stage in stages for op in stage.ops):
        assumptions.append(
            "causal attention: FLOPs count the full square, its limit the triangle that a kernel computes"
        )
    return Estimate(workload, node, values, utilization, stages, tuple(assumptions))


def _stage(stage: Stage, values: Mapping[str, int], machine: Machine, utilization: Utilization) -> StageEstimate:
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
        env = stage.bind({**values, variable: np.arange(turns, dtype=np.int64)})
    ops = tuple(_op(op, env, (turns, repeat), machine, utilization) for op in stage.ops) if turns * repeat else ()
    return StageEstimate(stage.name, repeat * turns, ops)


def _op(
    op: Op, env: Mapping[str, Any], runs: tuple[int, int], machine: Machine, utilization: Utilization
) -> OpEstimate:
    """One row at `env`, over `runs`: the turns of a loop, and how often the whole of it repeats."""
    turns, repeat = runs
    flops, bits, calls, vector = op.flops()(env), op.bits()(env), op.times(env), op.vector_flops()(env)
    compute: Any = 0.0
    if op.kind in MATRIX_KINDS:
        compute = op.executed_flops()(env) / machine.peak(op.compute_dtype)
    if machine.vector_peak is not None:
        compute = _larger(compute, vector / machine.vector_peak)
    memory = bits / 8 / machine.bandwidth
    limit = float(_total(_larger(compute, memory) * calls, turns)) * repeat
    return OpEstimate(
        op=op,
        count=int(_total(op.count(env), turns)) * repeat,
        flops=int(_total(flops * calls, turns)) * repeat,
        vector_flops=int(_total(vector * calls, turns)) * repeat,
        bytes=-(-int(_total(bits * calls, turns)) * repeat // 8),
        compute_s=float(_total(compute * calls, turns)) * repeat,
        memory_s=float(_total(memory * calls, turns)) * repeat,
        limit_s=limit,
        expected_s=limit / utilization.of(op.kind),
    )


def _larger(a: Any, b: Any) -> Any:
    if isinstance(a, float) and isinstance(b, float):
        return max(a, b)
    import numpy as np

    return np.maximum(a, b)


def _total(value: Any, turns: int) -> Any:
    """The sum over a loop: of an array, or of a value that does not depend on the loop variable."""
    if not hasattr(value, "sum"):
        return value * turns
    return sum(value.tolist()) if value.dtype.kind == "i" else value.sum()  # Python integers do not overflow


__all__ = ["Estimate", "OpEstimate", "StageEstimate", "estimate"]
