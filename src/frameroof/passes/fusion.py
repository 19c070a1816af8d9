"""Fuse elementwise work into its producer: what an ideal compiler keeps on chip moves no bytes."""

from __future__ import annotations

from dataclasses import replace

from ..workload.records import Op, Tensor, Workload


def fuse_elementwise(workload: Workload) -> Workload:
    """The workload with every fusable operand fused: no bytes for it, the arithmetic unchanged."""
    stages = (replace(stage, ops=tuple(map(_fused, stage.ops))) for stage in workload.stages)
    return workload.with_stages(tuple(stages), "elementwise work fused into its producer (ideal)")


def _fused(op: Op) -> Op:
    if not any(t.fusable for t in (*op.reads, *op.writes)):
        return op
    return replace(op, reads=_marked(op.reads), writes=_marked(op.writes))


def _marked(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(replace(t, fused=True) if t.fusable else t for t in tensors)
