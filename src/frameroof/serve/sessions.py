"""Who is here: sessions by their keys, at most so many, each kept a while for a viewer that may come back."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from .counts import Counts
from .limits import Limits
from .live import Live, Viewer
from .protocol import ELSEWHERE, Start
from .worker import Worker


class FullError(Exception):
    """No session is free."""


@dataclass(frozen=True)
class Seat:
    """A viewer's place: the session, its key, whether it was there before, and what is to be said of that."""

    key: str
    live: Live
    resumed: bool
    note: str = ""


class Sessions:
    """All sessions of a server; the event loop's thread alone calls it."""

    def __init__(self, worker: Worker, limits: Limits, counts: Counts, prompt: str) -> None:
        self.worker, self.limits, self.counts, self.prompt = worker, limits, counts, prompt
        self._all: dict[str, Live] = {}
        self._expiry: dict[str, asyncio.TimerHandle] = {}
        counts.gauge("sessions", "Sessions, those whose viewer may come back included.", lambda: len(self))
        counts.gauge("sessions_watched", "Sessions with a viewer.", lambda: sum(1 for x in self.alive if x.viewer))
        counts.gauge("frames_waiting", "Frames that wait to be sent.", lambda: sum(x.waiting for x in self.alive))

    @property
    def alive(self) -> list[Live]:
        """The sessions that have not ended."""
        return [live for live in tuple(self._all.values()) if not live.ended]

    def __len__(self) -> int:
        return len(self.alive)

    def enter(self, start: Start, viewer: Viewer) -> Seat:
        """A new session, or the one that is come back to; FullError, ValueError: sentences."""
        asked = start.session
        if asked is not None and (live := self._all.get(asked)) is not None and not live.ended:
            return self._resume(asked, live, viewer)
        prompt = self.limits.checked_prompt(self.prompt if start.prompt is None else start.prompt)
        if len(self) >= self.limits.sessions:
            most = self.limits.sessions
            raise FullError(
                f"{f'All {most} sessions are' if most > 1 else 'The only session is'} taken; come again when one has "
                f"ended (one that was left is kept for {self.limits.grace_s:g} s)."
            )
        live = Live(prompt, self.worker.source.facts, self.limits, self.counts)
        live.attach(viewer)
        key = secrets.token_urlsafe(16)
        self._all = {k: x for k, x in self._all.items() if not x.ended} | {key: live}
        self.counts.opened.inc()
        self.worker.add(live)
        note = "The earlier session is no longer there; this is a new one." if asked else ""
        return Seat(key, live, False, note)

    def _resume(self, key: str, live: Live, viewer: Viewer) -> Seat:
        if (expiry := self._expiry.pop(key, None)) is not None:
            expiry.cancel()
        if (before := live.viewer) is not None:
            before.end(ELSEWHERE, "This session was opened in another place.")
        live.attach(viewer)
        self.counts.resumed.inc()
        self.worker.poke()
        return Seat(key, live, True)

    def leave(self, seat: Seat, viewer: Viewer, for_good: bool) -> None:
        """A viewer is gone; its session ends now, or when nobody has come back to it in time."""
        if not seat.live.detach(viewer):
            return
        if for_good or not self.limits.grace_s:
            self._end(seat.key)
        else:
            loop = asyncio.get_running_loop()
            self._expiry[seat.key] = loop.call_later(self.limits.grace_s, self._end, seat.key)

    def _end(self, key: str) -> None:
        if (expiry := self._expiry.pop(key, None)) is not None:
            expiry.cancel()
        if (live := self._all.pop(key, None)) is not None:
            live.end()
        self.worker.poke()

    def close(self) -> None:
        """The server ends: every session does."""
        for key in tuple(self._all):
            self._end(key)
