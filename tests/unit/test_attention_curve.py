"""Curves of attention kernels by hand-counted waves, and beside rows that were measured."""

from __future__ import annotations

import statistics

import msgspec
import numpy as np
import pytest
from kernel_rows import ATTENTION

from frameroof.estimate.expected.attention import Attention, kernel_of, padded, too_wide
from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.curves import shipped
from frameroof.estimate.expected.general import curves_of
from frameroof.hardware import device

CHIP = chip_of(device("A100"))  # 108 multiprocessors, 312 TFLOP/s
PEAK = CHIP.peak("bf16")
HALF = Attention(launch_us=0, matrix=1, exponential=0, shares={"64": 0.5, "128": 0.5}, source="made", date="2026-12-01")


def took(curve, b, heads, q, kv, d=64, pairs=None, chip=CHIP):
    sizes = {"b": b, "heads": heads, "q": q, "kv": kv, "d": d, "dv": d}
    return curve.seconds(chip, "bf16", sizes, b * heads * q * kv if pairs is None else pairs)


def test_whole_waves_of_blocks_run_at_the_share():
    flops = 4 * 108 * 128 * 4096 * 64  # 108 heads of one block of queries
    assert took(HALF, 1, 108, 128, 4096) == pytest.approx(flops / (0.5 * PEAK))
    assert took(HALF, 1, 109, 128, 4096) == pytest.approx(2 * flops / (0.5 * PEAK))  # one block more, a wave more
    assert took(HALF, 1, 108, 129, 4096) == pytest.approx(2 * flops / (0.5 * PEAK), rel=0.01)  # pairs of 129 queries
    assert took(HALF, 100, 108, 128, 4096) == pytest.approx(100.5 * flops / (0.5 * PEAK))  # waves run into each other


def test_widths_are_padded_and_launches_and_ends_of_blocks_cost():
    assert [padded(d) for d in (40, 64, 72, 80, 128, 160, 256, 512)] == [64, 64, 96, 96, 128, 192, 256, 512]
    assert took(HALF, 1, 108, 128, 4096, d=40) == took(HALF, 1, 108, 128, 4096, d=64)
    ends = msgspec.structs.replace(HALF, keys=4096.0, launch_us=7.0)
    assert took(ends, 1, 108, 128, 4096) == pytest.approx(7e-6 + 2 * took(HALF, 1, 108, 128, 4096))


def test_causal_calls_take_what_is_computed_and_their_diagonal():
    full, half = took(HALF, 1, 108, 4096, 4096), took(HALF, 1, 108, 4096, 4096, pairs=108 * 4096 * 4097 / 2)
    assert half == pytest.approx(full / 2, rel=1e-3)
    diagonal = msgspec.structs.replace(HALF, causal_keys=2048.5)
    assert took(diagonal, 1, 108, 4096, 4096, pairs=108 * 4096 * 4097 / 2) == pytest.approx(2 * half)
    assert took(diagonal, 1, 108, 4096, 4096) == full


def test_one_query_splits_its_keys_over_all_multiprocessors():
    assert took(HALF, 1, 27, 1, 65536) == pytest.approx(took(HALF, 1, 108, 1, 65536) / 4)  # a quarter of a wave
    assert took(HALF, 1, 27, 128, 65536) == took(HALF, 1, 108, 128, 65536)  # a block each: the rest is idle


def test_softmax_units_bound_where_matrix_units_are_fast():
    curve = msgspec.structs.replace(HALF, shares={}, exponential=16.0)
    special = 108 * 128 * 4096 * 16 / (16 * CHIP.ticks)  # one clock of a multiprocessor for each score
    matrix = 4 * 108 * 128 * 4096 * 64 / PEAK
    assert took(curve, 1, 108, 128, 4096) == pytest.approx(special + matrix)


def test_arrays_are_as_numbers():
    q = np.array([1, 77, 1024, 4608])
    curve = curves_of(device("H100")).attention["fa3"]
    found = took(curve, 2, 24, q, q, d=128, chip=chip_of(device("H100")))
    alone = [took(curve, 2, 24, n, n, d=128, chip=chip_of(device("H100"))) for n in q.tolist()]
    assert found.tolist() == pytest.approx(alone)


@pytest.mark.parametrize("causal", [False, True])
def test_measured_calls_are_met(causal):
    errors = []
    for name, kernel, b, length, heads, d, is_causal, took_ms in ATTENTION:
        if is_causal == causal:
            on = device(name)
            pairs = b * heads * (length * (length + 1) / 2 if causal else length**2)
            found = took(curves_of(on).attention[kernel], b, heads, length, length, d, pairs, chip_of(on))
            errors.append(abs(found / (took_ms / 1e3) - 1))
    assert len(errors) >= 20
    assert statistics.median(errors) < 0.05
    assert sorted(errors)[int(0.9 * len(errors))] < 0.25


@pytest.mark.parametrize(
    ("name", "kernel"),
    [("H100-SXM5", "fa3"), ("H200", "fa3"), ("B200", "fa4"), ("B300", "fa4"), ("L40S", "fa2"), ("RTX PRO 6000", "fa2")],
)
def test_what_was_left_out_is_met_within_eight_percent(name, kernel):
    own = shipped(device(name).name)
    assert own is not None
    assert own.attention[kernel].error_median < 0.08
    assert own.attention[kernel].rows > 1000


def test_flash_attention_3_is_faster_than_2_on_hopper_by_what_is_published():
    """arXiv 2407.08608, abstract: 1.5 to 2.0 times as fast as FlashAttention-2 in fp16."""
    h100 = device("H100-SXM5")
    own = curves_of(h100).attention
    two, three = (took(own[k], 2, 16, 16384, 16384, 128, chip=chip_of(h100)) for k in ("fa2", "fa3"))
    assert 1.4 < two / three < 2.0


def test_heads_that_flash_attention_is_not_made_for():
    assert not too_wide(256)
    assert too_wide(512)
    assert too_wide(np.array([512, 512]))


def test_kernels_that_a_device_has_not_are_refused():
    assert kernel_of(chip_of(device("B200")), "best") == "fa4"
    with pytest.raises(ValueError, match="no attention kernel fa3"):
        kernel_of(CHIP, "fa3")
