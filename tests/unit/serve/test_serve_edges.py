"""Serving where a rule turns: a frame exactly on time, a switched block that was never seen, the last free session."""

from __future__ import annotations

import asyncio

import pytest
from serve_made import FACTS, Clock, MadeSource, Watching

from frameroof.serve.counts import Counts
from frameroof.serve.limits import Limits
from frameroof.serve.live import Live
from frameroof.serve.playout import Playout
from frameroof.serve.protocol import ELSEWHERE, Start, picture_of
from frameroof.serve.sessions import FullError, Sessions
from frameroof.serve.worker import Worker

# --------------------------------------------------------------------------------------- the clock


@pytest.mark.parametrize(
    ("second", "due", "stalls"),
    [(10.5, 11.0, 0), (11.0, 11.0, 0), (11.125, 11.125, 1)],  # 8 frames from 10 s on: the ninth is due at 11 s
)
def test_a_frame_that_comes_exactly_on_time_is_no_stall(second: float, due: float, stalls: int):
    playout = Playout(fps=8)
    playout.add(8, now=10.0)
    playout.add(8, now=second)
    assert (playout.due(8), playout.stalls, playout.made) == (due, stalls, 16)


def test_before_its_first_frame_a_stream_has_no_clock():
    playout = Playout(fps=8)
    assert playout.ahead_s(50.0) == 0
    playout.add(8, now=10.0)
    playout.rebase(7, now=20.0)  # the last one that is made
    assert (playout.due(7), playout.ahead_s(20.0)) == (20.0, 0.125)


# --------------------------------------------------------------------------------------- one session


class Bench:
    def __init__(self, **limits: int) -> None:
        self.clock, self.source, self.viewer = Clock(), MadeSource(), Watching()
        self.counts = Counts(FACTS)
        self.live = Live("a cat", FACTS, Limits(**limits), self.counts, self.clock)
        self.live.attach(self.viewer)

    def turn(self) -> None:
        self.live.turn(self.source, lambda: False)

    def take(self) -> tuple[int, int]:
        frame = self.live.take()
        assert frame is not None
        return frame.block, frame.index


def test_a_switch_is_seen_with_the_first_frame_of_its_block_or_of_a_later_one():
    bench = Bench(queue=8, in_flight=4)  # a block is 8 frames: each drives out the one before it
    bench.turn()
    assert bench.take() == (0, 0)
    bench.live.ask("a fox", 1)
    bench.turn()  # block 1 is the fox's
    bench.turn()  # and block 2 has taken its place before a frame of it was sent
    bench.clock.now += 2
    assert bench.take() == (2, 16)
    bench.live.shown(0)  # a frame of the cat
    assert bench.live.stats(1).visible_s is None
    bench.clock.now += 1
    bench.live.shown(16)
    assert bench.live.stats(1).visible_s == 3.0
    bench.clock.now += 1
    assert bench.take() == (2, 17)
    bench.live.shown(17)  # it is seen once
    assert bench.live.stats(1).visible_s == 3.0


def test_frames_are_shown_up_to_the_one_that_is_named():
    bench = Bench(queue=8, in_flight=4)
    bench.turn()
    for _ in range(3):
        bench.take()
        bench.clock.now += 1
    assert bench.live.silent_s() == 3
    bench.live.shown(1)
    stats = bench.live.stats(1)
    assert (stats.sent, stats.shown, stats.in_flight) == (3, 2, 1)
    assert bench.live.silent_s() == 1
    bench.live.shown(2)
    assert bench.live.silent_s() == 0


def test_no_more_frames_are_on_their_way_than_allowed():
    bench = Bench(queue=8, in_flight=2)
    bench.turn()
    bench.clock.now += 5
    bench.take()
    assert bench.live.ready_s() == 0
    bench.take()
    assert bench.live.ready_s() is None
    bench.live.shown(0)
    assert bench.live.ready_s() == 0


def test_a_viewer_that_was_replaced_takes_nothing_with_it():
    bench = Bench()
    bench.turn()
    first, second = bench.viewer, Watching()
    bench.live.attach(second)
    assert not bench.live.detach(first)
    assert bench.live.viewer is second
    assert bench.live.detach(second)


# --------------------------------------------------------------------------------------- all sessions


def sessions(**limits: float) -> Sessions:
    """Without a thread that works: nothing is made."""
    counts = Counts(FACTS)
    return Sessions(Worker(MadeSource()), Limits(**limits), counts, "a cat")  # type: ignore[arg-type]


def test_as_many_sessions_as_allowed_and_no_more():
    here = sessions(sessions=2, grace_s=0)
    seats = [here.enter(Start(), Watching()) for _ in range(2)]
    assert (len(here), len({seat.key for seat in seats})) == (2, 2)
    with pytest.raises(FullError, match="All 2 sessions are taken"):
        here.enter(Start(), Watching())
    seats[0].live.end()  # it failed, and makes room
    assert len(here) == 1
    assert here.enter(Start(prompt=" a dog "), Watching()).live.prompt == "a dog"
    one = sessions(sessions=1)
    one.enter(Start(), Watching())
    with pytest.raises(FullError, match="The only session is taken"):
        one.enter(Start(), Watching())


def test_who_comes_back_finds_its_session_and_the_viewer_before_is_told():
    here, first, second = sessions(sessions=1), Watching(), Watching()
    seat = here.enter(Start(), first)
    again = here.enter(Start(session=seat.key), second)
    assert (again.live, again.key, again.resumed, again.note) == (seat.live, seat.key, True, "")
    assert first.ended == [(ELSEWHERE, "This session was opened in another place.")]
    here.leave(seat, first, for_good=True)  # it is not the first one's any more
    assert not seat.live.ended
    here.leave(again, second, for_good=True)
    assert seat.live.ended
    new = here.enter(Start(session=seat.key), second)
    assert (new.resumed, new.note) == (False, "The earlier session is no longer there; this is a new one.")


def test_a_session_that_was_left_waits_for_its_viewer_unless_it_left_for_good():
    async def left(for_good: bool, grace_s: float) -> tuple[bool, int]:
        here, viewer = sessions(grace_s=grace_s), Watching()
        seat = here.enter(Start(), viewer)
        here.leave(seat, viewer, for_good)
        found = seat.live.ended, len(here)
        here.close()
        assert (seat.live.ended, len(here)) == (True, 0)
        return found

    assert asyncio.run(left(False, 60.0)) == (False, 1)
    assert asyncio.run(left(True, 60.0)) == (True, 0)
    assert asyncio.run(left(False, 0.0)) == (True, 0)


# --------------------------------------------------------------------------------------- bounds


def test_bounds_may_be_reached():
    Limits(sessions=1, prompt=1, message=260, queue=1, in_flight=1, grace_s=0)
    Limits(prompt=10_000, message=40_256)
    for name in ("sessions", "prompt", "queue", "in_flight"):
        with pytest.raises(ValueError, match=r"^At least 1 must be allowed of .*, not 0\.$"):
            Limits(**{name: 0})
    with pytest.raises(ValueError, match="above 0 s"):
        Limits(start_s=0.0)
    with pytest.raises(ValueError, match="cannot be nan s"):
        Limits(grace_s=float("nan"))
    with pytest.raises(ValueError, match="cannot hold a prompt of 2 characters; allow at least 264"):
        Limits(prompt=2, message=263)
    tight = Limits(prompt=2, message=264)
    assert tight.checked_prompt("  ab ") == "ab"
    tight.check_message(264)
    with pytest.raises(ValueError, match="265 bytes; at most 264"):
        tight.check_message(265)


def test_numbers_of_frames_begin_again_where_their_room_ends():
    assert picture_of(2**32 + 5, 2**32 - 1, b"x") == bytes([1, 1, 0, 0, 5, 0, 0, 0, 255, 255, 255, 255]) + b"x"
