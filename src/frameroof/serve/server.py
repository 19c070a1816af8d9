"""The application on a port: bound at once, stopped by Ctrl-C or SIGTERM within about a second."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from .limits import Limits

if TYPE_CHECKING:
    from .app import App  # loads torch, and a port in use is to be said before that

HARD = 64  # times the limit of a message: what is bigger is not even read
LOST_MS = 20_000  # a connection whose other end takes nothing for so long is given up by the kernel
CONNECTIONS = 64  # beside those of sessions


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; ValueError, a sentence, where that cannot be."""
    if not 0 <= port <= 65535:
        raise ValueError(f"Port {port} is none; ports are 0 (any free one) to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ValueError(_why(host, port, error)) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections inherit it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_MS)
    return sock


def _why(host: str, port: int, error: OSError) -> str:
    number = error.errno
    if number == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use; choose another with --port, or 0 for any free one."
    if number in (errno.EACCES, errno.EPERM):
        return f"Port {port} on {host} may not be opened by this user; choose one of 1024 or more."
    if number == errno.EADDRNOTAVAIL or (number or 0) < 0:  # below 0: the resolver's
        return f"This machine has no address {host}; 127.0.0.1 is itself, 0.0.0.0 all its addresses."
    return f"Port {port} on {host} cannot be opened: {error}."


class Server(uvicorn.Server):
    """uvicorn without its own treatment of signals, which ends in an exception."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for `run`."""
        yield


def make_server(app: App, limits: Limits) -> Server:
    """A server of the application, not yet running."""
    level = logging.INFO if os.environ.get("FRAMEROOF_DEBUG") else logging.CRITICAL
    logging.getLogger("uvicorn").setLevel(level)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        log_level=level,
        access_log=False,  # addresses may hold the token
        server_header=False,
        ws_max_size=HARD * limits.message,
        ws_per_message_deflate=False,  # pictures are compressed already
        limit_concurrency=CONNECTIONS + 2 * limits.sessions,
        timeout_graceful_shutdown=1,
    )
    return Server(config)


def run(app: App, sock: socket.socket, limits: Limits, ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, then return; `ready` is called when the first page can be had."""
    server = make_server(app, limits)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, server)
        task = loop.create_task(server.serve(sockets=[sock]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await task

    asyncio.run(serve())


def _stop(server: Server) -> None:
    server.force_exit = server.should_exit  # at the second signal
    server.should_exit = True
