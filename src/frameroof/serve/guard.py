"""Who may come in: the token, the names under which a server at home is called, and the page that opens a WebSocket."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from .limits import SHORTEST_TOKEN

HOME = ("127.0.0.1", "localhost", "::1")
OPEN = ("/health",)  # what needs no token
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
NEEDS_TOKEN = (
    "This needs the server's token: open the address that `frameroof stream serve` printed, "
    "or send 'Authorization: Bearer TOKEN'."
)


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def check_token(token: str) -> None:
    """ValueError, a sentence, for a token that could be guessed or does not fit into an address."""
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or not token.split() == [token]:
        raise ValueError(f"A token has at least {SHORTEST_TOKEN} letters, digits or signs, without spaces.")


class Guard:
    """In front of the application: lets nobody pass who must not, and adds headers that browsers heed."""

    def __init__(self, app: ASGIApp, *, token: str | None, names: Collection[str] | None) -> None:
        """`names` are the hosts by which the server may be called; None: by any.

        Without a token they keep other sites out that a name server sends to this machine.
        """
        self.app, self.token, self.names = app, token, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        connection = HTTPConnection(scope)
        answer = self.answer(connection)
        if answer is None:
            await self.app(scope, receive, send_safe)
        elif scope["type"] == "http":
            await answer(scope, receive, send_safe)
        else:
            await WebSocket(scope, receive, send).send_denial_response(answer)

    def answer(self, connection: HTTPConnection) -> Response | None:
        """What to answer instead of the application; None where all is well."""
        host = connection.headers.get("host", "")
        if self.names is not None and _name(host) not in self.names:
            return PlainTextResponse(f"This server is not called {_name(host) or 'nothing'!r}.\n", 400)
        if connection.scope["type"] == "websocket" and not _same_place(connection.headers.get("origin"), host):
            return PlainTextResponse("This page is of another server; only the server's own may watch.\n", 403)
        if self.token is None or connection.url.path in OPEN:
            return None
        if self._given_in_address(connection):
            if connection.scope["type"] == "http" and connection.url.path == "/":
                return self._to_page(connection)
            return None
        bearer = connection.headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(connection.cookies.get(self._cookie(connection), "")) or self._is_token(bearer):
            return None
        return PlainTextResponse(NEEDS_TOKEN + "\n", 401, {"www-authenticate": "Bearer"})

    def _is_token(self, given: str) -> bool:
        """Compared in a time that does not tell how much of it is right."""
        return secrets.compare_digest(given.encode(), (self.token or "").encode())

    def _given_in_address(self, connection: HTTPConnection) -> bool:
        return self._is_token(connection.query_params.get("token", ""))

    def _to_page(self, connection: HTTPConnection) -> Response:
        """The token moves from the address to a cookie: it stays in no history, and in no picture of the window."""
        rest = parse_qs(connection.url.query)
        rest.pop("token", None)
        answer = RedirectResponse("/" + ("?" + urlencode(rest, doseq=True) if rest else ""), 303)
        answer.set_cookie(self._cookie(connection), self.token or "", httponly=True, samesite="lax")
        return answer

    def _cookie(self, connection: HTTPConnection) -> str:
        """Its name has the port: browsers keep one jar for all ports of a host."""
        return f"frameroof-{(connection.scope.get('server') or ('', 0))[1]}"


def is_home(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    return host in HOME


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_place(origin: str | None, host: str) -> bool:
    """Whether a browser's Origin is this server; programs send none, and cannot be lured."""
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()
