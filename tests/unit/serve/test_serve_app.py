"""A page and the application through starlette's client: conversation, refusals, slow viewers, coming back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from serve_made import FAST, MadeSource, until
from site_made import LIVE, Page, Site, patient, running

from frameroof.serve.app import create_app
from frameroof.serve.limits import Limits


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as made:
        yield made


# ------------------------------------------------------------------------------- the conversation


def test_a_page_is_greeted_and_gets_frames_in_order(site: Site):
    with site.page() as page:
        hello = page.wait("hello")
        assert (hello["version"], hello["resumed"], hello["prompt"], hello["block"]) == (1, False, "a cat", 0)
        assert hello["facts"]["says"] == ["The weights are random: times are real, pictures are not."]
        assert hello["limits"]["in_flight"] == 8
        page.play(20)
    assert page.frames == [(i // 8, i) for i in range(20)]


def test_a_switch_is_acknowledged_before_its_first_frame(site: Site):
    with site.page() as page:
        page.wait("hello")
        page.play(3)
        asked = time.monotonic()
        page.say(type="switch", prompt="  a fox ", id=5)
        answer = page.wait("switched")
        before = list(page.frames)
        assert (answer["id"], answer["prompt"]) == (5, "a fox")
        assert all(block < answer["block"] for block, _ in before)
        while page.frames[-1][0] < answer["block"]:
            page.play(1)
        stats = page.wait("stats")
        while stats["visible_s"] is None:
            stats = page.wait("stats")
        assert 0 < stats["visible_s"] < time.monotonic() - asked
    assert ("a fox", answer["block"]) in site.source.begun
    assert ("a cat", answer["block"]) not in site.source.begun


def test_figures_come_by_themselves(site: Site):
    with site.page() as page:
        page.wait("hello")
        stats = [page.wait("stats") for _ in range(3)][-1]
    assert stats["inter_frame_s"] == 0.125  # 0.25 s a block, 2 latent frames
    assert stats["made"] >= stats["sent"] >= stats["shown"] > 0
    assert stats["late"] == 0


def test_pause_and_play(site: Site):
    with site.page() as page:
        page.wait("hello")
        page.play(4)
        page.say(type="pause")
        live = site.app.sessions.alive[0]
        until(lambda: not live.playing)
        blocks = live.block
        time.sleep(0.2)
        assert live.block <= blocks + 1  # at most the one that was being made
        page.say(type="play")
        page.play(30)


# --------------------------------------------------------------------------------------- limits


def test_one_session_too_many_is_refused_with_a_sentence():
    with running(patient(sessions=1)) as site, site.page() as page:
        page.wait("hello")
        with site.page() as second:
            sentence = second.wait("error")["what"]
            assert sentence.startswith("The only session is taken; come again")
            assert second.closed() == (1013, sentence)
        page.play(5)
        assert site.metrics()['frameroof_stream_refused_total{why="sessions"}'] == 1


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"type": "switch", "prompt": "x" * 51}, "The prompt has 51 characters; at most 50 are taken."),
        ({"type": "switch", "prompt": " "}, "The prompt is empty; say what the video is to show."),
        ({"type": "start"}, "The session has started; 'start' is for the first message."),
        ({"type": "dance"}, "The message was not understood: Invalid value 'dance' - at `$.type`."),
    ],
)
def test_what_is_wrong_is_said_and_the_stream_goes_on(message: dict[str, str], sentence: str):
    with running(patient(prompt=50)) as site, site.page() as page:
        page.wait("hello")
        page.say(**message)
        assert page.wait("error") == {"type": "error", "what": sentence, "final": False}
        page.play(5)


def test_a_message_that_is_too_big_ends_the_connection_with_a_sentence():
    with running(patient(prompt=50, message=500)) as site, site.page() as page:
        page.wait("hello")
        page.socket.send_text(json.dumps({"type": "switch", "prompt": "x" * 500}))
        sentence = "The message has 532 bytes; at most 500 are taken."
        assert page.wait("error") == {"type": "error", "what": sentence, "final": True}
        assert page.closed() == (1009, sentence)


def test_a_binary_message_is_refused(site: Site):
    with site.page() as page:
        page.wait("hello")
        page.socket.send_bytes(b"abc")
        assert page.wait("error")["what"] == "A page's messages are text; a binary one was sent."


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        ({"type": "play"}, "The first message must be a 'start'."),
        ({"type": "start", "prompt": "x" * 51}, "The prompt has 51 characters; at most 50 are taken."),
    ],
)
def test_a_wrong_beginning_is_refused(first: dict[str, str], sentence: str):
    with (
        running(patient(prompt=50)) as site,
        site.client.websocket_connect(LIVE) as socket,
    ):
        page = Page(socket)
        page.say(**first)
        assert page.wait("error") == {"type": "error", "what": sentence, "final": True}
        assert page.closed() == (1008, sentence)
        assert site.source.opened == 0


def test_a_connection_that_says_nothing_is_closed():
    with (
        running(patient(start_s=0.05)) as site,
        site.client.websocket_connect(LIVE) as socket,
    ):
        assert Page(socket).closed() == (1008, "No 'start' came within 0.05 s.")


def test_answers_that_are_not_read_do_not_pile_up():
    from frameroof.serve.connection import Connection
    from frameroof.serve.limits import CONTROL
    from frameroof.serve.protocol import Pause

    async def overflow() -> Connection:
        connection = Connection(None, site.app.sessions)  # type: ignore[arg-type]
        for _ in range(CONTROL + 1):
            connection._hear(Pause(), None)
        return connection

    import asyncio

    with running() as site:
        connection = asyncio.run(overflow())
    assert len(connection._outbox) == 0
    assert connection._over == (1008, "More was asked for than was read of the answers.")


def test_a_queue_that_cannot_hold_two_blocks_is_refused():
    with pytest.raises(ValueError, match=r"A queue of 15 frames is too short: two blocks of 8 must fit"):
        create_app(MadeSource(), Limits(queue=15), prompt="a")


# ----------------------------------------------------------------------- slow and vanished viewers


def test_a_viewer_that_answers_nothing_holds_nobody_up_and_is_let_go():
    with running(patient(queue=FAST, in_flight=4, silence_s=12.0)) as site, site.page() as slow:
        slow.wait("hello", answer=False)
        while len(slow.frames) < 4:
            slow.hear()
        with site.page() as quick:
            quick.wait("hello")
            quick.play(20)
            lives = site.app.sessions.alive
            lives[0]._clock = lambda: time.monotonic() + 12  # for this viewer alone, so long has gone by
            while lives[0].viewer is not None:  # the other's stream runs on until then, and after
                quick.play(10)
            assert slow.closed() == (4002, "Nothing was shown for 12 s.")
            assert [frame for _, frame in slow.frames] == [0, 1, 2, 3]  # as many as may be on their way
            assert lives[0].waiting <= FAST
            block = lives[0].block
            quick.play(50)
            assert quick.frames == sorted(set(quick.frames))
            assert lives[0].block <= block + 1  # nothing more is made for it


# ---------------------------------------------------------------------------------- coming back


def test_who_comes_back_in_time_goes_on_where_the_session_was(site: Site):
    with site.page() as page:
        key = page.wait("hello")["session"]
        page.play(12)
        page.say(type="switch", prompt="a fox", id=1)
        page.wait("switched")
        page.socket.close(1001)  # as a page that is loaded again
    live = site.app.sessions.alive[0]
    until(lambda: live.viewer is None)
    with site.page({"session": key}) as page:
        hello = page.wait("hello")
        assert (hello["session"], hello["resumed"], hello["prompt"], hello["note"]) == (key, True, "a fox", "")
        assert hello["block"] >= 2
        page.play(20)
        assert page.frames[0][1] >= 12
    assert site.source.opened == 1
    assert site.metrics()["frameroof_stream_sessions_resumed_total"] == 1


def test_who_comes_back_too_late_gets_a_new_session_and_is_told():
    with running(patient(grace_s=0.05)) as site:
        with site.page() as page:
            key = page.wait("hello")["session"]
            page.socket.close(1001)
        until(lambda: not site.app.sessions.alive)
        with site.page({"session": key}) as page:
            hello = page.wait("hello")
        assert hello["session"] != key
        assert not hello["resumed"]
        assert hello["note"] == "The earlier session is no longer there; this is a new one."


def test_who_leaves_for_good_frees_the_place_at_once():
    with running(patient(sessions=1, grace_s=60)) as site:
        for _ in range(2):
            with site.page() as page:
                page.wait("hello")
                page.socket.close(1000)
                until(lambda: not site.app.sessions.alive)
        assert site.metrics()["frameroof_stream_sessions_opened_total"] == 2


def test_a_session_opened_elsewhere_moves_there():
    with running(patient(grace_s=0.1)) as site, site.page() as first:
        key = first.wait("hello")["session"]
        first.play(3)
        with site.page({"session": key}) as second:
            assert second.wait("hello")["resumed"]
            assert first.closed() == (4001, "This session was opened in another place.")
            time.sleep(0.3)  # longer than it would be kept for the first
            second.play(10)
            assert len(site.app.sessions) == 1
            assert site.app.sessions.alive[0].viewer is not None


def test_a_stream_that_fails_ends_with_a_sentence(site: Site):
    with site.page() as page:
        page.wait("hello")
        page.say(type="switch", prompt="fail", id=1)
        error = page.wait("error")
        assert error == {"type": "error", "what": "The stream failed: the kernel broke", "final": True}
        assert page.closed() == (1011, error["what"])
    assert site.app.sessions.alive == []
    assert site.metrics()["frameroof_stream_sessions_failed_total"] == 1
    with site.page() as page:
        page.wait("hello")
        page.play(3)
