"""Kernels that stay far below their own limit: which, on what sizes, which limit, and what usually replaces them.

A call is slow where it reaches less than half of its limit: vendors' own kernels reach more at sizes that fill a
device. Calls shorter than 10 us are not judged: what starting and ending a kernel costs is most of them. What has no
recorded sizes has no limit, and is never called slow. Eager attention has its own advice (`device.py`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...hardware import Device
from ...recorded import Advice, concerns
from ...recorded.concerns import Concern
from ...roofline import Roofline
from ...run import Run, ShapeRow
from ...units import format_bandwidth, format_rate
from ..find.row_limits import RowLimit, limit_of_attention, limit_of_shape
from ..resolve.classify import ATTENTION, COMMUNICATION, CONVOLUTION, COPY, LINEAR, OTHER
from .words import Said, ms, suggest, times

SLOW = 0.5
"""Share of its limit below which a call is slow."""
SHORT_NS = 10_000
WIDTH = 80
"""Letters of a kernel's name."""


class _Slow(NamedTuple):
    """Calls of one operator at one set of sizes that stay below their limit."""

    name: str
    sizes: str
    kernel: str
    time_ns: int
    calls: int
    limit: RowLimit
    dtype: str


def slow_kernels(run: Run, device: Device | None) -> Iterator[Advice]:
    """One advice for each operator that has slow calls; none of a processor, whose operators are not kernels."""
    if device is None or run.summary.on_cpu:
        return
    roofline = Roofline(device, ran=True)
    groups: dict[tuple[str, Concern, float], list[_Slow]] = defaultdict(list)
    for about, class_, slow in _rows(run, roofline):
        if slow.time_ns >= SHORT_NS * max(1, slow.calls) and slow.limit.ns < SLOW * slow.time_ns:
            groups[class_, about, slow.limit.bandwidth].append(slow)
    for (class_, about, _), found in groups.items():
        yield _advice(class_, about, found, roofline)


def _rows(run: Run, roofline: Roofline) -> Iterator[tuple[Concern, str, _Slow]]:
    """Whatever has a limit: what it is about, its class, and itself."""
    for row in run.shapes:
        if row.class_ in (COMMUNICATION, OTHER) or (row.class_ == ATTENTION and run.attention):
            continue
        limit = limit_of_shape(row, roofline, run.maths)
        if limit is not None and limit.ns:
            about = concerns.Operator(row.class_, row.name or f"(kernel) {row.kernel}")
            slow = _Slow(row.name, _sizes(row), row.kernel, row.time_ns, row.count, limit, row.dtype or "")
            yield about, row.class_, slow
    for each in run.attention:
        limit = limit_of_attention(each, roofline, run.maths) if each.fused else None
        if limit is not None and limit.ns:
            lengths = f"{each.query_len:,}" + (f" x {each.key_len:,}" if each.key_len != each.query_len else "")
            over = f"{lengths} positions" if each.query_len else "packed sequences"
            name = f"{each.kind} attention over {over}"
            slow = _Slow(name, each.size, each.kernel, each.time_ns, each.count, limit, each.dtype or "")
            yield concerns.Attention(each.kind, each.query_len, each.stage), ATTENTION, slow


def _advice(class_: str, about: Concern, found: list[_Slow], roofline: Roofline) -> Advice:
    worst = max(found, key=lambda slow: slow.time_ns - slow.limit.ns)
    time, limit = sum(slow.time_ns for slow in found), sum(slow.limit.ns for slow in found)
    name = worst.name or _cut(worst.kernel)
    calls = times(sum(slow.calls for slow in found), "call")
    take = "take" if sum(slow.calls for slow in found) > 1 else "takes"
    part = f"{ms(worst.time_ns)} of it" if len(found) > 1 else "all"
    sizes = f" on {worst.sizes}" if worst.sizes else ""
    kernel = f"in {_cut(worst.kernel)} " if worst.kernel else ""
    reached = f"at {_percent(worst.limit.ns / worst.time_ns)} of the limit of {_bound(worst, roofline)}"
    return suggest(
        "device.slow-kernel",
        about,
        Said(
            f"Speed up {name} ({class_}): {calls} at {_percent(limit / time)} of the limit",
            f"{calls} of 10 us or more {take} {ms(time)}, {part} {kernel}{reached}{sizes}",
            _how(class_, worst, roofline.device),
            f"{ms(time)} - {ms(limit)}, the limit of these calls, = {ms(time - limit)}",
        ),
        time - limit,
    )


def _bound(slow: _Slow, roofline: Roofline) -> str:
    """Which limit it is, with its number."""
    limit = slow.limit
    if limit.bound == "compute":
        return f"compute ({format_rate(roofline.peak(limit.unit))} in {limit.unit})"
    link = "" if limit.bandwidth == roofline.bandwidth else " of the link to the host"
    return f"bandwidth ({format_bandwidth(limit.bandwidth)}{link})"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "less than 1%"


def _sizes(row: ShapeRow) -> str:
    """The sizes of its tensors, as text."""
    tensors: list[Any] = [
        part for each in row.dims for part in (each if each and isinstance(each[0], list) else [each])
    ]
    return ", ".join("x".join(map(str, each)) for each in tensors if each)


def _cut(name: str) -> str:
    name = re.sub(r"^void ", "", name)
    return name if len(name) <= WIDTH else name[: WIDTH - 1] + "…"


# --------------------------------------------------------------------------------------------- how

_ATTENTION = {
    "NVIDIA": "the vendor's fused kernel: FlashAttention 3 (Hopper; 4 on Blackwell, else 2), or cuDNN's "
    "(scaled_dot_product_attention under sdpa_kernel(SDPBackend.CUDNN_ATTENTION)); head sizes of 64 or 128",
    "AMD": "the vendor's fused kernel: AITER or Composable Kernel (flash-attention for ROCm), in a version tuned for "
    "this device; head sizes of 64 or 128",
}
_CONVOLUTION = {
    "NVIDIA": "torch.backends.cudnn.benchmark = True, channels_last (channels_last_3d for video), half precision, and "
    "channels in multiples of 8",
    "AMD": "MIOpen's find mode (MIOPEN_FIND_MODE=NORMAL; MIOPEN_FIND_ENFORCE=SEARCH once, to tune), channels_last "
    "(channels_last_3d for video), half precision",
}
_LINEAR = {
    "NVIDIA": "sizes padded to multiples of 64, the other layout of the weights, torch.compile(mode='max-autotune'), "
    "batching where there are few rows",
    "AMD": "hipBLASLt, tuned (PYTORCH_TUNABLEOP_ENABLED=1), the other layout of the weights, "
    "torch.compile(mode='max-autotune'), batching where there are few rows",
}


def _how(class_: str, slow: _Slow, device: Device) -> str:
    """What usually replaces a slow kernel of a class."""
    if class_ == ATTENTION:
        return _ATTENTION.get(device.vendor, "the vendor's fused kernel, through scaled_dot_product_attention")
    if class_ == CONVOLUTION:
        return _CONVOLUTION.get(device.vendor, "channels_last, half precision, and the vendor's tuned convolutions")
    if class_ == LINEAR:
        return _LINEAR.get(device.vendor, "sizes padded to multiples of 64, torch.compile(mode='max-autotune')")
    if class_ == COPY and "Memcpy" in slow.kernel:
        return "copy from pinned memory with non_blocking=True, in fewer and larger pieces"
    return "fuse it with its neighbors by torch.compile; keep its inputs contiguous and in one layout"
