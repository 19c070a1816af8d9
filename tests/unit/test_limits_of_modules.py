"""Limits of whole modules on an H100, from the module to the seconds, beside what was measured of them."""

import pytest
import torch
from torch import nn

from frameroof import count, predict

BANDWIDTH, CACHE, TF32 = 3.35e12, 50 * 2**20, 494.7e12


class Gelu(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))


def bounds(build, **asked):
    found = predict(count(build, dtype="fp32"), "H100", **asked).to_dict()["bounds"]
    return {name.removesuffix("_s"): seconds for name, seconds in found.items()}


def test_eight_pointwise_operations_read_once_and_write_once():
    """PyTorch's compiler took 214 us for it; eight kernels in turn 1.65 ms."""

    def build(rows=8192):
        return Gelu(), (torch.empty(rows, 8192),), {}

    moved = 2 * 8192 * 8192 * 4
    cold, warm = bounds(build, cold=True), bounds(build)
    assert [cold[rung] for rung in ("compulsory", "light", "fused")] == pytest.approx([moved / BANDWIDTH] * 3)
    assert warm["fused"] == pytest.approx((moved - CACHE) / BANDWIDTH)
    tensors = 6 * 2 + 2 * 3  # six operations read one tensor and write one, two read two
    assert cold["unfused"] == pytest.approx(tensors * moved / 2 / BANDWIDTH)
    assert round(warm["fused"] * 1e6) == 145
    assert round(cold["fused"] * 1e6) == 160


def test_a_convolution_in_fp32_is_computed_in_tf32():
    """2.93 ms was measured."""

    def build(batch=8):
        return nn.Conv2d(64, 128, (5, 7), bias=False), (torch.empty(batch, 64, 512, 256),), {}

    flops = 2 * 8 * 128 * (512 - 4) * (256 - 6) * 64 * 5 * 7
    found = bounds(build)
    assert found["fused"] == found["light"] == pytest.approx(flops / TF32, rel=1e-3)
    assert found["fused"] < 2.93e-3
    assert bounds(build, maths="strict")["fused"] == pytest.approx(flops / 66.9e12, rel=2e-3)


def test_two_passes_of_guidance_are_never_faster_at_once_than_the_limit_of_both():
    """Stacked blocks whose activations are larger than the cache, with weights that are not."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(1024), nn.Linear(1024, 1024)

        def forward(self, x):
            return x + self.fc(self.norm(x)).relu()

    def build(batch=1, tokens=40_000):
        return nn.Sequential(*(Block() for _ in range(3))), (torch.empty(batch, tokens, 1024),), {}

    made = count(build, dtype="bf16")
    for on in ("H100", "MI300X", "L40S"):
        one, two = (predict(made, on, sizes={"batch": n}).to_dict()["bounds"] for n in (1, 2))
        assert all(two[rung] <= 2 * one[rung] * (1 + 1e-12) for rung in one)
