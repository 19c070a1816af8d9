"""How fast frameroof itself is: `python benchmarks/speed.py [--out FILE]`.

Three things. *Grid*: microseconds of one core per configuration (sizes x machine) of a whole pipeline,
limit, expected time, memory and cost, with points of the grid compared with `predict`. *Cold*: seconds
of `frameroof predict` as a fresh process. *Devices*: CPU seconds of a fresh process to read all machines (the
aim is 15 ms). Peers (measured 2026-11-20, on another machine of this kind):
LLM-Viewer 78 us for one language model, Hyperloom 48 us for one denoiser, limits alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"

import numpy as np

from frameroof import catalogue
from frameroof.estimate.grid import estimate_grid
from frameroof.hardware import parse_node
from frameroof.study.predict import predict, prepare

NODES = ("H100", "H200", "A100", "L40S", "MI300X")
PIPELINES = ("sdxl-base", "stable-diffusion-1.5", "flux.1-dev", "wan2.1-t2v-14b", "llama3.1-8b", "longlive-1.3b")
PEERS_US = {"LLM-Viewer, one LLM": 78, "Hyperloom, one denoiser": 48}


def grid(name: str, count: int, samples: int) -> dict[str, Any]:
    """CPU microseconds per configuration, and the largest difference from `predict`."""
    workload, _ = prepare(catalogue.load(name))
    nodes = [parse_node(node) for node in NODES]
    rng = np.random.default_rng(0)
    sizes = {}
    for size_name, size in workload.params.items():
        if size_name in ("batch", "height", "width", "frames", "steps", "prompt_tokens", "new_tokens"):
            room = max(1, (size.default - size.lowest) // size.step)
            values = (
                size.lowest + (size.default - size.lowest) % size.step + size.step * rng.integers(0, room + 1, count)
            )
            sizes[size_name] = values if size.most is None else np.minimum(values, size.most)
    timings = []
    for _ in range(samples):
        start = time.process_time()
        result = estimate_grid(workload, nodes, sizes)
        timings.append((time.process_time() - start) / count / len(nodes) * 1e6)
    worst = 0.0
    for row, node in enumerate(nodes):
        for at in range(0, count, count // 5):
            one = predict(catalogue.load(name), node, sizes={n: int(v[at]) for n, v in sizes.items()})
            pairs = [(one.limit_s, result.limit_s), (one.expected_s, result.expected_s)]
            pairs.append((one.memory.peak_bytes, result.peak_bytes))
            if one.cost.usd_per_item is not None:
                pairs.append((one.cost.usd_per_item, result.usd_per_item))
            worst = max(worst, *(abs(values[row, at] / single - 1) for single, values in pairs))
    return {"pipeline": name, "us_per_configuration": timings, "configurations": count * len(nodes), "worst": worst}


def cold(samples: int) -> list[float]:
    """Wall seconds of ``frameroof predict sdxl --on H100`` from a fresh process."""
    command = [sys.executable, "-c", "from frameroof.cli import main; main()", "predict", "sdxl", "--on", "H100"]
    timings = []
    for _ in range(samples + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        timings.append(time.perf_counter() - start)
    return timings[1:]


def devices(samples: int) -> list[float]:
    """CPU seconds to read every machine's file, each in a fresh process."""
    code = (
        "import time; from frameroof.hardware import devices; "
        "start = time.process_time(); devices(); print(time.process_time() - start)"
    )
    command = [sys.executable, "-c", code]
    return [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(samples)]


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--samples", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for name in PIPELINES:
        rows.append(grid(name, options.count, options.samples))
        us = rows[-1]["us_per_configuration"]
        print(f"grid {name:22} {sorted(us)[len(us) // 2]:6.2f} us per configuration, worst {rows[-1]['worst']:.1e}")
    starts = cold(options.samples)
    print(f"cold predict sdxl      {sorted(starts)[len(starts) // 2]:6.3f} s")
    read = devices(options.samples)
    print(f"all machines           {sorted(read)[len(read) // 2] * 1e3:6.1f} ms of CPU")
    if options.out:
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python", *sys.argv]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "numpy": np.__version__,
            "load_at_start": os.getloadavg(),
            "grid": rows,
            "cold_predict_s": starts,
            "devices_s": read,
            "peers_us": PEERS_US,
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
