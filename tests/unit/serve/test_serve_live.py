"""A session and the worker, without a server: the clock is turned by hand, and every frame is counted."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from serve_made import FACTS, Clock, MadeSource, Watching, until

from frameroof.serve.counts import Counts
from frameroof.serve.limits import Limits
from frameroof.serve.live import Live
from frameroof.serve.protocol import FAILED, Error, Replaced, Switched
from frameroof.serve.worker import Worker

LIMITS = Limits(queue=20, in_flight=4)  # blocks have 8 frames, and 8 frames are a second


class Bench:
    """One session with its viewer; `turn` is the worker's."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.clock, self.source, self.counts, self.viewer = Clock(), MadeSource(), Counts(FACTS), Watching()
        self.live = Live("a cat", FACTS, limits, self.counts, self.clock)
        self.live.attach(self.viewer)

    def turn(self) -> None:
        self.live.turn(self.source, lambda: False)

    def sample(self, name: str, **labels: str) -> float:
        return self.counts.registry.get_sample_value(f"frameroof_stream_{name}", labels) or 0.0

    def take_due(self) -> list[int]:
        """What may be sent now, and is answered at once."""
        found = []
        while self.live.ready_s() == 0 and (frame := self.live.take()) is not None:
            found.append(frame.index)
            self.live.shown(frame.index)
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ------------------------------------------------------------------------------- when blocks are made


def test_a_block_is_begun_when_less_than_one_lies_ahead(bench: Bench):
    assert bench.live.due_s() == 0  # nothing is there yet
    bench.turn()
    assert bench.live.due_s() == 0  # exactly one block lies ahead
    bench.turn()
    assert bench.live.due_s() == 1.0  # two blocks, two seconds: the next is due when one second is left
    bench.clock.now += 0.75
    assert bench.live.due_s() == 0.25
    bench.clock.now += 0.25
    assert bench.live.due_s() == 0


def test_frames_are_sent_when_they_are_due(bench: Bench):
    bench.turn()
    assert bench.take_due() == [0]
    assert bench.live.ready_s() == 0.125
    bench.clock.now += 0.25
    assert bench.take_due() == [1, 2]


def test_nothing_is_made_while_paused_or_without_a_viewer(bench: Bench):
    bench.turn()
    bench.live.play(False)
    assert bench.live.due_s() is None
    assert bench.live.ready_s() is None
    bench.clock.now += 50
    bench.live.play(True)
    assert bench.take_due() == [0]  # it goes on where it stood, not fifty seconds later
    assert bench.live.detach(bench.viewer)
    assert bench.live.due_s() is None
    bench.clock.now += 50
    bench.live.attach(Watching())
    assert bench.take_due() == [1]
    assert bench.live.due_s() == 0
    assert bench.sample("stalls_total") == 0


def test_a_slow_engine_is_a_stall_and_no_frame_is_lost(bench: Bench):
    bench.turn()
    bench.clock.now += 3
    assert bench.take_due() == list(range(8))
    bench.turn()
    assert bench.take_due() == [8]  # due now, and the rest after it
    stats = bench.live.stats(1)
    assert (stats.stalls, stats.late, stats.sent) == (1, 0, 9)
    assert bench.sample("stalls_total") == 1


# ------------------------------------------------------------------------------- a slow viewer


def test_a_slow_viewer_gets_few_frames_and_never_old_ones(bench: Bench):
    bench.turn()
    got = []
    for _ in range(6):  # it answers nothing: four frames are on their way, and no fifth
        bench.clock.now += 1
        while bench.live.ready_s() == 0 and (frame := bench.live.take()) is not None:
            got.append(frame.index)
        bench.turn()
    assert got == [0, 1, 2, 3]
    # 7 blocks are 56 frames: 4 sent, 20 wait, 32 were dropped, the oldest first
    stats = bench.live.stats(1)
    assert (stats.made, stats.sent, stats.waiting, stats.late, stats.in_flight) == (56, 4, 20, 32, 4)
    bench.live.shown(3)
    frame = bench.live.take()
    assert frame is not None
    assert frame.index == 56 - 20
    assert bench.sample("frames_dropped_total", why="late") == 32


def test_frames_are_made_sent_dropped_or_waiting_and_nothing_else(bench: Bench):
    bench.turn()
    bench.take_due()
    for _ in range(4):
        bench.clock.now += 1
        bench.turn()
    bench.live.ask("a fox", 1)
    bench.turn()
    bench.take_due()
    waiting = bench.live.waiting
    bench.live.end()
    made, sent, shown = (bench.sample(f"frames_{name}_total") for name in ("made", "sent", "shown"))
    late, skipped, left = (bench.sample("frames_dropped_total", why=why) for why in ("late", "skipped", "left"))
    assert (made, sent, shown) == (48, 2, 2)
    assert (late, skipped, left) == (39 - 20, 20, 7)  # 40 frames less 1 sent: 20 fit, and make way for the fox
    assert waiting == left
    assert made == sent + late + skipped + left


def test_silence_is_measured_from_the_oldest_unanswered_frame(bench: Bench):
    assert bench.live.silent_s() == 0
    bench.turn()
    bench.live.take()
    bench.clock.now += 2
    bench.live.take()
    bench.clock.now += 1
    assert bench.live.silent_s() == 3
    bench.live.shown(0)
    assert bench.live.silent_s() == 1


# ------------------------------------------------------------------------------- switches


def test_a_switch_is_acknowledged_with_its_block_and_shown_next(bench: Bench):
    bench.turn()
    bench.turn()
    bench.take_due()
    bench.live.ask("a fox", 7)
    assert bench.live.due_s() == 0  # at once, though enough lies ahead
    bench.clock.now += 0.5
    bench.turn()
    assert bench.viewer.of(Switched) == [Switched(id=7, prompt="a fox", block=2)]
    assert bench.source.begun[-1] == ("a fox", 2)
    frame = bench.live.take()
    assert frame is not None
    assert (frame.block, frame.index) == (2, 16)  # the old prompt's 15 frames do not hold it up
    bench.clock.now += 0.25
    bench.live.shown(16)
    stats = bench.live.stats(1)
    assert (stats.skipped, stats.visible_s) == (15, 0.75)
    assert bench.sample("prompt_to_shown_seconds_sum") == 0.75
    assert bench.sample("switches_total") == 1


def test_of_two_switches_for_one_block_the_later_holds(bench: Bench):
    bench.turn()
    bench.live.ask("a fox", 1)
    bench.live.ask("a wolf", 2)
    assert bench.viewer.of(Replaced) == [Replaced(id=1)]
    bench.turn()
    assert bench.viewer.of(Switched) == [Switched(id=2, prompt="a wolf", block=1)]
    assert bench.live.prompt == "a wolf"


def test_a_switch_while_paused_is_acknowledged_and_made_on_play(bench: Bench):
    bench.turn()
    bench.turn()
    bench.live.play(False)
    bench.live.ask("a fox", 1)
    assert bench.live.due_s() == 0
    bench.turn()
    assert bench.viewer.of(Switched) == [Switched(id=1, prompt="a fox", block=2)]
    assert len(bench.source.begun) == 2
    assert bench.live.due_s() is None
    bench.live.play(True)
    assert bench.live.due_s() == 0  # at once, though two blocks lie ahead


# ------------------------------------------------------------------------------- the worker


class Fleet:
    """A worker with several sessions."""

    def __init__(self) -> None:
        self.clock, self.source, self.counts = Clock(), MadeSource(), Counts(FACTS)
        self.worker = Worker(self.source)
        self.lives: dict[str, Live] = {}
        self.viewers: dict[str, Watching] = {}

    def join(self, prompt: str) -> Live:
        live = Live(prompt, FACTS, LIMITS, self.counts, self.clock)
        self.viewers[prompt] = Watching()
        live.attach(self.viewers[prompt])
        self.lives[prompt] = live
        self.worker.add(live)
        return live


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet()
    yield made
    made.source.gate.set()
    assert made.worker.stop(40)


def test_sessions_take_turns_of_one_block(fleet: Fleet):
    for prompt in "abc":
        fleet.join(prompt)
    fleet.worker.start()
    until(lambda: len(fleet.source.begun) == 6)  # two blocks each, and then a block lies ahead of all
    assert fleet.source.begun == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1)]


def test_one_that_always_wants_more_leaves_the_others_their_turns(fleet: Fleet):
    greedy, other = fleet.join("greedy"), fleet.join("other")
    fleet.source.gate.clear()
    fleet.worker.start()
    until(lambda: len(fleet.source.begun) == 1)
    for number in range(20):
        greedy.ask("greedy", number)  # a switch wants a block at once
    assert len(fleet.viewers["greedy"].of(Replaced)) == 19
    fleet.source.gate.set()
    until(lambda: other.block >= 2)
    assert [prompt for prompt, _ in fleet.source.begun[:4]] == ["greedy", "other", "greedy", "other"]


def test_one_that_fails_is_told_and_the_others_go_on(fleet: Fleet):
    fleet.join("a")
    bad = fleet.join("fail")
    fleet.worker.start()
    until(lambda: fleet.lives["a"].block >= 2 and bad.ended)
    sentence = "The stream failed: the kernel broke"
    assert fleet.viewers["fail"].of(Error) == [Error(what=sentence, final=True)]
    assert fleet.viewers["fail"].ended == [(FAILED, sentence)]
    assert fleet.viewers["a"].ended == []
    assert fleet.worker.ill() == ""


def test_a_block_that_nobody_waits_for_is_given_up_and_its_memory_freed(fleet: Fleet):
    fleet.source.gate.clear()
    live = fleet.join("a")
    fleet.worker.start()
    assert fleet.source.entered.wait(40)
    stream = weakref.ref(live._stream)  # type: ignore[arg-type]
    live.end()
    until(lambda: fleet.source.abandoned == 1)
    assert fleet.counts.registry.get_sample_value("frameroof_stream_sessions_failed_total") == 0
    until(lambda: gc.collect() >= 0 and stream() is None)


def test_the_worker_stops_in_the_middle_of_a_block(fleet: Fleet):
    fleet.source.gate.clear()
    fleet.join("a")
    fleet.worker.start()
    assert fleet.source.entered.wait(40)
    assert fleet.worker.stop(40)
    assert fleet.source.abandoned == 1
    assert fleet.worker.ill() == "The worker does not run."


def test_a_block_that_does_not_end_is_reported():
    clock, source = Clock(), MadeSource()
    worker = Worker(source, clock)
    live = Live("a", FACTS, LIMITS, Counts(FACTS))
    live.attach(Watching())
    source.gate.clear()
    worker.add(live)
    worker.start()
    assert source.entered.wait(40)
    assert worker.ill() == ""
    clock.now += 75
    assert worker.ill() == "One block has been running for 75 s."
    assert worker.stop(40)
