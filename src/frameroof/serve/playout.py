"""When each frame is due: a stream's own clock, in real time from its first frame on."""

from __future__ import annotations


class Playout:
    """Frame i is due at an origin plus i / fps. The origin moves when the maker is late, or when a viewer was away."""

    def __init__(self, fps: int) -> None:
        self.fps = fps
        self.made = 0
        self.stalls = 0  # times that a frame was due and not there
        self._origin: float | None = None

    def due(self, index: int) -> float:
        """The second at which a frame that was made is due."""
        return (self._origin or 0.0) + index / self.fps

    def ahead_s(self, now: float) -> float:
        """Seconds of video that are made and not yet due."""
        return self.due(self.made) - now if self._origin is not None else 0.0

    def rebase(self, index: int, now: float) -> None:
        """Let this frame be due now, and those after it follow; one that is not made yet, when it is."""
        self._origin = now - index / self.fps if index < self.made else None

    def add(self, frames: int, now: float) -> None:
        """So many more frames are there. If the first of them should have been shown already, it is due now."""
        first, late = self.made, self._origin is not None and self.due(self.made) < now
        self.made += frames
        if late or self._origin is None:
            self.stalls += late
            self.rebase(first, now)
