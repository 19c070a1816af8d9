"""What a stream takes of memory, counted before it is made: beside published sizes, and what a run allocates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frameroof.lab.characterize.memory import allocated_by
from frameroof.lab.stream.memory import taken
from frameroof.lab.stream.variants import Setup
from frameroof.stream import Engine, preset
from frameroof.stream.engine import Files


def test_the_full_size_takes_what_is_known_of_it() -> None:
    """LongLive 1.3B in bf16 at 480 x 832: 1.418 B parameters, 3.45 GB of keys and values at window 12, the prompt's
    30 layers x 2 x 512 tokens x 1536, a decoder of 73.3 M that remembers 1.89 GB; umT5-XXL has 5.68 B.
    """
    setup = Setup(model="longlive-1.3b", dtype=torch.bfloat16, decoder="wan", files=Files(text_encoder=Path("umt5")))
    found = setup.taken("fold")
    assert found.weights == pytest.approx(
        {"transformer": 2 * 1.418e9, "text encoder": 2 * 5.68e9, "decoder": 2 * 73.3e6}, rel=1e-3
    )
    assert found.stream == pytest.approx(3.4505e9 + 30 * 2 * 512 * 1536 * 2 + 1.889e9, rel=1e-3)
    assert found.work > 3 * 12 * 96 * 480 * 832 * 2  # a block's frames in 96 channels, and their norm's steps


@pytest.mark.parametrize("variant", ["baseline", "fold"])
def test_what_is_counted_is_what_a_stream_allocates(variant: str) -> None:
    """The baseline keeps new keys and values of every layer until the last one is done: more with each layer."""
    c = preset("medium", variant)
    session = Engine.random(c, umt5=False).prepare("a cat")
    session.warm()

    def blocks() -> None:
        for number in range(c.window_blocks + 2):
            if number == c.window_blocks + 1:
                session.switch("a fox")
            session.generate_block()

    assert allocated_by(blocks, "cpu") == pytest.approx(taken(c, torch.float32, 1).work, rel=0.06)


def test_streams_add_up_and_work_does_not() -> None:
    one = taken(preset("tiny", "ring"), torch.float32, 1, decoder="tiny")
    weights = sum(one.weights.values())
    assert one.bytes() == weights + one.stream + one.work
    assert one.bytes(streams=3, engines=2) == 2 * (weights + 3 * one.stream) + one.work
    two = taken(preset("tiny", "ring"), torch.float32, 2, decoder="tiny")
    assert two.weights == one.weights
    assert two.stream == pytest.approx(2 * one.stream, rel=0.05)  # tables of positions are shared
