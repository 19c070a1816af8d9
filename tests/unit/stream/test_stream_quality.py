"""Errors of latents by NumPy; forced drift stands alone, free drift adds up; a stream equals itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stream_made import engine

from frameroof.stream import Engine, preset
from frameroof.stream.quality import drift, error, floor

SWITCH = {6: "a fox"}


def bf16(variant: str = "fold"):
    return Engine.random(preset("tiny", variant), dtype=torch.bfloat16, umt5=False).prepare("a cat")


def full(variant: str = "fold"):
    return Engine.random(preset("tiny", variant), umt5=False).prepare("a cat")


def test_an_error_is_what_numpy_says() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 4, 5))
    got = error(7, torch.from_numpy(a), torch.from_numpy(b))
    a, b = a.ravel(), b.ravel()
    assert got.number == 7
    assert got.relative == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    assert got.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert got.psnr_db == pytest.approx(20 * np.log10(np.ptp(a) / np.sqrt(((a - b) ** 2).mean())))
    with pytest.raises(ValueError, match="other shapes"):
        error(0, torch.zeros(2), torch.zeros(3))


def test_a_stream_equals_itself() -> None:
    assert floor(full, 6, SWITCH) == 0.0
    (first, *_) = drift(full(), full(), 2)
    assert (first.relative, first.cosine, first.psnr_db) == (0.0, pytest.approx(1.0), float("inf"))


@pytest.mark.parametrize("variant", ["baseline", "ring", "fold"])
def test_forced_errors_stand_alone(variant: str) -> None:
    """A stream that went astray before is put right by following; its own errors stay those of rounding."""
    forced = drift(full(variant), bf16(variant), 9, SWITCH, forced=True)
    free = drift(full(variant), bf16(variant), 9, SWITCH)
    assert forced[0] == free[0]
    assert all(1e-4 < each.relative < 0.05 for each in forced)
    assert all(each.cosine > 0.998 for each in forced)


def test_following_puts_a_stray_stream_right() -> None:
    leader, stray = engine("ring").prepare("a cat"), engine("ring").prepare("a cat")
    other = engine("ring").prepare("the sea", seed=0)
    for session in (leader, stray, other):
        for _ in range(5):
            session.generate_block()
    stray.follow(other)
    astray = stray.generate_block().latents
    expected = leader.generate_block().latents
    assert (astray - expected).abs().max() > 1e-3
    stray.follow(leader)
    assert torch.equal(stray.generate_block().latents, leader.generate_block().latents)


def test_what_cannot_be_compared_is_said() -> None:
    used = full()
    used.generate_block()
    with pytest.raises(ValueError, match="from the first block; a stream has made 1"):
        drift(used, full(), 1)
    with pytest.raises(ValueError, match="streams of one size"):
        drift(full(), Engine.random(preset("tiny", height=48), umt5=False).prepare("a"), 1)
    with pytest.raises(ValueError, match="follows one with its own cache"):
        drift(full("baseline"), full("ring"), 1, forced=True)
