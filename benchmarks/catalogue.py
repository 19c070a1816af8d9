"""Make the catalogue from its builders, or check it: `python benchmarks/catalogue.py make|check [NAME …]`.

`make` records every recipe and writes `src/frameroof/catalogue/NAME.workload.json`. `check` re-makes
each and compares it with the shipped file, counts every stage with torch's own FLOP counter at the
default sizes, and compares parametric evaluation with fresh counts at random admissible sizes.
Results go to standard output and, with --out, to a dated JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).parents[1] / "src" / "frameroof" / "catalogue"
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def make(name: str) -> dict[str, Any]:
    """Record one recipe and write its file."""
    from frameroof.count import record_recipe
    from frameroof.models import named_recipe
    from frameroof.workload.file import save

    start = time.perf_counter()
    workload = record_recipe(named_recipe(name))
    save(workload, CATALOGUE / f"{name}.workload.json", force=True)
    return {"name": name, "ok": True, "record_s": round(time.perf_counter() - start, 1), **_notes(workload)}


def _notes(workload: Any) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "operations": sum(len(s.ops) for s in workload.stages),
        "uncounted": workload.uncounted,
        "peak_rss_gb": round(peak, 2),
    }


def check(name: str, sizes: int) -> dict[str, Any]:
    """Compare the shipped file with a fresh record, torch's counter and fresh counts."""
    from frameroof.count import record_recipe
    from frameroof.count.verify import verify_recipe
    from frameroof.models import named_recipe
    from frameroof.workload.file import dumps, load

    recipe = named_recipe(name)
    start = time.perf_counter()
    fresh = record_recipe(recipe)
    seconds = time.perf_counter() - start
    shipped = load(CATALOGUE / f"{name}.workload.json")
    same = fresh.stages == shipped.stages and dict(fresh.params) == dict(shipped.params)
    stages = verify_recipe(recipe, shipped, sizes)
    ok = same and all(s["ok"] for s in stages)
    size = len(dumps(shipped))
    return {"name": name, "ok": ok, "same_as_shipped": same, "record_s": round(seconds, 1), "bytes": size,
            "stages": stages, **_notes(fresh)}  # fmt: skip


def main() -> int:
    """Run over all names, or those given, on `--jobs` processes; exit code 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "check"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sizes", type=int, default=20, help="random sizes for each stage (check)")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file")
    options = parser.parse_args()
    from frameroof.models import all_recipes

    names = options.names or [recipe.name for recipe in all_recipes()]
    results = []
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        work = {
            pool.submit(make, n) if options.what == "make" else pool.submit(check, n, options.sizes): n for n in names
        }
        for at, done in enumerate(as_completed(work), 1):
            try:
                result = done.result()
            except Exception as error:
                result = {"name": work[done], "ok": False, "error": f"{type(error).__name__}: {error}"}
            results.append(result)
            brief = {k: v for k, v in result.items() if k != "stages"}
            print(f"[{at}/{len(names)}] {brief}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(_record(options, results), indent=1) + "\n")
    failed = [r["name"] for r in results if not r["ok"]]
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed {failed}")
    return 1 if failed else 0


def _record(options: Any, results: list[dict[str, Any]]) -> dict[str, Any]:
    from frameroof.count.record import versions

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": versions(),
        "results": sorted(results, key=lambda r: r["name"]),
    }


if __name__ == "__main__":
    sys.exit(main())
