"""Measured kernels of others, read and cleaned: what is dropped is listed by file and number, with the reason.

Three sources. NVIDIA's own wheel is read by `gemm_tables`, as is what is at fault in it. NEUSIGHT is a folder of
Parquet tables of github.com/sitar-lab/NeuSight (MIT): fp32 kernels under torch 2.1. AITER is a checkout of
github.com/ROCm/aiter (MIT): the best kernels that tuning found, for AMD's accelerators. None is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import gemm_tables
from efficiency_wheel import PACKAGE
from frameroof.dtypes import BITS
from frameroof.estimate.expected.chip import Chip, chip_of
from frameroof.hardware import device

NEUSIGHT = "github.com/sitar-lab/NeuSight (MIT), torch 2.1"
AITER = "github.com/ROCm/aiter (MIT), aiter/configs: the best of tuning"
LEAST = 300
"""Products that a curve is fitted to, at least."""


class Format(NamedTuple):
    """How a format of the tables is called here, its unit, and whether inputs are quantized first."""

    name: str
    peak: str
    quantizes: bool = False


FORMATS = {
    "bfloat16": Format("bf16", "bf16"),
    "fp8": Format("fp8", "fp8", True),
    "fp8_block": Format("fp8_block", "fp8", True),
    "nvfp4": Format("fp4", "fp4", True),
    "sq": Format("int8", "int8"),
    "int8_wo": Format("int8_weight", "bf16"),
    "int4_wo": Format("int4_weight", "bf16"),
}
BY_KERNEL = ("fp8", "fp8_block", "fp4")
"""Formats whose kernels differ so much between frameworks that each has a curve of its own, too."""
WITH_HOST = {("vllm", "fp8_block")}
"""Timed without a CUDA graph (collector/vllm/collect_gemm.py of the wheel's repository): the host is in the time."""
OLD = {
    "h100_sxm/gemm/sglang/0.5.6.post2": "an older version, and weights in int8 above the dense peak",
    "b60/gemm/vllm/0.20.0": "an older version",
}
"""Whole tables that are not used."""
NEUSIGHT_DEVICES = {
    "NVIDIA A100 80GB PCIe": "A100-PCIe-80GB",
    "NVIDIA A100-PCIE-40GB": "A100-PCIe-40GB",
    "NVIDIA H100 80GB HBM3": "H100-SXM5-80GB",
    "NVIDIA L4": "L4",
    "Tesla T4": "T4",
    "Tesla V100-PCIE-32GB": "V100-SXM2-32GB",  # the same chip, with the higher clock
}


@dataclass(frozen=True)
class Products:
    """Measured products of one device, one format and one kernel ("" for the median over kernels).

    `sizes` are (b, m, n, k) in rows; seconds and bytes.
    """

    device: str
    format: Format
    kernel: str
    sizes: np.ndarray
    time_s: np.ndarray
    moved: np.ndarray
    source: str

    @property
    def chip(self) -> Chip:
        """The device, as curves ask of it."""
        return chip_of(device(self.device))

    @property
    def name(self) -> str:
        """Of its curve."""
        return f"{self.format.name}:{self.kernel}" if self.kernel else self.format.name

    @property
    def large(self) -> np.ndarray:
        """All of m, n and k at least 512."""
        return (self.sizes[:, 1:] >= 512).all(axis=1)

    def of(self, chosen: np.ndarray) -> Products:
        """Some of them."""
        own = (self.sizes[chosen], self.time_s[chosen], self.moved[chosen])
        return Products(self.device, self.format, self.kernel, *own, self.source)


class Dropped:
    """What was not used: single rows by file and number, whole tables, and counts, each with its reason."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.tables: list[dict[str, Any]] = []
        self.counts: dict[str, int] = {}

    def take(self, table: pl.DataFrame, bad: pl.Expr, about: dict[str, Any], why: str) -> pl.DataFrame:
        """The table without its `bad` rows, which are listed."""
        marked = table.with_columns(bad.alias("bad"))
        self.rows += [{**about, "row": at, "why": why} for at in marked.filter("bad")["row"].to_list()]
        return table.filter(~marked["bad"])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"rows": self.rows, "tables": self.tables, "counts": self.counts}


def measured(path: Path, dropped: Dropped) -> Iterator[Products]:
    """The products of the wheel by device and format: the median over frameworks, then each kernel's own."""
    found: dict[tuple[str, str], list[pl.DataFrame]] = {}
    for system, file, table in gemm_tables.tables(path):
        name = gemm_tables.SYSTEMS[system]
        if file in OLD:
            dropped.tables.append({"file": file, "rows": table.height, "why": OLD[file]})
            continue
        framework = file.split("/")[2]
        for format, part in _formats(table.with_row_index("row")):
            about = {"file": file, "format": format}
            if (framework, format) in WITH_HOST:
                why = "timed with the host in it: no CUDA graph"
                dropped.tables.append({**about, "rows": part.height, "why": why})
            elif (own := FORMATS[format]).peak in device(name).dense_flops:
                part = _clean(part, compute_s(name, own.peak), about, dropped)
                found.setdefault((name, format), []).append(part.with_columns(kernel=pl.lit(framework)))
    for (name, format), parts in found.items():
        whole = pl.concat(parts)
        yield _products(name, format, "", whole)
        if FORMATS[format].name in BY_KERNEL and len(parts) > 1:
            for kernel, part in sorted(whole.partition_by("kernel", as_dict=True).items()):
                yield _products(name, format, str(kernel[0]), part)


def _formats(table: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for format in FORMATS:
        part = table.filter(pl.col("gemm_dtype") == format)
        if part.height:
            yield format, part.select("row", "m", "n", "k", "latency")


def compute_s(name: str, unit: str) -> float:
    """Seconds of one FLOP at the dense peak of a device."""
    return float(chip_of(device(name)).roofline.limit(flops=1.0, unit=unit).compute_s)


def _clean(table: pl.DataFrame, flop_s: float, about: dict[str, Any], dropped: Dropped) -> pl.DataFrame:
    sizes = pl.min_horizontal("m", "n", "k") > 0
    timed = pl.col("latency").is_finite() & (pl.col("latency") > 0)
    table = dropped.take(table, ~(sizes & timed).fill_null(False), about, "no sizes or no time")
    flops = 2.0 * pl.col("m").cast(pl.Float64) * pl.col("n") * pl.col("k")
    table = dropped.take(table, flops * flop_s > pl.col("latency") / 1e3, about, "above the dense peak")
    return dropped.take(table, ~pl.struct("m", "n", "k").is_first_distinct(), about, "measured before in this table")


def _products(name: str, format: str, kernel: str, table: pl.DataFrame) -> Products:
    each = table.group_by("m", "n", "k").agg(pl.col("latency").median()).sort("m", "n", "k")
    m, n, k = (each[side].to_numpy().astype(float) for side in "mnk")
    given, weight = (BITS[type] / 8 for type in gemm_tables.FORMATS[format])
    moved = m * k * given + k * n * weight + m * n * BITS[gemm_tables.OUT] / 8
    sizes = np.stack((np.ones_like(m), m, n, k), axis=1)
    kernels = kernel or "median over " + ", ".join(sorted(set(table["kernel"].to_list())))
    time_s = each["latency"].to_numpy() / 1e3
    return Products(
        name,
        FORMATS[format],
        kernel,
        sizes,
        time_s,
        moved,
        f"NVIDIA's tables in {PACKAGE} (PyPI, Apache-2.0): {kernels}",
    )


def neusight(folder: Path, dropped: Dropped) -> Iterator[Products]:
    """Products in fp32, single and batched, of the devices that are known here."""
    tables = []
    for kind in ("linear", "bmm"):
        table = pl.read_parquet(folder / f"{kind}.parquet").with_row_index("row").rename(str.lower)
        known = pl.col("device").is_in(list(NEUSIGHT_DEVICES))
        counted = table.filter(~known)["device"].value_counts().sort("device").rows()
        dropped.tables += [
            {"file": f"NeuSight/{kind}", "device": name, "rows": rows, "why": "not in the catalogue"}
            for name, rows in counted
        ]
        tables.append(table.filter(known).select("device", "b", "m", "n", "k", "latency"))
    for (name,), own in sorted(pl.concat(tables).partition_by("device", as_dict=True).items()):
        here = NEUSIGHT_DEVICES[str(name)]
        each = own.group_by("b", "m", "n", "k").agg(pl.col("latency").median()).sort("b", "m", "n", "k")
        sizes = each.select("b", "m", "n", "k").to_numpy().astype(float)
        b, m, n, k = sizes.T
        time_s = each["latency"].to_numpy() / 1e3
        possible = 2 * b * m * n * k * compute_s(here, "fp32") <= time_s
        dropped.counts[f"NeuSight, {name}: above the dense peak"] = int((~possible).sum())
        moved = 4 * b * (m * k + k * n + m * n)
        yield Products(here, Format("fp32", "fp32"), "", sizes, time_s, moved, NEUSIGHT).of(possible)


AITER_CHIPS = {("gfx942", 304): "MI300X", ("gfx950", 256): "MI355X"}
AITER_FORMATS = {
    "bf16": ("torch.bfloat16", Format("bf16", "bf16"), 2.0),
    "a8w8_bpreshuffle": ("torch.float8", Format("fp8", "fp8"), 1.0),
    "a8w8_blockscale": ("", Format("fp8_block", "fp8"), 1.0),
    "a4w4_blockscale": ("", Format("fp4", "fp4"), 0.5),
}
"""Families of files by the words of their names, the type in their rows, and bytes of an operand. Inputs come in it."""


def aiter(folder: Path, dropped: Dropped) -> Iterator[Products]:
    """Tuned products of MI300X and MI355X, from the CSV files of a checkout."""
    found: dict[tuple[str, str], list[pl.DataFrame]] = {}
    for path in sorted((folder / "aiter/configs").rglob("*tuned_gemm*.csv")):
        family = next((name for name in AITER_FORMATS if name in path.name and "untuned" not in path.name), None)
        table = pl.read_csv(path, infer_schema_length=None) if family else pl.DataFrame()
        if family is None or not {"gfx", "cu_num", "us"} <= set(table.columns):
            continue
        type = AITER_FORMATS[family][0]
        named = [name for name in ("dtype", "q_dtype_w") if name in table.columns]
        typed = pl.any_horizontal(pl.col(name).str.starts_with(type) for name in named) if type else pl.lit(True)
        for (gfx, units), name in AITER_CHIPS.items():
            if AITER_FORMATS[family][1].peak not in device(name).dense_flops:
                continue
            own = table.filter((pl.col("gfx") == gfx) & (pl.col("cu_num") == units) & typed)
            own = own.with_row_index("row").select(
                "row", m="M", n="N", k="K", latency=pl.col("us").cast(pl.Float64) / 1e3
            )
            about = {"file": str(path.relative_to(folder)), "format": family}
            found.setdefault((name, family), []).append(
                _clean(own, compute_s(name, AITER_FORMATS[family][1].peak), about, dropped)
            )
    for (name, family), parts in found.items():
        _, format, width = AITER_FORMATS[family]
        each = pl.concat(parts).group_by("m", "n", "k").agg(pl.col("latency").median()).sort("m", "n", "k")
        if each.height < LEAST:
            continue
        m, n, k = (each[side].to_numpy().astype(float) for side in "mnk")
        sizes, time_s = np.stack((np.ones_like(m), m, n, k), axis=1), each["latency"].to_numpy() / 1e3
        yield Products(name, format, "", sizes, time_s, width * (m * k + k * n) + 2.0 * m * n, AITER)
