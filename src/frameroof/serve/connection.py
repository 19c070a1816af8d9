"""One WebSocket: what its page says is done, and what its session has for it is sent, in order, one thing at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any, assert_never

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from . import protocol
from .limits import CONTROL
from .live import Live
from .picture import jpeg
from .protocol import FULL, REFUSED, TOO_BIG, VANISHED, Error, Hello, Message, Pause, Play, Said, Shown, Start, Switch
from .sessions import FullError, Seat, Sessions

STATS_S = 0.5
LEFT = 1000  # the close code of a page that leaves for good
LOST = 1006
LONGEST_REASON = 120  # bytes that a close may carry


class Connection:
    """A viewer over a WebSocket."""

    def __init__(self, socket: WebSocket, sessions: Sessions) -> None:
        self.socket, self.sessions, self.limits = socket, sessions, sessions.limits
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[Message] = deque()
        self._over: tuple[int, str] | None = None
        self._news = asyncio.Event()

    # -------------------------------------------------------------------- live.Viewer, from any thread

    def tell(self, message: Message | None) -> None:
        """Pass a message on, or look again what is there."""
        self._soon(message, None)

    def end(self, code: int, why: str) -> None:
        """Close the connection once what waits has been said."""
        self._soon(None, (code, why))

    def _soon(self, message: Message | None, over: tuple[int, str] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and all connections with it
            self._loop.call_soon_threadsafe(self._hear, message, over)

    def _hear(self, message: Message | None, over: tuple[int, str] | None) -> None:
        if message is not None:
            self._outbox.append(message)
        if len(self._outbox) > CONTROL:
            self._outbox.clear()
            self.sessions.counts.refused.labels("flood").inc()
            over = (REFUSED, "More was asked for than was read of the answers.")
        self._over = self._over or over
        self._news.set()

    # ------------------------------------------------------------------------------ the conversation

    async def run(self) -> None:
        """From the first message to the end."""
        await self.socket.accept()
        try:
            seat = await self._begin()
            if seat is not None:
                await self._converse(seat)
        except (WebSocketDisconnect, OSError):
            pass

    async def _begin(self) -> Seat | None:
        """The session that the first message asks for; None where there is none to be had."""
        refused = self.sessions.counts.refused
        try:
            async with asyncio.timeout(self.limits.start_s):
                said = await self._receive()
            if isinstance(said, int):
                return None
            if not isinstance(said, Start):
                raise ValueError("The first message must be a 'start'.")
            seat = self.sessions.enter(said, self)
        except TimeoutError:
            await self._refuse(REFUSED, f"No 'start' came within {self.limits.start_s:g} s.")
        except FullError as error:
            refused.labels("sessions").inc()
            await self._refuse(FULL, str(error))
        except ValueError as error:
            refused.labels("message").inc()
            await self._refuse(REFUSED, str(error))
        else:
            self._outbox.appendleft(self._hello(seat))
            return seat
        return None

    def _hello(self, seat: Seat) -> Hello:
        live = seat.live
        return Hello(
            version=protocol.VERSION,
            session=seat.key,
            resumed=seat.resumed,
            prompt=live.prompt,
            block=live.block,
            playing=live.playing,
            facts=vars(live.facts),
            limits=vars(self.limits),
            note=seat.note,
        )

    async def _converse(self, seat: Seat) -> None:
        live = seat.live
        listening = asyncio.create_task(self._listen(live))
        tasks: list[asyncio.Task[Any]] = [
            listening,
            asyncio.create_task(self._send(live)),
            asyncio.create_task(self._watch(live)),
        ]
        left = False
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            left = listening.done() and not listening.exception() and listening.result() == LEFT
        finally:
            self.sessions.leave(seat, self, for_good=left)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _listen(self, live: Live) -> int:
        """Do what the page says, until it goes; the close code with which it did."""
        refused = self.sessions.counts.refused
        while True:
            try:
                said = await self._receive()
                if isinstance(said, int):
                    return said
                self._do(live, said)
            except TooBigError as error:
                refused.labels("message").inc()
                self._outbox.append(Error(what=str(error), final=True))
                self.end(TOO_BIG, str(error))
                return await self._rest()
            except ValueError as error:
                refused.labels("message").inc()
                self.tell(Error(what=str(error)))

    async def _rest(self) -> int:
        """Hear no more until the connection is closed."""
        while (await self.socket.receive())["type"] != "websocket.disconnect":
            pass
        return LOST

    def _do(self, live: Live, said: Said) -> None:
        match said:
            case Switch():
                live.ask(self.limits.checked_prompt(said.prompt), said.id)
                self.sessions.worker.poke()
            case Shown():
                live.shown(said.frame)
                self._news.set()
            case Pause() | Play():
                live.play(isinstance(said, Play))
                self._news.set()
                self.sessions.worker.poke()
            case Start():
                raise ValueError("The session has started; 'start' is for the first message.")
            case _:
                assert_never(said)

    async def _receive(self) -> Said | int:
        """The page's next message, or the code with which it went."""
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            return int(message.get("code") or LOST)
        text = message.get("text")
        try:
            self.limits.check_message(len(message.get("bytes") or b"" if text is None else text.encode()))
        except ValueError as error:
            raise TooBigError(str(error)) from error
        if text is None:
            raise ValueError("A page's messages are text; a binary one was sent.")
        return protocol.understood(text)

    async def _send(self, live: Live) -> None:
        """Messages first, then the frame that is due, until the connection is over."""
        stats_at = 0.0
        while True:
            self._news.clear()
            while self._outbox:
                await self._say(self._outbox.popleft())
            if self._over is not None:
                await self._close(*self._over)
                return
            now = self._loop.time()
            if now >= stats_at:
                stats_at = now + STATS_S
                await self._say(live.stats(len(self.sessions)))
            ready_s = live.ready_s()
            frame = live.take() if ready_s == 0 else None
            if frame is not None:
                picture = await asyncio.to_thread(jpeg, frame.pixels_HWC)
                with _gone():
                    await self.socket.send_bytes(protocol.picture_of(frame.block, frame.index, picture))
                self.sessions.worker.poke()
                continue
            pause_s = max(0.0, stats_at - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s if ready_s is None else min(pause_s, ready_s)):
                    await self._news.wait()

    async def _watch(self, live: Live) -> None:
        """Return when the viewer has shown nothing for too long, though frames are on their way to it."""
        while live.silent_s() < self.limits.silence_s:
            await asyncio.sleep(self.limits.silence_s / 4)
        self.sessions.counts.refused.labels("silence").inc()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):  # it reads nothing, or it would have answered: no more than an attempt
                await self._close(VANISHED, f"Nothing was shown for {self.limits.silence_s:g} s.")

    async def _refuse(self, code: int, why: str) -> None:
        await self._say(Error(what=why, final=True))
        await self._close(code, why)

    async def _say(self, message: Message) -> None:
        with _gone():
            await self.socket.send_text(protocol.text_of(message))

    async def _close(self, code: int, why: str) -> None:
        with _gone():
            await self.socket.close(code, why if len(why.encode()) <= LONGEST_REASON else "")


class TooBigError(ValueError):
    """A message of too many bytes."""


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    """The server's own word for a connection that is closed already, as the framework's."""
    try:
        yield
    except RuntimeError as error:
        raise WebSocketDisconnect(LOST) from error
