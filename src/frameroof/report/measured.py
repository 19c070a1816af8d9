"""What `frameroof profile` timed without the profiler, as a table and a few lines."""

from __future__ import annotations

from pathlib import Path

from ..recorded import StageTime
from ..run import Run
from ..units import format_bytes, format_seconds
from .console import console, table


def print_measured(run: Run, out: Path | None) -> None:
    """Print repetitions, stages and memory of a recorded run, and where it was written."""
    page, m = console(), run.measured
    page.print()
    page.print("Measured without the profiler" if m.samples_ns else "Recorded once, not timed", style="bold")
    if m.stages:
        columns = ("stage", "per pipeline", "calls", "median", "middle half within", "memory peak")
        page.print(table(columns, map(_stage, m.stages)))
    if m.samples_ns:
        page.print(
            f"median {_s(m.median_ns)} of {len(m.samples_ns)} repetitions, "
            f"{_s(m.min_ns)} to {_s(m.max_ns)}, middle half within {_s(m.spread_ns)}"
        )
    if m.cold_ns:
        compiled = f", of which torch.compile {_s(m.compile_ns)}" if m.compile_ns else ""
        page.print(f"first call {_s(m.cold_ns)}{compiled}; under the profiler {_s(m.profiled_ns)}")
    if m.pipeline_ns:
        page.print(f"whole pipeline {_s(m.pipeline_ns)}: stages times how often it runs them")
    if m.memory and m.memory.peak_bytes is not None:
        page.print(f"memory {format_bytes(m.memory.peak_bytes)} at the peak ({m.memory.of})")
    probe = run.environment.probe
    if probe:
        peaks = ", ".join(f"{rate / 1e9:,.1f} GFLOP/s {dtype}" for dtype, rate in probe.dense_flops.items())
        page.print(f"{probe.name}: {peaks}, {probe.bandwidth / 1e9:,.1f} GB/s, measured here", style="dim")
    for note in m.notes or ():
        page.print(note, style="dim")
    if out is not None:
        names = ("trace.json.gz", "capture.json.gz", "workload.json", "run.json")
        page.print(f"wrote {out}: {', '.join(name for name in names if (out / name).is_file())}")


def _stage(row: StageTime) -> tuple[str, ...]:
    peak = format_bytes(row.peak_bytes) if row.peak_bytes is not None else ""
    return row.name, str(row.repeat or 1), str(row.calls or ""), _s(row.median_ns), _s(row.spread_ns), peak


def _s(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else format_seconds(nanoseconds / 1e9)
