"""Expected device seconds of one call on one device: which curve an operation is timed by.

A convolution is timed as the matrix product that it is, attention by its kernel, what moves bytes by those.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...roofline import larger
from ...rules import convolution_product
from ...workload.expr import ONE
from ...workload.records import Op
from ..communication import gathered_bytes
from .attention import READ, kernel_of, too_wide
from .chip import Chip
from .curves import Curves
from .derived import gemm_for
from .general import attention_of
from .host import Host
from .links import links_of
from .protocol import Bounds, Work
from .software import Software
from .traffic import widest

COLUMNS = 128
"""Columns of a convolution whose channels are not known."""
DEVICE_WIDE = ("scores", "values")
"""Pieces of baseline attention that are matrix products."""


@dataclass(frozen=True)
class Calls:
    """The curves of one device, as one software state runs them. Raises `ValueError` for a kernel that it has not."""

    chip: Chip
    curves: Curves
    software: Software

    def __post_init__(self) -> None:
        kernel_of(self.chip, self.software.attention)

    @cached_property
    def attention(self) -> str:
        """The kernel of attention."""
        return kernel_of(self.chip, self.software.attention)

    @property
    def launch_s(self) -> float:
        """Seconds of the host for one launch."""
        host = self._host
        if not self.software.launches:
            return 0.0
        return (host.compiled_us if self.software.compiled else host.eager_us) * 1e-6

    @property
    def _host(self) -> Host:
        assert self.curves.host is not None
        return self.curves.host

    def seconds(self, work: Work) -> Any:
        """Of one call, or of all of them where the sizes are sums over all (`Work.whole`)."""
        kind = work.op.kind
        if kind in ("linear", "matmul"):
            return self._product(work)
        if kind.startswith("conv"):
            return self._convolution(work)
        if kind == "attention":
            return self._attention(work)
        return self._traffic(work, work.bytes / work.calls) * work.calls

    def collective_s(self, work: Work, bounds: Bounds) -> Any:
        """Of a collective between the devices: what was measured with NCCL there, and the host's part."""
        assert bounds.device is not None
        gathered = gathered_bytes(work.op, work.env)
        found = links_of(bounds.device).seconds(work.op.name, gathered, bounds.devices)
        called = self._host.compiled_collective_us if self.software.compiled else self._host.collective_us
        return larger(found, called * 1e-6)

    def _traffic(self, work: Work, moved: Any) -> Any:
        assert self.curves.traffic is not None
        row_bytes = 0.0 if self.software.compiled else _row_bytes(work)
        return self.curves.traffic.seconds(self.chip, moved, work.op, self.software.compiled, row_bytes)

    def _product(self, work: Work) -> Any:
        dims = work.dims
        count = work.calls
        sizes = (dims["b"] / count if work.whole else dims["b"], dims["m"], dims["n"], dims["k"])
        curve = gemm_for(self.chip, work.op.unit, self.curves)
        found = curve.seconds(self.chip, sizes, work.bytes / count, self.software.epilogues)
        return found * count + self._read_again(work)

    def _read_again(self, work: Work) -> Any:
        """A compiler's product writes its result, and what follows in its region reads it: two passes over it."""
        if not self.software.compiled or self.software.epilogues:
            return 0.0
        kept = work.kept / 8
        return 2 * self._traffic(work, kept)

    def _convolution(self, work: Work) -> Any:
        convolution = self.curves.convolution
        assert convolution is not None
        op, unit = work.op, work.op.unit
        last = self.software.layout == "channels_last"
        count = work.calls
        extra: Any = 0.0 if last else self._traffic(work, work.bytes / count) * count
        sizes = product_of(op, work, count)
        if op.dims.get("g") not in (None, ONE) and op.dims["g"] == op.dims["c"]:  # depthwise
            return work.bytes / (self.chip.bandwidth * convolution.depthwise) + extra
        curve = gemm_for(self.chip, unit, self.curves)
        found = curve.seconds(self.chip, sizes, work.bytes / count, self.software.epilogues) * count
        return found * convolution.longer(self.chip, op.kind, unit, last) + extra + self._read_again(work)

    def _attention(self, work: Work) -> Any:
        if work.piece:
            return self._piece(work)
        dims, unit = work.dims, work.op.unit
        count = work.calls
        pairs = work.executed / (2.0 * (dims["d"] + dims["dv"])) / count
        moved_s = work.bytes / count / (self.chip.bandwidth * READ)
        if self.attention == "math":
            return self._math(work) * count
        wide = too_wide(larger(dims["d"], dims["dv"])) and self.attention != "trt"  # which makes kernels for a width
        curve = attention_of(self.curves, "sdpa" if wide else self.attention, self.chip.generation)
        if wide or (len(work.op.reads) > 3 and self.attention == "sdpa"):  # other kernels take texts of any length
            curve = curve.masked()
        found = curve.seconds(self.chip, unit, dims, pairs)
        return larger(found, moved_s) * count

    def _piece(self, work: Work) -> Any:
        dims = work.dims
        if work.piece not in DEVICE_WIDE:
            return self._traffic(work, work.bytes)
        sides = (dims["q"], dims["kv"], dims["d"]) if work.piece == "scores" else (dims["q"], dims["dv"], dims["kv"])
        sizes = (dims["b"] * dims["heads"], *sides)
        return gemm_for(self.chip, work.op.unit, self.curves).seconds(self.chip, sizes, work.bytes)

    def _math(self, work: Work) -> Any:
        """Attention whose scores go through memory: two products, and four passes over the scores in fp32."""
        dims = work.dims
        gemm = gemm_for(self.chip, work.op.unit, self.curves)
        heads = dims["b"] * dims["heads"]
        scores = heads * dims["q"] * dims["kv"] * 2.0
        first = gemm.seconds(self.chip, (heads, dims["q"], dims["kv"], dims["d"]), work.bytes / 2 + scores)
        second = gemm.seconds(self.chip, (heads, dims["q"], dims["dv"], dims["kv"]), work.bytes / 2 + scores)
        return first + second + self._traffic(work, 8 * scores)


def _row_bytes(work: Work) -> Any:
    """Of what a norm over rows reads, its last dimension; 0 for other operations."""
    if work.op.kind != "norm" or "group_norm" in work.op.name or not work.op.reads or not work.op.reads[0].shape:
        return 0.0
    return work.last * widest(work.op) / 8


def product_of(op: Op, work: Work, count: Any) -> tuple[Any, Any, Any, Any]:
    """(b, m, n, k) of the matrix products that one of `count` calls of a convolution is (`rules.convolution_product`).

    Where a record of an older version does not tell the channels, a product of `COLUMNS` columns.
    """
    dims = work.dims
    n, k = dims["n"] / count, dims["k"]
    if "c" not in dims:
        return 1, n / COLUMNS, COLUMNS, k
    return convolution_product(n, k, dims["c"], dims["g"], bool(op.attrs.get("transposed")))
