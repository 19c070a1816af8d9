"""Beside models of the catalogue: convolutions, attention, matrix products and decoded tokens find their operation."""

from __future__ import annotations

import pytest
from trace_made import H100, Made

from frameroof import catalogue
from frameroof.gap import find_gap
from frameroof.hardware import device

FP16 = "c10::Half"
ONES = ["", "", "", "[1, 1]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"]


def named(t, tmp_path, model, sizes=None):
    """(path, whether the sizes agree) of every operator, by the first of its dimensions."""
    gap = find_gap(t.run(tmp_path), device("H100"), catalogue.load(model), sizes)
    return [(row.path, row.exact) for row in sorted(gap.rows, key=lambda row: -row.time_ns)], gap


def test_a_step_of_stable_diffusion(tmp_path):
    """Both halves of guidance in one batch of 2: twice the sizes of the workload, which runs them one by one."""
    t = Made(**H100)
    t.module("UNet2DConditionModel_0", 0, 1_000_000)
    image, weight = [2, 320, 64, 64], [320, 320, 3, 3]
    t.one("aten::convolution", 50_000, 90_000, dims=[image, weight, *[[]] * 7], types=[FP16] * 2, concrete=ONES)
    q, text = [2, 8, 4096, 40], [2, 8, 77, 40]
    for at, length, keys in ((200_000, 80_000, q), (300_000, 70_000, text), (400_000, 60_000, [2, 8, 90, 40])):
        t.one("aten::_scaled_dot_product_flash_attention", at, length, "flash_fwd", [q, keys, keys], [FP16] * 3)
    t.one("aten::convolution", 500_000, 50_000, dims=[[2, 7, 64, 64], [320, 7, 3, 3], *[[]] * 7], concrete=ONES)
    found, gap = named(t, tmp_path, "stable-diffusion-1.5")
    blocks = "down_blocks.0.attentions.[0-1].transformer_blocks.0"
    assert [(path.partition(" ")[0], exact) for path, exact in found] == [
        ("down_blocks.0.resnets.[0-1].conv1", True),
        (f"{blocks}.attn1", True),
        (f"{blocks}.attn2", True),
        (f"{blocks}.attn1", False),  # keys of no prompt: the same heads, other sizes
        ("", False),  # a convolution of 7 channels is none of its
    ]
    assert gap.coverage_workload == pytest.approx(300 / 350)


def test_a_decoded_token_of_a_language_model(tmp_path):
    """The workload counts decoding as a loop, whose first turn says what a token's products are."""
    t = Made(**H100)
    t.note("stage::decode", 0, 900_000)
    t.one("aten::mm", 50_000, 90_000, dims=[[1, 4096], [4096, 14336]], types=[FP16] * 2)
    q, k = [1, 32, 1, 128], [1, 8, 600, 128]
    t.one("aten::_scaled_dot_product_flash_attention", 300_000, 50_000, "flash_fwd", [q, k, k], [FP16] * 3)
    (product, attention), _ = named(t, tmp_path, "llama3.1-8b")
    assert product[0].startswith("model.layers.[0-31].mlp.")
    assert product[1]
    assert attention[0] == "model.layers.[0-31].self_attn"


def test_batched_products_of_linear_attention(tmp_path):
    """SANA multiplies keys with values first: (heads, 33, tokens) x (heads, tokens, 32)."""
    workload = catalogue.load("sana-0.6b")
    stage = next(s for s in workload.stages if s.name == "denoise")
    env = stage.bind(workload.sizes())
    op = next(o for o in stage.ops if o.kind == "matmul")
    b, m, k, n = (int(op.dims[name](env)) for name in "bmkn")
    t = Made(**H100)
    t.note("stage::denoise", 0, 900_000)
    t.one("aten::bmm", 50_000, 90_000, dims=[[b, m, k], [b, k, n]], types=[FP16] * 2)
    t.one("aten::bmm", 300_000, 50_000, dims=[[b, m + 1, k], [b, k, n]], types=[FP16] * 2)
    found, _ = named(t, tmp_path, "sana-0.6b")
    assert [(path.partition(" ")[0], exact) for path, exact in found] == [(op.path, True), (op.path, False)]
