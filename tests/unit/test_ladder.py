"""The ladder of bounds on a machine of round numbers: every rung by hand, and its order for any list of operations."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import isclose

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workload_made import op, tensor, workload

from frameroof.estimate import DEFAULT_UTILIZATION, RUNGS, Utilization, estimate
from frameroof.estimate.grid import estimate_grid
from frameroof.hardware import Device, Node
from frameroof.passes import share_perfectly
from frameroof.workload.expr import poly
from frameroof.workload.records import Stage


def machine(cache=0, count=1):
    """1 TB/s, 16 TFLOP/s in bf16, 2 TFLOP/s elsewhere, 100 GB/s to others; `cache` bytes."""
    device = Device(
        name="m", vendor="v", family="f", kind="accelerator", dense_flops={"bf16": 16e12}, memory_bytes=10**9,
        bandwidth=1e12, source=("here",), date="2026-01", confidence="low", vector_peak=2e12, link_bandwidth=1e11,
        cache_bytes=cache or None,
    )  # fmt: skip
    return Node(device, count)


def given_(size):
    return tensor(str(size), "int8", traffic="given")


def between(size):
    return tensor(str(size), "int8")


def chip(size):
    return tensor(str(size), "int8", traffic="chip")


def part(kind, reads, writes, region, flops=0, **attrs):
    """An operation of a region; a matmul of so many FLOPs in bf16."""
    dims = {"b": 1, "m": flops // 2, "n": 1, "k": 1} if kind == "matmul" else {}
    marked = tensor("0", "bf16", traffic="chip")  # the type decides the peak
    reads = (marked, *reads) if kind == "matmul" else reads
    return replace(op(kind, reads, writes, attrs=attrs, path=f"{kind}{region}", **dims), region=region)


def ps(made, cache=0, **asked):
    """Picoseconds of each rung: bytes are as many."""
    bounds = estimate(made, machine(cache), **asked).total.bounds
    return [round(bounds.at(rung) * 1e12, 6) for rung in RUNGS]


def stage(*ops, **more):
    return workload(Stage("s", tuple(ops), **more), n=1)


# ----------------------------------------------------------------------------------- by hand


PRODUCT = (
    part("matmul", (given_(1000), given_(500)), (chip(4000),), 1, flops=160_000),  # 10,000 ps
    part("elementwise", (chip(4000),), (chip(4000),), 1),  # 4,000 FLOPs: 2,000 ps
    part("elementwise", (chip(4000), between(4000)), (given_(4000),), 1),  # 2,000 ps
)


def test_a_product_with_its_epilogue_is_one_kernel():
    # in the region 1,000 + 500 + 4,000 + 4,000 bytes beside 10,000 ps of products and 4,000 of other arithmetic;
    # apart 10,000, then 4,000 + 4,000, then 4,000 + 4,000 + 4,000
    assert ps(stage(*PRODUCT)) == [5500, 10_000, 10_000, 30_000]
    found = estimate(stage(*PRODUCT), machine())
    assert [round(row.limit_s * 1e12) for row in found.total.ops] == [10_000, 0, 0]
    assert {row.bound for row in found.total.ops} == {"compute"}
    assert [row.bytes for row in found.total.ops] == [1500, 0, 8000]
    apart = estimate(stage(*PRODUCT), machine(), bound="unfused")
    assert [row.bytes for row in apart.total.ops] == [5500, 8000, 12_000]
    assert [round(row.limit_s * 1e12) for row in apart.total.ops] == [10_000, 8000, 12_000]


def test_a_region_of_three_reads_what_several_members_share_once():
    region = (
        part("reduction", (between(6000),), (chip(10),), 2),
        part("elementwise", (chip(6000), chip(10)), (chip(6000),), 2),
        part("elementwise", (chip(6000), between(300)), (between(6000),), 2),
    )
    # 6,000 in, 300 in, 6,000 out; 6,000 + 6,000 + 6,000 FLOPs are 9,000 ps
    assert ps(stage(*region)) == [0, 9000, 12_300, (6000 + 10) + (6000 + 10 + 6000) + (6000 + 300 + 6000)]
    found = estimate(stage(*region), machine()).total
    assert [round(row.limit_s * 1e12) for row in found.ops] == [6000, 0, 6300]


def test_between_regions_each_operand_costs_what_is_beyond_the_cache():
    made = stage(part("copy", (between(5000),), (between(3000),), 0), part("copy", (between(3000),), (), 0))
    assert ps(made, cache=3500)[2:] == [1500, 1500]
    assert ps(made, cache=2000)[2:] == [3000 + 1000 + 1000] * 2
    assert ps(made, cache=2000, cold=True)[2:] == [11_000] * 2
    assert ps(made)[2:] == [11_000] * 2
    two_of_one_size = stage(part("copy", (between(3000), between(3000), given_(100)), (), 0))
    assert ps(two_of_one_size, cache=2000)[2:] == [1000 + 1000] * 2


def test_of_inputs_and_weights_the_cache_is_taken_off_once_a_run():
    two = (part("copy", (given_(5000),), (), 0), part("copy", (given_(2000),), (given_(1000),), 0))
    assert ps(stage(*two), cache=1500) == [6500] * 4
    assert ps(stage(*two, repeat="3"), cache=1500) == [3 * 6500] * 4  # nothing stays from run to run
    assert ps(stage(*two), cache=10_000) == [0] * 4


def test_it_is_taken_off_only_where_that_shortens_a_region():
    # the product needs 4,000 ps beside 5,000 bytes: 1,000 of them may go; of the copy all 2,000
    made = stage(part("matmul", (given_(5000),), (), 0, flops=64_000), part("copy", (given_(2000),), (), 0))
    assert ps(made, cache=2500) == [4500, 4500, 4500, 4500]
    assert ps(made, cache=6000) == [1000, 4000, 4000, 4000]
    found = estimate(made, machine(6000)).total
    assert [round(row.limit_s * 1e12) for row in found.ops] == [4000, 0]
    assert [round(row.limit_s * 1e12, 3) for row in estimate(made, machine(2400)).total.ops] == [
        5000 - 800, 2000 - 1600,
    ]  # 1,000 and 2,000 of room share 2,400  # fmt: skip


def test_what_the_cache_takes_off_down_to_the_compute_is_bound_by_compute_despite_rounding():
    """Matrix work of as many odd lengths; the bytes beside it take longer, and the cache takes more than that off."""
    ops = [part("matmul", (given_(31 * n),), (), 0, flops=2 * n * 113) for n in range(1, 60)]
    found = estimate(stage(*ops), machine(10**6)).total
    assert {row.bound for row in found.ops} == {"compute"}
    assert {row.bound for row in estimate(stage(*ops), machine()).total.ops} == {"memory"}


def test_a_weight_read_again_passes_between_regions():
    again = tensor("5000", "int8", weight=True, traffic="again")
    first = tensor("5000", "int8", weight=True)
    made = stage(part("copy", (first,), (), 0), part("copy", (again,), (), 0))
    assert ps(made, cache=1000) == [4000, 4000, 8000, 8000]


def batched(weights=5000):
    """Of an item 1,000 bytes of input, 2,000 between two regions and 1,000 handed back; so many of weights."""
    ops = (
        part("copy", (given_("1000*batch"), given_(weights)), (between("2000*batch"),), 0),
        part("copy", (between("2000*batch"),), (given_("1000*batch"),), 0),
    )
    return workload(Stage("s", ops), batch=1)


@pytest.mark.parametrize("weights", [0, 300, 5000])
@pytest.mark.parametrize("cache", [0, 700, 1500, 10_000])
def test_no_batch_takes_longer_than_its_items_one_after_another(cache, weights):
    made = batched(weights)
    one, two, six = (ps(made, cache, sizes={"batch": n}) for n in (1, 2, 6))
    assert all(more <= 2 * less for less, more in zip(one, two, strict=True))
    assert all(more <= 3 * less for less, more in zip(two, six, strict=True))
    grid = estimate_grid(made, [machine(cache)], {"batch": [1, 2, 6]})
    assert grid.limit_s[0] * 1e12 == pytest.approx([one[2], two[2], six[2]])


def test_every_item_of_a_batch_has_the_cache():
    # three items: 3,000 + 5,000 + 3,000 bytes of which 3 x 700 are not moved; twice 6,000 between, of which as many
    assert ps(batched(), 700, sizes={"batch": 3})[2] == 11_000 - 2100 + 2 * (6000 - 2100)


def test_what_nobody_needs_costs_nothing_but_where_all_is_run():
    idle = part("matmul", (given_(700),), (between(300),), 0, flops=160_000, unused=True)
    alone, beside = stage(*PRODUCT), stage(*PRODUCT, idle)
    assert ps(beside)[:3] == ps(alone)[:3]
    assert ps(beside)[3] == ps(alone)[3] + 10_000
    fused, apart = (estimate(beside, machine(), bound=b).total.ops[-1] for b in ("fused", "unfused"))
    assert (fused.bytes, fused.limit_s, fused.expected_s, apart.bytes) == (0, 0, 0, 1000)


def test_layers_that_were_folded_are_as_many_regions():
    thirty = tuple(replace(row, count=poly("30")) for row in PRODUCT)
    assert ps(stage(*thirty))[1:] == [30 * 10_000, 30 * 10_000, 30 * 30_000]
    # the inputs of all of them: 30 x 5,500 bytes, less the cache once
    assert ps(stage(*thirty), cache=500)[0] == 30 * 5500 - 500


def test_sizes_that_are_sums_over_calls_have_the_cache_taken_off_each():
    summed = replace(part("copy", (between(9000),), (), 0, total=True), count=poly("4"))
    assert ps(stage(summed), cache=2000)[2] == 1000
    assert ps(stage(summed), cache=2500)[2] == 0

    grid = [estimate_grid(stage(summed), [machine(cache)], {}).limit_s[0, 0] for cache in (2000, 2500)]
    assert grid == pytest.approx([1e-9, 0.0])


@pytest.mark.parametrize("devices", [2, 4])
def test_each_device_has_its_own_cache_and_moves_its_share(devices):
    made = stage(part("copy", (given_(4000),), (between(8000),), 0))
    found = estimate(made, machine(500, devices)).total.bounds
    moved = max(0, 8000 / devices - 500) + max(0, 4000 / devices - 500)
    assert found.fused_s == pytest.approx(moved / 1e12)
    assert found.compulsory_s == pytest.approx((4000 / devices - 500) / 1e12)


def test_a_loop_is_the_sum_of_its_turns_each_with_a_cache():
    made = workload(Stage("s", (part("copy", (tensor("k", "int8", traffic="given"), tensor("2*k", "int8")), (), 0),),
                          {"k": "1000*i+n"}, repeat="2", loop=("i", "5")), n=500)  # fmt: skip
    turns = [500, 1500, 2500, 3500, 4500]
    fused = sum(max(0, 2 * k - 2000) + max(0, k - 2000) for k in turns)
    assert ps(made, cache=2000) == [2 * (500 + 1500 + 2500)] * 2 + [2 * fused] * 2


def test_what_devices_send_each_other_has_a_link_and_no_cache():
    sent = op("collective", (between(4000),), (between(4000),), "all_reduce")
    made = share_perfectly(workload(Stage("s", (sent, part("copy", (given_(4000),), (), 0)))), 4)
    found = estimate(made, machine(10_000, 4)).total.bounds
    seconds = 2 * 4000 * 3 / 4 / 1e11 / 4  # what a ring passes, of one device's share
    assert (found.light_s, found.fused_s, found.unfused_s) == (0, pytest.approx(seconds), pytest.approx(seconds))


def test_the_rung_that_is_asked_for_is_the_limit():
    for at, rung in enumerate(RUNGS):
        found = estimate(stage(*PRODUCT), machine(), expected=Utilization(0.5), bound=rung)
        assert found.total.limit_s == found.stages[0].limit_s == found.total.bounds.at(rung)
        assert round(found.total.limit_s * 1e12) == [5500, 10_000, 10_000, 30_000][at]
        assert found.total.expected_s == pytest.approx(2 * (30_000 if rung == "unfused" else 10_000) / 1e12)
        assert found.total.bound == ("compute", "memory")[rung == "compulsory"] or rung == "unfused"
    with pytest.raises(ValueError, match="a bound is compulsory, light, fused or unfused, not 'best'"):
        estimate(stage(*PRODUCT), machine(), bound="best")


def test_a_cache_does_not_change_what_is_expected_and_no_row_beats_its_limit():
    # with a cold cache the region is bound by 9,000 bytes of the second row, with a warm one by the product
    region = (part("matmul", (), (chip(10),), 1, flops=64_000), part("elementwise", (chip(10), between(9000)), (), 1))
    warm, cold = (estimate(stage(*region), machine(8000), expected=Utilization(1.0), cold=cold) for cold in (0, 1))
    assert [round(row.limit_s * 1e12) for row in warm.total.ops] == [4000, 0]
    assert [round(row.expected_s * 1e12) for row in warm.total.ops] == [4000, 5000]
    assert warm.total.expected_s == pytest.approx(cold.total.expected_s)


# ------------------------------------------------------------------------------- for any list


SIZES = st.integers(0, 40).map(lambda n: 100 * n)
MARKS = st.sampled_from(["", "chip", "given", "again"])


@st.composite
def operations(draw):
    kind = draw(st.sampled_from(["matmul", "elementwise", "copy", "reduction"]))
    operands = [tensor(draw(st.sampled_from([str(draw(SIZES)), "n*50", "n*n"])), "int8", traffic=draw(MARKS),
                       weight=draw(st.booleans())) for _ in range(draw(st.integers(1, 4)))]  # fmt: skip
    at = draw(st.integers(1, len(operands)))
    made = part(kind, tuple(operands[:at]), tuple(operands[at:]), draw(st.integers(0, 3)), draw(SIZES) * 16)
    attrs = {"unused": True} if draw(st.integers(0, 5)) == 0 else {}
    if draw(st.integers(0, 5)) == 0:
        attrs["total"] = True
    return replace(made, attrs=attrs, count=poly(draw(st.sampled_from(["1", "2", "n", "3*n"]))))


@st.composite
def stages(draw):
    loop = draw(st.sampled_from([None, ("i", "n"), ("i", "4")]))
    let = {"n": "m+i" if loop and draw(st.booleans()) else "m"}
    ops = tuple(draw(st.lists(operations(), min_size=1, max_size=6)))
    share = draw(st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 3)]))
    loop = ("i", loop[1].replace("n", "m")) if loop else None
    return Stage("s", ops, let, repeat=draw(st.sampled_from(["1", "3", "m"])), loop=loop, share=share)


def by_pool(rows, cache, apart):
    """A rung that is a sum over regions, the slow way: the cache is spent where it shortens, region by region."""
    regions = {}
    for at, row in enumerate(rows):
        if apart or not row.op.unused:
            regions.setdefault(("row", at) if apart or not row.op.region else row.op.region, []).append(row)
    total, left = 0.0, cache
    for members in regions.values():
        flops = sum(r.op.executed_flops()(r.env) * r.times for r in members if r.op.kind == "matmul")
        other = sum(r.op.vector_flops()(r.env) * r.times for r in members)
        compute = max(flops / 16, other / 2)
        moved, pool = 0.0, 0.0
        for row in members:
            for each in (*row.op.reads, *row.op.writes):
                size = each.bits(row.env) / 8
                if each.given:
                    pool += size * row.times
                elif apart or each.traffic != "chip":
                    moved += max(0, size - cache * row.calls) * row.times
        spent = min(left, pool, max(0.0, moved + pool - compute))
        left -= spent
        total += max(compute, moved + pool - spent)
    return total


class Seen:
    """One row at one turn."""

    def __init__(self, op, env):
        self.op, self.env = op, env
        self.times = op.times(env)
        self.calls = op.count(env) if op.attrs.get("total") else 1


@settings(max_examples=150, deadline=None)
@given(stages(), st.integers(1, 6), st.sampled_from([0, 700, 3000, 10**6]))
def test_each_rung_is_at_most_the_next_and_what_a_slow_sum_says(made, m, cache):
    whole = replace(workload(made, m=m), plan="as it says")
    found = estimate(whole, machine(cache), {"m": m}).total
    bounds = [found.bounds.at(rung) for rung in RUNGS]
    assert bounds == sorted(bounds)
    turns = range(4 if made.loop == ("i", "4") else m) if made.loop else range(1)
    expected = [0.0, 0.0]
    for turn in turns:
        env = made.bind({"m": m, "i": turn})
        rows = [Seen(one, env) for one in made.ops]
        for at, apart in enumerate((False, True)):
            expected[at] += by_pool(rows, cache / float(made.share), apart)
    repeat = {"1": 1, "3": 3, "m": m}[made.repeat]
    for ours, theirs in zip(bounds[2:], expected, strict=True):
        assert isclose(ours * 1e12, theirs * repeat * float(made.share), rel_tol=1e-9, abs_tol=1e-6)
    for bound in ("fused", "unfused"):
        sums = estimate(whole, machine(cache), {"m": m}, DEFAULT_UTILIZATION, bound=bound).total
        assert isclose(sum(row.limit_s for row in sums.ops), sums.limit_s, rel_tol=1e-9, abs_tol=1e-18)
        assert sums.expected_s >= sums.limit_s * (1 - 1e-9)
        assert all(row.expected_s >= row.limit_s * (1 - 1e-9) for row in sums.ops)
    assert found.expected_s >= found.limit_s * (1 - 1e-9)  # of measured kernels, in fused regions
    assert all(row.expected_s >= row.limit_s * (1 - 1e-9) for row in found.ops)


def test_a_region_of_two_shares_that_changes_sides_in_a_loop_is_not_taken_from_its_ends():
    grows = tensor("k", "int8")
    region = (part("matmul", (), (chip(10),), 1, flops=32_000), part("elementwise", (chip(10), grows), (chip(1),), 1))
    made = workload(Stage("s", region, {"k": "500*i+n"}, loop=("i", "9")), n=0)
    nodes = [machine(), machine(10**6)]  # what a cache holds changes the limit and not what is expected
    grid = estimate_grid(made, nodes, {"n": [0]}, Utilization(1.0, {"elementwise": 0.5}))
    turns = [500 * turn for turn in range(9)]
    assert grid.limit_s.ravel() * 1e12 == pytest.approx([sum(max(2000, k) for k in turns), 9 * 2000])
    assert grid.expected_s.ravel() * 1e12 == pytest.approx([sum(2000 if k <= 2000 else 2 * k for k in turns)] * 2)


MODELS = st.sampled_from([Utilization(0.5), Utilization(0.5, {"matmul": 0.25, "copy": 0.9})])


@settings(max_examples=100, deadline=None)
@given(stages(), st.sampled_from(RUNGS), st.sampled_from([0, 700, 3000, 10**6]), st.booleans(), MODELS)
def test_a_grid_is_the_estimate_at_every_point_of_every_rung(made, rung, cache, cold, model):
    whole, nodes = replace(workload(made, m=1), plan="as it says"), [machine(cache), machine()]
    sizes = np.arange(1, 7)
    grid = estimate_grid(whole, nodes, {"m": sizes}, model, bound=rung, cold=cold)
    for row, node in enumerate(nodes):
        for at, m in enumerate(sizes):
            one = estimate(whole, node, {"m": int(m)}, model, bound=rung, cold=cold).total
            assert isclose(grid.limit_s[row, at], one.limit_s, rel_tol=1e-9, abs_tol=1e-18)
            assert isclose(grid.expected_s[row, at], one.expected_s, rel_tol=1e-9, abs_tol=1e-18)
