"""What the server needs of a video engine: facts, streams, blocks. No torch here, so that tests bring their own.

Shapes: F frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class AbandonedError(Exception):
    """A block was given up between two steps: nobody waits for it any more."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is said of every stream of a source."""

    model: str
    variant: str
    device: str
    height: int
    width: int
    fps: int
    latent_frames: int  # of a block; the report's inter-frame latency is a block's time over them
    block_frames: int  # of video in every block but the first, which may have fewer
    window_blocks: int  # blocks until the window is full; later ones are steady
    says: tuple[str, ...] = ()  # what must be said of it: that its weights are random


@dataclass(frozen=True)
class Made:
    """A block of video, (F, H, W, 3), and the seconds that its generation and its decoding took."""

    number: int
    video_FHWC: Pixels
    generate_s: float
    decode_s: float


class Stream(Protocol):
    """One stream; only the worker's thread calls it."""

    def switch(self, prompt: str) -> int:
        """The number of the block that the prompt begins with."""

    def make(self, over: Callable[[], bool]) -> Made:
        """The next block; AbandonedError where `over` says between two steps that nobody wants it."""


class Source(Protocol):
    """Makes streams. Opening one may take long, and is done in the worker's thread too."""

    @property
    def facts(self) -> Facts: ...

    def open(self, prompt: str) -> Stream:
        """A stream that begins with this prompt."""
