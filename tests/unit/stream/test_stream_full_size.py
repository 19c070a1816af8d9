"""One layer at its true size, 1560 tokens a frame and a window of twelve, in both caches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from frameroof.models.causal_wan import CausalWan, random_weights
from frameroof.stream import preset
from frameroof.stream.denoiser import Denoiser, Forward


@pytest.mark.full
def test_a_layer_of_the_true_size_gives_the_same_from_both_caches() -> None:
    """The window is full: the ring overwrites the oldest block, the baseline rolls it out."""
    outs, size = {}, replace(preset("longlive-1.3b").model, layers=1)
    model = random_weights(CausalWan(size))
    generator = torch.Generator().manual_seed(2)
    past = torch.randn(2, 1, 4, 4680, 12, 128, generator=generator)  # K and V of four blocks
    x = torch.randn(1, 16, 3, 60, 104, generator=generator)
    text = torch.randn(1, 512, 4096, generator=generator)
    for cache in ("baseline", "ring"):
        d = Denoiser(preset("longlive-1.3b", model=size, cache=cache), model)
        kept = d.cache(1)
        kept.k[0].copy_(past[0].flatten(1, 2))
        kept.v[0].copy_(past[1].flatten(1, 2))
        if cache == "baseline":
            kept.seen = kept.filled = 12 * 1560
        outs[cache] = d.velocity(x, Forward(12, (0,)), kept, d.text(text))
    assert outs["ring"].std() > 0.1
    assert torch.allclose(outs["ring"], outs["baseline"], atol=1e-5)
