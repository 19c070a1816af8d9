"""The application with a source that is made, and pages that talk to it without a screen."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from serve_made import FAST, MadeSource, facts
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from frameroof.serve.app import App, create_app
from frameroof.serve.limits import Limits

TOKEN = "a-token-of-the-test"
QUICK = facts(fps=FAST)
PATIENT = 10 * FAST  # frames: on a machine with much else to do, none is late
SLOW_S = 60.0  # and nobody is let go because its test had to wait for the processor
KINDS = ("Start", "Switch", "Shown", "Pause", "Play", "Hello", "Switched", "Replaced", "Stats", "Error")
WELL = {"status": "ok", "sessions": 0, "of": 4, "says": list(QUICK.says)}
LIVE = "ws://localhost:8000/live"


def patient(**changed: Any) -> Limits:
    """Limits that a slow machine does not meet, but for those that a test is about."""
    return Limits(**{"queue": PATIENT, "silence_s": SLOW_S, "start_s": SLOW_S, **changed})


class Page:
    """What a page does, without a screen."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self.socket = socket
        self.frames: list[tuple[int, int]] = []  # block, frame
        self.said: list[dict[str, Any]] = []
        self.end = time.monotonic() + 40

    def say(self, **message: Any) -> None:
        self.socket.send_text(json.dumps(message))

    def hear(self) -> dict[str, Any] | None:
        """The next message; None for a frame."""
        assert time.monotonic() < self.end, "what is waited for does not come"
        message = self.socket.portal.call(self._receive)
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"], message.get("reason", ""))
        if (data := message.get("bytes")) is not None:
            _, _, _, block, frame = struct.unpack("<BBHII", data[:12])
            self.frames.append((block, frame))
            return None
        self.said.append(json.loads(message["text"]))
        return self.said[-1]

    async def _receive(self) -> Any:
        """The client's own `receive` would wait for ever."""
        with anyio.fail_after(20):
            return await self.socket._send_rx.receive()

    def wait(self, kind: str, answer: bool = True) -> dict[str, Any]:
        """The next message of a kind; frames before it are shown, where they are answered."""
        while True:
            message = self.hear()
            if message is None and answer:
                self.say(type="shown", frame=self.frames[-1][1])
            if message is not None and message["type"] == kind:
                return message

    def play(self, frames: int) -> None:
        """Show so many more frames."""
        most = len(self.frames) + frames
        while len(self.frames) < most:
            if self.hear() is None:
                self.say(type="shown", frame=self.frames[-1][1])

    def closed(self) -> tuple[int, str]:
        """The close that comes; frames before it are left alone."""
        while True:
            try:
                self.hear()
            except WebSocketDisconnect as closed:
                return closed.code, closed.reason


class Site:
    """An application that runs, and its source."""

    def __init__(self, app: App, client: TestClient, source: MadeSource) -> None:
        self.app, self.client, self.source = app, client, source

    @contextmanager
    def page(self, start: dict[str, Any] | None = None, **how: Any) -> Iterator[Page]:
        with self.client.websocket_connect(LIVE, **how) as socket:
            page = Page(socket)
            page.say(type="start", **(start or {}))
            yield page

    def metrics(self) -> dict[str, float]:
        lines = self.client.get("/metrics").text.splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


@contextmanager
def running(limits: Limits | None = None, **how: Any) -> Iterator[Site]:
    source = how.pop("source", None) or MadeSource(QUICK)
    app = create_app(source, limits or patient(), prompt="a cat", **how)
    with TestClient(app, base_url="http://localhost:8000") as client:
        yield Site(app, client, source)
        source.gate.set()
