"""Mixtures of experts inside one operator: FLOPs counted expert by expert, unknown where the inputs do not tell."""

from __future__ import annotations

import pytest
from trace_made import Made

BF16, INT = "c10::BFloat16", "int"
T, K, E, H, N = 96, 4, 8, 64, 48
ONE = 2 * T * K * H * N
"""One map of every token, for each of its experts."""
TOKENS, GATED, PLAIN, BACK, CHOSEN = [T, H], [E, 2 * N, H], [E, N, H], [E, H, N], [T, K]
SORTED = [[T * K], [64], [2]]


def flops(tmp_path, operator, dims, types=None, concrete=None):
    t = Made()
    t.one(operator, 10_000, 9_000, "fused_moe_kernel", dims, types or [BF16 if d else "" for d in dims], concrete)
    run = t.run(tmp_path)
    assert run.classes[0].name == "linear"
    assert run.operators[0].bytes is None
    return run.operators[0].flops


@pytest.mark.parametrize(
    ("operator", "dims", "want"),
    [
        ("vllm::outplace_fused_experts", [TOKENS, GATED, BACK, CHOSEN, CHOSEN], 3 * ONE),
        ("vllm::inplace_fused_experts", [TOKENS, PLAIN, BACK, CHOSEN, CHOSEN], 2 * ONE),
        ("sglang::inplace_fused_experts", [TOKENS, GATED, BACK, CHOSEN, CHOSEN], 3 * ONE),
        ("vllm::rocm_aiter_fused_moe", [TOKENS, GATED, BACK, CHOSEN, CHOSEN], 3 * ONE),
        ("vllm::outplace_fused_experts", [TOKENS, [E, 2 * N, H // 2], [E, H, N // 2], CHOSEN, CHOSEN], 3 * ONE),  # int4
        ("vllm::outplace_fused_experts", [TOKENS, [E, 3 * N, H], BACK, CHOSEN, CHOSEN], None),
        ("vllm::outplace_fused_experts", [TOKENS, GATED, BACK], None),
        ("vllm::moe_forward", [TOKENS, [T, E], []], None),
        ("aiter::ck_moe_stage1", [TOKENS, GATED, BACK, *SORTED, [T, K, N]], 2 * ONE),
        ("aiter::ck_moe_stage2", [[T, K, N], GATED, BACK, *SORTED, TOKENS], ONE),
        ("aten::_grouped_mm", [[T, H], [E, H, N], [E]], 2 * T * H * N),
        ("aten::_grouped_mm", [[E, T, H], [E, H, N]], 2 * E * T * H * N),
        ("aten::_grouped_mm", [[H, T], [T, N], [E]], 2 * H * T * N),
    ],
)
def test_experts(tmp_path, operator, dims, want):
    assert flops(tmp_path, operator, dims) == want


@pytest.mark.parametrize(("chosen", "want"), [("4", 3 * ONE), ("", None), ("-1", None)])
def test_how_many_experts_a_token_has_may_be_a_number(tmp_path, chosen, want):
    dims = [TOKENS, TOKENS, GATED, BACK, *SORTED, [2], []]
    concrete = [""] * 8 + [chosen]
    assert flops(tmp_path, "aiter::fmoe_fp8_blockscale_g1u1", dims, None, concrete) == want


def test_experts_on_several_devices_are_unknown(tmp_path):
    dims, types = [TOKENS, GATED, BACK, CHOSEN, CHOSEN, [4 * E]], [BF16] * 4 + [INT, INT]
    assert flops(tmp_path, "vllm::outplace_fused_experts", dims, types) is None
