"""The streaming engine as a source of the server: blocks generated, decoded, and brought to bytes.

Shapes: C channels (3), F frames, H rows, W columns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ..lab.stream.variants import Setup, find
from ..stream import Block, Engine, Session
from .source import AbandonedError, Facts, Made, Pixels


class EngineSource:
    """Streams of one engine."""

    def __init__(self, engine: Engine, setup: Setup, variant: str) -> None:
        c = engine.c
        self.engine, self.seed = engine, setup.seed
        self._captures = find(variant).captures
        self.facts = Facts(
            model=setup.model,
            variant=variant,
            device=setup.device,
            height=c.height,
            width=c.width,
            fps=c.fps,
            latent_frames=c.block,
            block_frames=4 * c.block,
            window_blocks=c.window_blocks,
            says=tuple(engine.says),
        )

    def warm(self) -> None:
        """Run everything that a stream can need once, so that no viewer waits for it."""
        session = self.engine.prepare("warm-up", seed=self.seed)
        session.warm()
        stream = EngineStream(session)
        for _ in range(2):  # the first block's frames are decoded in another way than later ones
            stream.make(lambda: False)

    def open(self, prompt: str) -> EngineStream:
        """A stream with a cache of its own, and with its own CUDA graphs where the variant captures them."""
        session = self.engine.prepare(prompt, seed=self.seed)
        if self._captures:
            session.warm()
        return EngineStream(session)


class EngineStream:
    """One session of the engine."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._over: Callable[[], bool] = lambda: False
        session.on_step.append(self._step)

    def _step(self, block: int, step: int, clean_BCFHW: torch.Tensor) -> None:
        if self._over():
            raise AbandonedError

    def switch(self, prompt: str) -> int:
        """The block that the prompt begins with."""
        return self._session.switch(prompt).block

    def make(self, over: Callable[[], bool]) -> Made:
        """The next block of video, timed as the latency report times it: the device has finished."""
        self._over = over
        start = time.perf_counter()
        block: Block = self._session.generate_block()
        _settle(block.latents)
        made = time.perf_counter()
        video_FHWC = pixels(self._session.decode(block)[0])
        return Made(block.number, video_FHWC, made - start, time.perf_counter() - made)


def pixels(video_CFHW: torch.Tensor) -> Pixels:
    """A block's video in [-1, 1] as bytes, (F, H, W, 3)."""
    scaled = video_CFHW.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    found: Pixels = scaled.permute(1, 2, 3, 0).to(torch.uint8).contiguous().cpu().numpy()
    return found


def _settle(x: torch.Tensor) -> None:
    """Wait for this thread's stream alone: to wait for the device is an error while another thread captures a graph."""
    if x.is_cuda:
        torch.cuda.current_stream(x.device).synchronize()
