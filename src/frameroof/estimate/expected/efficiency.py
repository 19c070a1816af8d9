"""Expected time of each operation by a table: efficiency by kind and size, and the least that a launch takes.

One utilization for everything cannot say what flash attention brings or why small work is slow. Here each operation has

    time = max(launch, compute / share of peak, bytes / share of bandwidth)

with the shares and the launch from a stated, sourced table (`eager.toml`: PyTorch's eager execution) or a measured one
of the same keys (`file`). There are two clocks. ``kernel``: what the device is busy for, as a profiler's kernel times
say; the least is the smallest kernel. ``wall``: the host dispatches one operation after the other and the device waits
for it; the least is a dispatch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...workload.records import MATRIX_KINDS, Op
from .protocol import About, Bounds, Clock, Plain, Work
from .uniform import other_device

if TYPE_CHECKING:
    from ...hardware import Device

Floats = NDArray[np.float64]
STATED = Path(__file__).with_name("eager.toml")
LARGEST_FLASH_HEAD = 256  # FlashAttention-2's largest head dimension (github.com/Dao-AILab/flash-attention)


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """What every entry of the table has: where it is from, and when that was read or measured."""

    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class Curve(Sourced):
    """Share of a peak by size of the work: points (size, share), interpolated over the logarithm of the size."""

    points: tuple[tuple[float, float], ...]
    unit: str

    def at(self, size: Any) -> Floats:
        """The share at `size` (a number or an array)."""
        sizes, shares = zip(*self.points, strict=True)
        found: Floats = np.interp(np.log(np.maximum(size, 1e-12)), np.log(sizes), shares)
        return found


@dataclass(frozen=True, kw_only=True)
class Number(Sourced):
    """One number with its source; `least` and `most` where the source gives a range."""

    value: float
    unit: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, kw_only=True)
class LinkShare(Sourced):
    """What collectives reach of a link, and what one costs at least."""

    share: float
    latency_us: float
    gb_s_per_device: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Every number that `Efficiency` needs: see `eager.toml` for what each means."""

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
    links: Mapping[str, LinkShare]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Table:
        """From the keys of a file that is known to be whole, such as `STATED`; others are read by `file`."""
        made: dict[str, Any] = {"links": {name: LinkShare(**link) for name, link in data["links"].items()}}
        for each in fields(cls):
            if each.name != "links":
                entry = data[each.name]
                points = {"points": tuple(map(tuple, entry["points"]))} if "points" in entry else {}
                made[each.name] = Curve(**{**entry, **points}) if points else Number(**entry)
        return cls(**made)

    def entries(self) -> list[tuple[str, Sourced]]:
        """Every entry with its name: ``matrix`` …, ``links.nvlink`` …"""
        named = [(each.name, getattr(self, each.name)) for each in fields(self) if each.name != "links"]
        return named + [(f"links.{name}", link) for name, link in self.links.items()]


@dataclass(frozen=True)
class Efficiency(Plain):
    """A table, where it is from, and the clock whose times are asked for: a model of expected time (`Expected`)."""

    table: Table
    about: About
    clock: Clock = "kernel"

    def share(self, op: Op) -> None:
        """See `Expected.share`: every share depends on sizes here."""

    def on(self, clock: Clock) -> Efficiency:
        """See `Expected.on`."""
        return replace(self, clock=clock)

    def refusal(self, device: Device) -> str | None:
        """See `Expected.refusal`."""
        return other_device(self.about, device)

    def described(self) -> str:
        """See `Expected.described`."""
        return f"by efficiencies {self.about.name}"

    def assumptions(self) -> tuple[str, ...]:
        """See `Expected.assumptions`."""
        table, about = self.table, self.about
        where = ", ".join(text for text in (about.file, about.date, about.source) if text)
        launch = (
            "Launch: the smallest kernel; times are device times."
            if self.clock == "kernel"
            else "Launch: the host's dispatch of each operation; times are those of a host that waits for nothing."
        )
        return (
            "Expected: the largest of launch, compute over its share of the peak, bytes over their share of bandwidth. "
            + launch,
            f"Efficiencies {about.name} ({where}), each number with its source.",
            f"A dispatch takes the host {table.host.value:.3g} us.",
            f"The smallest kernel takes {table.kernel.value:.3g} us; convolutions in PyTorch's default layout reach "
            f"{table.convolution.value:.3g} of a matrix product's efficiency; flash attention reaches "
            f"{table.flash.points[0][1]:.3g} to {table.flash.points[-1][1]:.3g} of the peak on long sequences and "
            f"{'splits' if table.flash_splits_keys.value else 'does not split'} the keys of short queries.",
        )

    @property
    def floor_s(self) -> float:
        """The least that a call takes: the smallest kernel, or a dispatch on the host."""
        return (self.table.kernel if self.clock == "kernel" else self.table.host).value * 1e-6

    def call_s(self, work: Work, bounds: Bounds) -> Any:
        """See `Expected.call_s`."""
        compute, memory = self.parts_s(work, bounds)
        floor = self.floor_s * (work.count if work.whole else 1)
        return np.maximum(np.maximum(compute, memory), floor)

    def parts_s(self, work: Work, bounds: Bounds) -> tuple[Any, Any]:
        """See `Expected.parts_s`: each through its efficiency; other arithmetic at its full rate."""
        return np.maximum(self._matrix_s(work, bounds), bounds.vector_s), self._memory_s(work, bounds)

    def _matrix_s(self, work: Work, bounds: Bounds) -> Any:
        kind = work.op.kind
        if kind not in MATRIX_KINDS or work.piece in ("scale", "mask", "softmax", "cast"):
            return 0.0
        if kind.startswith("conv"):
            share = self.table.convolution.value * self.table.matrix.at(work.executed / 1e9)
            return bounds.matrix_s / share
        if work.fused_attention:
            return bounds.matrix_s / self._flash_share(work, bounds)
        padding = self._padding(work)
        return bounds.matrix_s * padding / self.table.matrix.at(work.executed * padding / 1e9)

    def _padding(self, work: Work) -> Any:
        """What a kernel of whole tiles computes over what is asked of it."""
        sides = {"scores": ("q", "kv"), "values": ("q", "dv")}.get(work.piece, ("m", "n"))
        tile, ratio = self.table.tile.value, 1.0
        for side in sides:
            size = work.dims[side]
            ratio = ratio * np.ceil(size / tile) * tile / np.maximum(size, 1)
        return ratio

    def _flash_share(self, work: Work, bounds: Bounds) -> Any:
        """Share of the peak of a fused attention: by head dimension, padding to blocks, blocks to fill the device."""
        head, queries, keys = (work.dims[name] for name in ("d", "q", "kv"))
        if len(work.op.reads) > 3:  # a mask: another kernel
            return self.table.unfused.value
        rows, columns = self.table.flash_rows.value, self.table.flash_columns.value
        filled = queries / (np.ceil(queries / rows) * rows) * keys / (np.ceil(keys / columns) * columns)
        padded = np.ceil(head / 64) * 64
        share = self.table.flash.at(padded) * head / padded * filled * self._attention_fill(work, bounds, whole=True)
        return np.where(head > LARGEST_FLASH_HEAD, self.table.unfused.value, share)

    def _attention_fill(self, work: Work, bounds: Bounds, whole: bool = False) -> Any:
        """Share of the multiprocessors that a fused attention keeps busy: a thread block for each block of queries."""
        batch, heads, queries = (work.dims[name] for name in ("b", "heads", "q"))
        rows = self.table.flash_rows.value
        fill = _fill(batch * heads * np.ceil(queries / rows), bounds.units, whole)
        return np.where(queries < rows, 1.0, fill) if self.table.flash_splits_keys.value else fill

    def _memory_s(self, work: Work, bounds: Bounds) -> Any:
        if bounds.link:
            link = self.table.links[bounds.link]
            return bounds.memory_s / link.share + link.latency_us * 1e-6
        seconds = bounds.memory_s / self.table.memory.at(work.bytes / 1e6)
        if work.fused_attention:
            return seconds / self._attention_fill(work, bounds)
        if work.op.name == "group_norm":
            extra = self.table.group_norm_passes.value - 1
            return seconds * (1 + extra / _fill(work.batch * self.table.group_norm_groups.value, bounds.units))
        return seconds


@cache
def stated() -> Efficiency:
    """The table that comes with frameroof: PyTorch's eager execution on A100-class GPUs, for any device."""
    data = tomllib.loads(STATED.read_text("utf-8"))
    return Efficiency(Table.of(data), About("efficiency", data["name"], data["source"], data["date"]))


def _fill(blocks: Any, units: int | None, whole: bool = False) -> Any:
    """Share of the multiprocessors that `blocks` thread blocks keep busy; `whole`: in whole waves."""
    if units is None:
        return 1.0
    waves = np.ceil(blocks / units) if whole else np.maximum(blocks / units, 1.0)
    return np.minimum(blocks / (waves * units), 1.0)
