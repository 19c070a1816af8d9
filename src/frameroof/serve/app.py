"""The web application of a source: page, WebSocket, health and metrics."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Response, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from .connection import Connection
from .counts import Counts
from .guard import Guard
from .limits import Limits
from .sessions import Sessions
from .source import Source
from .worker import Worker

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
STOP_S = 1.0  # how long the end waits for the step that runs


class App(FastAPI):
    """The application, with the parts that tests and the server look at."""

    worker: Worker
    sessions: Sessions
    counts: Counts


def create_app(  # what differs from server to server
    source: Source,
    limits: Limits,
    *,
    prompt: str,
    token: str | None = None,
    names: Collection[str] | None = None,
) -> App:
    """Page, WebSocket, `/health` and `/metrics` of one source; `prompt` is that of a page that brings none.

    Raises `ValueError`, a sentence, where the queue is too short for two blocks.
    """
    facts = source.facts
    if limits.queue < 2 * facts.block_frames:
        raise ValueError(
            f"A queue of {limits.queue} frames is too short: two blocks of {facts.block_frames} must fit in it."
        )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        sessions.close()
        await to_thread(worker.stop, STOP_S)

    made = App(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, title="frameroof stream")
    made.counts = counts = Counts(facts)
    made.worker = worker = Worker(source)
    made.sessions = sessions = Sessions(worker, limits, counts, limits.checked_prompt(prompt))
    made.add_middleware(Guard, token=token, names=names)
    for path, (name, kind) in FILES.items():
        made.add_api_route(path, _file(PAGE / name, kind), methods=["GET"])

    @made.get("/health")
    async def health() -> Response:
        ill = worker.ill()
        state = {"status": "ill", "why": ill} if ill else {"status": "ok"}
        return JSONResponse(
            {**state, "sessions": len(sessions), "of": limits.sessions, "says": facts.says}, 503 if ill else 200
        )

    @made.get("/metrics")
    async def metrics() -> Response:
        return Response(counts.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    @made.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await Connection(socket, sessions).run()

    return made


def _file(path: Path, kind: str) -> Callable[[], Awaitable[Response]]:
    async def file() -> Response:
        return FileResponse(path, media_type=kind)

    return file
