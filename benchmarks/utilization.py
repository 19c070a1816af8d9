"""Where the default utilization comes from: `python benchmarks/utilization.py ROWS [--out FILE]`.

ROWS is a JSON file of published rows, each with its source. For every end-to-end time of one device in it (high
confidence, sixteen-bit, size and steps stated, model and device known here) the limit is predicted and divided by the
time; what came of each row, with its source, is in `results/utilization-2026-11-30.json`. The default utilization is
the median of these ratios over models (one model counts once, by its own median, so that a model with many rows does
not decide it); the quartiles say how far to trust it.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from datetime import date
from pathlib import Path
from typing import Any

from frameroof import catalogue
from frameroof.dtypes import HALF
from frameroof.hardware import device
from frameroof.study.predict import predict

SIZE = re.compile(r"(\d{3,4})x(\d{3,4})(?:x(\d{2,3}))?")
STEPS = re.compile(r"(\d+) steps")
BATCH = re.compile(r"batch (\d+)")
OPTIMIZED = re.compile(r"compile|TensorRT|FA3|graph", re.IGNORECASE)


def usable(row: dict[str, Any]) -> bool:
    """Whether a row states everything that a prediction needs, and is a clean measurement of one device."""
    return (
        row["quantity"] == "latency"
        and row["n_devices"] == 1
        and row["scope"] == "e2e"
        and row["confidence"] == "high"
        and row["precision"] in HALF
        and row["unit"] in ("s", "s/batch")
        and row["model"] in catalogue.names()
        and "no SDPA" not in row["config"]
        and bool(SIZE.search(row["config"]) and STEPS.search(row["config"]))
    )


def known_device(hardware: str) -> str:
    """The catalogue's name of the published device; of two that were pooled ("A100/A800"), the first known."""
    names = [name.removesuffix("NVLink").strip() for name in hardware.split("/")]
    for name in names:
        try:
            return device(name).name
        except ValueError:
            continue
    return device(names[0]).name


def compare(row: dict[str, Any]) -> dict[str, Any]:
    """One row beside its limit. The published order of sizes is width x height x frames."""
    params = catalogue.load(row["model"]).params
    width, height, frames = SIZE.search(row["config"]).groups()  # type: ignore[union-attr]
    sizes = {"width": int(width), "height": int(height), "frames": frames and int(frames)}
    steps = int(STEPS.search(row["config"]).group(1))  # type: ignore[union-attr]
    if "steps" in params:
        sizes["steps"] = steps
    else:  # two experts share the steps in the proportion of the defaults
        default = params["steps_high"].default + params["steps_low"].default
        sizes["steps_high"] = round(params["steps_high"].default * steps / default)
        sizes["steps_low"] = steps - sizes["steps_high"]
    batch = BATCH.search(row["config"])
    sizes["batch"] = int(batch.group(1)) if batch else 1
    name = known_device(row["hardware"])
    one = predict(row["model"], name, sizes={n: v for n, v in sizes.items() if v and n in params}, cold=True)
    return {
        "id": row["id"],
        "model": row["model"],
        "config": row["config"],
        "device": name,
        "source": row["source"],
        "optimized": bool(OPTIMIZED.search(f"{row['config']} {row['software'] or ''}")),
        "published_s": row["value"],
        "limit_s": one.limit_s,
        "share": one.limit_s / row["value"],
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median over models of each model's median, and the quartiles of the rows."""
    models: dict[str, list[float]] = {}
    for row in rows:
        models.setdefault(row["model"], []).append(row["share"])
    low, _, high = statistics.quantiles([row["share"] for row in rows], n=4)
    median = statistics.median(statistics.median(shares) for shares in models.values())
    return {"median": median, "lower_quartile": low, "upper_quartile": high, "rows": len(rows), "models": len(models)}


def main() -> int:
    """Print the comparison and its summary; write it with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "published", metavar="ROWS", type=Path, help='{"rows": […]}: id, model, hardware, config, value …'
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not options.published.is_file():
        print(f"{options.published} is not a file", file=sys.stderr)
        return 2
    rows, skipped = [], []
    for row in filter(usable, json.loads(options.published.read_text())["rows"]):
        try:
            rows.append(compare(row))
        except ValueError as error:
            skipped.append({"id": row["id"], "config": row["config"], "hardware": row["hardware"], "why": str(error)})
    for row in sorted(rows, key=lambda r: r["share"]):
        print(f"{row['share']:.3f}  {row['model']:22} {row['device']:16} {row['published_s']:9.3f} s  {row['config']}")
    for row in skipped:
        print(f"skipped {row['id']} {row['config']}: {row['why']}")
    groups = {
        "all": rows,
        "optimized": [r for r in rows if r["optimized"]],
        "eager": [r for r in rows if not r["optimized"]],
    }
    found = {name: summary(group) for name, group in groups.items()}
    for name, values in found.items():
        print(name, {key: round(value, 3) for key, value in values.items()})
    if options.out:
        record = {"date": date.today().isoformat(), "command": " ".join(["python", *sys.argv]), "summary": found}
        options.out.write_text(json.dumps({**record, "rows": rows, "skipped": skipped}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
