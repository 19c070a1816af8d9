"""The whole stream by fused kernels, in full precision and in 8 bits, against the plain operations."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from stream_made import engine, latents

from frameroof.models.causal_wan import PLAIN, CausalWan, Ops
from frameroof.stream import Engine
from frameroof.stream.fused import FusedOps
from frameroof.stream.quantize import QuantizedLinear, error, quantize_linears

SWITCH = (2, "filling")
LAYERS = ["blocks.*attn.[qo]", "blocks.*.self_attn.[kv]", "blocks.*.ffn.*"]


def with_ops(model: CausalWan, ops: Ops, variant: str = "tabulated", blocks: int = 3) -> torch.Tensor:
    """The first blocks of the tiny stream, with a switch at the third; the window is full at the fifth."""
    base = engine(variant)
    session = Engine(base.c, model, base.encode, ops=ops).prepare("a cat runs")
    return torch.stack([block.latents for block in session.run(blocks, dict([SWITCH]))])


@cache
def full() -> torch.Tensor:
    return with_ops(copied(), PLAIN)


def copied(variant: str = "tabulated") -> CausalWan:
    return copy.deepcopy(engine(variant).denoiser.model)


@pytest.mark.parametrize("variant", ["ring", "fold"])
def test_fused_equals_plain(variant: str) -> None:
    model = copied(variant)
    got = with_ops(model, FusedOps(model), variant, 5)
    assert (got - latents("baseline", SWITCH)[:5]).abs().max() < 1e-5


def test_the_joined_weights_are_the_models_own() -> None:
    model = copied()
    before = {name: p.clone() for name, p in model.named_parameters()}
    ops = FusedOps(model)
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    plain = with_ops(model, ops)
    with torch.no_grad():
        model.blocks[0].self_attn.v.weight.mul_(2)  # as loading weights would change it
    changed = copied()
    with torch.no_grad():
        changed.blocks[0].self_attn.v.weight.mul_(2)
    got = with_ops(model, ops)
    assert (got - with_ops(changed, PLAIN)).abs().max() < 1e-5
    assert (got - plain).abs().max() > 1e-2


@pytest.mark.parametrize("scheme", ["fp8", "fp8-tensor", "int8"])
def test_quantized_by_the_producer_equals_quantized_by_the_layer(scheme: str) -> None:
    """In fp32 the two see the same values but for the last bit, which moves single codes."""
    plain, fused = copied(), copied()
    for model in (plain, fused):
        assert len(quantize_linears(model, scheme, LAYERS)) == 2 * 8
    want = with_ops(plain, PLAIN)
    ops = FusedOps(fused)
    got = with_ops(fused, ops)
    assert isinstance(fused.blocks[0].ffn[0], QuantizedLinear)
    assert (ops._qkv[fused.blocks[0].self_attn] is None) == (scheme == "fp8-tensor")
    distance = error(full(), want).relative
    assert 1e-3 < distance < 0.2
    assert error(want, got).relative < distance / 3


def test_bf16_fused_is_no_further_from_fp32_than_plain() -> None:
    plain = copied().bfloat16()
    fused = copied().bfloat16()
    base = error(full(), with_ops(plain, PLAIN)).relative
    assert 1e-3 < base < 0.1
    assert error(full(), with_ops(fused, FusedOps(fused))).relative < 1.2 * base
