"""Which attention kernel is fastest here: every one that runs is measured at the stream's own shapes.

The kernels in 8 bits make an error of a few percent (`kernels.attend_fp8`), so they are measured only where that is
asked for. Shapes: B batch, N queries, L keys, H heads, D head width.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models.causal_wan import Attend, sdpa
from . import kernels
from .compiled import strictly
from .config import StreamConfig
from .kernels import FP8
from .kernels.reference import with_scale

SDPA = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
PACKAGES = {"fa3": "flash_attn_interface", "fa2": "flash_attn"}
OWN_FP8 = {"fp8" if rows == kernels.ATTEND_ROWS[0] else f"fp8-{rows}": rows for rows in kernels.ATTEND_ROWS}
EIGHT_BIT = (*OWN_FP8, "fa3-fp8")
NAMES = ("sdpa", *SDPA, *PACKAGES)
BURST = 10  # calls of a kernel on a GPU without waiting between them, so that waiting is not what is measured
MEASURED = ("measured", "measured-fp8")  # names that `pick` takes besides: the fastest, with 8 bits or without


@dataclass(frozen=True)
class Choice:
    """The fastest kernel, the median seconds of each that ran, and why the others did not."""

    name: str
    seconds: dict[str, float]
    refused: dict[str, str]


@dataclass(frozen=True)
class ByLength:
    """Attention over the window by one kernel, over the `text` tokens of a prompt by another."""

    window: Attend
    prompt: Attend
    text: int

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return (self.prompt if k.shape[1] == self.text else self.window)(q, k, v)


def backend(name: str) -> Attend:
    """Attention by one kernel; ValueError where its package is missing. It fails when run where it is not supported."""
    if name == "sdpa":
        return sdpa
    if name in SDPA:
        return _only(SDPA[name])
    if name in OWN_FP8:
        return partial(kernels.attend_fp8, rows=OWN_FP8[name])
    if name not in (*PACKAGES, "fa3-fp8"):
        raise ValueError(f"No attention is called '{name}'; there are {', '.join((*NAMES, *EIGHT_BIT))}.")
    package = PACKAGES[name.removesuffix("-fp8")]
    try:
        function = importlib.import_module(package).flash_attn_func
    except ImportError as error:
        raise ValueError(f"Attention '{name}' needs the package {package}: {error}.") from error
    return _flash_fp8(function) if name == "fa3-fp8" else _flash(function)


def pick(name: str, c: StreamConfig, device: torch.device | str, dtype: torch.dtype) -> tuple[Attend, str]:
    """Attention by name, and what is to be said of it; "measured" and "measured-fp8" measure here and now.

    The fastest over the full window and the fastest over a prompt are looked for apart.
    """
    if name not in MEASURED:
        return backend(name), f"Attention is '{name}'."
    window, prompt = (
        choose(c, device, dtype, keys=keys, eight_bit=name == "measured-fp8")
        for keys in (c.window * c.frame_tokens, c.text_tokens)
    )
    said = f"Attention was measured: '{window.name}' is fastest over the window, '{prompt.name}' over a prompt."
    if window.name == prompt.name:
        return backend(window.name), said
    return ByLength(backend(window.name), backend(prompt.name), c.text_tokens), said


def choose(  # one argument more than five: what runs where, and the clock of a test
    c: StreamConfig,
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    keys: int | None = None,
    eight_bit: bool = False,
    runs: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Measure each kernel on one layer's attention of a block over `keys` (None: the full window).

    The median of `runs` after one more; with `eight_bit` those that attend in fp8 compete too.
    """
    m = c.model
    keys = c.window * c.frame_tokens if keys is None else keys
    shapes = [(1, tokens, m.heads, m.head_dim) for tokens in (c.block_tokens, keys, keys)]
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = (torch.randn(shape, generator=generator, device=device, dtype=dtype) for shape in shapes)
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name in (*NAMES, *EIGHT_BIT) if eight_bit else NAMES:
        with warnings.catch_warnings(record=True) as said:  # torch warns of each reason before it refuses
            warnings.simplefilter("always")
            try:
                seconds[name] = _median(backend(name), (q, k, v), runs, clock)
            except Exception as error:  # a kernel of another package may refuse in its own way
                first = str(error).splitlines()[0] if str(error) else type(error).__name__
                refused[name] = " ".join([first, *(str(each.message).split(" (Triggered")[0] for each in said[:2])])
    return Choice(min(seconds, key=lambda name: seconds[name]), seconds, refused)


@torch.inference_mode()
def _median(attend: Attend, qkv: tuple[torch.Tensor, ...], runs: int, clock: Callable[[], float]) -> float:
    taken = []
    calls = BURST if qkv[0].device.type == "cuda" else 1
    for _ in range(runs + 1):
        _settle(qkv[0].device)
        start = clock()
        for _ in range(calls):
            attend(*qkv)
        _settle(qkv[0].device)
        taken.append((clock() - start) / calls)
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


def _flash_fp8(function: Callable[..., Any]) -> Attend:
    """FlashAttention 3 over e4m3, one scale for each head of each sample; it gives bf16."""

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        by_head = _by_head_compiled() if q.device.type == "cuda" else _by_head
        (q8, q_scale), (k8, k_scale), (v8, v_scale) = (by_head(x) for x in (q, k, v))
        out = function(q8, k8, v8, q_descale=q_scale, k_descale=k_scale, v_descale=v_scale)
        return (out[0] if isinstance(out, tuple) else out).to(q.dtype)

    return attend


def _by_head(x_BNHD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes, contiguous, and the scale of each head, (B, H)."""
    largest_B1H1 = x_BNHD.abs().amax((1, 3), keepdim=True).float()
    scale = (largest_B1H1 / FP8.largest).clamp_min(1e-30)
    return with_scale(x_BNHD, scale, FP8).codes.contiguous(), scale[:, 0, :, 0]


@cache
def _by_head_compiled() -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    return strictly(_by_head)
