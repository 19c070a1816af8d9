"""No measured module beats its limit: `python benchmarks/problems.py FOLDER --times MACHINE FILE … [--out FILE]`.

FOLDER holds problems as KernelBench has them (github.com/ScalingIntelligence/KernelBench, `KernelBench/`): folders
level1, level2 … of files with a class `Model`, `get_init_inputs` and `get_inputs`. FILE, `baseline_time_*.json` of its
`results/timing/`, has the mean time of each in milliseconds by level and file; of several for one machine the fastest
counts. They stay where they are. Every problem is counted at its own sizes in fp32, and its limit (fused) must not be
longer than the time. A problem's code is run: look at it first. Exits with 1 where a limit is longer than a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

MOST_LISTED = 12


def count(file: Path) -> tuple[Any, str, float]:
    """A problem's workload, or why there is none, and the seconds that it took."""
    import torch

    import frameroof

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    try:
        spec = importlib.util.spec_from_file_location(f"problem_{abs(hash(file))}", file)
        if spec is None or spec.loader is None:
            return None, "it is no Python file", 0.0
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def build() -> Any:
            return module.Model(*module.get_init_inputs()), tuple(module.get_inputs()), {}

        found = frameroof.count(build, fixed=True, dtype="fp32")
    except Exception as error:  # a problem may be anything; its name and the reason are listed
        return None, f"{type(error).__name__}: {error}", time.perf_counter() - start
    return found, "", time.perf_counter() - start


def times_of(files: list[Path]) -> dict[tuple[str, str], float]:
    """Seconds by level and file: the fastest of the files that have it."""
    found: dict[tuple[str, str], float] = {}
    for file in files:
        for level, rows in json.loads(file.read_text()).items():
            for name, row in rows.items():
                if isinstance(row.get("mean"), (int, float)) and row["mean"] > 0:
                    key = level, name
                    found[key] = min(found.get(key, float("inf")), row["mean"] / 1e3)
    return found


def scored(machine: str, times: Mapping[tuple[str, str], float], counted: Mapping[tuple[str, str], Any]) -> list[Any]:
    """One row for every problem that was timed and counted, with its bounds in seconds."""
    import frameroof

    rows = []
    for key, (workload, _, _) in counted.items():
        if workload is None or key not in times:
            continue
        told = frameroof.predict(workload, machine)
        bounds = told.to_dict()["bounds"]
        rows.append({
            "level": key[0], "name": key[1], "measured_s": times[key], **bounds,
            "share": bounds["fused_s"] / times[key],
        })  # fmt: skip
    return rows


def told(machine: str, rows: list[Any]) -> dict[str, Any]:
    """Violations and the median share, by level; printed too."""
    found: dict[str, Any] = {}
    for level in sorted({row["level"] for row in rows}):
        mine = [row for row in rows if row["level"] == level]
        over = [row for row in mine if row["share"] > 1]
        median = statistics.median(row["share"] for row in mine)
        found[level] = {"problems": len(mine), "longer_than_measured": len(over), "median_share": median}
        share = f"limit / measured {median:.3f} in the median"
        print(f"{machine:16} {level}: {len(mine)} problems, {share}, {len(over)} longer")
        for row in over[:MOST_LISTED]:
            print(f"    {row['name']}: limit {row['fused_s'] * 1e3:.4g} ms, measured {row['measured_s'] * 1e3:.4g} ms")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", nargs="+", action="append", required=True, metavar=("MACHINE", "FILE"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    files = sorted(args.folder.glob("level*/*.py"))
    with ProcessPoolExecutor(args.jobs) as pool:
        counted = {(f.parent.name, f.name): found for f, found in zip(files, pool.map(count, files), strict=True)}
    refused = {"/".join(key): why for key, (workload, why, _) in counted.items() if workload is None}
    for name, why in refused.items():
        print(f"not analyzed: {name}: {why}")
    result: dict[str, Any] = {}
    for machine, *paths in args.times:
        rows = scored(machine, times_of([Path(path) for path in paths]), counted)
        result[machine] = {"files": [Path(p).name for p in paths], "levels": told(machine, rows), "rows": rows}
    if args.out:
        write(args.out, {"not_analyzed": refused, "machines": result})
    return int(any(level["longer_than_measured"] for m in result.values() for level in m["levels"].values()))


def write(path: Path, found: dict[str, Any]) -> None:
    """The result with where it was made."""
    import torch

    say = partial(subprocess.run, capture_output=True, text=True, check=False)
    commit = say(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent).stdout.strip()
    head = {
        "date": date.today().isoformat(),
        "command": " ".join(["python", "benchmarks/problems.py", *map(os.path.basename, sys.argv[1:])]),
        "commit": commit, "machine": platform.machine(), "cpus": os.cpu_count(), "torch": torch.__version__,
    }  # fmt: skip
    path.write_text(json.dumps({**head, **found}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
