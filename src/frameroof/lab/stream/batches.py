"""Latency and throughput against batch: several streams in one engine, each with a prompt and switches of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import torch

from ...study import stream_records as records
from .bench import Lane
from .needed import Needed
from .variants import Setup
from .where import Here, configuration

ROUNDS = 3  # of: a steady block, one with a switch of all samples, a steady block, one with a switch of one sample


@dataclass(frozen=True)
class Batch:
    """One variant at one batch: seconds of blocks, and by how much a switch makes one longer."""

    name: str
    setup: Setup
    block_s: tuple[float, ...]
    switch_all_s: tuple[float, ...]
    switch_one_s: tuple[float, ...]  # of one sample; empty for a batch of 1
    flops: int  # of a block
    limit_s: float
    peak_bytes: int | None

    def record(self, here: Here) -> records.Batch:
        """As it is written."""
        c, taken = self.setup.config(self.name), median(self.block_s)
        fps = 4 * c.block / taken
        return records.Batch(
            variant=self.name,
            batch=self.setup.batch,
            block_s=list(self.block_s),
            inter_frame_s=taken / c.block,
            fps_a_stream=fps,
            fps=fps * self.setup.batch,
            switch_all_s=list(self.switch_all_s),
            switch_one_s=list(self.switch_one_s),
            kv_cache_bytes=self.setup.batch * c.cache_bytes(self.setup.dtype.itemsize),
            peak_bytes=self.peak_bytes,
            flops=self.flops,
            limit_s=self.limit_s,
            flop_per_s=self.flops / taken,
            configuration=configuration(self.setup, self.name),
            hardware=here.hardware,
            versions=dict(here.versions),
        )


def batches(
    setup: Setup, names: Sequence[str], sizes: Sequence[int], needed: Needed, say: Callable[[str], None]
) -> list[Batch]:
    """Every variant at every batch, without decoding: on a CPU in turns, on a GPU one after the other."""
    choices = [(name, replace(setup, batch=size, decoder=None)) for size in sizes for name in names]
    alone = setup.device.startswith("cuda")
    found = []
    for group in [[choice] for choice in choices] if alone else [choices]:
        for each in {chosen.batch: chosen for _, chosen in group}.values():
            each.check_memory(1)
        lanes = [Lane(name, chosen, say) for name, chosen in group]
        for lane in lanes:
            lane.ready(say)
        full = needed.c.window_blocks
        for number in range(full + 4 * ROUNDS):
            say(f"batches {', '.join(map(str, sizes))}: block {number + 1} of {full + 4 * ROUNDS}")
            for lane in (*lanes[number % len(lanes) :], *lanes[: number % len(lanes)]):
                _block(lane, number, number - full)
        found += [_found(lane, full, needed) for lane in lanes]
        del lanes, lane
        gc.collect()
        if alone:
            torch.cuda.empty_cache()
    return found


def _block(lane: Lane, number: int, after: int) -> None:
    """Every second block once the window is full is switched: all samples, then one, and so on."""
    if after < 0 or after % 2 == 0:
        lane.block(number, None)
    elif after % 4 == 1:
        lane.block(number, f"a fox runs, {number}")
    else:
        lane.block(number, f"a fox sleeps, {number}", lane.setup.batch - 1 if lane.setup.batch > 1 else None)


def _found(lane: Lane, full: int, needed: Needed) -> Batch:
    rows = lane.meter.rows[full:]
    pairs = [((b.generate_ns - a.generate_ns) / 1e9, b.number - full) for a, b in pairwise(rows) if b.switched]
    one = lane.setup.batch > 1
    step, forwards = replace(needed, batch=lane.setup.batch).step, len(needed.c.steps) + 1
    return Batch(
        name=lane.name,
        setup=lane.setup,
        block_s=tuple(row.generate_ns / 1e9 for row in rows if not row.switched),
        switch_all_s=tuple(taken for taken, after in pairs if after % 4 == 1 or not one),
        switch_one_s=tuple(taken for taken, after in pairs if after % 4 == 3 and one),
        flops=forwards * step.flops,
        limit_s=forwards * step.limit_s,
        peak_bytes=lane.meter.peak() if lane.meter.peak else None,
    )
