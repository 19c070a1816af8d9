"""A kernel far below its own limit is advice: which, on what, which limit, what replaces it; unknown sizes are not."""

from __future__ import annotations

import pytest
from run_made import MS, attention, made

from frameroof.hardware import device
from frameroof.run import ShapeRow
from frameroof.trace.advice.slow_kernels import slow_kernels

H100, MI300X = device("H100"), device("MI300X")


def row(class_, ms, flops=0.0, moved=None, calls=10, **more):
    dims = [[8, 64], [64, 64]]
    fields = {"name": f"aten::{class_.replace(' ', '_')}", "stage": "denoise", "module": "", "dims": dims} | more
    return ShapeRow(class_, dtype="bf16", time_ns=round(ms * MS), count=calls, flops=flops, bytes=moved,
                    kernel="the_kernel", **fields)  # fmt: skip


def found(*rows, on=H100, **more):
    return list(slow_kernels(made(shapes=list(rows), **{"attention": []} | more), on))


@pytest.mark.parametrize(
    ("on", "how"), [(H100, "FlashAttention 3"), (MI300X, "Composable Kernel"), (device("B200"), "4 on Blackwell")]
)
def test_slow_attention_names_the_vendors_kernel(on, how):
    """200 ms at 22 % of the peak: 156 ms above the limit."""
    flops = 0.22 * 0.2 * on.peak("bf16")
    length = round((flops / 4 / 4 / 64 / 2) ** 0.5)  # 4 products' FLOPs, 4 calls, 2 heads of 64
    one = attention(200 * MS, fused=True, query_len=length, key_len=length, dtype="bf16", kernel="attn_fwd")
    (advice,) = found(attention=[one], on=on)
    assert advice.max_gain_s == pytest.approx(0.156, rel=1e-3)
    assert "4 calls at 22% of the limit" in advice.title
    assert "all in attn_fwd at 22% of the limit of compute" in advice.evidence
    assert f"1 x 2 x {length} x {length} x 64" in advice.evidence
    assert advice.arithmetic == "200.0 ms - 44.00 ms, the limit of these calls, = 156.0 ms"
    assert how in advice.how


@pytest.mark.parametrize(
    ("one", "gain_ms", "limit", "how"),
    [
        (row("convolution", 50, 0.02 * 50e-3 * H100.peak("bf16")), 49, "compute (989.4 TFLOP/s in bf16)", "benchmark"),
        (row("linear", 50, 0.1 * 50e-3 * H100.peak("bf16")), 45, "compute (989.4 TFLOP/s in bf16)", "max-autotune"),
        (row("linear", 50, 1e9, 0.2 * 50e-3 * 3.35e12), 40, "bandwidth (3.350 TB/s)", "max-autotune"),
        (row("elementwise", 50, 0.0, 0.05 * 50e-3 * 3.35e12), 47.5, "bandwidth (3.350 TB/s)", "torch.compile"),
    ],
)
def test_each_class_has_its_limit_and_its_cure(one, gain_ms, limit, how):
    (advice,) = found(one)
    assert advice.max_gain_s == pytest.approx(gain_ms / 1e3)
    assert f"of the limit of {limit} on 8x64, 64x64" in advice.evidence
    assert how in advice.how


def test_calls_of_one_operator_add_up_and_the_worst_is_named():
    peak = H100.peak("bf16")
    (advice,) = found(
        row("linear", 10, 0.1 * 10e-3 * peak, dims=[[1, 2]]),
        row("linear", 30, 0.4 * 30e-3 * peak, dims=[[3, 4]]),
        row("linear", 90, 0.6 * 90e-3 * peak, dims=[[5, 6]]),  # not slow
    )
    assert advice.max_gain_s == pytest.approx(27e-3)
    assert "20 calls of 10 us or more take 40.00 ms, 30.00 ms of it in the_kernel" in advice.evidence
    assert "on 3x4" in advice.evidence


@pytest.mark.parametrize(
    "one",
    [
        row("linear", 50),
        row("linear", 50, None, 1e6),
        row("elementwise", 50, None, None),
        row("communication", 50, 0.0, 1e6),
        row("linear", 0.099, 1e6, calls=10),  # 9.9 us a call
        row("linear", 50, 0.5 * 50e-3 * H100.peak("bf16")),
    ],
    ids=["no FLOPs", "unknown FLOPs", "unknown bytes", "communication", "short", "half of the limit"],
)
def test_what_has_no_limit_or_reaches_it_is_not_slow(one):
    assert found(one) == []


def test_attention_of_unknown_size_and_eager_attention_are_not_slow():
    unknown = attention(200 * MS, fused=True, query_len=0)
    unknown.flops = unknown.bytes = None
    assert found(attention=[unknown, attention(200 * MS, fused=False)]) == []


def test_without_a_known_device_nothing_is_slow():
    assert found(row("linear", 50, 1e6), on=None) == []
