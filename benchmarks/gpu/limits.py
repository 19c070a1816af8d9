"""Predictions: counted FLOPs and bytes against the peaks in frameroof's own files, read without msgspec.

`frameroof.hardware` and `frameroof.estimate` need msgspec, which a bare machine does not have; the files are the same,
and tests/unit/test_gpu_script.py holds peaks and bandwidths to what frameroof.hardware reads.
*Limit*: the larger of FLOPs over the dense peak and bytes over the bandwidth. *Expected*: the same through the stated
shares of `estimate/eager.toml` (each with its source there); for whole streams and models the limit over the stated
utilization (benchmarks/results/utilization-2026-11-21.json).
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import frameroof

PACKAGE = Path(frameroof.__file__).parent
UTILIZATION = 0.51  # median over 15 models: benchmarks/results/utilization-2026-11-21.json


@dataclass(frozen=True)
class Machine:
    """A device's dense peaks (FLOP/s by dtype) and bandwidths (bytes/s); empty and None where no file has it."""

    name: str
    record: str | None
    peaks: dict[str, float]
    bandwidth: float | None
    bus: float | None  # host link, one direction
    source: tuple[str, ...]
    shares: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "record": self.record,
            "dense_flop_per_s": self.peaks,
            "bytes_per_s": self.bandwidth,
            "host_bytes_per_s": self.bus,
            "source": list(self.source),
            "expected_from": f"src/frameroof/estimate/eager.toml: {self.shares['name']}",
            "utilization": UTILIZATION,
        }

    def predict(self, flops: float, moved: float, dtype: str = "bf16", kind: str = "matrix", **how: float) -> dict:
        """FLOPs and bytes of one call, its limit and what is expected; times are None without peaks.

        `kind` names the share of the peak: matrix, convolution, attention (with `head`) or memory.
        """
        found = {"flops": flops, "bytes": moved, "limit_s": None, "expected_s": None, "bound": None}
        peak = self.peaks.get(dtype)
        if self.bandwidth is None or (flops and peak is None):
            return found
        compute, memory = flops / peak if flops else 0.0, moved / self.bandwidth
        share = 1.0 if kind == "memory" else self._share(kind, flops, how.get("head", 128))
        slower = memory / _curve(self.shares["memory"]["points"], moved / 1e6)
        least = self.shares["kernel"]["value"] * 1e-6
        found["limit_s"] = max(compute, memory)
        found["expected_s"] = max(compute / share, slower, least)
        return found | {"bound": "compute" if compute > memory else "memory"}

    def whole(self, flops: float, moved: float, dtype: str = "bf16") -> dict[str, Any]:
        """The same of a program of many operations: compute and memory in turns at best, through one utilization."""
        found = self.predict(flops, moved, dtype)
        if found["limit_s"]:
            found["expected_s"] = found["limit_s"] / UTILIZATION
        return found | {"utilization": UTILIZATION}

    def _share(self, kind: str, flops: float, head: float) -> float:
        if kind == "attention":
            padded = math.ceil(head / 64) * 64
            return _curve(self.shares["flash"]["points"], padded) * head / padded
        share = _curve(self.shares["matrix"]["points"], flops / 1e9)
        return share * self.shares["convolution"]["value"] if kind == "convolution" else share


def machine(device: torch.device) -> Machine:
    """The record of this device by its name; a CPU has none here (`frameroof.profiler.probe` measures its peaks)."""
    shares = tomllib.loads((PACKAGE / "estimate" / "eager.toml").read_text("utf-8"))
    if device.type != "cuda":
        return Machine("cpu", None, {}, None, None, (), shares)
    name = torch.cuda.get_device_name(device)
    found = record(name)
    if found is None:
        return Machine(name, None, {}, None, None, (), shares)
    peaks = {dtype: value * 1e12 for dtype, value in found["dense_tflops"].items()}
    bus = found.get("pcie_gb_s_per_direction")
    return Machine(
        name=name,
        record=found["name"],
        peaks=peaks,
        bandwidth=found["memory_gb_s"] * 1e9,
        bus=bus * 1e9 if bus else None,
        source=(f"src/frameroof/hardware/nvidia.toml, read {found['date']}", *found["source"]),
        shares=shares,
    )


def record(name: str) -> dict[str, Any] | None:
    """The entry of `hardware/*.toml` for the name that CUDA gives a device: "NVIDIA H200" is the alias H200."""
    wanted = name.lower().replace("nvidia", "").replace("-", " ").split()
    for path in sorted((PACKAGE / "hardware").glob("*.toml")):
        for device in tomllib.loads(path.read_text("utf-8")).get("device", []):
            names = (device["name"], *device.get("aliases", ()))
            if any(other.lower().replace("-", " ").split() == wanted for other in names):
                return device
    return None


def _curve(points: list[list[float]], size: float) -> float:
    """The share at a size, interpolated over its logarithm; outside of the points the nearest one."""
    if size <= points[0][0]:
        return points[0][1]
    for (a, low), (b, high) in pairwise(points):
        if size <= b:
            return low + (high - low) * math.log(size / a) / math.log(b / a)
    return points[-1][1]
