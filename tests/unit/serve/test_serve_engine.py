"""The real engine, tiny, as the server's source."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frameroof.lab.stream.variants import Setup
from frameroof.serve.engine import EngineSource, pixels
from frameroof.serve.source import AbandonedError


@pytest.fixture(scope="module")
def source() -> EngineSource:
    setup = Setup(model="tiny", decoder="wan", seed=3)
    return EngineSource(setup.engine("fold"), setup, "fold")


def test_it_says_what_it_is_and_that_its_weights_are_random(source: EngineSource):
    facts = source.facts
    assert (facts.height, facts.width, facts.fps) == (32, 48, 16)
    assert (facts.latent_frames, facts.block_frames, facts.window_blocks) == (3, 12, 4)
    assert "The weights are random: times are real, pictures are not." in facts.says


def test_blocks_are_the_engines_own_with_a_switch(source: EngineSource):
    stream = source.open("a cat")
    assert stream.switch("a cat runs") == 0  # before its first block
    made = [stream.make(lambda: False)]
    assert stream.switch("a fox") == 1
    made += [stream.make(lambda: False), stream.make(lambda: False)]

    session = source.engine.prepare("a cat runs", seed=3)
    frames = [np.asarray(frame[0]) for frame in session.frames(3, {1: "a fox"})]  # (3, H, W) in [-1, 1]
    wanted = np.stack([np.rint((frame.clip(-1, 1) + 1) * 127.5) for frame in frames]).transpose(0, 2, 3, 1)
    found = np.concatenate([block.video_FHWC for block in made])
    assert [block.number for block in made] == [0, 1, 2]
    assert [len(block.video_FHWC) for block in made] == [9, 12, 12]
    assert found.shape == (33, 32, 48, 3)
    assert found.dtype == np.uint8
    assert np.abs(found - wanted).max() <= 1  # a half, rounded to the other side
    assert found.std() > 20
    assert all(block.generate_s > 0 and block.decode_s > 0 for block in made)


def test_streams_do_not_touch_each_other(source: EngineSource):
    alone, first, second = source.open("a cat"), source.open("a cat"), source.open("a wolf")
    for _ in range(2):
        wanted, found, other = (stream.make(lambda: False).video_FHWC for stream in (alone, first, second))
        assert np.array_equal(wanted, found)
        assert not np.array_equal(wanted, other)


def test_a_block_is_given_up_between_two_steps(source: EngineSource):
    stream, steps = source.open("a cat"), []

    def over() -> bool:
        steps.append(1)
        return len(steps) == 2

    with pytest.raises(AbandonedError):
        stream.make(over)
    assert len(steps) == 2  # of four
    assert stream.make(lambda: False).number == 0


def test_pixels_are_rounded_and_clamped():
    video = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(3, 1, 1, 5)
    assert pixels(video)[0, 0, :, 1].tolist() == [0, 0, 128, 255, 255]


def test_more_sessions_than_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch):
    """Each session has keys and values and a decoder's memory of its own; weights are shared."""
    from frameroof.lab.stream import variants

    setup = Setup(model="longlive-1.3b", dtype=torch.bfloat16, decoder="wan")
    one = setup.taken("fold")
    needed = sum(one.weights.values()) + 4 * one.stream + one.work
    monkeypatch.setattr(variants, "free_bytes", lambda device: needed)
    setup.check_memory(variant="fold", streams=4)
    monkeypatch.setattr(variants, "free_bytes", lambda device: needed - 1)
    sentence = (
        r"longlive-1.3b with 4 sessions needs at least 28\.\d+ GB: "
        r"weights \(transformer 2\.838 GB, decoder 146\.6 MB\), "
        r"4 times 5\.43\d GB for keys, values and what the decoder remembers, 3\.\d+ GB while a block is made, and "
        r"28\.\d+ GB of memory are free on cpu; fewer\."
    )
    with pytest.raises(ValueError, match=sentence):
        setup.check_memory(variant="fold", streams=4, advice="; fewer")
