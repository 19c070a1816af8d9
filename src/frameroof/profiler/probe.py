"""The peaks of this CPU, measured in two seconds: matrix FLOP/s in fp32 and bf16, and bytes per second of memory.

The best of many short trials stands for the peak: what else runs on the machine only ever slows one down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from ..dtypes import PROBED, torch_name
from ..hardware import Device
from ..rules import matmul_flops
from .environment import cpu_name, memory_bytes

SIDES = (512, 1024, 2048)
COPIED_BYTES = 256 << 20
"""More than any cache holds, read and written."""
SOURCE = (
    "measured here by frameroof profile: the best rate of torch.mm at sides {sides}, the larger ones where they are "
    "quick enough, and of copying {mib} MiB"
)


def probe(seconds: float = 0.5, now: Callable[[], int] = time.perf_counter_ns) -> Device:
    """This CPU as a device: `seconds` of trials for each type, and for its memory."""
    with torch.inference_mode():
        peaks = {name: _matmul_rate(getattr(torch, torch_name(name)), seconds, now) for name in PROBED}
        bandwidth = _copy_rate(seconds, now)
    sides = ", ".join(map(str, SIDES))
    return Device(
        name=f"this CPU ({cpu_name()}, {torch.get_num_threads()} threads)",
        vendor="",
        family="measured",
        kind="cpu",
        dense_flops=peaks,
        vector_peak=None,
        memory_bytes=memory_bytes(),
        bandwidth=bandwidth,
        source=(SOURCE.format(sides=sides, mib=COPIED_BYTES >> 20),),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        confidence="medium",
        flags=("Arrays that stay in the caches can move faster than the memory bandwidth that was measured.",),
    )


def _matmul_rate(dtype: torch.dtype, seconds: float, now: Callable[[], int]) -> float:
    """The most FLOP/s of a square matrix product over the sides, each for its share of the time.

    A side at which one product would take longer than that is left out: without instructions for it, bf16 takes
    seconds.
    """
    best, share = 0.0, seconds / len(SIDES)
    for side in SIDES:
        if best and matmul_flops(1, side, side, side) / best > share:
            break
        a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
        out = torch.empty(side, side, dtype=dtype)
        taken = _best_ns(partial(torch.mm, a, b, out=out), share, now)
        best = max(best, matmul_flops(1, side, side, side) / taken * 1e9)
    return best


def _copy_rate(seconds: float, now: Callable[[], int]) -> float:
    """Bytes read and written per second in a copy of a large array."""
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / _best_ns(lambda: target.copy_(source), seconds, now) * 1e9


def _best_ns(work: Callable[[], Any], seconds: float, now: Callable[[], int]) -> int:
    """The shortest of the trials that fit into `seconds`, after one that is not counted; at least two."""
    work()
    trials: list[int] = []
    until = now() + int(seconds * 1e9)
    while len(trials) < 2 or now() < until:
        start = now()
        work()
        trials.append(max(1, now() - start))
    return min(trials)
