"""No measured matrix product beats its limit: `python benchmarks/gemm_tables.py WHEEL [--out FILE]`.

WHEEL is aiconfigurator-core 0.12.0 (`pip download --no-deps aiconfigurator-core==0.12.0`, 82 MB, Apache-2.0): NVIDIA's
own measurements of products with TensorRT-LLM, vLLM and SGLang, as Parquet files with latencies in milliseconds. It
stays where it is. Every row's limit is that of `frameroof.estimate.estimate_grid` for one product whose operands are
the program's inputs and output, so that the last-level cache is taken off once; it must not be longer than the time.
Rows that are no measurement of this device are faults of the tables and are listed by file and number: no sizes, no
time, or more FLOPs than the dense peak has. Exits with 1 where a limit is longer than a time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import re
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import frameroof
from frameroof.estimate import estimate_grid
from frameroof.hardware import Device, Node, device
from frameroof.roofline import Roofline
from frameroof.workload.expr import ONE, poly
from frameroof.workload.recipe import Size
from frameroof.workload.records import Op, Stage, Tensor, Workload

SYSTEMS = {
    "a100_sxm": "A100-SXM4-80GB",
    "h100_sxm": "H100-SXM5-80GB",
    "h200_sxm": "H200-SXM-141GB",
    "b200_sxm": "B200-SXM-180GB",
    "b300_sxm": "B300-SXM (HGX, 270-288GB)",
    "gb200": "GB200 (per GPU)",
    "gb300": "GB300 (per GPU)",
    "l40s": "L40S",
    "b60": "Arc Pro B60 24GB",
    "rtx_pro_6000_server": "RTX PRO 6000 Blackwell (Workstation)",  # the same chip, with the higher clock
}
"""Folders of the wheel, and whose limits they are put beside."""


class Operands(NamedTuple):
    """The types of a product's input and weight."""

    input: str
    weight: str


FORMATS = {
    "bfloat16": Operands("bf16", "bf16"),
    "fp8": Operands("fp8", "fp8"),
    "fp8_block": Operands("fp8", "fp8"),
    "nvfp4": Operands("fp4", "fp4"),
    "sq": Operands("int8", "int8"),
    "int8_wo": Operands("bf16", "int8"),
    "int4_wo": Operands("bf16", "fp4"),  # four bits, as wide
}
"""Names of the tables, and what they multiply; results are written in bf16. Scales count no bytes."""
OUT = "bf16"
FILE = re.compile(r"systems/data/(\w+)/gemm/(.+)/gemm_perf\.parquet$")
BANDS = (0.0, 0.1, 1.0, 4.0, 16.0, 64.0, 128.0, 1024.0, float("inf"))
"""GFLOP of one product, between which tightness is told."""
MOST_SIZE = 1 << 30


@dataclass(frozen=True)
class Rows:
    """The rows of one file in one format, with their limits in seconds; `at` are their numbers in the file."""

    system: str
    file: str
    format: str
    at: np.ndarray
    sizes: np.ndarray
    time_s: np.ndarray
    limit_s: np.ndarray
    cold_s: np.ndarray
    compute_s: np.ndarray

    def listed(self, chosen: np.ndarray) -> list[dict[str, Any]]:
        """What stands at some of them, by file and number."""
        return [
            {
                "file": self.file,
                "row": int(self.at[i]),
                "format": self.format,
                "m_n_k": self.sizes[i].tolist(),
                "time_s": float(self.time_s[i]),
                "limit_s": float(self.limit_s[i]),
            }
            for i in np.flatnonzero(chosen).tolist()
        ]

    @property
    def faults(self) -> np.ndarray:
        """Above the dense peak, by FLOPs alone."""
        return self.compute_s > self.time_s

    @property
    def violations(self) -> np.ndarray:
        """Faster than the limit, though not above the peak."""
        return (self.limit_s > self.time_s) & ~self.faults


def product(given: str, weight: str) -> Workload:
    """One product of m x k and k x n as a program: both operands are its inputs, and the result is handed back."""
    m, n, k = (poly(name) for name in "mnk")
    reads = (Tensor((m, k), given, traffic="given"), Tensor((k, n), weight, weight=True))
    writes = (Tensor((m, n), OUT, traffic="given"),)
    op = Op("product", "linear", "linear", reads, writes, {"b": ONE, "m": m, "n": n, "k": k})
    return Workload("product", {name: Size(1, most=MOST_SIZE) for name in "mnk"}, (Stage("product", (op,)),))


def limits(types: Operands, on: Device, sizes: np.ndarray, cold: bool) -> np.ndarray:
    """Seconds of each row of (m, n, k) on a device, distinct sizes once."""
    distinct, at = np.unique(sizes, axis=0, return_inverse=True)
    columns = dict(zip("mnk", distinct.T.copy(), strict=True))
    return estimate_grid(product(*types), [Node(on)], columns, cold=cold).limit_s[0][at.ravel()]


def tables(wheel: Path) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(system, file, its rows) of the systems that are known here."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            found = FILE.search(name)
            if found and found[1] in SYSTEMS:
                yield found[1], f"{found[1]}/gemm/{found[2]}", pl.read_parquet(BytesIO(archive.read(name)))


def rows_of(system: str, file: str, table: pl.DataFrame) -> Iterator[tuple[Rows, list[dict[str, Any]]]]:
    """The rows of a file by format, and those without sizes or time."""
    on = device(SYSTEMS[system])
    table = table.with_row_index("row")
    for name, types in FORMATS.items():
        part = table.filter(pl.col("gemm_dtype") == name)
        sizes, time_s = part.select("m", "n", "k").to_numpy(), part["latency"].to_numpy() / 1e3
        good = (sizes > 0).all(axis=1) & np.isfinite(time_s) & (time_s > 0)
        bad = [{"file": file, "row": int(at), "format": name} for at in part["row"].to_numpy()[~good]]
        if types.input not in on.dense_flops or not good.any():
            continue
        sizes, time_s = sizes[good].astype(np.int64), time_s[good]
        compute_s = Roofline(on).limit(flops=2.0 * sizes.prod(axis=1, dtype=np.float64), unit=types.input).compute_s
        found = (limits(types, on, sizes, cold) for cold in (False, True))
        yield Rows(system, file, name, part["row"].to_numpy()[good], sizes, time_s, *found, compute_s), bad


def tightness(rows: Sequence[Rows]) -> list[dict[str, Any]]:
    """The median of limit over time by GFLOP: of all rows, and of the fastest of each product."""
    gflop = np.concatenate([2e-9 * r.sizes.prod(axis=1, dtype=np.float64) for r in rows])
    ratio = np.concatenate([np.where(r.faults, np.nan, r.limit_s / r.time_s) for r in rows])
    cold = np.concatenate([r.cold_s / r.time_s for r in rows])
    best: dict[tuple[Any, ...], float] = {}
    for r in rows:
        good = ~r.faults
        shares = (r.limit_s / r.time_s)[good].tolist()
        for size, share in zip(map(tuple, r.sizes[good].tolist()), shares, strict=True):
            key = (*size, r.format)
            best[key] = max(best.get(key, 0.0), share)
    fastest = np.array([(2e-9 * key[0] * key[1] * key[2], share) for key, share in best.items()])
    found = []
    for low, high in itertools.pairwise(BANDS):
        inside = (gflop >= low) & (gflop < high) & ~np.isnan(ratio)
        chosen = fastest[(fastest[:, 0] >= low) & (fastest[:, 0] < high), 1]
        if inside.any():
            found.append(
                {
                    "gflop": [low, None if high == float("inf") else high],
                    "rows": int(inside.sum()),
                    "median": round(float(np.median(ratio[inside])), 4),
                    "median_cold": round(float(np.median(cold[inside])), 4),
                    "median_fastest": round(statistics.median(chosen.tolist()), 4),
                }
            )
    return found


def check(wheel: Path) -> dict[str, Any]:
    """Every row beside its limit: counts by system and format, what is listed, and how tight limits are."""
    found: dict[str, list[Rows]] = {}
    bad: list[dict[str, Any]] = []
    for system, file, table in tables(wheel):
        for rows, without in rows_of(system, file, table):
            found.setdefault(system, []).append(rows)
            bad += without
        print(f"{file}: {table.height:,} rows", file=sys.stderr)
    counts = [
        {
            "system": system,
            "device": SYSTEMS[system],
            "format": name,
            "rows": sum(len(r.at) for r in own),
            "violations": sum(int(r.violations.sum()) for r in own),
            "above_peak": sum(int(r.faults.sum()) for r in own),
            "above_cold_limit": sum(int(((r.cold_s > r.time_s) & ~r.faults).sum()) for r in own),
            "most_limit_over_time": round(max(float((r.limit_s / r.time_s)[~r.faults].max()) for r in own), 4),
        }
        for system, all_rows in found.items()
        for name in FORMATS
        if (own := [r for r in all_rows if r.format == name])
    ]
    return {
        "counts": counts,
        "violations": [row for all_rows in found.values() for r in all_rows for row in r.listed(r.violations)],
        "faults_of_the_tables": {
            "above_peak": [row for all_rows in found.values() for r in all_rows for row in r.listed(r.faults)],
            "no_sizes_or_time": bad,
        },
        "limit_over_time": {system: tightness(all_rows) for system, all_rows in found.items()},
    }


def main() -> int:
    """Print the counts, write the result, and say by the exit code whether a limit is longer than a time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    result = check(asked.wheel)
    if not result["counts"]:
        print(f"{asked.wheel} holds no table of {', '.join(SYSTEMS)}", file=sys.stderr)
        return 2
    for row in result["counts"]:
        print(
            f"{row['device']:38} {row['format']:10} {row['rows']:8,} rows  {row['violations']:3} violations  "
            f"{row['above_peak']:3} above the peak  {row['above_cold_limit']:6,} in the cache  "
            f"limit over time at most {row['most_limit_over_time']:.3f}"
        )
    for system, bands in result["limit_over_time"].items():
        medians = (f"{band['median']:.2f} ({band['median_cold']:.2f} cold)" for band in bands)
        print(f"{system}: median of limit over time, from small to large: {', '.join(medians)}")
    for kind, listed in (("violation", result["violations"]), *result["faults_of_the_tables"].items()):
        for row in listed[:20]:
            print(f"{kind}: {row}")
    if asked.out:
        about = {
            "date": date.today().isoformat(),
            "command": f"python benchmarks/gemm_tables.py {asked.wheel.name}",
            "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
            "data": asked.wheel.name,
            "machine": platform.processor() or platform.machine(),
            "versions": {"python": platform.python_version(), "polars": pl.__version__, "frameroof": version()},
        }
        asked.out.write_text(json.dumps({**about, **result}, indent=1) + "\n", "utf-8")
    return int(bool(result["violations"]))


def version() -> str:
    """Of the package."""
    return str(frameroof.__version__)


if __name__ == "__main__":
    sys.exit(main())
