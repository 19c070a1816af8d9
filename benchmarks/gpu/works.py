"""What is timed, as frameroof's own records: its rules then count FLOPs and bytes of every row.

Bytes count each input read once and each output written once; `more` are bytes that a kernel moves besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from frameroof.workload.expr import Poly
from frameroof.workload.records import CHIP, Op, Tensor


def product(m: int, n: int, k: int, dtype: str = "bf16", more: int = 0) -> Op:
    """A linear of m rows, n outputs and k inputs."""
    reads = (_tensor(dtype, m, k), _tensor(dtype, n, k))
    out = "bf16" if dtype == "fp8" else "int32" if dtype == "int8" else dtype
    written = (_tensor(out, m, n), _bytes(more))
    return Op("", "linear", "linear", reads, written, _sizes(b=1, m=m, n=n, k=k))


def attention(shape: tuple[int, ...], dtype: str = "bf16", more: int = 0) -> Op:
    """Attention of (batch, heads, queries, keys, head width); operands of 16 bits whatever the products' type."""
    b, heads, q, kv, d = shape
    operands = tuple(_tensor("bf16", b, heads, rows, d) for rows in (q, kv, kv))
    reads = tuple(Tensor(each.shape, dtype, traffic=CHIP) for each in operands)  # the type decides the peak
    moved = (*operands, operands[0], _bytes(more))
    return Op("", "attention", "sdpa", reads, moved, _sizes(b=b, heads=heads, kv_heads=heads, q=q, kv=kv, d=d, dv=d))


def convolution(shape: tuple[int, ...]) -> Op:
    """A convolution of (batch, channels in, channels out, *sizes), 3 wide and padded, in bf16."""
    batch, inner, outer, *sizes = shape
    points, taps = batch * prod(sizes), 3 ** len(sizes)
    reads = (_tensor("bf16", points, inner), _tensor("bf16", outer, inner * taps))
    dims = _sizes(n=points * outer, k=inner * taps)
    return Op("", f"conv{len(sizes)}d", "convolution", reads, (_tensor("bf16", points, outer),), dims)


def elementwise(name: str, streams: int, elements: int) -> Op:
    """Something bound by memory, in bf16: all but one of its `streams` are read, that one is written."""
    kind = "norm" if name.endswith("_norm") else "softmax" if name == "softmax" else "elementwise"
    one = _tensor("bf16", 1, elements)
    return Op("", kind, name, (one,) * (streams - 1), (one,))


def copy(size: int) -> Op:
    """A copy of `size` bytes within the device's memory."""
    return Op("", "copy", "copy", (_bytes(size),), (_bytes(size),))


def program(flops: float, size: float, dtype: str = "bf16") -> Op:
    """A program of many operations: compute and memory in turns at best."""
    reads = (Tensor((Poly({(): 1}),), dtype, traffic=CHIP), _bytes(round(size)))
    return Op("", "linear", "program", reads, (), _sizes(b=1, m=1, n=1, k=round(flops / 2)))


def of(about: Mapping[str, Any]) -> Op | None:
    """The record of a row of `calibrate` from what the row says of itself; None for a launch or the host's link."""
    match about:
        case {"kind": "gemm", "m": m, "n": n, "k": k, "dtype": dtype}:
            return product(m, n, k, dtype)
        case {"kind": "attention", "shape": shape, "products": dtype, "more": more}:
            return attention(tuple(shape), dtype, more)
        case {"kind": "conv2d" | "conv3d", "shape": shape}:
            return convolution(tuple(shape))
        case {"kind": "elementwise", "operator": name, "streams": streams, "rows": rows, "width": width}:
            return elementwise(name, streams, rows * width)
        case {"kind": "copy", "bytes": size, "within": True}:
            return copy(size)
    return None


def _tensor(dtype: str, *shape: int) -> Tensor:
    return Tensor(tuple(Poly({(): side}) for side in shape), dtype)


def _bytes(count: int) -> Tensor:
    return _tensor("uint8", 1, count)


def _sizes(**sizes: int) -> dict[str, Poly]:
    return {name: Poly({(): size}) for name, size in sizes.items()}
