"""Expected time of each operation under PyTorch's eager execution: efficiency by kind and size, and launches.

One utilization for everything cannot say what flash attention brings or why small work is slow. Here each operation has

    time = max(launch, compute / share of peak, bytes / share of bandwidth)

with the shares and the launch from a stated, sourced table (`eager.toml`) or a measured one of the same keys. There are
two clocks. ``kernel``: what the device is busy for, as a profiler's kernel times say; the least is the smallest kernel.
``wall``: the host dispatches one operation after the other and the device waits for it; the least is a dispatch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..files import read_whole
from ..hardware import Device, Node
from ..outside import from_toml
from ..roofline import Roofline
from ..rules import scores
from ..workload.expr import ONE
from ..workload.records import MATRIX_KINDS, Op

Clock = Literal["kernel", "wall"]
Floats = NDArray[np.float64]
MOST_BYTES = 1 << 20
"""Bytes of a table of efficiencies."""
LARGEST_FLASH_HEAD = 256  # FlashAttention-2's largest head dimension (github.com/Dao-AILab/flash-attention)


class Sourced(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every entry of the table has: where it is from, and when that was read."""

    source: str
    date: str


class Curve(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Share of a peak by size of the work: points (size, share), interpolated over the logarithm of the size."""

    points: tuple[tuple[float, float], ...]
    unit: str

    def at(self, size: Any) -> Floats:
        """The share at `size` (a number or an array)."""
        sizes, shares = zip(*self.points, strict=True)
        found: Floats = np.interp(np.log(np.maximum(size, 1e-12)), np.log(sizes), shares)
        return found


class Number(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stated number with its source; `least` and `most` where the source gives a range."""

    value: float
    unit: str
    least: float | None = None
    most: float | None = None


class LinkShare(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What collectives reach of a link, and what one costs at least."""

    share: float
    latency_us: float
    gb_s_per_device: float | None = None


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every number that `expected_ns` needs: see `eager.toml` for what each means."""

    name: str
    host: Number
    kernel: Number
    matrix: Curve
    tile: Number
    memory: Curve
    convolution: Number
    flash: Curve
    flash_rows: Number
    flash_columns: Number
    flash_splits_keys: Number
    unfused: Number
    group_norm_passes: Number
    group_norm_groups: Number
    links: dict[str, LinkShare]

    def assumptions(self) -> tuple[str, ...]:
        """What the table assumes, one sentence each, for the output."""
        return (
            f"Efficiencies {self.name} (estimate/eager.toml, each with its source).",
            f"A dispatch takes the host {self.host.value:g} us.",
            f"The smallest kernel takes {self.kernel.value:g} us; convolutions in PyTorch's default layout reach "
            f"{self.convolution.value:g} of a matrix product's efficiency; flash attention reaches "
            f"{self.flash.points[0][1]:g} to {self.flash.points[-1][1]:g} of the peak on long sequences and "
            f"{'splits' if self.flash_splits_keys.value else 'does not split'} the keys of short queries.",
        )


@cache
def load(path: str | os.PathLike[str] | None = None) -> Table:
    """The stated table, or one from a TOML file of the same keys; `ValueError` with a sentence for a bad one."""
    file = Path(path) if path is not None else Path(__file__).with_name("eager.toml")
    table = from_toml(read_whole(file, MOST_BYTES), Table, f"{file} is not a table of efficiencies")
    for name, entry in _entries(table):
        if not entry.source.strip() or not re.fullmatch(r"\d{4}-\d\d(-\d\d)?", entry.date):
            raise ValueError(f"{file}: {name} has no source or no date (YYYY-MM-DD)")
    for name in ("matrix", "memory", "flash"):
        points = getattr(table, name).points
        if not points or any(size <= 0 or not 0 < share <= 1 for size, share in points):
            raise ValueError(f"{file}: {name} needs points [size, share] with sizes above 0 and shares in (0, 1]")
        if [p[0] for p in points] != sorted({p[0] for p in points}):
            raise ValueError(f"{file}: the sizes of {name} must rise")
    return table


def _entries(table: Table) -> list[tuple[str, Any]]:
    named = [(name, getattr(table, name)) for name in table.__struct_fields__ if name not in ("name", "links")]
    return named + [(f"links.{name}", link) for name, link in table.links.items()]


@dataclass(frozen=True)
class Counted:
    """One operation evaluated at its sizes: numbers, or arrays over the turns of a loop. Of one call, but `count`."""

    op: Op
    count: Any
    flops: Any
    executed: Any
    vector: Any
    bytes: Any
    dims: Mapping[str, Any]
    batch: Any
    """The first dimension of its first operand."""

    @property
    def whole(self) -> bool:
        """Whether the sizes are sums over all calls, not those of one."""
        return bool(self.op.attrs.get("total"))

    @property
    def piece(self) -> str:
        """Which kernel of baseline attention it is; "" for anything else."""
        return str(self.op.attrs.get("piece", ""))

    @property
    def scores(self) -> Any:
        """Elements of an attention's similarity matrix, over batch and heads."""
        return scores(*(self.dims[name] for name in ("b", "heads", "q", "kv")))

    @property
    def fused_attention(self) -> bool:
        """Whether it is attention in one kernel."""
        return self.op.kind == "attention" and not self.piece


class Formulas:
    """The polynomials of an operation, made once for many sizes."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.flops, self.executed, self.vector, self.bits = (
            op.flops(),
            op.executed_flops(),
            op.vector_flops(),
            op.bits(),
        )
        self.batch = op.reads[0].shape[0] if op.reads and op.reads[0].shape else ONE

    def at(self, env: Mapping[str, Any]) -> Counted:
        """The operation at the sizes `env` (see `Stage.bind`)."""
        return Counted(
            op=self.op,
            count=self.op.count(env),
            flops=self.flops(env),
            executed=self.executed(env),
            vector=self.vector(env),
            bytes=self.bits(env) / 8,
            dims={name: dim(env) for name, dim in self.op.dims.items()},
            batch=self.batch(env),
        )


@dataclass(frozen=True)
class Eager:
    """A node and a table: what one call of an operation takes."""

    node: Node
    table: Table
    clock: Clock = "kernel"

    @property
    def floor_s(self) -> float:
        """The least that a call takes: the smallest kernel, or a dispatch on the host."""
        return (self.table.kernel if self.clock == "kernel" else self.table.host).value * 1e-6

    def call_s(self, work: Counted) -> Any:
        """Expected seconds of one call (of all calls where the sizes are sums over them)."""
        compute, memory = self.parts_s(work)
        floor = self.floor_s * (work.count if work.whole else 1)
        return np.maximum(np.maximum(compute, memory), floor)

    def total_s(self, work: Counted) -> Any:
        """Expected seconds of all calls, for each turn of a loop."""
        return self.call_s(work) * (1 if work.whole else work.count)

    def parts_s(self, work: Counted) -> tuple[Any, Any]:
        """Seconds that one call needs of the compute units and of memory, each through its efficiency."""
        others = self._roofline.limit(vector_flops=work.vector).compute_s
        return np.maximum(self._matrix_s(work), others), self._memory_s(work)

    @property
    def _roofline(self) -> Roofline:
        return _roofline(self.node.device)

    def _matrix_s(self, work: Counted) -> Any:
        op, flops = work.op, work.executed
        if op.kind not in MATRIX_KINDS or work.piece in ("scale", "mask", "softmax", "cast"):
            return 0.0
        peak = self._roofline.peak(op.unit)
        if op.kind.startswith("conv"):
            return flops / (peak * self.table.convolution.value * self.table.matrix.at(flops / 1e9))
        if work.fused_attention:
            return flops / (peak * self._flash_share(work))
        padded = flops * self._padding(work)
        return padded / (peak * self.table.matrix.at(padded / 1e9))

    def _padding(self, work: Counted) -> Any:
        """What a kernel of whole tiles computes over what is asked of it."""
        sides = {"scores": ("q", "kv"), "values": ("q", "dv")}.get(work.piece, ("m", "n"))
        tile, ratio = self.table.tile.value, 1.0
        for side in sides:
            size = work.dims[side]
            ratio = ratio * np.ceil(size / tile) * tile / np.maximum(size, 1)
        return ratio

    def _flash_share(self, work: Counted) -> Any:
        """Share of the peak of a fused attention: by head dimension, padding to blocks, blocks to fill the device."""
        head, queries, keys = (work.dims[name] for name in ("d", "q", "kv"))
        if np.max(head) > LARGEST_FLASH_HEAD or len(work.op.reads) > 3:  # a mask: another kernel
            return self.table.unfused.value
        rows, columns = self.table.flash_rows.value, self.table.flash_columns.value
        filled = queries / (np.ceil(queries / rows) * rows) * keys / (np.ceil(keys / columns) * columns)
        padded = np.ceil(head / 64) * 64
        share = self.table.flash.at(padded) * head / padded
        return share * filled * self._attention_fill(work, whole=True)

    def _attention_fill(self, work: Counted, whole: bool = False) -> Any:
        """Share of the multiprocessors that a fused attention keeps busy: a thread block for each block of queries."""
        batch, heads, queries = (work.dims[name] for name in ("b", "heads", "q"))
        rows = self.table.flash_rows.value
        fill = self._fill(batch * heads * np.ceil(queries / rows), whole)
        return np.where(queries < rows, 1.0, fill) if self.table.flash_splits_keys.value else fill

    def _fill(self, blocks: Any, whole: bool = False) -> Any:
        """Share of the multiprocessors that `blocks` thread blocks keep busy; `whole`: in whole waves."""
        units = compute_units(self.node.device)
        if units is None:
            return 1.0
        waves = np.ceil(blocks / units) if whole else np.maximum(blocks / units, 1.0)
        return np.minimum(blocks / (waves * units), 1.0)

    def _memory_s(self, work: Counted) -> Any:
        seconds = work.bytes / (self._roofline.bandwidth * self.table.memory.at(work.bytes / 1e6))
        if work.fused_attention:
            return seconds / self._attention_fill(work)
        if work.op.name == "group_norm":
            extra = self.table.group_norm_passes.value - 1
            return seconds * (1 + extra / self._fill(work.batch * self.table.group_norm_groups.value))
        return seconds


@cache
def _roofline(device: Device) -> Roofline:
    return Roofline(device)


@cache
def compute_units(device: Device) -> int | None:
    """Multiprocessors of a device ("108 SM" -> 108), None where the record does not say."""
    found = re.match(r"(\d+)", device.compute_units or "")
    return int(found[1]) if found else None
