"""What multiplies operands in fp32: PyTorch's defaults, fp32 alone or TF32 alone; and a model counted for such a unit.

That a tensor holds fp32 is a wish, not a unit: the same model runs on either, by a switch of PyTorch's that no module
shows. So the choice is one of the whole workload, written on its operations.
"""

from __future__ import annotations

from dataclasses import replace

from ..dtypes import DTYPES, MATHS, TORCH, check, held_in
from ..workload.records import MATRIX_KINDS, Op, Stage, Tensor, Workload

WORDS = {
    "torch": "torch: operands in fp32 are convolved in TF32, multiplied in fp32, and in fused attention as three "
    "products in TF32, as PyTorch does by default",
    "strict": "strict: operands in fp32 keep its digits: fp32 alone, and three products in TF32 in fused attention",
    "tf32": "tf32: operands in fp32 are computed in TF32",
}


def set_maths(workload: Workload, maths: str | None) -> Workload:
    """The workload with its matrix work on fp32 computed as `maths` says (`dtypes.MATHS`); None leaves it as it is.

    A choice that was made before is replaced. `ValueError`, a sentence, for another word.
    """
    check(maths, MATHS, "maths is")
    if maths is None or maths == maths_of(workload):
        return workload
    made, asked = workload.remembered, (set_maths, maths)
    if asked not in made:
        stages = (replace(s, ops=tuple(_told(op, maths) for op in s.ops)) for s in workload.stages)
        before = replace(workload, passes=tuple(done for done in workload.passes if not done.startswith("maths ")))
        made[asked] = before.with_stages(tuple(stages), f"maths {maths}")
    found: Workload = made[asked]
    return found


def maths_of(workload: Workload) -> str:
    """What was chosen for it: ``torch`` where nothing was."""
    chosen = [done.removeprefix("maths ") for done in workload.passes if done.startswith("maths ")]
    return chosen[-1] if chosen else TORCH


def _told(op: Op, maths: str) -> Op:
    """All matrix work is told, for a later pass may put other work in fp32."""
    if op.kind not in MATRIX_KINDS:
        return op
    attrs = {name: value for name, value in op.attrs.items() if name != "maths"}
    return replace(op, attrs=attrs if maths == TORCH else {**attrs, "maths": maths})


def matters(workload: Workload) -> bool:
    """Whether some of its matrix work has operands in fp32."""
    ops = (op for stage in workload.stages for op in stage.ops if op.kind in MATRIX_KINDS)
    return any(DTYPES[op.compute_dtype].wished for op in ops)


def held_as(workload: Workload, dtype: str) -> Workload:
    """A workload that was counted in the type that holds `dtype` (fp32 for tf32), as one in `dtype`."""
    held = held_in(dtype)
    if held == dtype:
        return workload
    stages = tuple(_stage(stage, held, dtype) for stage in workload.stages)
    return replace(workload, stages=stages, dtype=dtype)


def _stage(stage: Stage, held: str, dtype: str) -> Stage:
    def named(name: str) -> str:
        return dtype if name == held else name

    def tensors(group: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(replace(t, dtype=named(t.dtype)) if t.dtype == held else t for t in group)

    ops = tuple(replace(op, reads=tensors(op.reads), writes=tensors(op.writes)) for op in stage.ops)
    weights = {named(name): elements for name, elements in stage.weights.items()}
    return replace(stage, ops=ops, weights=weights, dtype=named(stage.dtype), cache_dtype=named(stage.cache_dtype))
