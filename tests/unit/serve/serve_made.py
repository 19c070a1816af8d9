"""A source of video without an engine, a clock that tests turn, and a viewer that keeps what it is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import numpy as np

from frameroof.serve.protocol import Message
from frameroof.serve.source import AbandonedError, Facts, Made

FACTS = Facts(
    model="made",
    variant="none",
    device="cpu",
    height=8,
    width=16,
    fps=8,
    latent_frames=2,
    block_frames=8,
    window_blocks=2,
    says=("The weights are random: times are real, pictures are not.",),
)
FAST = 400  # frames a second, for tests that cannot turn the clock


def facts(**changed: int) -> Facts:
    return Facts(**{**vars(FACTS), **changed})


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watching:
    """A viewer."""

    def __init__(self) -> None:
        self.told: list[Message | None] = []
        self.ended: list[tuple[int, str]] = []

    def tell(self, message: Message | None) -> None:
        self.told.append(message)

    def end(self, code: int, why: str) -> None:
        self.ended.append((code, why))

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.told if isinstance(message, kind)]


class MadeStream:
    """Blocks whose every pixel is the block's number; times that are asked for, not taken."""

    def __init__(self, source: MadeSource, prompt: str) -> None:
        self.source, self.prompt, self.number = source, prompt, 0

    def switch(self, prompt: str) -> int:
        self.prompt = prompt
        return self.number

    def make(self, over: Callable[[], bool]) -> Made:
        self.source.begun.append((self.prompt, self.number))
        if self.prompt == "fail":
            raise RuntimeError("the kernel\nbroke")
        self.source.entered.set()
        while not self.source.gate.wait(0.005):
            if over():
                self.source.abandoned += 1
                raise AbandonedError
        frames = self.source.facts.block_frames
        shape = (frames, self.source.facts.height, self.source.facts.width, 3)
        made = Made(self.number, np.full(shape, self.number % 256, np.uint8), *self.source.times(self.number))
        self.number += 1
        return made


class MadeSource:
    """Says what it made, in order; stands still while its gate is shut."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.facts = facts
        self.begun: list[tuple[str, int]] = []
        self.opened = 0
        self.abandoned = 0
        self.gate = Event()
        self.gate.set()
        self.entered = Event()
        self.times: Callable[[int], tuple[float, float]] = lambda number: (0.25, 0.0625)

    def open(self, prompt: str) -> MadeStream:
        self.opened += 1
        return MadeStream(self, prompt)


def until(true: Callable[[], bool], seconds: float = 40.0) -> None:
    """Wait until something is so; it fails where it does not become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
