"""Predictions: frameroof's own records, roofline and models of expected time, over a device read without msgspec.

`frameroof.hardware` needs msgspec, which a bare machine does not have; the files are the same, and
tests/unit/test_gpu_script.py holds peaks and bandwidths to what frameroof.hardware reads. *Limit*: the roofline of one
call. *Expected*: of single kernels by the stated efficiencies of eager execution, of whole programs through the uniform
share that `predict` takes by default.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import frameroof
from frameroof.estimate.expected import DEFAULT_UTILIZATION, Bounds, Expected, Work
from frameroof.estimate.expected.efficiency import Efficiency, stated
from frameroof.roofline import Roofline
from frameroof.units import leading_count
from frameroof.workload.records import Op

from . import works

PACKAGE = Path(frameroof.__file__).parent
UTILIZATION = DEFAULT_UTILIZATION.default


@dataclass(frozen=True)
class Machine:
    """A device's dense peaks (FLOP/s by dtype) and bandwidths (bytes/s); empty and None where no file has it."""

    name: str
    record: str | None
    peaks: dict[str, float]
    bandwidth: float | None
    bus: float | None = None  # host link, one direction
    vector_peak: float | None = None
    compute_units: str | None = None
    source: tuple[str, ...] = ()
    kernels: Efficiency = field(default_factory=stated)
    program: Expected = DEFAULT_UTILIZATION

    @property
    def units(self) -> int | None:
        """Multiprocessors, None where they are not known."""
        return leading_count(self.compute_units)

    def to_dict(self) -> dict[str, Any]:
        return {
            "record": self.record,
            "dense_flop_per_s": self.peaks,
            "vector_flop_per_s": self.vector_peak,
            "bytes_per_s": self.bandwidth,
            "host_bytes_per_s": self.bus,
            "source": list(self.source),
            "expected_from": {"kernels": asdict(self.kernels.about), "programs": asdict(self.program.about)},
            "utilization": UTILIZATION,
        }

    @property
    def dense_flops(self) -> dict[str, float]:
        return self.peaks

    def peak(self, dtype: str) -> float:
        """The dense peak for a dtype; `ValueError` without one."""
        if dtype not in self.peaks:
            raise ValueError(f"{self.name} has no {dtype} peak")
        return self.peaks[dtype]

    def bounds(self, work: Work) -> Bounds | None:
        """The roofline of one call; None where the device is not known, or has no such peak."""
        if self.bandwidth is None:
            return None
        try:
            return Bounds.of(work, Roofline(self))  # of a device it asks what is here
        except ValueError:
            return None

    def predict(self, op: Op, expected: Expected | None = None) -> dict[str, Any]:
        """FLOPs and bytes of one call, its limit and what is expected of it; times are None without peaks."""
        work = Work(op)
        found = {"flops": work.flops, "bytes": work.bytes, "limit_s": None, "expected_s": None, "bound": None}
        bounds = self.bounds(work)
        if bounds is None:
            return found
        found["limit_s"] = float(bounds.limit_s)
        found["expected_s"] = float((expected or self.kernels).call_s(work, bounds))
        return found | {"bound": bounds.limit.bound}

    def whole(self, flops: float, moved: float, dtype: str = "bf16") -> dict[str, Any]:
        """The same of a program of many operations, through one utilization."""
        return self.predict(works.program(flops, moved, dtype), self.program) | {"utilization": UTILIZATION}


def machine(device: torch.device) -> Machine:
    """The record of this device by its name; a CPU has none here (`frameroof.profiler.probe` measures its peaks)."""
    if device.type != "cuda":
        return Machine("cpu", None, {}, None)
    name = torch.cuda.get_device_name(device)
    found = record(name)
    if found is None:
        return Machine(name, None, {}, None)
    bus, vector = found.get("pcie_gb_s_per_direction"), found.get("vector_fp32_tflops")
    return Machine(
        name=name,
        record=found["name"],
        peaks={dtype: value * 1e12 for dtype, value in found["dense_tflops"].items()},
        bandwidth=found["memory_gb_s"] * 1e9,
        bus=bus * 1e9 if bus else None,
        vector_peak=vector * 1e12 if vector else None,
        compute_units=found.get("compute_units"),
        source=(f"src/frameroof/hardware/nvidia.toml, read {found['date']}", *found["source"]),
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
