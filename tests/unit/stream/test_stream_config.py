"""Sizes and windows of a stream: counted by hand, refused with a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from frameroof.models.causal_wan import WanSize
from frameroof.stream import StreamConfig, preset
from frameroof.stream.schedule import Schedule


def test_full_size_has_longlive_s_tokens_and_cache() -> None:
    c = preset("longlive-1.3b")
    assert (c.frame_tokens, c.block_tokens) == (1560, 4680)
    assert c.cache_bytes() == 2 * 30 * 12 * 1560 * 1536 * 2  # K and V, layers, places, channels, bf16
    assert c.cache_bytes() == pytest.approx(3.45e9, rel=1e-3)  # facts/streaming.md
    assert [c.pixel_frames(n) for n in (7, 40, 80)] == [81, 477, 957]


def test_steps_are_warped_as_published() -> None:
    longlive = Schedule.of((1000, 750, 500, 250), 5.0).timesteps
    assert longlive == pytest.approx((1000, 937.5, 833.3333, 625))
    assert Schedule.of((1000, 750, 500, 250), 8.0).timesteps == pytest.approx((1000, 960, 888.8889, 727.2727))


def test_clean_undoes_the_noise_of_a_perfect_velocity() -> None:
    schedule = Schedule.of((1000, 500), 5.0)
    clean, noise = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    for step in range(2):
        noised = schedule.noised(step, clean, noise)
        assert torch.allclose(schedule.clean(step, noised, noise - clean), clean, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"window": 2}, "window is 2 frames, smaller than a block of 3"),
        ({"window": 3, "sink": 3}, "must hold the sink"),
        ({"window": 10}, "window is 10 frames, not a multiple of the block"),
        ({"sink": 2}, "sink is 2 frames, not a multiple"),
        ({"sink": -3}, "cannot be negative"),
        ({"height": 100}, "height is 100; it must be a positive multiple of 16"),
        ({"width": 0}, "width is 0"),
        ({"steps": (500, 750)}, "they must fall"),
        ({"steps": (1500,)}, "at most at 1000"),
        ({"shift": 0}, "shift is 0"),
        ({"block": 0}, "block is 0"),
        ({"cache": "list"}, "cache is 'list'; it can be baseline, ring"),
        ({"context": "fold"}, "needs the ring cache"),
        ({"moving_sinks": True}, "needs the ring cache"),
        ({"cache": "ring", "moving_sinks": True, "sink": 0}, "at least one sink"),
        ({"model": WanSize(head_dim=7)}, "head_dim is 7"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(StreamConfig(), **change)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="No stream model is called 'huge'; there are tiny"):
        preset("huge")
    with pytest.raises(ValueError, match="No variant is called 'magic'"):
        preset("tiny", "magic")
    with pytest.raises(ValueError, match="no setting 'windows'"):
        preset("tiny", windows=3)
