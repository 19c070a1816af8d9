"""A session's figures while it runs, by the definitions of the latency report (`frameroof.stream.metrics`)."""

from __future__ import annotations

from collections import deque
from typing import TypedDict

from .source import Facts, Made

RECENT = 16  # steady blocks that a figure rests on


class Figures(TypedDict):
    """Those of `protocol.Stats` that are measured; seconds and frames a second, None before anything was."""

    block_s: float | None
    decode_s: float | None
    inter_frame_s: float | None
    fps_engine: float | None
    real_time_factor: float | None
    switch_s: float | None
    visible_s: float | None


class Measured:
    """Steady blocks are those with a full window and without a switch; figures are means over the last ones."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.switch_s: float | None = None  # first block after a switch less the block before
        self.visible_s: float | None = None  # from a prompt's arrival until its first frame was shown
        self._steady: deque[tuple[float, float]] = deque(maxlen=RECENT)  # seconds of generation and of decoding
        self._last: tuple[float, float] | None = None

    def add(self, made: Made, switched: bool) -> None:
        """A block is there."""
        times = (made.generate_s, made.decode_s)
        if switched and self._last is not None:
            self.switch_s = made.generate_s - self._last[0]
        if not switched and made.number >= self.facts.window_blocks:
            self._steady.append(times)
        self._last = times

    def figures(self) -> Figures:
        """The figures now; those of steady blocks are None before the first one."""
        block_s, decode_s = self._last or (None, None)
        inter = fps = None
        if self._steady:
            generate, decode = (sum(times) / len(self._steady) for times in zip(*self._steady, strict=True))
            inter = generate / self.facts.latent_frames
            fps = self.facts.block_frames / (generate + decode) if generate + decode else None
        return {
            "block_s": block_s,
            "decode_s": decode_s,
            "inter_frame_s": inter,
            "fps_engine": fps,
            "real_time_factor": fps / self.facts.fps if fps else None,
            "switch_s": self.switch_s,
            "visible_s": self.visible_s,
        }
