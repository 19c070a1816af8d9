"""Every way to run a stream against the baseline that copies its cache: twelve blocks, a switch between."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stream_made import BLOCKS, SWITCH, distance, engine, latents, run

from frameroof.models.causal_wan import rotated
from frameroof.stream import preset
from frameroof.stream.denoiser import CONTEXT, Forward

EQUAL = 1e-5
VARIANTS = ["ring", "tabulated", "recache-needed", "context-before", "fold"]


def test_the_stream_depends_on_its_past_and_its_prompt() -> None:
    """What parity rests on: a lost cache or a lost switch would show."""
    base = latents()
    assert base.std() > 0.1
    assert distance(base[:6], latents(switch=None)[:6]) == 0
    assert distance(base[6], latents(switch=None)[6]) > 100 * EQUAL
    assert distance(base[6], latents(switch=(SWITCH[0], "the sea"))[6]) > 100 * EQUAL  # by its words, not by recaching
    assert distance(base[4], latents(window=9)[4]) > 100 * EQUAL
    assert distance(base[8], latents(sink=0)[8]) > 100 * EQUAL


@pytest.mark.parametrize("switch", [SWITCH, None, (1, "in the sink"), (2, "filling"), (4, "just full")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_equal_the_baseline(variant: str, switch: tuple[int, str] | None) -> None:
    assert distance(latents(variant, switch), latents("baseline", switch)) < EQUAL


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_equal_the_baseline_through_more_layers(variant: str) -> None:
    """Of what a recache writes in its first layers, layers after the second are the first to depend."""
    deep = {"model": replace(preset("tiny").model, layers=5)}
    assert distance(latents(variant, **deep), latents(**deep)) < EQUAL
    assert distance(latents(**deep), latents()) > 100 * EQUAL


@pytest.mark.parametrize(
    ("window", "sink", "block"), [(9, 3, 3), (12, 0, 3), (12, 6, 3), (3, 0, 3), (5, 1, 1), (8, 2, 2)]
)
@pytest.mark.parametrize("variant", ["ring", "fold"])
def test_windows_and_blocks_of_other_sizes(variant: str, window: int, sink: int, block: int) -> None:
    sizes = {"window": window, "sink": sink, "block": block}
    assert distance(latents(variant, **sizes), latents(**sizes)) < EQUAL


@pytest.mark.parametrize(
    ("variant", "forwards", "recached"),
    # 12 blocks of 4 steps and a context pass; a recache of the window, or of what is not a sink. Before a
    # switch no context pass; none after the last block; folded ones are no forwards of their own.
    [("baseline", 61, 12), ("recache-needed", 61, 9), ("context-before", 59, 9), ("fold", 49, 9)],
)
def test_forwards_are_counted(variant: str, forwards: int, recached: int) -> None:
    session = run(variant)[1]
    assert (session.forwards, session.recached) == (forwards, recached)


@pytest.mark.parametrize("variant", ["baseline", "ring", "fold"])
def test_a_batch_equals_single_streams_with_switches_of_their_own(variant: str) -> None:
    prompts = ["a cat", "two dogs run", "the sea"]
    switches = [(2, 1, "a fox"), (5, 0, "rain"), (5, 2, "snow"), (7, None, "night")]
    together = engine(variant).prepare(prompts, seed=5)
    alone = [engine(variant).prepare(prompt, seeds=[5 + i]) for i, prompt in enumerate(prompts)]
    for number in range(9):
        for at, sample, prompt in switches:
            if at == number:
                together.switch(prompt, sample)
                for i, session in enumerate(alone):
                    if sample in (None, i):
                        session.switch(prompt)
        singles = torch.cat([session.generate_block().latents for session in alone])
        assert distance(together.generate_block().latents, singles) < EQUAL
    assert together.prompts == ["night"] * 3
    assert distance(singles[0], singles[1]) > 0.01


def late(variant: str, start: int) -> torch.Tensor:
    """A step's velocity after three blocks from frame `start` on, the window full of zeros before them."""
    d = engine(variant).denoiser
    cache, texts = d.cache(1), d.text(torch.ones(1, d.c.text_tokens, d.c.model.text_dim))
    noise = torch.Generator().manual_seed(3)
    x = [torch.randn(d.c.latent_shape(1), generator=noise) for _ in range(3)]
    if variant == "baseline":
        cache.seen, cache.filled = start * d.c.frame_tokens, d.c.window * d.c.frame_tokens
    for block in range(3):
        d.velocity(x[block], Forward(start + 3 * block, (CONTEXT,)), cache, texts)
    return d.velocity(x[0], Forward(start + 9, (0,)), cache, texts)


@pytest.mark.parametrize("start", [1017, 1200, 300_000])
def test_positions_go_on_beyond_1024_frames(start: int) -> None:
    """Across frame 1024, where LongLive's table ends, and five hours on: both caches, as at the stream's start.

    Only distances between frames matter, so the same blocks give the same wherever they lie.
    """
    assert distance(late("ring", start), late("baseline", start)) < EQUAL
    assert distance(late("ring", start), late("ring", 15)) < 10 * EQUAL
    assert late("ring", start).std() > 0.1


def test_moving_sinks_lie_just_before_the_window() -> None:
    """Unrotate the sinks' keys as they were made, rotate them by the angles of their new frames: the same keys."""
    session = run("tabulated", None, moving_sinks=True)[1]
    d, c, cache = session.denoiser, session.c, session._cache
    made, tokens = cache._sinks, c.sink * c.frame_tokens
    cos, sin = d.rope.at(0, c.sink)
    window = BLOCKS * c.block - c.window  # the frame that the last block's window begins with
    for layer in range(c.model.layers):
        raw = rotated(made[layer], (cos, -sin))
        assert distance(cache.k[layer][:, :tokens], rotated(raw, d.rope.at(window, c.sink))) < EQUAL
        assert distance(cache.k[layer][:, :tokens], made[layer]) > 100 * EQUAL


def test_moving_sinks_change_nothing_while_the_window_fills() -> None:
    moving, still = latents("tabulated", moving_sinks=True), latents("tabulated")
    assert distance(moving[:4], still[:4]) < EQUAL
    assert distance(moving[5], still[5]) > 100 * EQUAL
