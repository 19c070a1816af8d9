"""How fast a stream is, by the definitions of the latency report: every block timed, every figure from those times.

- steady inter-frame latency: generation time of a block over its latent frames, blocks with a full window and
  without a switch;
- prompt-switch latency: generation time of the first block after a switch minus that of the block before it;
- prompt to visible: from asking for a switch until the first frame that follows the new prompt is decoded;
- jitter: mean absolute difference between a steady block's time and that of the steady block before it;
- FPS: frames of video a second over steady blocks, of generation alone and with decoding (one after the other);
- real-time factor: FPS with decoding over the video's own rate; below 1 a viewer must wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from .config import StreamConfig
from .session import Session

Clock = Callable[[], int]  # nanoseconds


@dataclass(frozen=True)
class BlockTimes:
    """One block: nanoseconds of generation and of decoding (0 where it was not decoded)."""

    number: int
    generate_ns: int
    decode_ns: int
    switched: bool
    visible_ns: int | None = None  # since its switch was asked for


@dataclass(frozen=True)
class Report:
    """A stream's figures, in seconds and frames a second; None where nothing was there to measure."""

    first_frame_s: float  # from asking for the stream until its first frame is there
    inter_frame_s: float
    switch_s: tuple[float, ...]
    visible_s: tuple[float, ...]
    block_p50_s: float
    block_p90_s: float
    block_p99_s: float
    jitter_s: float | None
    fps_generate: float
    fps_decoded: float | None
    real_time_factor: float | None
    apart_s: Mapping[str, float]  # cold start, compilation, capture, warm-up: in no other figure
    peak_bytes: int | None
    blocks: int  # steady ones


@dataclass
class Meter:
    """Times a stream. `settle` waits for the device; `clock` counts nanoseconds."""

    c: StreamConfig
    clock: Clock = time.perf_counter_ns
    settle: Callable[[], None] = lambda: None
    peak: Callable[[], int] | None = None  # bytes, where the device counts them
    apart_ns: dict[str, int] = field(default_factory=dict)
    rows: list[BlockTimes] = field(default_factory=list)
    asked_ns: int = 0
    first_ns: int = 0

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """Time something that is in no other figure: "cold", "compile", "capture", "warm-up"."""
        start = self._now()
        yield
        self.apart_ns[name] = self.apart_ns.get(name, 0) + self._now() - start

    def run(
        self,
        prepare: Callable[[], Session],
        blocks: int,
        switches: Mapping[int, str] | None = None,
        decode: bool = False,
    ) -> Session:
        """Prepare a stream and time so many blocks of it, each decoded right after it where asked.

        Raises `ValueError`, a sentence, for a switch that no block precedes.
        """
        switches = dict(switches or {})
        if wrong := [at for at in switches if not 1 <= at < blocks]:
            raise ValueError(f"A switch at block {wrong[0]} cannot be timed: it needs a block before it, of {blocks}.")
        self.asked_ns = self._now()
        session = prepare()
        for number in range(blocks):
            asked = self._now()
            if number in switches:
                session.switch(switches[number])
            start = self._now()
            block = session.generate_block()
            made = self._now()
            if decode:
                session.decode(block)
            done = self._now() if decode else made
            visible = done - asked if number in switches else None
            self.rows.append(BlockTimes(number, made - start, done - made, number in switches, visible))
            self.first_ns = self.first_ns or done
        return session

    def report(self) -> Report:
        """The figures. ValueError where no block was steady: the window must be full before the last block."""
        full = self.c.window_blocks
        steady = [row for row in self.rows if row.number >= full and not row.switched]
        if not steady:
            raise ValueError(
                f"No steady block was timed: the window is full after {full}, and {len(self.rows)} were run."
            )
        times = np.array([row.generate_ns for row in steady])
        decoded = times + np.array([row.decode_ns for row in steady])
        p50, p90, p99 = (float(x) / 1e9 for x in np.percentile(times, (50, 90, 99)))
        frames = 4 * self.c.block * len(steady)
        fps = frames / float(decoded.sum()) * 1e9 if (decoded > times).all() else None
        steps = np.abs(np.diff(times))
        return Report(
            first_frame_s=(self.first_ns - self.asked_ns) / 1e9,
            inter_frame_s=float(times.mean()) / self.c.block / 1e9,
            switch_s=tuple((b.generate_ns - a.generate_ns) / 1e9 for a, b in pairwise(self.rows) if b.switched),
            visible_s=tuple(row.visible_ns / 1e9 for row in self.rows if row.visible_ns is not None),
            block_p50_s=p50,
            block_p90_s=p90,
            block_p99_s=p99,
            jitter_s=float(steps.mean()) / 1e9 if len(steps) else None,
            fps_generate=frames / float(times.sum()) * 1e9,
            fps_decoded=fps,
            real_time_factor=fps / self.c.fps if fps else None,
            apart_s={name: ns / 1e9 for name, ns in self.apart_ns.items()},
            peak_bytes=self.peak() if self.peak else None,
            blocks=len(steady),
        )

    def _now(self) -> int:
        self.settle()
        return self.clock()


def meter(c: StreamConfig, device: torch.device) -> Meter:
    """A meter for this device: on CUDA it waits for the device before it reads the clock, and counts peak memory."""
    if device.type != "cuda":
        return Meter(c)
    torch.cuda.reset_peak_memory_stats(device)
    return Meter(
        c,
        settle=lambda: torch.cuda.synchronize(device),
        peak=lambda: torch.cuda.max_memory_allocated(device),
    )
