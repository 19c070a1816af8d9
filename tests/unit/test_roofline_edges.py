"""The one roofline and the one choice of peak, on a machine of round numbers; types, plans and what a ring passes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from workload_made import op, tensor, workload

from frameroof import dtypes
from frameroof.estimate import estimate
from frameroof.hardware import Device, Node
from frameroof.passes.parallel import share_perfectly, with_plan
from frameroof.roofline import Limit, Roofline, bound_of, larger
from frameroof.workload.records import Stage

PEAKS = {"fp32": 4e12, "tf32": 8e12, "bf16": 16e12, "fp8": 32e12}


def machine(vector=2e12, **peaks):
    """1 TB/s; its peaks are those given, or `PEAKS`."""
    return Device(
        name="m", vendor="v", family="f", kind="accelerator", dense_flops=peaks or PEAKS, memory_bytes=10**9,
        bandwidth=1e12, source=("here",), date="2026-01", confidence="low", vector_peak=vector, link_bandwidth=1e11,
    )  # fmt: skip


# --------------------------------------------------------------------------------------- limits


def test_the_longest_of_three_times_is_the_limit():
    roofline = Roofline(machine())
    by_matrix = roofline.limit(flops=16e12, unit="bf16", vector_flops=1e12, bytes=0.25e12)
    assert (by_matrix.compute_s, by_matrix.memory_s, by_matrix.seconds, by_matrix.bound) == (1.0, 0.25, 1.0, "compute")
    by_vector = roofline.limit(flops=16e12, unit="bf16", vector_flops=6e12, bytes=2e12)
    assert (by_vector.compute_s, by_vector.memory_s, by_vector.seconds) == (3.0, 2.0, 3.0)
    by_memory = roofline.limit(flops=16e12, unit="bf16", bytes=2e12)
    assert (by_memory.seconds, by_memory.bound) == (2.0, "memory")
    over_link = roofline.limit(bytes=2e12, bandwidth=1e11)
    assert over_link.memory_s == 20.0


def test_a_tie_is_compute():
    assert (bound_of(1.0, 1.0), bound_of(1.0, 1.5), Limit(2.0, 2.0).bound) == ("compute", "memory", "compute")


def test_arrays_are_compared_one_by_one():
    found = Roofline(machine()).limit(flops=np.array([16e12, 64e12]), unit="bf16", bytes=np.array([2e12, 3e12]))
    assert (found.compute_s.tolist(), found.memory_s.tolist()) == ([1.0, 4.0], [2.0, 3.0])
    assert found.seconds.tolist() == [2.0, 4.0]
    assert larger(np.array([1.0, 5.0]), 3.0).tolist() == [3.0, 5.0]
    assert larger(3, np.array([1.0, 5.0])).tolist() == [3.0, 5.0]


def test_without_a_vector_rate_elementwise_arithmetic_is_free_and_that_is_said():
    roofline = Roofline(machine(vector=None))
    assert roofline.limit(vector_flops=1e15, bytes=1e12).compute_s == 0
    assert list(roofline.assumptions) == [
        "m states no fp32 rate outside of matrix units: elementwise arithmetic is free"
    ]
    assert list(Roofline(machine()).assumptions) == []
    assert roofline.inverse(["bf16", ""]) == ([1 / 16e12, 0.0], 0.0, 1e-12)
    assert Roofline(machine()).inverse([]) == ([], 0.5e-12, 1e-12)


@pytest.mark.parametrize(
    ("peaks", "unit", "peak", "said"),
    [
        ({}, "tf32", 8e12, 0),
        ({"fp32": 4e12, "bf16": 16e12}, "tf32", 4e12, 0),  # computed in fp32: no assumption
        ({"bf16": 16e12}, "tf32", 16e12, 1),
        ({"bf16": 16e12, "tf32": 8e12}, "fp32", 16e12, 1),
    ],
)
def test_counted_work_has_the_peak_that_stands_for_its_own(peaks, unit, peak, said):
    roofline = Roofline(machine(**peaks))
    assert (roofline.peak(unit), len(roofline.assumptions)) == (peak, said)


@pytest.mark.parametrize(
    ("peaks", "unit", "peak"),
    [
        ({"fp16": 16e12, "fp32": 4e12}, "bf16", 16e12),
        ({"bf16": 16e12, "int8": 32e12}, "fp8", 32e12),
        ({"bf16": 16e12, "fp32": 4e12}, "tf32", 4e12),  # the nearer one first
        ({"bf16": 16e12, "fp32": 4e12}, "fp8", 16e12),  # no near one: the largest is never too long
        ({"bf16": 16e12, "fp32": 4e12}, "strange", 16e12),
    ],
)
def test_work_that_ran_has_a_near_peak_or_the_largest(peaks, unit, peak):
    assert Roofline(machine(**peaks), ran=True).peak(unit) == peak


def test_counted_work_without_any_peak_is_refused():
    with pytest.raises(ValueError, match="m has no fp4 peak; it has: fp32, tf32, bf16, fp8"):
        Roofline(machine()).peak("fp4")
    assert Roofline(machine(), ran=True).peak("fp4") == 32e12


# --------------------------------------------------------------------------------------- types


def test_convolutions_of_fp32_are_computed_in_tf32_and_products_in_fp32():
    assert [dtypes.unit_of("fp32", kind) for kind in ("conv2d", "conv3d", "convolution", "linear", "attention")] == [
        "tf32", "tf32", "tf32", "fp32", "tf32x3",
    ]  # fmt: skip
    assert (dtypes.unit_of("bf16", "conv2d"), dtypes.unit_of(None, "linear")) == ("bf16", "bf16")
    wide = op("conv2d", (tensor("8", "fp32"),), (), n=4, k=2)
    assert (wide.compute_dtype, wide.unit) == ("fp32", "tf32")


def test_elements_take_whole_bytes():
    assert [dtypes.item_bytes(name) for name in ("fp4", "fp8", "bf16", "fp32", "complex128")] == [1, 1, 2, 4, 16]
    assert [dtypes.of_bytes(size) for size in (1, 2, 4, 8, 3)] == ["fp8", "bf16", "fp32", "bf16", "bf16"]


def test_narrow_types_come_before_wide_ones_and_equal_ones_are_alike():
    order = dtypes.ORDER
    assert order["fp4"] < order["fp8"] == order["int8"] < order["fp16"] == order["bf16"]
    assert order["bf16"] < order["tf32"] < order["fp32"] < order["fp64"]
    assert "int64" not in order


# --------------------------------------------------------------------------------------- plans


def test_a_share_is_exact_and_counts_stay_those_of_the_whole():
    read = op("copy", (tensor("3000", "int8"),))
    made = workload(Stage("a", (read,), repeat="2"))
    whole = estimate(made, Node(machine()))
    third = estimate(made, Node(machine(), 3))
    assert third.workload.stages[0].share == Fraction(1, 3)
    assert (whole.total.bytes, third.total.bytes) == (6000, 6000)
    assert (whole.total.limit_s, third.total.limit_s) == (pytest.approx(6e-9), pytest.approx(2e-9))
    cache = "m states no last-level cache: nothing is taken off for it"
    assert whole.assumptions == (cache,)
    assert third.assumptions == (cache, "3 devices share the work perfectly, without communication (an idealization)")


def test_a_share_of_a_loop_is_that_of_all_its_turns():
    made = workload(Stage("a", (op("copy", (tensor("n", "int8"),)),), let={"n": "100+i"}, loop=("i", "3"), repeat="2"))
    half = estimate(made, Node(machine(), 2)).total
    assert half.bytes == 2 * (100 + 101 + 102)
    assert half.limit_s == pytest.approx(303e-12)


def test_plans_are_for_one_number_of_devices_and_made_once():
    made = workload(Stage("a", ()))
    assert share_perfectly(made, 1) is made
    assert with_plan(made, 1) is made
    four = share_perfectly(made, 4)
    assert (four.devices, four.passes) == (4, ("perfect sharing",))
    assert with_plan(four, 4) is four
    for others in (2, 8):
        with pytest.raises(ValueError, match=f"the plan of hand is for 4 devices, and the machine has {others}"):
            with_plan(four, others)
    with pytest.raises(ValueError, match="hand has a plan already: 4 devices"):
        share_perfectly(four, 4)
    with pytest.raises(ValueError, match="at least 1 device, not 0"):
        share_perfectly(made, 0)


@pytest.mark.parametrize(
    ("name", "read", "written", "seconds"),
    [
        # bytes of the whole x 3/4, once around, or twice for an all-reduce, over 100 GB/s
        ("all_reduce", 4000, 4000, 2 * 3000 / 1e11),
        ("all_gather", 1000, 4000, 3000 / 1e11),
        ("reduce_scatter", 4000, 1000, 3000 / 1e11),
    ],
)
def test_a_collective_is_limited_by_what_a_ring_passes(name, read, written, seconds):
    sent = op("collective", (tensor(str(read), "int8"),), (tensor(str(written), "int8"),), name)
    planned = share_perfectly(workload(Stage("a", (sent,))), 4)
    found = estimate(planned, Node(machine(), 4)).total
    assert found.memory_s == pytest.approx(seconds / 4, rel=1e-12)  # the stage's share of each device
