"""What NCCL's collectives take by device, fitted to NVIDIA's tables: `python benchmarks/efficiency_links.py WHEEL`.

WHEEL is aiconfigurator-core 0.12.0 (`pip download --no-deps aiconfigurator-core==0.12.0`, Apache-2.0). Its nccl tables
hold milliseconds by collective, number of devices and `message_size`, which counts elements of 2 bytes, of the whole
(gathered) tensor. Every fifth size is left out of a fit and predicted by it: that is the error that is stated.
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
from scipy.optimize import nnls

from efficiency_wheel import SYSTEMS, source_of, table_of
from frameroof.estimate.communication import ring_bytes
from frameroof.estimate.expected.links import SHIPPED
from frameroof.hardware import device, link_of

COLLECTIVES = {
    "alltoall": "all_to_all",
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
}
BYTES = 2
FOLDS = 5
NO_PEERS = ("L40S", 2)
"""Of more of them, cards that do not reach each other directly were measured (1 to 6 GB/s at 4 and 8)."""
NOTE = "4 and 8 devices were measured without peer access (1 to 6 GB/s), and are left out"
STANDS_FOR = {
    "nvlink": "H100-SXM5-80GB",
    "nvlink volta": "A100-SXM4-80GB",
    "nvlink ampere": "A100-SXM4-80GB",
    "nvlink blackwell": "B200-SXM-180GB",
    "pcie": "RTX PRO 6000 Blackwell (Workstation)",
}
LATENCY = "github.com/calculon-ai/calculon systems/a100_80g.json, networks[1] (efficiency 0.9, latency 20 us)"
ACROSS = {
    "": (25.0, "DGX A100 datasheet: one 200 Gb/s adapter for each GPU"),
    "hopper": (50.0, "DGX H100 datasheet: one 400 Gb/s adapter for each GPU"),
    "blackwell": (50.0, "DGX B200 datasheet: one 400 Gb/s adapter for each GPU"),
}


def weights(passed: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Seconds at once, per byte and per square root of a byte, none below zero, by least squares of shares."""
    terms = np.stack([np.ones_like(passed), passed, np.sqrt(passed)], 1)
    return np.asarray(nnls(terms / time_s[:, None], np.ones(len(time_s)))[0])


def predicted(passed: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Seconds by `weights`."""
    return np.asarray(fitted[0] + fitted[1] * passed + fitted[2] * np.sqrt(passed))


def fit(rows: pl.DataFrame, name: str) -> tuple[dict[str, dict[str, list[float]]], np.ndarray, np.ndarray]:
    """(paces, errors left out, bytes of each) of one device's rows."""
    paces: dict[str, dict[str, list[float]]] = {}
    errors, sizes = [], []
    for (op, devices), own in sorted(rows.group_by("op_name", "num_gpus")):
        if op not in COLLECTIVES or (name == NO_PEERS[0] and devices > NO_PEERS[1]):
            continue
        medians = own.group_by("message_size").agg(pl.col("latency").median()).sort("message_size")
        size = medians["message_size"].to_numpy().astype(float) * BYTES
        time_s = medians["latency"].to_numpy() / 1e3
        passed = ring_bytes(COLLECTIVES[op], size, int(devices))
        at = np.arange(len(size)) % FOLDS
        for fold in range(FOLDS):
            out = at == fold
            errors.append(predicted(passed[out], weights(passed[~out], time_s[~out])) / time_s[out] - 1)
            sizes.append(size[out])
        once, byte, root = weights(passed, time_s)
        found = [round(once * 1e6, 2), round(root * 1e9, 2), round(1e-9 / byte, 1)]
        paces.setdefault(COLLECTIVES[op], {})[str(devices)] = found
    return paces, np.abs(np.concatenate(errors)), np.concatenate(sizes)


def links(wheel: Path, today: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is shipped, and the errors by device."""
    across = {
        name: {"gb_s": rate, "share": 0.9, "latency_us": 20.0, "source": f"{words}; {LATENCY}", "date": today}
        for name, (rate, words) in ACROSS.items()
    }
    devices: dict[str, Any] = {}
    told = []
    for system, name in SYSTEMS.items():
        rows = table_of(wheel, system, "nccl_perf")
        rows = rows.filter((pl.col("nccl_dtype") == "half") & (pl.col("latency") > 0) & (pl.col("message_size") > 0))
        on = device(name)
        link = link_of(on)
        paces, errors, sizes = fit(rows, name)
        devices[name] = {
            "kind": link.kind,
            "link_gb_s": link.bandwidth / 1e9,
            "paces": paces,
            "across": across.get(on.generation, across[""]),
            "source": source_of(f"{system}/comm/nccl"),
            "date": today,
            "rows": len(errors),
            "error_median": round(float(np.median(errors)), 4),
            "error_p90": round(float(np.quantile(errors, 0.9)), 4),
            "note": NOTE if name == NO_PEERS[0] else "",
        }
        big = errors[sizes >= 1e6]
        told.append({
            "device": name, "rows": len(errors), "median": devices[name]["error_median"],
            "p90": devices[name]["error_p90"], "median_from_1_mb": round(float(np.median(big)), 4),
            "p90_from_1_mb": round(float(np.quantile(big, 0.9)), 4),
        })  # fmt: skip
    stated = devices[NO_PEERS[0]]
    most = max(pace[2] for by_number in stated["paces"].values() for pace in by_number.values()) / stated["link_gb_s"]
    shipped = {
        "schema": "frameroof.links/1",
        "stands_for": STANDS_FOR,
        "most_share": round(min(most, 1.0), 3),
        "across": across,
        "devices": devices,
    }
    return shipped, told


def main() -> int:
    """Fit, write what is shipped, and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, help="the errors, as JSON")
    asked = parser.parse_args()
    today = date.today().isoformat()
    shipped, told = links(asked.wheel, today)
    SHIPPED.write_text(json.dumps(shipped, indent=1) + "\n", "utf-8")
    for row in told:
        print(row)
    if asked.out:
        asked.out.write_text(json.dumps({"date": today, "data": asked.wheel.name, "links": told}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
