"""The one thread that generates: sessions take turns of one block, so none waits for more than one of each other's."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from .live import Live
from .protocol import FAILED
from .source import AbandonedError, Source

STUCK_S = 60.0  # a turn that takes longer is reported as ill


class Worker:
    """Generates for every session that has something due, in turns; off the event loop."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self._clock = clock
        self._round: deque[Live] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._since: float | None = None  # when the turn that runs began
        self._thread = threading.Thread(target=self.run, name="frameroof-worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, wait_s: float) -> bool:
        """End after the step that runs; False where that did not end in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(wait_s)
        return not self._thread.is_alive()

    def add(self, live: Live) -> None:
        """A session joins the round, at its end."""
        with self._changed:
            self._round.append(live)
            self._changed.notify_all()

    def poke(self) -> None:
        """Something changed: look again who has something due."""
        with self._changed:
            self._changed.notify_all()

    def ill(self) -> str:
        """A sentence where nothing is generated any more; "" where all is well."""
        if not self._thread.is_alive():
            return "The worker does not run."
        since = self._since
        if since is not None and (lasts := self._clock() - since) > STUCK_S:
            return f"One block has been running for {lasts:.0f} s."
        return ""

    def run(self) -> None:
        """Turn after turn, until stopped."""
        while (live := self._next()) is not None:
            self._since = self._clock()
            try:
                live.turn(self.source, lambda: self._stopping)
            except AbandonedError:
                pass
            except Exception as error:  # one session's trouble is not another's
                if os.environ.get("FRAMEROOF_DEBUG"):
                    traceback.print_exc(file=sys.stderr)
                live.fail(_sentence(error), FAILED)
            self._since = None

    def _next(self) -> Live | None:
        """The first session of the round with something due, now at the round's end; None when stopped."""
        with self._changed:
            while not self._stopping:
                soonest: float | None = None
                for live in tuple(self._round):
                    if live.ended:
                        self._round.remove(live)
                        live.release()
                        continue
                    due_s = live.due_s()
                    if due_s is not None and due_s <= 0:
                        self._round.remove(live)
                        self._round.append(live)
                        return live
                    if due_s is not None:
                        soonest = due_s if soonest is None else min(soonest, due_s)
                self._changed.wait(soonest)
            return None


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "out of memory" in text.lower():
        return "There is not enough memory for one more stream; close another session first."
    if isinstance(error, ValueError):
        return text
    return f"The stream failed: {text[:300]}"
