"""Frames between one who makes them and one who shows them: a queue that cannot grow, and counts what it drops."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
POLICY = "When the queue is full the oldest frame in it is dropped: a slow viewer sees fewer frames, never later ones."


@dataclass(frozen=True)
class Counts:
    """Frames put in, taken out, dropped because nobody took them in time, and waiting now."""

    put: int
    taken: int
    dropped: int
    waiting: int


class FrameQueue(Generic[T]):
    """At most `capacity` frames wait; `POLICY` says what happens to more. Safe between threads.

    Raises `ValueError`, a sentence, for a capacity below 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; a queue holds at least 1 frame.")
        self.capacity = capacity
        self._frames: deque[T] = deque()
        self._changed = threading.Condition()
        self._put = self._taken = self._dropped = 0
        self._closed = False

    def put(self, frame: T) -> None:
        """Add a frame; never waits. After `close` it raises ValueError."""
        with self._changed:
            if self._closed:
                raise ValueError("The queue is closed; it takes no more frames.")
            if len(self._frames) == self.capacity:
                self._frames.popleft()
                self._dropped += 1
            self._frames.append(frame)
            self._put += 1
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> T | None:
        """The oldest frame; None once the queue is closed and empty, or when none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            if not self._frames:
                return None
            self._taken += 1
            return self._frames.popleft()

    def clear(self) -> int:
        """Drop what waits, as when a prompt is switched and old frames would delay it; says how many."""
        with self._changed:
            stale = len(self._frames)
            self._frames.clear()
            self._dropped += stale
            return stale

    def close(self) -> None:
        """No more frames will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def counts(self) -> Counts:
        with self._changed:
            return Counts(self._put, self._taken, self._dropped, len(self._frames))

    def __iter__(self) -> Iterator[T]:
        """Frames until the queue is closed and empty."""
        while (frame := self.take()) is not None:
            yield frame


def pump(frames: Iterator[T], queue: FrameQueue[T], stop: threading.Event) -> None:
    """Put frames into the queue until told to stop or none are left; for a thread of its own.

    The queue is closed whatever happens, so that a viewer never waits for a maker that failed.
    """
    try:
        for frame in frames:
            if stop.is_set():
                break
            queue.put(frame)
    finally:
        queue.close()
