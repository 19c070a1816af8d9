"""Bytes that attention moved between chip and memory, from hardware counters, call by call in the order of the run."""

from __future__ import annotations

import os

import polars as pl

from . import counters
from .source import Row

NEEDED = ("dram_bytes", "time_s")


def dram_of(calls: pl.DataFrame, path: str | os.PathLike[str]) -> dict[int, Row]:
    """``start_ns`` of a call -> ``dram_bytes`` and ``time_s`` of its kernel, from an Nsight Compute export.

    `calls` are all calls of attention of a stage, cross-attention too, in order; the export's kernels of attention are
    taken for them one by one from the first on, so that an export of the first steps is enough.
    Raises `ValueError` with a sentence where it holds none, more of them than calls, or not what is needed of them.
    """
    name = os.fspath(path)
    kernels = [row for row in counters.read(path) if row["class"] == "attention"]
    if not kernels:
        raise ValueError(f"{name} holds no kernel of attention; figure 8 needs those of a run with flash attention")
    if len(kernels) > len(calls):
        raise ValueError(
            f"{name} holds {len(kernels)} kernels of attention, and the stage makes {len(calls)} calls: they are not "
            "of one run at these sizes"
        )
    if any(not row.get("time_s") or "dram_bytes" not in row for row in kernels):
        wanted = ", ".join(counters.METRICS[key][0] for key in NEEDED)
        raise ValueError(f"{name} lacks a metric of a kernel of attention; ncu --metrics {wanted}")
    return dict(zip(calls["start_ns"].head(len(kernels)).to_list(), kernels, strict=True))
