"""Reading a trace: frameroof beside HTA and TraceLens, one run each after the other on the same machine.

    python benchmarks/traces.py TRACE [--repeat 8] [--hta PYTHON] [--tracelens PROGRAM] [--runs 3] [--out FILE.json]

Each tool runs in a fresh process and makes its full report: `frameroof analyze --json`; every breakdown of HTA's
`TraceAnalysis` that a single rank has; TraceLens's performance report for PyTorch (CSV files). Measured: wall time of
the whole process, and the most that it and its children hold in memory at once (sum of resident sets, every 10 ms; what
a fork shares counts twice). How many times faster is the median over turns, each tool beside the other within seconds,
for a machine's speed may change from minute to minute. Python may keep its bytecode, as it does for every installed
program. `--repeat N` does the same with a file of N copies of the events, each later in time and with its own numbers.
`--hta` is a Python that has `traceinsight` and `pandas<3`; `--tracelens` the program
`TraceLens_generate_perf_report_pytorch` (of github.com/AMD-AGI/TraceLens; PyPI has another).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

HTA = """
import sys, warnings
warnings.filterwarnings("ignore")
from hta.trace_analysis import TraceAnalysis
analysis = TraceAnalysis(trace_files={0: sys.argv[1]}, include_last_profiler_step=True)
for name, options in (
    ("get_temporal_breakdown", {"visualize": False}),
    ("get_idle_time_breakdown", {"visualize": False}),
    ("get_gpu_kernel_breakdown", {"visualize": False}),
    ("get_comm_comp_overlap", {"visualize": False}),
    ("get_cuda_kernel_launch_stats", {"visualize": False}),
    ("get_queue_length_summary", {}),
    ("get_memory_bw_summary", {}),
):
    try:
        getattr(analysis, name)(**options)
        print("ok", name)
    except Exception as error:
        print("failed", name, type(error).__name__)
"""


def commands(trace: Path, peers: dict[str, str | None], out: Path) -> dict[str, list[str]]:
    """Tool -> the command that makes its full report of one trace."""
    found = {"frameroof": [sys.executable, "-m", "frameroof", "analyze", str(trace), "--json"]}
    if peers["hta"]:
        found["HTA"] = [peers["hta"], "-c", HTA, str(trace)]
    if peers["tracelens"]:
        options = ["--profile_json_path", str(trace), "--output_csvs_dir", str(out / "tracelens")]
        found["TraceLens"] = [peers["tracelens"], *options]
    return found


def measure(command: list[str], folder: Path) -> dict[str, Any]:
    """Wall seconds of one process, and the most resident memory (bytes) of it and its children together."""
    log = folder / "log.txt"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with open(log, "wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=environment)
        most = Most(process.pid)
        most.start()
        code = process.wait()
        seconds = time.perf_counter() - start
        most.join()
    return {
        "seconds": seconds,
        "rss_bytes": most.bytes,
        "exit": code,
        "tail": log.read_bytes()[-300:].decode(errors="replace") if code else "",
    }


class Most(Thread):
    """Watches a process (Linux) until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid, self.bytes = pid, 0

    def run(self) -> None:
        while (now := self._resident(self.pid)) is not None:
            self.bytes = max(self.bytes, now)
            time.sleep(0.01)

    def _resident(self, pid: int) -> int | None:
        """Bytes of a process and its children; None where it has ended."""
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except (OSError, IndexError):
            return None
        own = pages * os.sysconf("SC_PAGE_SIZE")
        return own + sum(self._resident(int(child)) or 0 for child in children) if own else None


def repeated(trace: Path, times: int, target: Path) -> int:
    """Write `times` copies of the events one after the other; the number of events written."""
    opener: Callable[..., Any] = gzip.open if trace.suffix == ".gz" else open
    with opener(trace, "rb") as file:
        data = json.load(file)
    events = data["traceEvents"]
    ends = [e["ts"] + e.get("dur", 0) for e in events if e.get("ph") == "X"]
    starts = [e["ts"] for e in events if e.get("ph") == "X"]
    step = max(ends) - min(starts) + 1000
    largest = max((e.get("args", {}).get("correlation") or 0) for e in events) + 1_000_000
    head = json.dumps({k: v for k, v in data.items() if k != "traceEvents"})[:-1]
    written = 0
    with gzip.open(target, "wt", compresslevel=1) as out:
        out.write(head + ', "traceEvents": [\n')
        for copy in range(times):
            lines = []
            for event in events:
                if copy and event.get("ph") == "M":
                    continue
                lines.append(json.dumps(_moved(event, copy * step, copy * largest)))
            out.write((",\n" if copy else "") + ",\n".join(lines))
            written += len(lines)
        out.write("\n]}\n")
    return written


def _moved(event: dict[str, Any], later: float, number: int) -> dict[str, Any]:
    moved = dict(event)
    if "ts" in moved:
        moved["ts"] = round(moved["ts"] + later, 3)
    if isinstance(moved.get("id"), int):
        moved["id"] += number
    args = moved.get("args")
    if number and args:
        moved["args"] = {
            k: v + number
            if k in ("correlation", "External id", "Python id", "Python parent id") and isinstance(v, int)
            else v
            for k, v in args.items()
        }
    return moved


def compare(trace: Path, peers: dict[str, str | None], runs: int, folder: Path) -> dict[str, Any]:
    """All tools on one file, in turn, `runs` times."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for turn in range(runs):
        for name, command in commands(trace, peers, folder).items():
            sample = measure(command, folder)
            samples.setdefault(name, []).append(sample)
            print(f"{name:10} {sample['seconds']:8.2f} s {sample['rss_bytes'] / 1e6:8.0f} MB exit {sample['exit']}"
                  f"  (turn {turn + 1})", flush=True)  # fmt: skip
    seconds = {name: [s["seconds"] for s in found] for name, found in samples.items()}
    times = {n: [b / a for a, b in zip(seconds["frameroof"], seconds[n], strict=True)] for n in seconds}
    memory = {name: max(s["rss_bytes"] for s in found) for name, found in samples.items()}
    return {
        "file_bytes": trace.stat().st_size,
        "samples": samples,
        "median_seconds": {name: statistics.median(found) for name, found in seconds.items()},
        "largest_rss_bytes": memory,
        "times_faster": {n: statistics.median(found) for n, found in times.items() if n != "frameroof"},
        "times_faster_by_turn": {n: found for n, found in times.items() if n != "frameroof"},
        "share_of_memory": {n: memory["frameroof"] / memory[n] for n in memory if n != "frameroof"},
    }


def main() -> None:
    """Run the comparison, print it, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--hta")
    parser.add_argument("--tracelens")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    peers = {"hta": given.hta, "tracelens": given.tracelens}
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "command": " ".join(sys.argv),
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "trace": given.trace.name,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["once"] = compare(given.trace.resolve(), peers, given.runs, folder)
        if given.repeat:
            large = folder / "repeated.json.gz"
            result["repeat"] = given.repeat
            with get_context("spawn").Pool(1) as pool:  # a process forked from a large one starts as large
                result["repeated_events"] = pool.apply(repeated, (given.trace, given.repeat, large))
            result["repeated"] = compare(large, peers, max(1, given.runs // 3), folder)
    print(json.dumps({k: {n: v[n] for n in ("times_faster", "share_of_memory")} for k, v in result.items()
                      if k in ("once", "repeated")}, indent=1))  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
