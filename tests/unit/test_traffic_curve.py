"""What moves bytes: by hand with round numbers, and beside rows that were measured."""

from __future__ import annotations

import statistics

import msgspec
import numpy as np
import pytest
from kernel_rows import FP32, TO_FP8

from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.general import general
from frameroof.estimate.expected.traffic import widest
from frameroof.hardware import device
from frameroof.workload.expr import poly
from frameroof.workload.records import Op, Tensor

SHIPPED = general().traffic
CHIP = chip_of(device("A100-SXM4-80GB"))  # 2,039 GB/s, 40 MiB of cache, 108 multiprocessors at 1.41 GHz
HAND = msgspec.structs.replace(
    SHIPPED, compiled=0.5, eager=0.5, issued=1e9, norms=1, copies=0.25, moments=3, launch_us=2
)
"""Half of the bandwidth, and nothing else that bounds."""


def op(kind, dtype="bf16", name=""):
    tensor = Tensor((poly("n"),), dtype)
    return Op("x", kind, name or kind, (tensor,), (tensor,))


def test_a_fused_kernel_takes_its_bytes_and_an_eager_one_a_launch_beside_them():
    moved = 2.039e9  # 1 ms at the bandwidth
    assert HAND.seconds(CHIP, moved, op("elementwise"), fused=True) == pytest.approx(2e-3)
    assert HAND.seconds(CHIP, moved, op("elementwise"), fused=False) == pytest.approx(2e-6 + 2e-3, rel=1e-6)


def test_what_fits_the_cache_is_still_there():
    small, cache = CHIP.cache_bytes / 2, CHIP.cache_bytes
    assert HAND.seconds(CHIP, small, op("elementwise"), fused=False) == pytest.approx(2e-6, rel=1e-3)
    over = HAND.seconds(CHIP, 1.5 * cache, op("elementwise"), fused=False)
    assert over == pytest.approx(2e-6 + cache / (0.5 * CHIP.bandwidth), rel=1e-3)  # twice what does not fit


def test_elements_are_issued_at_a_rate_of_multiprocessors_and_clock():
    slow = msgspec.structs.replace(HAND, issued=2.0, launch_us=0)
    moved = 2 * 108 * 1.41e9 / 1e3  # 1 ms of 2 bytes a clock
    assert slow.seconds(CHIP, moved, op("elementwise"), fused=False) == pytest.approx(1e-3, rel=0.05)
    assert slow.seconds(CHIP, 1e9, op("copy"), fused=False) == pytest.approx(4 * 1e9 / moved * 1e-3, rel=0.01)
    wide = slow.seconds(CHIP, 1e9, op("elementwise", "fp32"), fused=False)
    assert wide < slow.seconds(CHIP, 1e9, op("elementwise"), fused=False) * 0.6  # as many elements, half the time


def test_a_group_norm_passes_its_input_for_its_moments():
    plain, group = (HAND.seconds(CHIP, 1e10, op("norm", name=n), fused=False) for n in ("layer_norm", "group_norm"))
    assert group == pytest.approx(3 * plain, rel=0.02)


def test_a_norm_reads_long_rows_again_where_they_have_left_the_cache():
    cache = CHIP.cache_bytes
    in_work = 108 * 16  # rows
    short, half, far = (
        HAND.seconds(CHIP, 1e10, op("norm"), fused=False, row_bytes=share * cache / in_work)
        for share in (0.3, 0.525, 2)
    )
    assert half / short == pytest.approx(1.25, rel=0.01)
    assert far / short == pytest.approx(1.5, rel=0.01)


def test_the_widest_elements_count_without_weights():
    half, weight = Tensor((poly("n"),), "bf16"), Tensor((poly("n"),), "fp32", weight=True)
    assert widest(Op("x", "norm", "norm", (half, weight), (half,))) == 16
    assert widest(op("elementwise", "fp32")) == 32


def test_arrays_are_as_numbers():
    moved = np.array([1e5, 5e7, 1e10])
    found = SHIPPED.seconds(CHIP, moved, op("norm"), fused=False)
    assert found.tolist() == pytest.approx([SHIPPED.seconds(CHIP, m, op("norm"), fused=False) for m in moved.tolist()])


def test_measured_fused_kernels_are_met():
    errors = []
    for name, rows, columns, took_ms in TO_FP8:
        found = SHIPPED.seconds(chip_of(device(name)), 3.0 * rows * columns, op("elementwise"), fused=True)
        errors.append(abs(found / (took_ms / 1e3) - 1))
    assert statistics.median(errors) < 0.08
    assert max(errors) < 0.12


def test_measured_eager_kernels_are_met():
    errors = []
    for name, _, passes, rows, columns, took_ms in FP32:
        moved = 4.0 * passes * rows * columns
        found = SHIPPED.seconds(chip_of(device(name)), moved, op("elementwise", "fp32"), fused=False)
        errors.append(abs(found / (took_ms / 1e3) - 1))
    assert statistics.median(errors) < 0.1
    assert max(errors) < 0.16
