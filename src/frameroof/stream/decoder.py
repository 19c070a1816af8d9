"""Blocks of latents to video as they come: several frames at a time, beside other work, as a captured graph.

Shapes: B batch, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..models.wan_vae import Memory
from .graphs import Capture


@dataclass(frozen=True)
class Pending:
    """Video that may still be in the making on another stream of the device."""

    video: torch.Tensor
    done: torch.cuda.Event | None = None

    def wait(self) -> torch.Tensor:
        """The video; work that the current stream is given from now on comes after it. The host does not wait."""
        if self.done is not None:
            self.done.wait()
            self.video.record_stream(torch.cuda.current_stream())
        return self.video


class Decoder:
    """A VAE decoding one stream: `frames_at_once` latent frames at a time, or all it is given (0).

    `channels_last` lays latents out so, and the VAE keeps that layout. `own_stream` decodes beside what else the device
    does. `capture` turns a decode into a graph, which later blocks of that length replay; the first block of a stream,
    which differs, is never captured.
    Raises `ValueError`, a sentence, for a setting that it cannot have on its device.
    """

    def __init__(  # keywords with defaults
        self,
        vae: nn.Module,
        frames_at_once: int = 0,
        channels_last: bool = False,
        own_stream: bool = False,
        capture: Capture | None = None,
    ) -> None:
        if frames_at_once < 0:
            raise ValueError(f"frames_at_once is {frames_at_once}; it must be 0 (all) or more.")
        device = next(vae.parameters()).device
        if own_stream and device.type != "cuda":
            raise ValueError(f"A stream of its own needs a CUDA device; the decoder is on {device}.")
        self.vae, self.memory, self.step = vae, Memory(), frames_at_once
        self.format = torch.channels_last_3d if channels_last else torch.contiguous_format
        self._stream = torch.cuda.Stream(device) if own_stream else None
        self._capture, self._begun = capture, False
        self._graphs: dict[torch.Size, tuple[torch.Tensor, torch.Tensor, Callable[[], None]]] = {}

    def __call__(self, z_BCTHW: torch.Tensor) -> torch.Tensor:
        """Video of the next latent frames, (B, 3, frames, 8 x rows, 8 x columns) in [-1, 1]."""
        return self.later(z_BCTHW).wait()

    def later(self, z_BCTHW: torch.Tensor) -> Pending:
        """The same, beside what the current stream does next where the decoder has a stream of its own."""
        if self._stream is None:
            return Pending(self._decode(z_BCTHW))
        self._stream.wait_stream(torch.cuda.current_stream(z_BCTHW.device))
        with torch.cuda.stream(self._stream):
            video = self._decode(z_BCTHW)
            z_BCTHW.record_stream(self._stream)
            return Pending(video, self._stream.record_event())

    def warm(self, z_BCTHW: torch.Tensor) -> None:
        """Decode blocks like this one as a stream's first and second, and forget them: all is compiled and captured.

        Then once more as a first one, which finds room for its memory.
        Raises `ValueError`, a sentence, after its first block.
        """
        if self._begun:
            raise ValueError("A decoder is warmed before its first block.")
        for blocks in (2, 1):
            for _ in range(blocks):
                self(z_BCTHW)
            self.memory.reset()
            self._begun = False

    @torch.inference_mode()
    def _decode(self, z_BCTHW: torch.Tensor) -> torch.Tensor:
        chunks = z_BCTHW.split(self.step or z_BCTHW.shape[2], dim=2)
        with _searched():
            frames = [self._chunk(z.contiguous(memory_format=self.format)) for z in chunks]
        return frames[0] if len(frames) == 1 else torch.cat(frames, dim=2)

    def _chunk(self, z_BCTHW: torch.Tensor) -> torch.Tensor:
        if self._capture is None or not self._begun:
            self._begun = True
            return self.vae(z_BCTHW, self.memory)
        if z_BCTHW.shape not in self._graphs:
            self._graphs[z_BCTHW.shape] = self._captured(z_BCTHW, self._capture)
        into, out, replay = self._graphs[z_BCTHW.shape]
        into.copy_(z_BCTHW)
        replay()
        return out.clone()

    def _captured(
        self, z_BCTHW: torch.Tensor, capture: Capture
    ) -> tuple[torch.Tensor, torch.Tensor, Callable[[], None]]:
        """Where a graph reads and writes, and the graph. Frames are kept as they were before it was made."""
        saved = self.memory.saved()
        into = z_BCTHW.clone(memory_format=self.format)
        out = torch.empty_like(self.vae(into, self.memory))
        replay = capture(lambda: (out.copy_(self.vae(into, self.memory)), None)[1])
        self.memory.restore(saved)
        return into, out, replay


@contextmanager
def _searched() -> Iterator[None]:
    """cuDNN measures its convolutions once for each shape and takes the fastest: shapes are few here."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
