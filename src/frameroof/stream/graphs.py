"""A stream's forwards as CUDA graphs: captured once for every shape and place, replayed with new inputs.

What changes from forward to forward (latents, positions, modulation) is copied into buffers that stay where they are;
keys, values and text lie in the session's own buffers. A ring of four blocks has six pairs of place and length,
the filling of the window included, so six graphs hold for any number of blocks.
Shapes: latents are (B, C, frames, rows, columns).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch

from ..models.causal_wan import KV, Rotary
from .cache import RingCache
from .denoiser import Cache, Denoiser, Forward, Tabulated

Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
WARM = 2  # runs before a capture, so that libraries have chosen and allocated


@dataclass(frozen=True)
class Inputs:
    """The buffers that a graph reads, and the one that it writes."""

    x: torch.Tensor
    rotary: Rotary
    times: Tabulated
    out: torch.Tensor

    def fill(self, x: torch.Tensor, rotary: Rotary, times: Tabulated) -> None:
        pairs = [(self.x, x), (self.rotary[0], rotary[0]), (self.rotary[1], rotary[1])]
        pairs += [(self.times.layers, times.layers), (self.times.head, times.head)]
        for buffer, value in pairs:
            buffer.copy_(value)


class Graphs:
    """The graphs of one session; in the place of `Denoiser.velocity`.

    Raises `ValueError`, a sentence, for what cannot be captured: another device, cache or modulation.
    """

    def __init__(self, denoiser: Denoiser, capture: Capture | None = None) -> None:
        c = denoiser.c
        if c.cache != "ring" or not c.tabulate:
            raise ValueError(
                "Graphs need the ring cache and tabulated modulation: other ways change shapes or addresses."
            )
        if capture is None and denoiser.device.type != "cuda":
            raise ValueError(f"Graphs need a CUDA device; the model is on {denoiser.device}.")
        self._denoiser, self._capture = denoiser, capture or CudaCapture()
        self._inputs: dict[Hashable, Inputs] = {}
        self._replays: dict[Hashable, tuple[Inputs, Replay]] = {}

    @property
    def captured(self) -> int:
        """How many graphs there are."""
        return len(self._replays)

    @torch.inference_mode()
    def velocity(self, x_BCTHW: torch.Tensor, what: Forward, cache: Cache, texts: Sequence[KV]) -> torch.Tensor:
        """As the denoiser's; the answer holds until the next forward of the same shape.

        Raises `TypeError` for a cache or modulation that was not captured: a fault of the engine.
        """
        if not isinstance(cache, RingCache):
            raise TypeError("Graphs run over a ring cache.")
        d, frames = self._denoiser, x_BCTHW.shape[2]
        times = d.times(what.rows, x_BCTHW.shape[0])
        if not isinstance(times, Tabulated):
            raise TypeError("Graphs run with tabulated modulation.")
        cache.move_sinks(what.start + frames, d.rope)
        rotary = d.rope.at(what.start, frames)
        shape = (tuple(x_BCTHW.shape), times.head.shape[1])
        key = (shape, cache.plan_of(what.start, frames, what.recache), what.sample)
        if key not in self._replays:
            inputs = self._inputs.setdefault(shape, _buffers(x_BCTHW, rotary, times))
            inputs.fill(x_BCTHW, rotary, times)
            layers = cache.open(what.start, frames, rows=what.samples, recache=what.recache)
            overwritten = cache.overwritten(key[1], what.samples)
            held = [x.clone() for x in overwritten]  # read before it is written: by a second run, what the first wrote

            def forward() -> None:
                inputs.out.copy_(d.forward(inputs.x, inputs.times, inputs.rotary, layers, texts))

            self._replays[key] = (inputs, self._capture(forward))
            for x, value in zip(overwritten, held, strict=True):
                x.copy_(value)
        inputs, replay = self._replays[key]
        inputs.fill(x_BCTHW, rotary, times)
        replay()
        return inputs.out


class CudaCapture:
    """Captures into graphs that share one pool of memory, one at a time in this process, as CUDA wants it.

    They have a stream of their own, since libraries keep memory for each stream (cuBLAS its workspace), which graphs
    that are replayed beside each other must not share. Other threads may go on meanwhile, but for waiting for the whole
    device: that is an error while anything is captured.
    """

    _one = threading.Lock()

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()

    def __call__(self, forward: Callable[[], None]) -> Replay:
        with self._one:
            side = self._stream
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM):
                    forward()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                forward()
        return graph.replay


def _buffers(x: torch.Tensor, rotary: Rotary, times: Tabulated) -> Inputs:
    empty = torch.empty_like
    turned = (empty(rotary[0]), empty(rotary[1]))
    return Inputs(empty(x), turned, Tabulated(empty(times.layers), empty(times.head)), empty(x))
