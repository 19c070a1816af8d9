"""Make the catalogue from its builders, or check it: `python benchmarks/catalogue.py make|check [NAME …]`.

Both record every recipe anew, compare it with the shipped `src/frameroof/catalogue/NAME.workload.json`,
count every stage with torch's own FLOP counter at the default sizes, and compare parametric evaluation
with fresh counts at random admissible sizes (`--sizes` for the first model of a family, two for the
others). `make` writes what is verified and differs; `check` fails where it differs. Results go to
standard output and, with --out, to a dated JSON file.
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
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).parents[1] / "src" / "frameroof" / "catalogue"
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def work(name: str, write: bool, sizes: int) -> dict[str, Any]:
    """Record one recipe, compare it with the shipped file, verify it, and write it if asked to."""
    from frameroof.count import record_recipe
    from frameroof.count.verify import verify_recipe
    from frameroof.models import named_recipe
    from frameroof.workload.file import dumps, save

    recipe, path = named_recipe(name), CATALOGUE / f"{name}.workload.json"
    start = time.perf_counter()
    fresh = record_recipe(recipe)
    seconds = time.perf_counter() - start
    same = path.exists() and _shipped(path) == dumps(replace(fresh, made_by={}))
    start = time.perf_counter()
    stages = verify_recipe(recipe, fresh, sizes)
    verified = all(s["ok"] for s in stages)
    if write and verified and not same:
        save(fresh, path, force=True)
    return {
        "name": name,
        "ok": verified and (same or write),
        "same_as_shipped": same,
        "record_s": round(seconds, 1),
        "verify_s": round(time.perf_counter() - start, 1),
        "operations": sum(len(s.ops) for s in fresh.stages),
        "uncounted": fresh.uncounted,
        "held_exact": all(s.held_exact for s in fresh.stages),
        "bytes": len(dumps(fresh)),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "stages": stages,
    }


def _shipped(path: Path) -> bytes:
    """The shipped workload without the versions that made it."""
    from frameroof.workload.file import dumps, load

    return dumps(replace(load(path), made_by={}))


def main() -> int:
    """Run over all names, or those given, on `--jobs` processes; exit code 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "check"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sizes", type=int, default=20, help="random sizes for each stage")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file")
    options = parser.parse_args()
    names = options.names or list(_sizes_of(options.sizes))
    random_sizes = _sizes_of(options.sizes)
    results = []
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        tasks = {pool.submit(work, n, options.what == "make", random_sizes.get(n, options.sizes)): n for n in names}
        for at, done in enumerate(as_completed(tasks), 1):
            try:
                result = done.result()
            except Exception as error:
                result = {"name": tasks[done], "ok": False, "error": f"{type(error).__name__}: {error}"}
            results.append(result)
            brief = {k: v for k, v in result.items() if k != "stages"}
            print(f"[{at}/{len(names)}] {brief}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(_record(options, results), indent=1) + "\n")
    failed = [r["name"] for r in results if not r["ok"]]
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed {failed}")
    return 1 if failed else 0


def _sizes_of(most: int) -> dict[str, int]:
    """How many random sizes each model is checked at: all for a family's first, two for the others."""
    from importlib import import_module

    from frameroof.models import FAMILIES

    found = {}
    for family in FAMILIES:
        for at, recipe in enumerate(import_module(f"frameroof.models.{family}").recipes()):
            found[recipe.name] = most if at == 0 else min(2, most)
    return found


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
