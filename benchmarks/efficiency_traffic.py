"""Shares of bandwidth that kernels reach which move bytes: `python benchmarks/efficiency_traffic.py WHEEL [FOLDER]`.

WHEEL is aiconfigurator-core 0.12.0; its ``quantize`` tables time kernels that read bf16 and write fp8 (vLLM's with a
scale that is given), which stand for fused ones: 3 bytes an element. FOLDER holds NeuSight's measurements
(github.com/sitar-lab/NeuSight, MIT) as Parquet, ``elem``, ``ln`` and ``softmax``: PyTorch 2.1's eager kernels in fp32,
milliseconds, of B rows of H columns. Printed by device: the share of the stated bandwidth, what a smallest kernel
takes, bytes in a clock of a multiprocessor where all is in the cache, and what the shipped numbers miss.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from efficiency_wheel import SYSTEMS, table_of
from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.general import general
from frameroof.hardware import device
from frameroof.workload.expr import poly
from frameroof.workload.records import Op, Tensor

FUSED_BYTES, FP32_BYTES = 3, 4
TWO_OPERANDS = ("add", "div", "mul", "pow")
NEUSIGHT = {
    "NVIDIA A100 80GB PCIe": "A100-PCIe-80GB",
    "NVIDIA A100-PCIE-40GB": "A100-PCIe-40GB",
    "NVIDIA L4": "L4",
    "Tesla T4": "T4",
    "Tesla V100-PCIE-32GB": "V100-SXM2-32GB",  # the same chip and memory
}
KINDS = {"elem": "elementwise", "ln": "norm", "softmax": "softmax"}


def fused(wheel: Path) -> list[dict[str, Any]]:
    """By device, of the kernels that write fp8."""
    found = []
    for system, name in SYSTEMS.items():
        rows = table_of(wheel, system, "scale_matrix_perf")
        if not rows.height:
            continue
        rows = rows.filter((pl.col("software") == "vllm") & (pl.col("latency") > 0))
        chip = chip_of(device(name))
        moved = rows["m"].cast(pl.Float64).to_numpy() * rows["k"].to_numpy() * FUSED_BYTES
        took_s = rows["latency"].to_numpy() / 1e3
        cache = chip.cache_bytes or 0
        far, near = moved > 3 * cache, (moved > cache / 4) & (moved < cache / 2)
        told = {
            "device": name,
            "rows": len(moved),
            "share": round(float(np.median((chip.roofline.limit(bytes=moved).memory_s / took_s)[far])), 3),
            "smallest_us": round(float(np.median(took_s[moved < 1e5]) * 1e6), 2),
            "missed": missed(general().traffic.seconds(chip, moved[far], AN_OP, True), took_s[far]),
        }
        if chip.ticks:
            told["bytes_a_clock_in_the_cache"] = round(float(np.median((moved / took_s)[near] / chip.ticks)), 1)
        found.append(told)
    return found


def missed(found: Any, took_s: np.ndarray) -> dict[str, float]:
    """Median, p90 and bias of what is found over what it took."""
    error = found / took_s - 1
    return {
        "median": round(float(np.median(np.abs(error))), 4),
        "p90": round(float(np.quantile(np.abs(error), 0.9)), 4),
        "bias": round(float(np.median(error)), 4),
    }


def an_op(kind: str) -> Op:
    """An operation of a kind on fp32."""
    return Op("x", kind, kind, (Tensor((poly("n"),), "fp32"),), (Tensor((poly("n"),), "fp32"),))


AN_OP = an_op("elementwise")


def eager(folder: Path) -> list[dict[str, Any]]:
    """By device and kind, of NeuSight's measurements."""
    found = []
    for table, kind in KINDS.items():
        rows = pl.read_parquet(folder / f"{table}.parquet")
        operands = pl.when(pl.col("OPName").is_in(TWO_OPERANDS)).then(3).otherwise(2)
        rows = rows.with_columns(moved=pl.col("B").cast(pl.Float64) * pl.col("H") * FP32_BYTES * operands)
        for label, name in NEUSIGHT.items():
            own = rows.filter(pl.col("Device") == label)
            chip = chip_of(device(name))
            moved, took_s = own["moved"].to_numpy(), own["Latency"].to_numpy() / 1e3
            row_bytes = own["H"].cast(pl.Float64).to_numpy() * FP32_BYTES
            found.append({
                "device": name, "kind": kind, "rows": len(moved),
                "share": round(float(np.median(chip.roofline.limit(bytes=moved).memory_s / took_s)), 3),
                "missed": missed(general().traffic.seconds(chip, moved, an_op(kind), False, row_bytes), took_s),
            })  # fmt: skip
    return found


def main() -> int:
    """Print by device, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    result = {"fused": fused(asked.wheel), "eager": eager(asked.folder) if asked.folder else []}
    for rows in result.values():
        for row in rows:
            print(row)
    if asked.out:
        about = {"date": date.today().isoformat(), "data": asked.wheel.name}
        asked.out.write_text(json.dumps({**about, **result}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
