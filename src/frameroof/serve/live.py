"""One session: its stream, the frames that wait for its viewer, and what was counted. The worker makes, a viewer takes.

Shapes: F frames, H rows, W columns.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..stream.frames import FrameQueue
from .counts import Counts
from .limits import Limits
from .measured import Measured
from .playout import Playout
from .protocol import Error, Message, Replaced, Stats, Switched
from .source import Facts, Made, Pixels, Source, Stream


@dataclass(frozen=True)
class Frame:
    """A frame of video, (H, W, 3), its number in the session and its block's."""

    index: int
    block: int
    pixels_HWC: Pixels


@dataclass(frozen=True)
class Ask:
    """A prompt that a viewer asked for, with the viewer's number of it and the second it came."""

    prompt: str
    id: int
    at: float


class Viewer(Protocol):
    """Who watches; called from any thread, and never waits."""

    def tell(self, message: Message | None) -> None:
        """A message to pass on, or only that there is something new."""

    def end(self, code: int, why: str) -> None:
        """The connection is over."""


class Live:
    """A session. The worker's thread calls `turn`, the event loop's everything else."""

    def __init__(
        self, prompt: str, facts: Facts, limits: Limits, counts: Counts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.prompt, self.facts, self.limits = prompt, facts, limits
        self.playing, self.ended = True, False
        self.viewer: Viewer | None = None
        self.block = 0  # the next one
        self._counts, self._clock = counts, clock
        self._stream: Stream | None = None
        self._queue: FrameQueue[Frame] = FrameQueue(limits.queue)
        self._playout = Playout(facts.fps)
        self._measured = Measured(facts)
        self._ask: Ask | None = None
        self._asked_at: dict[int, float] = {}  # by block, when its prompt was asked for; until it is shown
        self._in_flight: deque[tuple[int, int, float]] = deque()  # frame, block, when it was sent
        self._made = self._sent = self._shown = self._late = self._skipped = 0
        self._lock = threading.RLock()

    # ------------------------------------------------------------------------------ the viewer's side

    def attach(self, viewer: Viewer) -> None:
        """A viewer is there, and frames that waited are due from now on."""
        with self._lock:
            self.viewer = viewer
            self._in_flight.clear()
            self._playout.rebase(self._oldest(), self._clock())

    def detach(self, viewer: Viewer) -> bool:
        """The viewer is gone, and nothing more is made; False where another one has taken its place."""
        with self._lock:
            if self.viewer is not viewer:
                return False
            self.viewer = None
            self._in_flight.clear()
            return True

    def play(self, playing: bool) -> None:
        """Go on, or pause."""
        with self._lock:
            if playing and not self.playing:
                self._playout.rebase(self._oldest(), self._clock())
            self.playing = playing

    def ask(self, prompt: str, ask_id: int) -> None:
        """Switch to this prompt with the next block. One that was not taken up yet is replaced, and said to be."""
        with self._lock:
            before, self._ask = self._ask, Ask(prompt, ask_id, self._clock())
            if before:
                self._tell(Replaced(id=before.id))

    def ready_s(self) -> float | None:
        """Seconds until the next frame may be sent; None where nothing is to be sent until something changes."""
        with self._lock:
            if not self.playing or len(self._in_flight) >= self.limits.in_flight or not self._queue.counts().waiting:
                return None
            return max(0.0, self._playout.due(self._oldest()) - self._clock())

    def take(self) -> Frame | None:
        """The next frame, counted as sent; call it when `ready_s` is 0."""
        with self._lock:
            frame = self._queue.take(0)
            if frame is not None:
                self._in_flight.append((frame.index, frame.block, self._clock()))
                self._sent += 1
                self._counts.sent.inc()
            return frame

    def shown(self, index: int) -> None:
        """The viewer has shown this frame and those before it."""
        now = self._clock()
        with self._lock:
            while self._in_flight and self._in_flight[0][0] <= index:
                _, block_shown, _ = self._in_flight.popleft()
                self._shown += 1
                self._counts.shown.inc()
                for block in [block for block in self._asked_at if block <= block_shown]:
                    self._measured.visible_s = now - self._asked_at.pop(block)
                    self._counts.visible_s.observe(self._measured.visible_s)

    def silent_s(self) -> float:
        """How long the oldest frame on its way has been without an answer; 0 where none is."""
        with self._lock:
            return self._clock() - self._in_flight[0][2] if self._in_flight else 0.0

    def end(self) -> None:
        """No more is made or sent. Frames that wait are dropped; the worker lets go of the stream."""
        with self._lock:
            if self.ended:
                return
            self.ended = True
            self._queue.close()
            self._counts.dropped.labels("left").inc(self._queue.clear())

    @property
    def waiting(self) -> int:
        """Frames that wait to be sent."""
        return self._queue.counts().waiting

    def stats(self, sessions: int) -> Stats:
        """How it does now."""
        with self._lock:
            return Stats(
                block=self.block,
                made=self._made,
                sent=self._sent,
                shown=self._shown,
                late=self._late,
                skipped=self._skipped,
                waiting=self.waiting,
                in_flight=len(self._in_flight),
                stalls=self._playout.stalls,
                sessions=sessions,
                **self._measured.figures(),
            )

    # ------------------------------------------------------------------------------ the worker's side

    def due_s(self) -> float | None:
        """Seconds until the worker has something to do here; None where nothing until somebody says so.

        A block is begun when less than a block of video lies ahead, and at once for a new prompt.
        """
        with self._lock:
            if self.ended or self.viewer is None:
                return None
            if self._stream is None or self._ask is not None:
                return 0.0
            if not self.playing:
                return None
            if any(block >= self.block for block in self._asked_at):
                return 0.0
            lead = self.facts.block_frames / self.facts.fps
            return max(0.0, self._playout.ahead_s(self._clock()) - lead)

    def turn(self, source: Source, stopping: Callable[[], bool]) -> None:
        """What is due, at most one block: open the stream, switch, generate and decode."""
        if self._stream is None:
            self._stream = source.open(self.prompt)
        stream = self._stream
        with self._lock:
            ask, self._ask = self._ask, None
        if ask is not None:
            self._switched(ask, stream.switch(ask.prompt))
        if self.playing and not self.ended and self.viewer is not None:
            self._put(stream.make(lambda: self.ended or stopping()))

    def release(self) -> None:
        """Let go of the stream and its cache."""
        self._stream = None

    def fail(self, why: str, code: int) -> None:
        """It cannot go on; its viewer is told why."""
        self._counts.failed.inc()
        self.end()
        with self._lock:
            if self.viewer is not None:
                self.viewer.tell(Error(what=why, final=True))
                self.viewer.end(code, why)

    def _switched(self, ask: Ask, block: int) -> None:
        with self._lock:
            self.prompt = ask.prompt
            self._asked_at[block] = ask.at
            self._counts.switches.inc()
            self._tell(Switched(id=ask.id, prompt=ask.prompt, block=block))

    def _put(self, made: Made) -> None:
        now = self._clock()
        counts = self._counts
        with self._lock:
            self.block = made.number + 1
            switched = made.number in self._asked_at
            self._measured.add(made, switched)
            counts.blocks.inc()
            counts.block_s.observe(made.generate_s)
            counts.decode_s.observe(made.decode_s)
            if self.ended:
                return
            if switched:  # the old prompt's frames would only hold the new one's up
                stale = self._queue.clear()
                self._skipped += stale
                counts.dropped.labels("skipped").inc(stale)
                self._playout.rebase(self._made, now)
            stalls, late = self._playout.stalls, self._queue.counts().dropped
            self._playout.add(len(made.video_FHWC), now)
            for offset, pixels_HWC in enumerate(made.video_FHWC):
                self._queue.put(Frame(self._made + offset, made.number, pixels_HWC))
            late = self._queue.counts().dropped - late
            self._made, self._late = self._made + len(made.video_FHWC), self._late + late
            counts.made.inc(len(made.video_FHWC))
            counts.dropped.labels("late").inc(late)
            counts.stalls.inc(self._playout.stalls - stalls)
            self._tell(None)

    def _oldest(self) -> int:
        """The number of the next frame to be sent: frames leave the queue at its front alone."""
        return self._made - self._queue.counts().waiting

    def _tell(self, message: Message | None) -> None:
        if self.viewer is not None:
            self.viewer.tell(message)
