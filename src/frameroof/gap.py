"""A measured run beside its limits: for every operation the seconds above the roofline, and what a model's workload
says about it.

The limit of a call is the roofline at the shapes that were measured: FLOPs over the dense peak of its dtype, or its
inputs and output once over the memory bandwidth, whichever is longer. A workload adds which operation of the model it
is: by weights and shapes (a batch may be merged: guidance in one forward), within the same stage first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .hardware import Device
from .run import AttentionRow, Run, ShapeRow
from .trace.shapes import Inputs, matmul, peak_of
from .workload.expr import expr
from .workload.records import Op, Stage, Workload

UNKNOWN = "(no operator known)"
ROUNDING = 1.001
"""An MFU up to this is 1: times are whole nanoseconds."""


class GapRow(msgspec.Struct):
    """One operation at one set of shapes: measured, limit, and the difference; all calls together."""

    class_: str = msgspec.field(name="class")
    name: str = ""
    stage: str = ""
    path: str = ""
    """The operation of the workload; "" where none was matched."""
    exact: bool = False
    """Whether its shapes are the workload's at the sizes given (a merged batch allowed)."""
    dims: list[Any] = msgspec.field(default_factory=list)
    count: int = 0
    time_ns: int = 0
    limit_ns: int | None = None
    above_ns: int | None = None
    mfu: float | None = None
    mbu: float | None = None
    bound: str = ""


class GapSum(msgspec.Struct):
    """A class or a stage."""

    name: str
    time_ns: int
    limit_ns: int
    above_ns: int
    unlimited_ns: int
    """Time of what has no limit: its shapes were not recorded."""


class Gap(msgspec.Struct):
    """The distance of a run from its limits."""

    device: str
    rows: list[GapRow]
    classes: list[GapSum]
    stages: list[GapSum]
    time_ns: int
    """Sum of all work."""
    limit_ns: int
    idle_ns: int
    coverage_workload: float | None
    coverage_limit: float
    """Share of the time that has a limit."""
    never_faster_ns: int
    """Idle time and limits: what no faster kernel could win back."""
    span_ns: int
    missing: list[str]
    """Matrix operations of the workload that the run does not show, `stage: path`."""
    uncounted: list[str]
    assumptions: list[str]
    above_peak: list[str] = msgspec.field(default_factory=list)
    """Operations that took less time than their FLOPs do at the dense peak: the times are not those of this device."""


@dataclass(frozen=True)
class _Known:
    """One operation of the workload at the given sizes."""

    stage: str
    path: str
    scale: int
    """The part of its size that a merged batch multiplies."""


@dataclass
class _Index:
    """Operations of a workload by what identifies them in a trace."""

    exact: dict[tuple[Any, ...], list[_Known]] = field(default_factory=lambda: defaultdict(list))
    loose: dict[tuple[Any, ...], list[_Known]] = field(default_factory=lambda: defaultdict(list))
    matrix: set[_Known] = field(default_factory=set)


def find_gap(run: Run, device: Device, workload: Workload | None = None, sizes: Mapping[str, int] | None = None) -> Gap:
    """Put a run beside the limits of `device` and, if given, beside a workload at `sizes`.

    Raises `ValueError` for an inadmissible size. Sets `run.coverage.workload`.
    """
    if not run.classes:
        raise ValueError("the run holds no work of a device or an operator: there is nothing to put beside limits")
    index = _index(workload, sizes) if workload else None
    rows = [*_shape_rows(run, device, index), *_attention_rows(run, device, index)]
    rows.sort(key=lambda row: -(row.above_ns if row.above_ns is not None else row.time_ns))
    total = max(1, sum(c.time_ns for c in run.classes))
    limited = [row for row in rows if row.limit_ns is not None]
    limit = sum(row.limit_ns or 0 for row in limited)
    matched = sum(row.time_ns for row in rows if row.path) / total if index else None
    run.coverage.workload = matched
    return Gap(
        device=device.name,
        rows=rows,
        classes=_sums(rows, lambda row: row.class_),
        stages=_sums(rows, lambda row: row.stage),
        time_ns=total,
        limit_ns=limit,
        idle_ns=run.summary.idle_ns,
        coverage_workload=matched,
        coverage_limit=sum(row.time_ns for row in limited) / total,
        never_faster_ns=min(run.summary.span_ns, run.summary.idle_ns + limit),
        span_ns=run.summary.span_ns,
        missing=_missing(index, rows) if index else [],
        uncounted=[f"{name} x{count}" for name, count in workload.uncounted.items()] if workload else [],
        assumptions=_assumptions(device, workload, sizes),
        above_peak=[
            f"{row.stage}: {row.path or row.name}" for row in rows if row.mfu is not None and row.mfu > ROUNDING
        ],
    )


def _assumptions(device: Device, workload: Workload | None, sizes: Mapping[str, int] | None) -> list[str]:
    found = [
        f"dense peaks of {device.name}; bytes of a call are its inputs and output once; causal attention is limited by "
        "the half that a kernel computes; an MBU above 1 was served by a cache"
        + (
            "; a trace does not tell fp32 from TF32, so fp32 has the peak of TF32"
            if "tf32" in device.dense_flops
            else ""
        )
    ]
    if workload:
        values = ", ".join(f"{name} {value}" for name, value in workload.sizes(sizes).items())
        found.append(f"workload {workload.name} at {values}")
    return found


# ---------------------------------------------------------------------------------------------- measured


def _shape_rows(run: Run, device: Device, index: _Index | None) -> Iterable[GapRow]:
    for row in run.shapes:
        if row.class_ == "attention" and run.attention:
            continue
        made = GapRow(row.class_, row.name or UNKNOWN, row.stage, dims=row.dims, count=row.count, time_ns=row.time_ns)
        _limit(made, device, (row.flops, row.flops, row.bytes), row.dtype)
        if index:
            _match(made, index, *_keys_of(row))
            if not made.path and row.name.startswith("triton_"):
                _match_fused(made, index)
        yield made


def _attention_rows(run: Run, device: Device, index: _Index | None) -> Iterable[GapRow]:
    for row in run.attention:
        dims = [row.batch, row.heads, row.query_len, row.key_len, row.head_dim]
        name = f"{row.kind} attention, {'fused' if row.fused else 'eager'}"
        made = GapRow("attention", name, row.stage, dims=dims, count=row.count, time_ns=row.time_ns)
        if row.query_len:
            executed = row.flops / 2 if row.causal else row.flops
            _limit(made, device, (executed, row.flops, row.bytes), row.dtype)
        if index:
            _match(made, index, *_attention_keys(row))
        yield made
    loose = sum(c.time_ns for c in run.classes if c.name == "attention") - sum(a.time_ns for a in run.attention)
    if run.attention and loose > 0:  # copies that an attention's operator made
        yield GapRow("attention", "(outside any attention found)", "", time_ns=loose)


def _limit(
    made: GapRow, device: Device, amounts: tuple[float | None, float | None, float | None], dtype: str | None
) -> None:
    """Set limit, distance and utilisations from (FLOPs executed, FLOPs counted, bytes) of all calls."""
    executed, counted, moved = amounts
    if executed is None or moved is None:
        return
    peak = peak_of(device, dtype)
    compute, memory = executed / peak * 1e9, moved / device.bandwidth * 1e9
    made.limit_ns = min(made.time_ns, round(max(compute, memory)))  # a cache can beat the memory: MBU above 1
    made.above_ns = made.time_ns - made.limit_ns
    made.bound = "compute" if compute > memory else "memory"
    if made.time_ns:
        made.mfu = compute / made.time_ns if counted else None
        made.mbu = memory / made.time_ns


def _sums(rows: Sequence[GapRow], name: Any) -> list[GapSum]:
    found: dict[str, GapSum] = {}
    for row in rows:
        one = found.setdefault(name(row), GapSum(name(row), 0, 0, 0, 0))
        one.time_ns += row.time_ns
        if row.limit_ns is None:
            one.unlimited_ns += row.time_ns
        else:
            one.limit_ns += row.limit_ns
            one.above_ns += row.above_ns or 0
    return sorted(found.values(), key=lambda one: -one.time_ns)


# ---------------------------------------------------------------------------------------------- matching

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


def _keys_of(row: ShapeRow) -> Keys:
    base = row.name.removeprefix("aten::")
    inputs = Inputs(tuple(_tuples(d) for d in row.dims), (), ())
    if row.class_ == "convolution" and row.flops and row.count and len(row.dims) > 1 and row.dims[1]:
        each = 1
        for d in row.dims[1][1:]:
            each *= d
        outputs = round(row.flops / row.count / 2 / each)
        return None, ("conv", each), outputs
    product = matmul(base, inputs)
    if product:
        batch, m, k, n = product
        return (("bmm", m, k, n), ("bmm", k, n), batch) if batch > 1 else (None, ("mm", k, n), m)
    sizes = [_elements(d) for d in row.dims if d and isinstance(d[0], int)]
    return None, ("other", _plain(base), None), max(sizes, default=0)


def _attention_keys(row: AttentionRow) -> Keys:
    return ("attn", row.heads, row.query_len, row.key_len, row.head_dim), ("attn", row.heads, row.head_dim), row.batch


def _tuples(dims: Any) -> Any:
    return tuple(_tuples(d) for d in dims) if isinstance(dims, list) else dims


def _elements(dims: Sequence[int]) -> int:
    total = 1
    for d in dims:
        total *= d
    return total


def _match(
    made: GapRow, index: _Index, exact: tuple[Any, ...] | None, loose: tuple[Any, ...] | None, size: int
) -> None:
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


def _match_fused(made: GapRow, index: _Index) -> None:
    """Name the operations that a kernel of torch.compile fuses: those in its name that have a tensor of its sizes."""
    sizes = {_elements(d) for d in made.dims if d and isinstance(d[0], int)}
    paths = []
    for key, found in index.loose.items():
        if key[0] != "other" or f"_{key[1]}_" not in f"{made.name}_":
            continue
        for known in found:
            merged = any(known.scale > 1 and s % known.scale == 0 and s // known.scale <= MOST_MERGED for s in sizes)
            if merged and _same_stage(known.stage, made.stage):
                paths.append(known.path)
    if paths:
        others = len(set(paths)) - 1
        made.path = paths[0] + (f" (+{others} fused or alike)" if others else "")
        made.exact = True


def _same_stage(workload_stage: str, measured_stage: str) -> bool:
    """ "text_encoder_2" and "text encode", "vae_decode" and "vae decode" are the same stage."""
    a, b = workload_stage.replace("_", " ").lower(), measured_stage.replace("_", " ").lower()
    return a.startswith(b) or b.startswith(a) or a.split(" ")[0] == b.split(" ")[0]


def _index(workload: Workload, sizes: Mapping[str, int] | None) -> _Index:
    """The workload's operations at the given sizes, by what a trace can show of them."""
    values = workload.sizes(sizes)
    index = _Index()
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


def _enter(index: _Index, stage: str, op: Op, env: Mapping[str, Any]) -> None:
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


def _missing(index: _Index, rows: Sequence[GapRow]) -> list[str]:
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
