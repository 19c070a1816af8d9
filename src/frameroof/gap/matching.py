"""Which operation of a model a measured one is: by weights and shapes (a batch may be merged: guidance in one
forward), within the same stage first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..rules import convolution_flops
from ..run import AttentionRow, ShapeRow
from ..trace.read.events import Kind
from ..trace.resolve.classify import classify
from ..trace.resolve.operator_cost import matmul
from ..trace.resolve.recorded_inputs import Inputs
from ..workload.expr import expr
from ..workload.records import Op, Stage, Workload
from .records import GapRow


@dataclass(frozen=True)
class _Known:
    """One operation of the workload at the given sizes."""

    stage: str
    path: str
    scale: int
    """The part of its size that a merged batch multiplies."""


@dataclass
class Index:
    """Operations of a workload by what identifies them in a trace."""

    exact: dict[tuple[Any, ...], list[_Known]] = field(default_factory=lambda: defaultdict(list))
    loose: dict[tuple[Any, ...], list[_Known]] = field(default_factory=lambda: defaultdict(list))
    matrix: set[_Known] = field(default_factory=set)


Keys = tuple[tuple[Any, ...] | None, tuple[Any, ...] | None, int]
"""(what identifies an operation with its sizes but the merged one, the same without sizes, the merged size)."""


_SAME = {
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "aiter::_groupnorm_run": "group_norm",
    "_fused_rms_norm": "rms_norm",
    "_softmax": "softmax",
    "_to_copy": "copy",
    "clone": "copy",
    "contiguous": "copy",
}
"""What runs -> what the model calls, where the names differ."""


def _plain(name: str) -> str:
    """An operator's name without the mark of working in place, and as the model calls it."""
    return _SAME.get(name.rstrip("_"), name.rstrip("_"))


def keys_of(row: ShapeRow) -> Keys:
    """What identifies the operation of a row of shapes."""
    base = row.name.removeprefix("aten::")
    inputs = Inputs(tuple(_tuples(d) for d in row.dims), (), ())
    if row.class_ == "convolution" and row.flops and row.count and len(row.dims) > 1 and row.dims[1]:
        each = prod(row.dims[1][1:])
        outputs = round(row.flops / row.count / convolution_flops(1, each))
        return None, ("conv", each), outputs
    product = matmul(base, inputs)
    if product:
        batch, m, k, n = product
        return (("bmm", m, k, n), ("bmm", k, n), batch) if batch > 1 else (None, ("mm", k, n), m)
    sizes = [_elements(d) for d in row.dims if d and isinstance(d[0], int)]
    return None, ("other", _plain(base), None), max(sizes, default=0)


def _tuples(dims: Any) -> Any:
    return tuple(_tuples(d) for d in dims) if isinstance(dims, list) else dims


def _elements(dims: Sequence[Any]) -> int:
    return prod(dims)


def name_shape(made: GapRow, row: ShapeRow, index: Index) -> None:
    """Name the workload's operation that a row of shapes is, if there is one."""
    _match(made, index, *keys_of(row))
    if not made.path and row.name.startswith("triton_"):
        _match_fused(made, index)


def name_attention(made: GapRow, row: AttentionRow, index: Index) -> None:
    """Name the workload's attention that a row of attention is, if there is one."""
    exact = "attn", row.heads, row.query_len, row.key_len, row.head_dim
    _match(made, index, exact, ("attn", row.heads, row.head_dim), row.batch)


def _match(made: GapRow, index: Index, exact: tuple[Any, ...] | None, loose: tuple[Any, ...] | None, size: int) -> None:
    """Name the workload's operation: the same sizes or a whole multiple of them, else the same weights."""
    candidates = index.exact.get(exact, []) if exact else index.loose.get(loose, []) if loose else []
    whole = [k for k in candidates if k.scale and size and size % k.scale == 0]
    near = whole or ([] if loose and loose[0] == "other" else index.loose.get(loose, []) if loose else [])
    if not near:
        return
    same_stage = [k for k in near if _same_stage(k.stage, made.stage)]
    pool = same_stage or near
    smallest = min(pool, key=lambda k: size // k.scale if k.scale else 0)
    paths = sorted({k.path for k in pool if k.scale == smallest.scale})
    made.path = paths[0] + (f" (+{len(paths) - 1} alike)" if len(paths) > 1 else "")
    made.exact = bool(whole)


MOST_MERGED = 8
"""How many of the workload's calls one fused kernel is believed to serve by a merged batch."""


def _match_fused(made: GapRow, index: Index) -> None:
    """Name the operations that a kernel of torch.compile fuses: those in its name that have a tensor of its sizes.

    The first named is one of the kernel's own class (the norm of a norm's kernel), of the repeated layers if any is.
    """
    sizes = {_elements(d) for d in made.dims if d and isinstance(d[0], int)}
    ranked: dict[str, tuple[bool, bool]] = {}
    for key, found in index.loose.items():
        if key[0] != "other" or f"_{key[1]}_" not in f"{made.name}_":
            continue
        own = classify(f"aten::{key[1]}", "", Kind.OPERATOR) == made.class_
        for known in found:
            merged = any(known.scale > 1 and s % known.scale == 0 and s // known.scale <= MOST_MERGED for s in sizes)
            if merged and _same_stage(known.stage, made.stage):
                ranked[known.path] = max(ranked.get(known.path, (False, False)), (own, "[" in known.path))
    if ranked:
        first = max(ranked, key=lambda path: ranked[path])
        made.path = first + (f" (+{len(ranked) - 1} fused or alike)" if len(ranked) > 1 else "")
        made.exact = True


def _same_stage(workload_stage: str, measured_stage: str) -> bool:
    """ "text_encoder_2" and "text encode", "vae_decode" and "vae decode" are the same stage."""
    a, b = workload_stage.replace("_", " ").lower(), measured_stage.replace("_", " ").lower()
    return a.startswith(b) or b.startswith(a) or a.split(" ")[0] == b.split(" ")[0]


def index_of(workload: Workload, sizes: Mapping[str, int] | None) -> Index:
    """The workload's operations at the given sizes, by what a trace can show of them."""
    values = workload.sizes(sizes)
    index = Index()
    for stage in workload.stages:
        env = _environment(stage, values)
        for op in stage.ops:
            if not op.attrs.get("total"):
                _enter(index, stage.name, op, env)
    return index


def _environment(stage: Stage, values: Mapping[str, int]) -> dict[str, Any]:
    """Sizes of one turn of a stage; of a loop, its first."""
    if not stage.loop:
        return stage.bind(values)
    variable, count = stage.loop
    expr(count)(values)
    return stage.bind({**values, variable: 0})


def _enter(index: Index, stage: str, op: Op, env: Mapping[str, Any]) -> None:
    d = {name: int(size(env)) for name, size in op.dims.items()}
    if op.kind in ("linear", "matmul"):
        if d["b"] > 1:
            known = _Known(stage, op.path, d["b"])
            index.exact["bmm", d["m"], d["k"], d["n"]].append(known)
            index.loose["bmm", d["k"], d["n"]].append(known)
        else:
            known = _Known(stage, op.path, d["m"])
            index.loose["mm", d["k"], d["n"]].append(known)
        index.matrix.add(known)
    elif op.kind.startswith("conv"):
        known = _Known(stage, op.path, d["n"])
        index.loose["conv", d["k"]].append(known)
        index.matrix.add(known)
    elif op.kind == "attention":
        known = _Known(stage, op.path, d["b"])
        index.exact["attn", d["heads"], d["q"], d["kv"], d["d"]].append(known)
        index.loose["attn", d["heads"], d["d"]].append(known)
        index.matrix.add(known)
    else:
        sizes = [int(t.elements(env)) for t in (*op.reads, *op.writes)]
        known = _Known(stage, op.path, max(sizes, default=0))
        index.loose["other", _plain(op.name), None].append(known)


def missing(index: Index, rows: Sequence[GapRow]) -> list[str]:
    """Matrix operations of stages that the run has, none of whose alikes was seen."""
    stages = {row.stage for row in rows if row.path}
    seen = {row.path.split(" (+")[0] for row in rows if row.path}
    keyed = defaultdict(set)
    for key, found in (*index.exact.items(), *index.loose.items()):
        for known in found:
            keyed[known].add(key)
    named = {key for known, keys in keyed.items() if known.path in seen for key in keys}
    return sorted(
        f"{known.stage}: {known.path}"
        for known in index.matrix
        if not (keyed[known] & named) and any(_same_stage(known.stage, s) for s in stages)
    )
