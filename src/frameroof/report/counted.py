"""What `frameroof count` found: FLOPs, bytes and parameters by stage and kind."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..study.counts import StageCount, counts
from ..units import format_bytes, format_count, format_flops
from ..workload.records import Workload
from ..workload.verified import verified
from .console import console, table
from .json import print_json


def print_counted(workload: Workload, out: Path | None, as_json: bool) -> None:
    """Print the counts at the workload's default sizes, and where the workload was written."""
    data = counts(workload)
    if as_json:
        print_json({**msgspec.to_builtins(data), "out": str(out) if out else None})
        return
    page = console()
    page.print(f"{workload.name}  " + "  ".join(f"{n} {v}" for n, v in data.sizes.items()), style="bold")
    page.print(table(("stage", "runs", "FLOPs", "vector FLOPs", "bytes", "parameters"), map(_row, data.stages)))
    kinds = [(k.kind, str(k.calls), format_flops(k.flops), format_bytes(k.bytes)) for k in data.kinds]
    page.print(table(("kind", "calls", "FLOPs", "bytes"), kinds))
    total = data.total
    page.print(
        f"total {format_flops(total.flops)}, {format_bytes(total.bytes)}, {format_count(total.params)} parameters"
    )
    page.print(f"{data.assumptions.flops}; bytes: {data.assumptions.bytes}", style="dim")
    if ranges := verified(workload):
        said = ", ".join(f"{name} {low} to {high}" for name, (low, high) in ranges.items())
        page.print(f"verified: {said}", style="dim")
    for note in workload.notes:
        page.print(note, style="dim")
    for entry in data.uncounted:
        page.print(f"without a FLOP rule (bytes counted): {entry.name}, {entry.count} calls", style="yellow")
    if out is not None:
        page.print(f"wrote {out}")


def _row(stage: StageCount) -> tuple[str, ...]:
    return (
        stage.name,
        str(stage.repeat),
        format_flops(stage.flops),
        format_flops(stage.vector_flops),
        format_bytes(stage.bytes),
        format_count(stage.params),
    )
