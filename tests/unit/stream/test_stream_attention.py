"""Attention in fp8 through the whole stream, attention by name, and what is measured where."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from stream_made import BLOCKS, SWITCH, engine, latents

from frameroof.models.causal_wan import Ops, sdpa
from frameroof.stream import Engine, attention, preset
from frameroof.stream.attention import EIGHT_BIT, NAMES, ByLength, backend, choose, pick
from frameroof.stream.fused import FusedOps
from frameroof.stream.quality import error


@pytest.mark.parametrize("cache", ["baseline", "fold"])
def test_a_stream_with_fp8_attention_makes_a_small_error(cache: str) -> None:
    """Of the whole window, sinks and prompt included, over twelve free-running blocks with a switch."""
    base = engine(cache)
    made = Ops if cache == "baseline" else lambda attend: FusedOps(base.denoiser.model, attend)
    fp8 = Engine(base.c, base.denoiser.model, base.encode, ops=made(backend("fp8")))
    got = torch.stack([block.latents for block in fp8.prepare("a cat runs").run(BLOCKS, dict([SWITCH]))])
    away = [error(number, a, b).relative for number, (a, b) in enumerate(zip(latents(), got, strict=True))]
    assert 1e-4 < max(away) < 0.03
    assert min(away) > 1e-5


def test_flash_attention_3_gets_codes_and_a_scale_for_each_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package, which multiplies out what it is given and asks what that package asks."""

    def flash(q, k, v, *, q_descale, k_descale, v_descale):
        out = []
        for x, scale in ((q, q_descale), (k, k_descale), (v, v_descale)):
            assert (x.dtype, x.is_contiguous(), scale.dtype) == (torch.float8_e4m3fn, True, torch.float32)
            assert scale.shape == (x.shape[0], x.shape[2])
            assert (x.float().abs().amax((1, 3)) == 448).all()
            out.append(x.float() * scale[:, None, :, None])
        return sdpa(*out).bfloat16(), None

    monkeypatch.setitem(sys.modules, "flash_attn_interface", SimpleNamespace(flash_attn_func=flash))
    sizes = torch.tensor([1.0, 10.0, 0.1]).view(1, 1, 3, 1)  # of heads: one scale for all would lose the last
    q, k, v = torch.randn(3, 2, 40, 3, 16, generator=torch.Generator().manual_seed(0))
    q, k, v = q * sizes, k / sizes, v * sizes
    got = backend("fa3-fp8")(q, k[:, :30], v[:, :30])
    assert got.dtype == q.dtype
    for head in range(3):
        meant = sdpa(q, k[:, :30], v[:, :30])[:, :, head]
        assert 1e-3 < error(0, meant, got[:, :, head]).relative < 0.1


def test_8_bits_compete_only_where_they_may() -> None:
    c = preset("tiny")
    exact, eight = (choose(c, "cpu", torch.float32, eight_bit=each, runs=1) for each in (False, True))
    assert {*exact.seconds, *exact.refused} == set(NAMES)
    assert {*eight.seconds, *eight.refused} == {*NAMES, *EIGHT_BIT}
    assert {"fp8", "fp8-64"} <= set(eight.seconds)
    assert "flash_attn_interface" in eight.refused["fa3-fp8"]


def test_the_window_and_the_prompt_each_get_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    c, asked = preset("tiny", "ring"), []

    def chosen(c, device, dtype, *, keys, eight_bit):
        asked.append((keys, eight_bit))
        return attention.Choice("math" if keys == c.text_tokens else "sdpa", {}, {})

    monkeypatch.setattr(attention, "choose", chosen)
    attend, said = pick("measured-fp8", c, "cpu", torch.float32)
    assert asked == [(12 * 6, True), (8, True)]
    assert said == "Attention was measured: 'sdpa' is fastest over the window, 'math' over a prompt."
    assert isinstance(attend, ByLength)
    assert attend.window is sdpa
    made = Engine.random(c, ops=lambda model: Ops(attend), umt5=False).prepare("a cat runs").run(2)
    assert (torch.stack([block.latents for block in made]) - latents()[:2]).abs().max() < 1e-5
    assert pick("sdpa", c, "cpu", torch.float32) == (sdpa, "Attention is 'sdpa'.")
    with pytest.raises(ValueError, match=r"No attention is called 'fp4'; there are sdpa, flash.*fa3-fp8"):
        pick("fp4", c, "cpu", torch.float32)
