"""Where a run was made: versions, processor, device, clocks, and the settings that change speed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..dtypes import STRICT, TORCH

if TYPE_CHECKING:
    from ..recorded import Environment

PACKAGES = (
    "frameroof",
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "triton",
    "torchao",
    "flash-attn",
    "xformers",
)
SETTINGS = ("NCCL_", "PYTORCH_", "TORCHINDUCTOR_", "OMP_", "MKL_", "KMP_", "CUDA_", "HIP_", "HSA_", "ROCR_", "MALLOC_")
_SMI = "driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu"


def surroundings() -> Environment:
    """What another run must share to be compared with this one, as a record."""
    import msgspec  # only here: a machine without it can still ask what it is

    from ..recorded import Environment, left_over

    data = environment()
    found = msgspec.convert(data, Environment)
    found.extra = left_over(Environment, data)
    return found


def environment() -> dict[str, Any]:
    """The keys and values of `surroundings`, for what runs without msgspec (`benchmarks/gpu`)."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **_versions()},
        "cpu": cpu(),
        "torch": _torch_settings(),
        "settings": {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)},
    }
    preloaded = os.environ.get("LD_PRELOAD")
    if preloaded:  # another allocator, as a rule
        found["settings"]["LD_PRELOAD"] = preloaded
    if torch.cuda.is_available():
        found["gpu"] = _gpu()
    return found


def cpu() -> dict[str, Any]:
    """The processor, as the system describes it."""
    found: dict[str, Any] = {"name": cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    with suppress(AttributeError, OSError):
        found["usable_cores"] = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    with suppress(OSError, ValueError):
        khz = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text()
        found["clock_mhz"] = int(khz) // 1000
    if "clock_mhz" not in found and (mhz := _cpuinfo("cpu MHz")):
        found["clock_mhz"] = round(float(mhz))
    with suppress(AttributeError):
        found["capability"] = torch.backends.cpu.get_cpu_capability()
    memory = memory_bytes()
    return found | ({"memory_bytes": memory} if memory else {})


def cpu_name() -> str:
    """The processor's name for people."""
    return " ".join((_cpuinfo("model name") or platform.processor() or platform.machine()).split())


def memory_bytes() -> int:
    """The memory of this machine; 0 where the system does not say."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def free_bytes(device: str) -> int | None:
    """Memory that could be taken now, on the device or in the machine (and its control group); None if unknown."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    free = None
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        free = left if free is None else min(free, left)
    return free


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
        found["cudnn"] = str(torch.backends.cudnn.version())
        with suppress(Exception):  # a build without NCCL
            found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    if torch.version.hip:
        found["hip"] = torch.version.hip
    return found


def maths() -> str:
    """What multiplies operands in fp32 now (`dtypes.MATHS`), by torch's own switches."""
    if torch.get_float32_matmul_precision() != "highest":  # also where allow_tf32 was set
        return "tf32"
    return TORCH if torch.backends.cudnn.allow_tf32 else STRICT


def _torch_settings() -> dict[str, Any]:
    found: dict[str, Any] = {
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "mkldnn": torch.backends.mkldnn.is_available(),
    }
    if torch.cuda.is_available():
        found["allocator"] = torch.cuda.get_allocator_backend()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        found["distributed"] = {
            "backend": torch.distributed.get_backend(),
            "rank": torch.distributed.get_rank(),
            "world_size": torch.distributed.get_world_size(),
        }
    return found


def _gpu() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    found: dict[str, Any] = {
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "memory_bytes": int(properties.total_memory),
        "processors": int(properties.multi_processor_count),
    }
    if hasattr(torch.cuda, "get_device_capability") and torch.version.cuda:
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
    return found | _smi()


def _smi() -> dict[str, str]:
    """Driver, clocks and power limit of the first device, where nvidia-smi can be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, f"--query-gpu={_SMI}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
    return dict(zip(_SMI.replace(".", "_").split(","), values, strict=False))


def _cpuinfo(key: str) -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""
