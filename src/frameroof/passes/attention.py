"""Baseline attention: the similarity matrix is written to memory and read back, kernel by kernel.

The pieces are those of transformers' eager attention: scores = q k^T, scale, mask where there is
one, softmax in fp32, a cast back, values = p v. In a sixteen-bit model the matrix is then passed
over ten times its own size (1 + 2 + 3 + 3 + 1), which is what flash attention saves.
"""

from __future__ import annotations

from dataclasses import replace

from ..dtypes import BITS
from ..workload.expr import Poly
from ..workload.records import Held, Op, Stage, Tensor, Workload

ZERO = Poly()


def materialize_attention(workload: Workload) -> Workload:
    """The workload with every attention cut into the kernels of its baseline form."""
    stages = tuple(_stage(stage, stage.dtype or workload.dtype) for stage in workload.stages)
    return workload.with_stages(stages, "baseline attention (similarity matrix written and read)")


def _stage(stage: Stage, dtype: str) -> Stage:
    ops: list[Op] = []
    first_row: list[int] = []
    for op in stage.ops:
        first_row.append(len(ops))
        ops.extend(_pieces(op) if op.kind == "attention" and "piece" not in op.attrs else [op])
    held = tuple(_held(h, stage.ops[h.row], first_row[h.row], dtype) for h in stage.held)
    return replace(stage, ops=tuple(ops), held=held)


def _held(held: Held, op: Op, row: int, dtype: str) -> Held:
    """The softmax holds two copies of the matrix: scores, and probabilities in fp32."""
    if op.kind != "attention":
        return replace(held, row=row)
    scores = op.scores()
    if BITS[dtype] == 32:
        return Held(row, held.elements + scores * 2, held.fixed_bytes)
    return Held(row, held.elements + scores, held.fixed_bytes + scores * 4)


def _pieces(op: Op) -> list[Op]:
    q, k, v, *masks = op.reads
    d = op.dims
    matrix = Tensor((d["b"] * d["heads"], d["q"], d["kv"]), q.dtype)
    wide = replace(matrix, dtype="fp32")
    attrs = {name: value for name, value in op.attrs.items() if name not in ("causal", "align")}
    whole = {name: size for name, size in d.items() if name != "twice_pairs"}  # what a mask hides is computed

    def piece(name: str, reads: tuple[Tensor, ...], writes: tuple[Tensor, ...], **dims: Poly) -> Op:
        sizes = {**whole, "d": ZERO, "dv": ZERO, **dims}
        return Op(
            op.path,
            "attention",
            f"attention.{name}",
            reads,
            writes,
            sizes,
            {**attrs, "piece": name},
            op.count,
        )

    pieces = [piece("scores", (q, k), (matrix,), d=d["d"]), piece("scale", (matrix,), (matrix,))]
    if masks or op.attrs.get("causal") or "twice_pairs" in d:
        mask = masks[0] if masks else Tensor((d["q"], d["kv"]), q.dtype)
        pieces.append(piece("mask", (matrix, mask), (matrix,)))
    narrow = q.dtype != "fp32"
    pieces.append(piece("softmax", (matrix,), (wide,)))
    if narrow:
        pieces.append(piece("cast", (wide,), (matrix,)))
    values = piece("values", (matrix, v), op.writes[:1], dv=d["dv"])
    pieces.append(replace(values, region=op.region))  # what follows attention in its region follows its last kernel
    return pieces
