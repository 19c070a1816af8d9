"""Read a CSV export of NVIDIA Nsight Compute: hit rates, misses and bytes of every kernel.

Both forms that ``ncu --csv`` prints are read: the raw page (``--page raw``: a column for each metric, units in the
second line) and the details page (a line for each kernel and metric). Lines before the header (``==PROF== …``) are
skipped.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable

from ...files import read_whole
from ...outside import clean, number
from ...trace.read.events import Kind
from ...trace.resolve.classify import ATTENTION, ELEMENTWISE, LINEAR, SOFTMAX, classify
from .source import Row

MOST_BYTES = 1 << 25
"""Bytes of an export."""

# What is kept of a kernel, and the metrics it may be named by (ncu --query-metrics), the first present counts.
METRICS: dict[str, tuple[str, ...]] = {
    "time_s": ("gpu__time_duration.sum", "Duration"),
    "instructions": ("smsp__inst_executed.sum", "sm__inst_executed.sum", "Executed Instructions"),
    "l1_hit_rate": ("l1tex__t_sector_hit_rate.pct", "L1/TEX Hit Rate"),
    "l2_hit_rate": ("lts__t_sector_hit_rate.pct", "L2 Hit Rate"),
    "l1_misses": ("l1tex__t_sectors_lookup_miss.sum",),
    "l2_misses": ("lts__t_sectors_lookup_miss.sum",),
    "dram_bytes": ("dram__bytes.sum",),
    "dram_read_bytes": ("dram__bytes_read.sum",),
    "dram_write_bytes": ("dram__bytes_write.sum",),
    "memory_stall": ("smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio",),
}
SCALES = {
    "": 1.0,
    "s": 1.0,
    "second": 1.0,
    "ms": 1e-3,
    "msecond": 1e-3,
    "us": 1e-6,
    "usecond": 1e-6,
    "ns": 1e-9,
    "nsecond": 1e-9,
    "byte": 1.0,
    "kbyte": 1e3,
    "mbyte": 1e6,
    "gbyte": 1e9,
    "tbyte": 1e12,
    "%": 0.01,
    "inst": 1.0,
    "sector": 1.0,
    "cycle": 1.0,
}
CLASS_WORDS = {LINEAR: "gemm", SOFTMAX: "softmax", ELEMENTWISE: "elementwise", ATTENTION: "attention"}


def read(path: str | os.PathLike[str]) -> list[Row]:
    """One row a kernel: ``kernel``, ``class`` (gemm, softmax …) and what `METRICS` names, in SI, where present.

    Adds ``l1_mpki`` and ``l2_mpki``, misses per thousand instructions, where misses and instructions are there.
    Raises `ValueError` with a sentence for a file that is no such export.
    """
    text = read_whole(path, MOST_BYTES).decode("utf-8", errors="replace")
    lines = text.splitlines()
    head = next((at for at, line in enumerate(lines) if "Kernel Name" in line), None)
    if head is None:
        raise ValueError(f"{os.fspath(path)} is no Nsight Compute CSV: no column 'Kernel Name' (ncu --csv --page raw)")
    try:
        table = list(csv.DictReader(lines[head:]))
    except csv.Error as error:
        raise ValueError(f"{os.fspath(path)} is no Nsight Compute CSV: {error}") from None
    raw = _long(table) if table and "Metric Name" in table[0] else _wide(table)
    rows = [row for row in map(_row, raw) if len(row) > 2]
    if not rows:
        wanted = ", ".join(names[0] for names in METRICS.values())
        raise ValueError(f"{os.fspath(path)} holds no metric that is used here; ncu --metrics {wanted}")
    return rows


Values = dict[str, tuple[float, str]]


def _wide(table: list[dict[str, str]]) -> Iterable[tuple[str, Values]]:
    units: dict[str, str] = {}
    for line in table:
        if not (line.get("Kernel Name") or "").strip():  # the line of units
            units = {name: value or "" for name, value in line.items() if name}
            continue
        found = {name: _number(value) for name, value in line.items() if name}
        yield line["Kernel Name"], {n: (v, units.get(n, "")) for n, v in found.items() if v is not None}


def _long(table: list[dict[str, str]]) -> Iterable[tuple[str, Values]]:
    kernels: dict[tuple[str, str], Values] = {}
    for line in table:
        values = kernels.setdefault((line.get("ID") or "", line["Kernel Name"]), {})
        value = _number(line.get("Metric Value"))
        if value is not None:
            values[line["Metric Name"]] = (value, line.get("Metric Unit") or "")
    yield from ((name, values) for (_, name), values in kernels.items())


def _number(text: object) -> float | None:
    """A value of the table; None for what is none, and where a broken line gives several."""
    return number(text.replace(",", "")) if isinstance(text, str) else None


def _row(kernel: tuple[str, Values]) -> Row:
    name, values = kernel
    found = classify("", name, Kind.KERNEL)
    row: Row = {"kernel": clean(name), "class": CLASS_WORDS.get(found, found)}
    for key, names in METRICS.items():
        metric = next((values[n] for n in names if n in values), None)
        if metric is not None:
            row[key] = metric[0] * SCALES.get(metric[1].lower(), 1.0)
    if "dram_bytes" not in row and {"dram_read_bytes", "dram_write_bytes"} <= set(row):
        row["dram_bytes"] = row["dram_read_bytes"] + row["dram_write_bytes"]
    for cache in ("l1", "l2"):
        if row.get(f"{cache}_misses") is not None and row.get("instructions"):
            row[f"{cache}_mpki"] = row[f"{cache}_misses"] / (row["instructions"] / 1000)
    return row


def by_class(rows: list[Row]) -> dict[str, Row]:
    """Sums and weighted means by class of kernel: misses over instructions, hit rates and stalls by time."""
    out: dict[str, Row] = {}
    for name in dict.fromkeys(row["class"] for row in rows):
        mine = [row for row in rows if row["class"] == name]
        made: Row = {"class": name, "kernels": len(mine)}
        for key in ("time_s", "instructions", "dram_bytes"):
            known = [row[key] for row in mine if key in row]
            made[key] = sum(known) if known else None
        for cache in ("l1", "l2"):
            both = [row for row in mine if f"{cache}_misses" in row and row.get("instructions")]
            misses, executed = (sum(r[k] for r in both) for k in (f"{cache}_misses", "instructions"))
            made[f"{cache}_mpki"] = misses / (executed / 1000) if executed else None
        for key in ("l1_hit_rate", "l2_hit_rate", "memory_stall"):
            timed = [row for row in mine if key in row]
            weight = sum(row.get("time_s", 1.0) for row in timed)
            made[key] = sum(row[key] * row.get("time_s", 1.0) for row in timed) / weight if weight else None
        out[name] = made
    return out
