"""What a stream is made of: sizes, window, schedule and how it is run, in one checked record."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..models.causal_wan import WanSize

# Keys and values: copied, rolled, inserted and joined per layer (as LongLive v1.0 does), or a ring written in place.
CACHES = ("baseline", "ring")
# The forward at t=0 that leaves clean keys and values: after its block; before the next block, left out where
# a switch makes it useless; or together with the next block's first step.
CONTEXTS = ("after", "before", "fold")
# What a switch computes again: the whole window, or only what is not protected as a sink.
RECACHES = ("window", "needed")


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """A stream of blocks; every count of frames is in latent frames. Defaults: LongLive 1.3B, as the baseline runs it.

    `window` counts what is attended: the sinks and the block itself included.
    Raises `ValueError`, a sentence, for sizes, windows and ways to run that do not go together.
    """

    model: WanSize = field(default_factory=WanSize)
    height: int = 480  # pixels
    width: int = 832
    block: int = 3
    window: int = 12
    sink: int = 3
    steps: tuple[int, ...] = (1000, 750, 500, 250)  # of 1000, before the shift
    shift: float = 5.0
    text_tokens: int = 512
    fps: int = 16  # of the decoded video, for real-time factors
    cache: str = "baseline"
    context: str = "after"
    recache: str = "window"
    tabulate: bool = False  # modulation looked up instead of computed in each forward
    moving_sinks: bool = False  # sinks keep their distance to the window, so positions never leave the trained range

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_window()
        for name, allowed in (("cache", CACHES), ("context", CONTEXTS), ("recache", RECACHES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is '{getattr(self, name)}'; it can be {', '.join(allowed)}.")
        if self.context == "fold" and self.cache != "ring":
            raise ValueError("context 'fold' needs the ring cache: two blocks are written in one forward.")
        if self.moving_sinks and self.cache != "ring":
            raise ValueError("moving_sinks needs the ring cache: sinks are kept apart there.")
        if self.moving_sinks and self.context == "fold":
            raise ValueError(
                "moving_sinks cannot go with context 'fold': its two blocks see the sinks in other places."
            )
        if self.moving_sinks and not self.sink:
            raise ValueError("moving_sinks needs at least one sink frame; sink is 0.")

    def _check_sizes(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 16 or getattr(self, name) % 16:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a positive multiple of 16 pixels.")
        for name in ("block", "text_tokens", "fps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.model.head_dim % 2 or self.model.head_dim < 8:
            raise ValueError(
                f"head_dim is {self.model.head_dim}; it must be even and at least 8 (positions in 3 axes)."
            )
        if not self.steps or any(not 0 < step <= 1000 for step in self.steps):
            raise ValueError(f"steps are {list(self.steps)}; each must lie above 0 and at most at 1000.")
        if any(a <= b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError(f"steps are {list(self.steps)}; they must fall.")
        if self.shift <= 0:
            raise ValueError(f"shift is {self.shift}; it must be positive.")

    def _check_window(self) -> None:
        if self.window < self.block:
            raise ValueError(f"window is {self.window} frames, smaller than a block of {self.block}.")
        if self.sink < 0:
            raise ValueError(f"sink is {self.sink} frames; it cannot be negative.")
        if self.window < self.sink + self.block:
            raise ValueError(
                f"window is {self.window} frames; it must hold the sink ({self.sink}) and a block ({self.block}), "
                "both included in it."
            )
        for name in ("window", "sink"):
            if getattr(self, name) % self.block:
                raise ValueError(f"{name} is {getattr(self, name)} frames, not a multiple of the block ({self.block}).")

    @property
    def rows(self) -> int:
        """Rows of tokens in a frame: 8 pixels a latent, 2 latents a token."""
        return self.height // 16

    @property
    def columns(self) -> int:
        return self.width // 16

    @property
    def frame_tokens(self) -> int:
        return self.rows * self.columns

    @property
    def block_tokens(self) -> int:
        return self.block * self.frame_tokens

    @property
    def window_blocks(self) -> int:
        return self.window // self.block

    @property
    def sink_blocks(self) -> int:
        return self.sink // self.block

    def latent_shape(self, batch: int, frames: int | None = None) -> tuple[int, int, int, int, int]:
        """(batch, channels, frames, rows, columns); the frames of a block unless told otherwise."""
        frames = self.block if frames is None else frames
        return (batch, self.model.latent_channels, frames, self.height // 8, self.width // 8)

    def pixel_frames(self, blocks: int) -> int:
        """Frames of video in so many blocks: the first latent frame gives 1, every later one 4."""
        return max(0, 4 * (blocks * self.block - 1) + 1)

    def cache_bytes(self, element: int = 2) -> int:
        """Bytes of keys and values of one sample, `element` bytes a number."""
        return 2 * self.model.layers * self.window * self.frame_tokens * self.model.dim * element


PRESETS: dict[str, StreamConfig] = {
    "tiny": StreamConfig(
        model=WanSize(layers=2, heads=2, head_dim=16, ffn=64, latent_channels=4, text_dim=24, frequencies=16),
        height=32,
        width=48,
        text_tokens=8,
    ),
    "medium": StreamConfig(
        model=WanSize(layers=4, heads=4, head_dim=64, ffn=1024, latent_channels=16, text_dim=128, frequencies=64),
        height=96,
        width=160,
        text_tokens=32,
    ),
    "longlive-1.3b": StreamConfig(),
}
# What each optimized variant changes of the baseline.
RING = {"cache": "ring", "tabulate": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "ring": {"cache": "ring"},
    "tabulated": RING,
    "recache-needed": {**RING, "recache": "needed"},
    "context-before": {**RING, "recache": "needed", "context": "before"},
    "fold": {**RING, "recache": "needed", "context": "fold"},
}


def preset(name: str, variant: str = "baseline", **changes: Any) -> StreamConfig:
    """A preset of the table, run as a variant, with fields changed: ``preset("tiny", "ring", window=9)``.

    Raises `ValueError`, a sentence, for a name or setting that there is none of, and what `StreamConfig` refuses.
    """
    if name not in PRESETS:
        raise ValueError(f"No stream model is called '{name}'; there are {', '.join(PRESETS)}.")
    if variant not in VARIANTS:
        raise ValueError(f"No variant is called '{variant}'; there are {', '.join(VARIANTS)}.")
    known = {f.name for f in fields(StreamConfig)}
    if unknown := sorted(set(changes) - known):
        raise ValueError(f"A stream has no setting '{unknown[0]}'; it has {', '.join(sorted(known))}.")
    return replace(PRESETS[name], **{**VARIANTS[variant], **changes})
