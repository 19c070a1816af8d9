"""A stream where a rule turns: a block that fails, switches of one sample, the places of the ring, turned positions."""

from __future__ import annotations

import math

import pytest
import torch
from stream_made import engine

from frameroof.stream import Switch, preset
from frameroof.stream.cache import Part, Piece, RingCache
from frameroof.stream.rope import Rope, rates, split
from frameroof.stream.schedule import Schedule

# --------------------------------------------------------------------------------------- switches


def fail(block: int, step: int, clean: torch.Tensor) -> None:
    raise KeyError("viewer")


def test_a_switch_that_was_due_when_its_block_failed_holds_for_the_block_that_is_made() -> None:
    session = engine("ring").prepare("a cat")
    session.on_step.append(fail)
    session.switch("a dog")
    for _ in range(2):  # also the second time
        with pytest.raises(KeyError):
            session.generate_block()
    session.on_step.clear()
    block = session.generate_block()
    assert (block.number, block.prompts, block.switches) == (0, ("a dog",), (Switch(0, "a dog"),))
    assert session.generate_block().switches == ()


def test_switches_that_come_during_a_block_that_fails_stand_behind_those_that_were_due() -> None:
    session = engine("ring").prepare(["a", "b"])
    session.switch("due", sample=0)
    session.switch("old", sample=1)

    def late(block: int, step: int, clean: torch.Tensor) -> None:
        assert session.switch("new", sample=1).block == 1  # this block is being made
        fail(block, step, clean)

    session.on_step.append(late)
    with pytest.raises(KeyError):
        session.generate_block()
    session.on_step.clear()
    block = session.generate_block()
    assert (block.number, block.prompts) == (0, ("due", "new"))


def test_of_two_switches_of_one_sample_the_later_is_kept_and_no_other_one_lost() -> None:
    session = engine("ring").prepare(["a", "b", "c"])
    for prompt, sample in (("x", 1), ("z", 2), ("y", 1)):
        session.switch(prompt, sample=sample)
    block = session.generate_block()
    assert block.prompts == ("a", "y", "z")
    assert block.switches == (Switch(0, "z", 2), Switch(0, "y", 1))


def test_a_switch_of_all_makes_those_before_it_void_and_not_those_after_it() -> None:
    session = engine("ring").prepare(["a", "b"])
    for prompt, sample in (("x", 0), ("all", None), ("y", 1)):
        session.switch(prompt, sample=sample)
    block = session.generate_block()
    assert block.prompts == ("all", "y")
    assert block.switches == (Switch(0, "all"), Switch(0, "y", 1))


@pytest.mark.parametrize("wrong", [-1, 2])
def test_samples_are_counted_from_zero(wrong: int) -> None:
    session = engine("ring").prepare(["a", "b"])
    session.switch("x", sample=0)
    session.switch("x", sample=1)
    with pytest.raises(ValueError, match=f"There is no sample {wrong}; this stream has 2"):
        session.switch("x", sample=wrong)


def test_switches_of_a_run_may_come_with_its_first_and_its_last_block() -> None:
    session = engine("ring").prepare("a")
    assert [block.prompts[0] for block in session.run(2, {0: "x", 1: "y"})] == ["x", "y"]
    assert [block.number for block in session.run(1, {2: "z"})] == [2]
    for wrong in (2, 4):
        with pytest.raises(ValueError, match=f"A switch at block {wrong} is beyond the stream: its blocks are 3 to 3"):
            session.run(1, {wrong: "x"})


# --------------------------------------------------------------------------------------- the ring


def ring(window: int = 12, sink: int = 3) -> tuple[RingCache, int]:
    """Blocks of 3 frames; the tokens of a block."""
    c = preset("tiny", "ring", window=window, sink=sink, block=3)
    return RingCache(c, 1, "cpu", torch.float32), c.block_tokens


def test_the_sinks_keep_their_places_and_later_blocks_take_turns() -> None:
    cache, n = ring()
    assert [cache.place(block) // n for block in range(9)] == [0, 1, 2, 3, 1, 2, 3, 1, 2]
    two_sinks, n = ring(sink=6)
    assert [two_sinks.place(block) // n for block in range(8)] == [0, 1, 2, 3, 2, 3, 2, 3]
    none, n = ring(window=6, sink=0)
    assert [none.place(block) // n for block in range(5)] == [0, 1, 0, 1, 0]


def test_each_block_sees_what_lies_there_up_to_the_window() -> None:
    cache, n = ring()
    assert cache.plan(0, 1) == (Part((Piece(0, n, 0),), n),)
    assert cache.plan(2, 2) == (Part((Piece(0, n, 2 * n),), 3 * n), Part((Piece(n, n, 3 * n),), 4 * n))
    assert cache.plan(4, 1) == (Part((Piece(0, n, n),), 4 * n),)
    assert cache.plan_of(12, 3, recache=False) == cache.plan(4, 1)
    assert cache.plan_of(12, 6, recache=True) == cache.plan_recache(4, 2)


def test_a_recache_keeps_what_the_window_holds_and_no_sink() -> None:
    cache, n = ring()
    # blocks 0, 1, 2: the first is a sink, and stays as it is
    assert cache.plan_recache(0, 3) == (Part((Piece(0, n, None), Piece(n, 2 * n, n)), 3 * n),)
    # blocks 3 … 6: of the last three the places are 1, 2, 3; the window has left the first behind
    assert cache.plan_recache(3, 4) == (Part((Piece(0, n, None), Piece(n, 3 * n, n)), 4 * n),)
    # blocks 5, 6, 7 lie at 2, 3, 1
    assert cache.plan_recache(5, 3) == (Part((Piece(0, 2 * n, 2 * n), Piece(2 * n, n, n)), 4 * n),)
    two_sinks, n = ring(sink=6)
    assert two_sinks.plan_recache(0, 4) == (Part((Piece(0, 2 * n, None), Piece(2 * n, 2 * n, 2 * n)), 4 * n),)


def test_only_later_parts_overwrite_what_was_read() -> None:
    cache, n = ring()
    assert cache.overwritten(cache.plan(4, 1), slice(None)) == []
    k, v = cache.overwritten(cache.plan(4, 2), slice(None))
    for found, whole in ((k, cache.k), (v, cache.v)):
        assert found.data_ptr() == whole[:, :, 2 * n : 3 * n].data_ptr()
        assert found.shape[2] == n


# --------------------------------------------------------------------------------------- positions


def test_pairs_of_a_head_are_split_as_in_wan() -> None:
    assert (split(128), split(12), split(64)) == ((22, 21, 21), (2, 2, 2), (12, 10, 10))
    assert rates(4).tolist() == pytest.approx([1, 0.1, 0.01, 0.001], rel=1e-12)
    assert rates(0).tolist() == []


def test_angles_of_one_token_by_hand() -> None:
    rope = Rope(rows=2, columns=3, head_dim=12)
    cos, sin = rope.at(5, 2)
    assert cos.shape == (2 * 2 * 3, 1, 6)
    # frame 6, row 1, column 2: two pairs each, turning by 1 and by 1/100 a position
    angles = [6, 0.06, 1, 0.01, 2, 0.02]
    assert cos[6 + 1 * 3 + 2, 0].tolist() == pytest.approx([math.cos(a) for a in angles], abs=1e-6)
    assert sin[6 + 1 * 3 + 2, 0].tolist() == pytest.approx([math.sin(a) for a in angles], abs=1e-6)
    assert rope.at(5, 2)[0] is cos
    assert rope.at(5, 1)[0].shape[0] == 6
    assert rope.at(6, 1)[0][0, 0].tolist() == pytest.approx([math.cos(a) for a in (6, 0.06, 0, 0, 0, 0)], abs=1e-6)


def test_a_shift_turns_time_alone() -> None:
    cos, sin = Rope(rows=2, columns=3, head_dim=12).shift(7)
    assert cos.shape == (1, 1, 6)
    assert cos.flatten().tolist() == pytest.approx([math.cos(7), math.cos(0.07), 1, 1, 1, 1], abs=1e-6)
    assert sin.flatten().tolist() == pytest.approx([math.sin(7), math.sin(0.07), 0, 0, 0, 0], abs=1e-6)


def test_noise_and_velocity_by_hand() -> None:
    schedule = Schedule((0.75, 0.25))
    x, v = torch.tensor([2.0]), torch.tensor([4.0])
    assert (schedule.clean(0, x, v).item(), schedule.clean(1, x, v).item()) == (-1.0, 1.0)
    assert schedule.noised(1, x, v).item() == 0.75 * 2 + 0.25 * 4
    assert schedule.timesteps == (750.0, 250.0)
    assert Schedule.of((500,), 1.0).sigmas == (0.5,)  # without a shift
