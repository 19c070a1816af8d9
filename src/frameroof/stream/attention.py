"""Which attention kernel is fastest here: every one that runs is measured at the stream's own shapes.

Shapes: B batch, N queries, L keys, H heads, D head width.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from frameroof.models.causal_wan import Attend, sdpa

from .config import StreamConfig

SDPA = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
PACKAGES = {"fa3": "flash_attn_interface", "fa2": "flash_attn"}
NAMES = ("sdpa", *SDPA, *PACKAGES)


@dataclass(frozen=True)
class Choice:
    """The fastest kernel, the median seconds of each that ran, and why the others did not."""

    name: str
    seconds: dict[str, float]
    refused: dict[str, str]


def backend(name: str) -> Attend:
    """Attention by one kernel; ValueError where its package is missing. It fails when run where it is not supported."""
    if name == "sdpa":
        return sdpa
    if name in SDPA:
        return _only(SDPA[name])
    if name not in PACKAGES:
        raise ValueError(f"No attention is called '{name}'; there are {', '.join(NAMES)}.")
    try:
        package = importlib.import_module(PACKAGES[name])
    except ImportError as error:
        raise ValueError(f"Attention '{name}' needs the package {PACKAGES[name]}: {error}.") from error
    return _flash(package.flash_attn_func)


def choose(
    c: StreamConfig,
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    runs: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Measure each kernel on one layer's attention with the window full: the median of `runs` after one more."""
    m = c.model
    shapes = [(1, tokens, m.heads, m.head_dim) for tokens in (c.block_tokens, *(c.window * c.frame_tokens,) * 2)]
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = (torch.randn(shape, generator=generator, device=device, dtype=dtype) for shape in shapes)
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name in NAMES:
        with warnings.catch_warnings(record=True) as said:  # torch warns of each reason before it refuses
            warnings.simplefilter("always")
            try:
                seconds[name] = _median(backend(name), (q, k, v), runs, clock)
            except (ValueError, RuntimeError, NotImplementedError) as error:
                first = str(error).splitlines()[0] if str(error) else type(error).__name__
                refused[name] = " ".join([first, *(str(each.message).split(" (Triggered")[0] for each in said[:2])])
    return Choice(min(seconds, key=lambda name: seconds[name]), seconds, refused)


@torch.inference_mode()
def _median(attend: Attend, qkv: tuple[torch.Tensor, ...], runs: int, clock: Callable[[], float]) -> float:
    taken = []
    for _ in range(runs + 1):
        _settle(qkv[0].device)
        start = clock()
        attend(*qkv)
        _settle(qkv[0].device)
        taken.append(clock() - start)
    return sorted(taken[1:])[runs // 2]


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _only(kernel: SDPBackend) -> Attend:
    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel(kernel):
            return sdpa(q, k, v)

    return attend


def _flash(function: Callable[..., Any]) -> Attend:
    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = function(q, k, v)
        return out[0] if isinstance(out, tuple) else out

    return attend
