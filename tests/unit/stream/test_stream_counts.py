"""The true size on meta: parameters and FLOPs of the engine's own forwards, by torch's counter and by ours."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from frameroof.models.causal_wan import CausalWan
from frameroof.stream import preset
from frameroof.stream.cost import workload
from frameroof.stream.denoiser import Denoiser, Forward

TERA = 1e12


@cache
def denoiser() -> Denoiser:
    c = preset("longlive-1.3b", "fold")
    with torch.device("meta"):
        d = Denoiser(c, CausalWan(c.model).to(torch.bfloat16))
    d.table((0,))
    return d


def flops(what: Forward) -> float:
    """FLOPs of one forward, in TFLOP, by torch's counter; modulation and text are cached."""
    d = denoiser()
    x = torch.empty(d.c.latent_shape(1, d.c.block * len(what.rows)), device="meta")
    texts = [tuple(torch.empty(1, 512, 12, 128, dtype=torch.bfloat16, device="meta") for _ in "kv")] * 30
    with FlopCounterMode(display=False) as counter:
        d.velocity(x, what, d.cache(1), texts)
    return counter.get_total_flops() / TERA


def test_parameters() -> None:
    total = sum(p.numel() for p in denoiser().model.parameters())
    assert total == pytest.approx(1.418e9, rel=1e-3)


@cache
def ours(stage: str) -> float:
    """TFLOP of a steady stage by our own recorder, run over the engine's code."""
    (recorded,) = workload(preset("longlive-1.3b", "fold"), stage).stages
    return sum(int(op.flops()({})) * int(op.times({})) for op in recorded.ops) / TERA


def test_a_step_a_block_and_a_switch() -> None:
    step = ours("step")
    assert step == pytest.approx(28.30, rel=1e-3)  # facts/streaming.md, section 4
    assert 5 * step == pytest.approx(141.5, rel=1e-3)
    assert ours("recache") == pytest.approx(84.9, rel=1e-3)
    assert ours("fold") == pytest.approx(2 * step, rel=1e-6)
    assert ours("decode") == pytest.approx(40.65, rel=1e-3)


def test_torch_counts_the_same_and_the_window_fills() -> None:
    steady = ours("step")
    attended = 30 * 4 * 4680 * 1560 * 1536 / TERA  # one frame of keys and values for all queries and layers
    assert flops(Forward(36, (0,))) == pytest.approx(steady, rel=1e-6)
    assert flops(Forward(3, (0,))) == pytest.approx(steady - 6 * attended, rel=1e-6)


def test_cache_bytes_are_what_is_allocated() -> None:
    c = denoiser().c
    cache = denoiser().cache(1)
    assert cache.k.numel() * 2 + cache.v.numel() * 2 == c.cache_bytes()
