"""A measured run beside its limits: for every operation the seconds above the roofline, and what a model's workload
says about it.

The limit of a call is the roofline at the shapes that were measured: FLOPs over the dense peak of its dtype, or its
inputs and output once over the memory bandwidth, whichever is longer. A workload adds which operation of the model it
is (`matching.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..dtypes import MATHS, STRICT, TORCH
from ..dtypes import check as check_choice
from ..hardware import Device
from ..roofline import Roofline
from ..run import Run
from ..trace.find.above_peak import ROUNDING, reason_of
from ..trace.find.row_limits import RowLimit, limit_of_attention, limit_of_shape
from ..trace.runs import run_of
from ..units import format_bandwidth
from ..workload.records import Workload
from .inferred import Inferred, infer
from .matching import Index, index_of, missing, name_attention, name_shape
from .records import Gap, GapRow, GapSum, Violation
from .sides import device_of, workload_of

__all__ = ["Gap", "GapRow", "GapSum", "Violation", "check", "device_of", "find_gap", "gap_of", "told", "workload_of"]

UNKNOWN = "(no operator known)"


def find_gap(
    run: Run | str | os.PathLike[str],
    on: str | Device | None = None,
    against: str | os.PathLike[str] | Workload | None = None,
    sizes: Mapping[str, int] | None = None,
    maths: str | None = None,
) -> Gap:
    """Put a run beside the limits of a device and, where one is known, beside a workload at `sizes`.

    `run` is a `Run` or a path: a run's folder, its JSON, or a trace. `on` is a device or its name; by default the
    run's own. `against` is a `Workload`, a model of the catalogue or a workload file; by default the workload that
    `profile` left beside the run, if there is one. `maths` is what multiplied fp32 where its kernels do not tell
    (`dtypes.unit_of`), by default what the run says, else PyTorch's default. Times are nanoseconds.
    Raises `ValueError`, a sentence, for a run without work of a device, where no device is known, for a name that is
    not known, and for an inadmissible size. Sets the run's `coverage.workload`.
    """
    measured = told(run_of(run), maths)
    check(measured)
    device = device_of(measured, on)
    path = None if isinstance(run, Run) else run
    return gap_of(measured, device, *workload_of(measured, path, against, sizes))


def gap_of(run: Run, device: Device, workload: Workload | None, sizes: Mapping[str, int] | None) -> Gap:
    """`find_gap` where both sides are at hand: a run that passes `check`, a device, and a workload at `sizes`.

    Raises `ValueError`, a sentence, for an inadmissible size.
    """
    inferred = infer(run, workload, sizes) if workload else Inferred({}, {})
    sizes = inferred.sizes
    index = index_of(workload, sizes) if workload else None
    roofline = Roofline(device, ran=True)
    rows = [*_shape_rows(run, roofline, index), *_attention_rows(run, roofline, index)]
    rows.sort(key=lambda row: -(row.above_ns if row.above_ns is not None else row.time_ns))
    total = max(1, sum(c.time_ns for c in run.classes))
    limited = [row for row in rows if row.limit_ns is not None]
    limit = sum(row.held_ns for row in limited)
    named = sum(row.time_ns for row in rows if row.path)
    matched = named / total if index else None
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
        missing=missing(index, rows) if index else [],
        uncounted=[f"{name} x{count}" for name, count in workload.uncounted.items()] if workload else [],
        coverage_exact=sum(row.time_ns for row in rows if row.exact) / named if named else None,
        assumptions=[*_assumptions(device, run), *_workload(workload, inferred)],
        above_peak=[
            f"{row.stage}: {row.path or row.name}" for row in rows if row.mfu is not None and row.mfu > ROUNDING
        ],
        violations=[_violation(row, device) for row in sorted(rows, key=lambda r: -r.time_ns) if row.violation],
        coverage_violated=sum(row.time_ns for row in rows if row.violation) / total,
    )


def _violation(row: GapRow, device: Device) -> Violation:
    over = ((row.mbu or 0.0) - 1) * row.time_ns / 1e9 * device.bandwidth
    return Violation(
        operation=f"{row.stage}: {row.path or row.name}",
        count=row.count,
        time_ns=row.time_ns,
        limit_ns=row.limit_ns or 0,
        saved_bytes=round(over / max(1, row.count)) if row.violation in ("in the cache", "a fault of ours") else None,
        reason=row.violation,
    )


def told(run: Run, maths: str | None) -> Run:
    """The run, which keeps what multiplied fp32 where that is said; `ValueError`, a sentence, for another word."""
    check_choice(maths, MATHS, "maths is")
    if maths:
        run.source.maths = maths
    return run


def check(run: Run) -> None:
    """`ValueError` for a run that has no work to put beside limits."""
    if not run.classes:
        raise ValueError("the run holds no work of a device or an operator: there is nothing to put beside limits")
    if run.summary.host_only:
        raise ValueError(
            "the run has times of the host alone, for the work of its device was not recorded: there is nothing to put "
            "beside limits"
        )


def _assumptions(device: Device, run: Run) -> Iterable[str]:
    single = {
        TORCH: "; convolutions in fp32 have the peak of TF32, as PyTorch computes them, and so have products whose "
        "kernel or whose rate says that they were",
        STRICT: "; work on fp32 has the peak of fp32, but where its kernel or its rate says TF32",
    }.get(run.maths, "; work on fp32 has the peak of TF32")
    yield (
        f"dense peaks of {device.name}; bytes of a call are its inputs and output once; causal attention is limited by "
        "the pairs that its mask leaves; a limit above what was measured is listed with its reason, and counts so"
        + (single if "tf32" in device.dense_flops else "")
    )
    if any(row.flops and row.dtype is None for row in run.shapes):
        yield "where types were not recorded, products have the peak of bf16"
    if any(row.over_link for row in run.shapes):
        link = device.pcie_bandwidth
        yield (
            f"copies between host and device are limited by PCIe, {format_bandwidth(link)}, if their memory is pinned"
            if link
            else f"the link between {device.name} and its host is not known: the memory limits copies between them"
        )


def _workload(workload: Workload | None, inferred: Inferred) -> Iterable[str]:
    if workload:
        values = ", ".join(f"{name} {value}" for name, value in workload.sizes(inferred.sizes).items())
        yield f"workload {workload.name} at {values}"
        if inferred.sentence:
            yield inferred.sentence


# ---------------------------------------------------------------------------------------------- measured


def _shape_rows(run: Run, roofline: Roofline, index: Index | None) -> Iterable[GapRow]:
    for row in run.shapes:
        if row.class_ == "attention" and run.attention:
            continue
        made = GapRow(row.class_, row.name or UNKNOWN, row.stage, dims=row.dims, count=row.count, time_ns=row.time_ns)
        _limit(made, limit_of_shape(row, roofline, run.maths), roofline.device)
        if index:
            name_shape(made, row, index)
        yield made


def _attention_rows(run: Run, roofline: Roofline, index: Index | None) -> Iterable[GapRow]:
    for row in run.attention:
        dims = [row.batch, row.heads, row.query_len, row.key_len, row.head_dim] if row.query_len else []
        name = f"{row.kind} attention, {'fused' if row.fused else 'eager'}" + (", packed" if row.packed else "")
        name += ", backward" if row.backward else ""
        made = GapRow("attention", name, row.stage, dims=dims, count=row.count, time_ns=row.time_ns)
        _limit(made, limit_of_attention(row, roofline, run.maths), roofline.device)
        if index and row.query_len:
            name_attention(made, row, index)
        yield made
    loose = sum(c.time_ns for c in run.classes if c.name == "attention") - sum(a.time_ns for a in run.attention)
    if run.attention and loose > 0:  # copies that an attention's operator made
        yield GapRow("attention", "(outside any attention found)", "", time_ns=loose)


def _limit(made: GapRow, found: RowLimit | None, device: Device) -> None:
    """Set limit, distance and utilizations of a row from its limit, if it has one."""
    if found is None:
        return
    needed, computed, moved = found.amounts
    made.limit_ns = round(found.ns)
    made.above_ns = made.time_ns - made.limit_ns
    made.bound = found.bound
    if made.time_ns:
        made.mfu = found.compute_ns / made.time_ns * (computed / needed) if computed and needed else None
        made.mbu = found.memory_ns / made.time_ns if moved is not None else None
    if found.ns > ROUNDING * made.time_ns + 0.5:
        link = found.bandwidth if found.bandwidth != device.bandwidth else None
        made.violation = _reason(made, device, found.compute_ns, moved or 0.0, link)


def _reason(made: GapRow, device: Device, compute_ns: float, moved: float, link: float | None) -> str:
    """Why its limit is longer than its time (`Violation.reason`)."""
    if compute_ns > ROUNDING * made.time_ns + 0.5:
        return "above the peak"
    return reason_of(moved, made.time_ns, made.count, device) if link is None else "above the link"


def _sums(rows: Sequence[GapRow], name: Any) -> list[GapSum]:
    found: dict[str, GapSum] = {}
    for row in rows:
        one = found.setdefault(name(row), GapSum(name(row), 0, 0, 0, 0))
        one.time_ns += row.time_ns
        if row.limit_ns is None:
            one.unlimited_ns += row.time_ns
        else:
            one.limit_ns += row.held_ns
            one.above_ns += row.time_ns - row.held_ns
    return sorted(found.values(), key=lambda one: -one.time_ns)
