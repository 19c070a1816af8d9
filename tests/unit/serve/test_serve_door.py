"""The application through starlette's client: token, Origin and Host; health and metrics; the reference."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from serve_made import until
from site_made import KINDS, TOKEN, WELL, Site, running
from starlette.testclient import WebSocketDenialResponse

from frameroof.serve.guard import HOME, Guard, check_token, new_token


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as made:
        yield made


# ------------------------------------------------------------------------------------- the door


def test_the_page_needs_nothing_from_elsewhere(site: Site):
    page = site.client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"style.css", "page.js", "icon.svg"} == set(names)
    for name in names:
        found = site.client.get(f"/{name}")
        assert found.status_code == 200
        assert found.headers["x-content-type-options"] == "nosniff"
        assert "http://" not in found.text.replace("http://www.w3.org/", "")
        assert "https://" not in found.text


TOKENS: list[tuple[str, dict[str, Any], int]] = [
    ("no token", {}, 401),
    ("a wrong one", {"params": {"token": TOKEN + "x"}}, 401),
    ("a wrong header", {"headers": {"authorization": "Bearer nonsense"}}, 401),
    ("not even letters", {"headers": {"authorization": b"Bearer \xff\xfe"}}, 401),
    ("in the address", {"params": {"token": TOKEN}}, 200),
    ("in a header", {"headers": {"authorization": f"Bearer {TOKEN}"}}, 200),
]


@pytest.mark.parametrize("path", ["/", "/metrics", "/page.js"])
@pytest.mark.parametrize(("how", "given", "status"), TOKENS, ids=[how for how, _, _ in TOKENS])
def test_pages_and_metrics_need_the_token(path: str, how: str, given: dict[str, Any], status: int):
    with running(token=TOKEN) as site:
        found = site.client.get(path, **given)
        assert found.status_code == status
        if status == 401:
            assert found.text.startswith("This needs the server's token")


def test_the_token_moves_from_the_address_to_a_cookie():
    with running(token=TOKEN) as site:
        moved = site.client.get("/", params={"token": TOKEN}, follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (303, "/")
        cookie = moved.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert site.client.get("/").status_code == 200  # the client has the cookie now
        with site.page() as page:
            page.wait("hello")


def test_a_websocket_needs_the_token_and_health_does_not():
    with running(token=TOKEN) as site:
        with pytest.raises(WebSocketDenialResponse) as refused, site.page():
            pass
        assert refused.value.status_code == 401
        with site.page(headers={"authorization": f"Bearer {TOKEN}"}) as page:
            page.wait("hello")
            assert site.client.get("/health").json() == {**WELL, "sessions": 1}


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    from frameroof.serve import guard

    seen: list[tuple[bytes, bytes]] = []
    honest = guard.secrets.compare_digest
    monkeypatch.setattr(guard.secrets, "compare_digest", lambda a, b: seen.append((a, b)) or honest(a, b))
    door = Guard(lambda *_: None, token=TOKEN, names=None)  # type: ignore[arg-type,return-value]
    assert not door._is_token("wrong")
    assert door._is_token(TOKEN)
    assert seen == [(b"wrong", TOKEN.encode()), (TOKEN.encode(), TOKEN.encode())]


def test_tokens_that_are_made_cannot_be_guessed_and_those_given_are_checked():
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    for token in tokens:
        check_token(token)
    for token in ("short", "fifteen-letters", "with a space in it", "x" * 20 + "é"):
        with pytest.raises(ValueError, match="at least 16"):
            check_token(token)


ORIGINS = [
    (None, 0),
    ("http://localhost:8000", 0),
    ("https://localhost:8000", 0),  # behind a proxy with TLS
    ("http://localhost:9000", 403),
    ("http://evil.example", 403),
    ("null", 403),
]


@pytest.mark.parametrize(("origin", "status"), ORIGINS)
def test_only_the_servers_own_page_may_open_a_websocket(site: Site, origin: str | None, status: int):
    headers = {"origin": origin} if origin else {}
    if not status:
        with site.page(headers=headers) as page:
            page.wait("hello")
        return
    with pytest.raises(WebSocketDenialResponse) as refused, site.page(headers=headers):
        pass
    assert refused.value.status_code == status
    assert "only the server's own may watch" in refused.value.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 400),
        ("", 400),
        ("[", 400),
    ],
)
def test_a_server_at_home_goes_by_its_own_names_alone(host: str, status: int):
    with running(names=HOME) as site:
        assert site.client.get("/", headers={"host": host}).status_code == status


# --------------------------------------------------------------------------- health and metrics


def test_health_is_ill_when_the_worker_has_ended(site: Site):
    assert site.client.get("/health").json() == WELL
    assert site.app.worker.stop(40)
    found = site.client.get("/health")
    assert found.status_code == 503
    assert found.json()["why"] == "The worker does not run."


def test_metrics_are_what_was_counted_by_hand(site: Site):
    with site.page() as page:
        page.wait("hello")
        page.play(16)
        live = site.app.sessions.alive[0]
        page.say(type="pause")
        until(lambda: not live.playing)
        page.play(live.stats(1).sent - len(page.frames))  # what was on its way before the pause
        until(lambda: not live.stats(1).in_flight)
        until(lambda: live.block == len(site.source.begun))  # the block that was being made is done
        shown, waiting = len(page.frames), live.waiting
        found = site.metrics()
        blocks = len(site.source.begun)
        assert found["frameroof_stream_blocks_total"] == blocks
        assert found["frameroof_stream_frames_made_total"] == 8 * blocks
        assert found["frameroof_stream_frames_sent_total"] == found["frameroof_stream_frames_shown_total"] == shown
        assert found["frameroof_stream_frames_waiting"] == waiting == 8 * blocks - shown
        assert found["frameroof_stream_block_seconds_sum"] == 0.25 * blocks
        assert found["frameroof_stream_decode_seconds_sum"] == 0.0625 * blocks
        assert (found["frameroof_stream_sessions"], found["frameroof_stream_sessions_watched"]) == (1, 1)
        page.socket.close(1000)
        until(lambda: not site.app.sessions.alive)
    found = site.metrics()
    assert found["frameroof_stream_sessions"] == found["frameroof_stream_frames_waiting"] == 0
    assert found['frameroof_stream_frames_dropped_total{why="left"}'] == waiting
    assert 'notice="The weights are random: times are real, pictures are not."' in "".join(found)


def test_all_of_the_metrics_are_in_the_reference(site: Site, root: Any):
    text = (root / "docs" / "reference" / "stream-protocol.rst").read_text("utf-8")
    names = re.findall(r"# HELP (frameroof_stream_\w+)", site.client.get("/metrics").text)
    assert len(names) > 15
    for name in names:
        name = name.removeprefix("frameroof_stream_").removesuffix("_total")
        assert f"``{name}``" in text, name


@pytest.mark.parametrize("kind", KINDS)
def test_all_messages_are_in_the_reference(kind: str, root: Any):
    from frameroof.serve import protocol

    text = (root / "docs" / "reference" / "stream-protocol.rst").read_text("utf-8")
    assert f"``{kind.lower()}``" in text
    for field in getattr(protocol, kind).__struct_fields__:
        assert f"``{field}``" in text, f"{kind}.{field}"


def test_blocks_are_made_off_the_event_loop(site: Site):
    """The loop answers while a block is being made."""
    site.source.gate.clear()
    with site.page() as page:
        page.wait("hello")
        assert site.source.entered.wait(40)
        assert site.client.get("/health").status_code == 200
        assert page.wait("stats")["made"] == 0
        site.source.gate.set()
        page.play(1)


def workers() -> int:
    return sum(thread.name == "frameroof-worker" for thread in threading.enumerate())


def test_the_end_of_the_application_ends_its_worker():
    with running() as site, site.page() as page:
        page.wait("hello")
        page.play(3)
        assert workers() == 1
    until(lambda: workers() == 0)
