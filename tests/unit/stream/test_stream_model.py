"""The transformer and its loop: diffusers' Wan, which has no cache, as the oracle; complex numbers for positions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from frameroof.models.causal_wan import CausalWan, WanSize, random_weights, rotated
from frameroof.stream import Engine, preset
from frameroof.stream.denoiser import Denoiser, Forward
from frameroof.stream.rope import Rope, split

OURS_TO_DIFFUSERS = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.": "proj_out.",
    "self_attn": "attn1",
    "cross_attn": "attn2",
    ".q.": ".to_q.",
    ".k.": ".to_k.",
    ".v.": ".to_v.",
    ".o.": ".to_out.0.",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}


def _diffusers(model: CausalWan, c: WanSize):
    from diffusers import WanTransformer3DModel

    theirs = WanTransformer3DModel(
        num_attention_heads=c.heads,
        attention_head_dim=c.head_dim,
        in_channels=c.latent_channels,
        out_channels=c.latent_channels,
        text_dim=c.text_dim,
        freq_dim=c.frequencies,
        ffn_dim=c.ffn,
        num_layers=c.layers,
    )
    state = {}
    for name, value in model.state_dict().items():
        for mine, other in OURS_TO_DIFFUSERS.items():
            name = name.replace(mine, other)
        if name.endswith("modulation"):
            name, value = name.replace("modulation", "scale_shift_table"), value.unsqueeze(0)
        state[name] = value
    theirs.load_state_dict(state)
    return theirs.eval()


@pytest.mark.parametrize("variant", ["baseline", "ring", "tabulated"])
def test_a_first_block_equals_diffusers_wan(variant: str) -> None:
    c = preset("tiny", variant)
    model = random_weights(CausalWan(c.model), seed=1)
    denoiser = Denoiser(c, model)
    x, text = torch.randn(c.latent_shape(2)), torch.randn(2, c.text_tokens, c.model.text_dim)
    ours = denoiser.velocity(x, Forward(0, (1,)), denoiser.cache(2), denoiser.text(text))
    with torch.no_grad():
        theirs = _diffusers(model, c.model)(x, torch.full((2,), 937.5), text).sample
    assert ours.std() > 0.1
    assert torch.allclose(ours, theirs, atol=2e-5)


def _block_causal(monkeypatch: pytest.MonkeyPatch, block_tokens: int) -> None:
    """Self-attention sees its own block and those before it; attention to the text stays whole."""
    whole = F.scaled_dot_product_attention

    def masked(query, key, value, attn_mask=None, **kwargs):
        if query.shape[-2] == key.shape[-2]:
            block = torch.arange(query.shape[-2]) // block_tokens
            attn_mask = block[:, None] >= block[None]
        return whole(query, key, value, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", masked)


def test_three_blocks_equal_diffusers_wan_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published loop by hand: all frames so far in one masked forward, past ones at t = 0, four steps a block."""
    e = Engine.random(preset("tiny", "fold"), umt5=False)
    c = e.c
    ours = [block.latents for block in e.prepare("a cat", seed=3).run(3)]
    theirs, text = _diffusers(e.denoiser.model, c.model), e.encode(["a cat"])
    _block_causal(monkeypatch, c.block_tokens)
    noise, past = torch.Generator().manual_seed(3), []
    steps = (1000, 937.5, 2500 / 3, 625)
    for latents in ours:
        x, *fresh = torch.randn((4, *c.latent_shape(1)[1:]), generator=noise).unsqueeze(1)
        for i, t in enumerate(steps):
            times = torch.tensor([0.0] * len(past) * c.block_tokens + [t] * c.block_tokens)[None]
            with torch.no_grad():
                velocity = theirs(torch.cat([*past, x], dim=2), times, text).sample[:, :, -c.block :]
            clean = x - t / 1000 * velocity
            if i < 3:
                x = (1 - steps[i + 1] / 1000) * clean + steps[i + 1] / 1000 * fresh[i]
        assert torch.allclose(latents, clean, atol=1e-4)
        past.append(clean)
    assert (ours[2] - ours[1]).abs().max() > 0.1


@pytest.mark.parametrize("start", [0, 1023, 5000, 1_000_000])
def test_positions_equal_complex_numbers_at_any_frame(start: int) -> None:
    head, rows, columns, frames = 128, 2, 3, 3
    cos, sin = Rope(rows, columns, head).at(start, frames)
    x = torch.randn(1, frames * rows * columns, 2, head)
    turned = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    pairs = split(head)
    assert pairs == (22, 21, 21)
    grid = torch.meshgrid(torch.arange(start, start + frames), torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [
        position.flatten().double()[:, None] / 10000 ** (torch.arange(n, dtype=torch.float64) * 2 / (2 * n))
        for position, n in zip(grid, pairs, strict=True)
    ]
    turn = torch.polar(torch.ones(()).double(), torch.cat(angles, dim=1))[:, None]
    expected = torch.view_as_real(turned * turn).flatten(-2).float()
    assert torch.allclose(rotated(x, (cos, sin)), expected, atol=1e-5)


def test_a_shift_continues_a_rotation() -> None:
    rope = Rope(2, 2, 16)
    x = torch.randn(1, 8, 2, 16)
    once = rotated(x, rope.at(7, 2))
    assert torch.allclose(rotated(rotated(x, rope.at(3, 2)), rope.shift(4)), once, atol=1e-5)
