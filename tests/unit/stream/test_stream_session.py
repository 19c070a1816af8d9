"""Sessions: when a switch takes effect, what is told, frames in their order, and the bounded queue."""

from __future__ import annotations

import threading

import pytest
import torch
from stream_made import distance, engine

from frameroof.stream import Engine, Switch, preset
from frameroof.stream.engine import RANDOM
from frameroof.stream.frames import Counts, FrameQueue, pump
from frameroof.stream.text import HASHED


def test_a_switch_between_blocks_holds_from_the_next_one() -> None:
    session = engine("ring").prepare("a cat")
    session.generate_block()
    assert session.switch("a dog") == Switch(1, "a dog")
    block = session.generate_block()
    assert (block.number, block.prompts, block.switches) == (1, ("a dog",), (Switch(1, "a dog"),))
    assert session.generate_block().switches == ()


def test_a_switch_during_a_block_waits_for_the_next_one() -> None:
    told: list[Switch] = []
    session, undisturbed = (engine("ring").prepare("a cat") for _ in range(2))
    session.on_step.append(
        lambda block, step, clean: told.append(session.switch("a dog")) if (block, step) == (1, 2) else None
    )
    ours, theirs = [session.generate_block() for _ in range(3)], [undisturbed.generate_block() for _ in range(3)]
    assert told == [Switch(2, "a dog")]
    assert torch.equal(ours[1].latents, theirs[1].latents)
    assert [block.prompts[0] for block in ours] == ["a cat", "a cat", "a dog"]
    assert distance(ours[2].latents, theirs[2].latents) > 1e-3


def test_of_two_switches_for_one_block_the_later_holds() -> None:
    twice, once = (engine("ring").prepare("a cat") for _ in range(2))
    for session in (twice, once):
        for _ in range(3):
            session.generate_block()
    twice.switch("lost")
    for session in (twice, once):
        session.switch("kept")
    assert torch.equal(twice.generate_block().latents, once.generate_block().latents)
    assert twice.recached == once.recached


def test_however_many_switches_come_only_the_last_of_each_sample_is_kept() -> None:
    session = engine("ring").prepare(["a", "b", "c"])
    for i in range(20):
        session.switch(f"all {i}")
        session.switch(f"one {i}", sample=1)
    assert len(session._pending) == 2
    assert session.generate_block().prompts == ("all 19", "one 19", "all 19")
    session.switch("mine", sample=2)
    session.switch("ours")
    assert [switch.prompt for switch in session.generate_block().switches] == ["ours"]


def test_a_failed_block_loses_no_switch() -> None:
    session = engine("ring").prepare("a cat")

    def fail(block: int, step: int, clean: torch.Tensor) -> None:
        raise KeyError("viewer")

    session.on_step.append(fail)
    session.switch("a dog")
    with pytest.raises(KeyError):
        session.generate_block()
    session.on_step.clear()
    assert session.generate_block().switches == (Switch(0, "a dog"),)


def test_steps_and_blocks_are_told_in_order() -> None:
    session, steps, blocks = engine("fold").prepare("a cat"), [], []
    session.on_step.append(lambda block, step, clean: steps.append((block, step, tuple(clean.shape))))
    session.on_block.append(blocks.append)
    made = list(session.run(2))
    shape = session.c.latent_shape(1)
    assert steps == [(block, step, shape) for block in range(2) for step in range(4)]
    assert blocks == made
    assert torch.equal(made[-1].latents, blocks[-1].latents)


def test_sessions_of_one_engine_do_not_touch_each_other() -> None:
    alone = [block.latents for block in engine("ring").prepare("a cat").run(4)]
    first, second = engine("ring").prepare("a cat"), engine("ring").prepare("the sea", seed=9)
    mixed = []
    for _ in range(4):
        mixed.append(first.generate_block().latents)
        second.generate_block()
    assert all(torch.equal(a, b) for a, b in zip(alone, mixed, strict=True))


def test_a_switch_from_another_thread_is_taken_once() -> None:
    session = engine("ring").prepare("a cat")
    asked: list[Switch] = []
    thread = threading.Thread(target=lambda: asked.append(session.switch("a dog")))
    thread.start()
    blocks = list(session.run(2))
    thread.join()
    blocks.append(session.generate_block())
    assert [switch for block in blocks for switch in block.switches] == asked
    assert blocks[asked[0].block].switches == (asked[0],)


@pytest.mark.parametrize("vae", ["wan", "tiny"])
def test_frames_come_one_by_one_and_as_many_as_counted(vae: str) -> None:
    e = Engine.random(preset("tiny", "ring"), vae=vae, decoding={"frames_at_once": 2}, umt5=False)
    frames = list(e.prepare("a cat").frames(3))
    assert len(frames) == e.c.pixel_frames(3) == 33
    assert frames[0].shape == (1, 3, 32, 48)
    again = e.prepare("a cat")
    first, second = again.generate_block(), again.generate_block()
    with pytest.raises(ValueError, match="Block 1 cannot be decoded now: block 0 comes next"):
        again.decode(second)
    decoded = torch.cat([again.decode(first), again.decode_later(second).wait()], dim=2)
    assert torch.equal(decoded, torch.stack(frames[:21], dim=2))


def test_bad_requests_are_sentences() -> None:
    session = engine("ring").prepare("a cat")
    with pytest.raises(ValueError, match="no decoder"):
        session.decode(session.generate_block())
    with pytest.raises(ValueError, match="There is no sample 1; this stream has 1"):
        session.switch("x", sample=1)
    with pytest.raises(ValueError, match="A switch at block 9 is beyond the stream: its blocks are 1 to 4"):
        session.run(4, {9: "x"})
    with pytest.raises(ValueError, match="blocks is 0"):
        session.run(0)
    with pytest.raises(ValueError, match="No decoder is called 'vae'; there are wan, tiny"):
        Engine.random(preset("tiny"), vae="vae")
    with pytest.raises(ValueError, match="at least one prompt"):
        engine("ring").prepare([])
    with pytest.raises(ValueError, match="2 seeds for 1 prompts"):
        engine("ring").prepare("a", seeds=[1, 2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_no_cuda_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="No CUDA device is here"):
        Engine.random(preset("tiny"), device="cuda")


def test_what_is_made_up_is_said() -> None:
    assert [text.split(":")[0] for text in Engine.random(preset("tiny")).says] == [
        "The weights are random",
        HASHED.split(":")[0],
    ]
    without = Engine.random(preset("tiny"), umt5=False, vae="tiny")
    assert [text.split(":")[0] for text in without.says] == [
        RANDOM.split(":")[0],
        "Prompts are noise seeded by their words",
    ]
    assert without.prepare("a cat").generate_block().latents.std() > 0.1


def test_the_queue_drops_the_oldest_and_counts() -> None:
    queue: FrameQueue[int] = FrameQueue(3)
    for frame in range(5):
        queue.put(frame)
    assert queue.take() == 2
    assert queue.counts() == Counts(put=5, taken=1, dropped=2, waiting=2)
    assert queue.clear() == 2
    assert queue.take(timeout_s=0) is None
    queue.put(7)
    queue.close()
    assert list(queue) == [7]
    assert queue.counts() == Counts(put=6, taken=2, dropped=4, waiting=0)
    with pytest.raises(ValueError, match="closed"):
        queue.put(8)
    with pytest.raises(ValueError, match="capacity is 0"):
        FrameQueue(0)


def test_an_endless_stream_is_pumped_until_told_to_stop() -> None:
    e = Engine.random(preset("tiny", "fold"), vae="tiny", umt5=False)
    session, stop = e.prepare("a cat"), threading.Event()
    queue: FrameQueue[torch.Tensor] = FrameQueue(40)
    maker = threading.Thread(target=pump, args=(session.frames(None), queue, stop))
    maker.start()
    seen = [frame.shape for frame, _ in zip(queue, range(20), strict=False)]
    stop.set()
    maker.join(timeout=60)
    assert not maker.is_alive()
    assert seen == [(1, 3, 32, 48)] * 20
    counts = queue.counts()
    assert counts.put == counts.taken + counts.dropped + counts.waiting
    assert counts.waiting <= 40


def test_a_maker_that_fails_leaves_no_viewer_waiting() -> None:
    def failing():
        yield 1
        raise KeyError("maker")

    queue: FrameQueue[int] = FrameQueue(2)
    with pytest.raises(KeyError):
        pump(failing(), queue, threading.Event())
    assert list(queue) == [1]


def test_a_stream_makes_one_block_at_a_time() -> None:
    session = engine("ring").prepare("a cat")
    session.on_step.append(lambda block, step, clean: session.generate_block())
    with pytest.raises(ValueError, match="Block 0 is being made"):
        session.generate_block()
    session.on_step.clear()
    assert session.generate_block().number == 0


def test_a_viewer_that_waits_is_woken() -> None:
    queue: FrameQueue[int] = FrameQueue(2)
    seen: list[int] = []
    viewer = threading.Thread(target=lambda: seen.extend(queue))
    viewer.start()
    queue.put(1)
    queue.close()
    viewer.join(timeout=10)
    assert seen == [1]
