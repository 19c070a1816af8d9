"""Where a run was made: versions, processor, device, clocks, and the settings that change speed."""

from __future__ import annotations

import math

import msgspec

from ..hardware import Device
from .measured import Amount


class Cpu(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The processor, as the system describes it."""

    name: str | None = None
    cores: Amount | None = None
    threads: Amount | None = None
    """Of torch."""
    usable_cores: Amount | None = None
    clock_mhz: Amount | None = None
    capability: str | None = None
    """The vector instructions that torch uses."""
    memory_bytes: Amount | None = None


class Distributed(msgspec.Struct, kw_only=True):
    """This process among its ranks."""

    backend: str
    rank: int
    world_size: int


class TorchSettings(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What torch was told."""

    float32_matmul_precision: str | None = None
    deterministic: bool | None = None
    cudnn_benchmark: bool | None = None
    mkldnn: bool | None = None
    allocator: str | None = None
    distributed: Distributed | None = None


class Gpu(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The current device; clocks, power and temperature with their units, as nvidia-smi writes them."""

    name: str | None = None
    count: Amount | None = None
    memory_bytes: Amount | None = None
    processors: Amount | None = None
    """Streaming multiprocessors or compute units."""
    capability: str | None = None
    driver_version: str | None = None
    pstate: str | None = None
    clocks_sm: str | None = None
    clocks_mem: str | None = None
    clocks_max_sm: str | None = None
    clocks_max_mem: str | None = None
    power_limit: str | None = None
    temperature_gpu: str | None = None


class Environment(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What another run must share to be compared with this one; empty for a trace that something else recorded."""

    date: str | None = None
    """UTC, ISO 8601."""
    system: str | None = None
    versions: dict[str, str] | None = None
    """By package."""
    cpu: Cpu | None = None
    torch: TorchSettings | None = None
    settings: dict[str, str] | None = None
    """Variables of the environment that change speed."""
    gpu: Gpu | None = None
    probe: Device | None = None
    """The device that `frameroof profile` measured itself."""
    extra: dict[str, str] = {}
    """What other writers added, by its path (`cpu.governor`)."""

    def __post_init__(self) -> None:
        """`ValueError` for a probe whose rates are not above 0."""
        if self.probe is None:
            return
        rates = {f"dense_flops.{name}": rate for name, rate in self.probe.dense_flops.items()}
        rates |= {"bandwidth": self.probe.bandwidth, "memory_bytes": self.probe.memory_bytes}
        wrong = next((name for name, rate in rates.items() if not 0 < rate < math.inf), None)
        if wrong or not self.probe.dense_flops:
            raise ValueError(
                f"probe.{wrong} is {rates[wrong]:g}, and a rate is above 0" if wrong else "probe.dense_flops is empty"
            )
