"""Limits, memory, cost, passes and targets where a rule turns: ties, nothing, one more, the order of two choices."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
from workload_made import op, tensor, workload

from frameroof.estimate import Utilization, cost_of, memory_of, parse_utilization, similarity_matrix_bytes
from frameroof.estimate import estimate as warm
from frameroof.estimate.cost import devices_for
from frameroof.hardware import Node, Price, parse_node
from frameroof.passes import materialize_attention, set_precision
from frameroof.passes.precision import parse_precision
from frameroof.study.predict import predict
from frameroof.study.target import reach
from frameroof.workload.expr import Poly, poly
from frameroof.workload.records import Held, Stage

H100 = parse_node("H100")
PEAK, BANDWIDTH, VECTOR = 989.4e12, 3.35e12, 66.9e12
estimate = partial(warm, cold=True)  # what a cache takes off: test_ladder


def attention(q="n", kv="n", d=256, causal=False, dtype="bf16", mask=()):
    qkv = (tensor(f"2,8,{q},{d}", dtype), *(tensor(f"2,8,{kv},{d}", dtype),) * 2, *mask)
    dims = {"b": 2, "heads": 8, "kv_heads": 8, "q": q, "kv": kv, "d": d, "dv": d}
    return op("attention", qkv, (tensor(f"2,8,{q},{d}", dtype),), "sdpa", {"causal": causal}, "attn", **dims)


def fc(weight="bf16", path="fc"):
    """8 rows of 64 through 64 x 32 weights."""
    operands = tensor("8,64"), tensor("64,32", weight, weight=True)
    return op("linear", operands, (tensor("8,32"),), path=path, b=1, m=8, n=32, k=64)


# --------------------------------------------------------------------------------------- limits


def test_a_size_that_a_prediction_makes_too_large_is_a_sentence():
    """Also where a workload was read at sizes that are fine, and keeps its formulas."""
    rows = "*".join("n" * 8)
    x = tensor(f"{rows},1")
    made = workload(Stage("s", (op("linear", [x], [x], b=1, m=rows, n=1, k=1),)), n=1)
    assert predict(made, H100).estimate.total.flops == 2
    with pytest.raises(ValueError, match="a size grows beyond any use"):
        predict(made, H100, sizes={"n": 10**9})


def test_causal_attention_is_limited_by_its_triangle_not_by_its_square():
    made = workload(Stage("all", (attention(causal=True),)), n=4096)
    (row,) = estimate(made, H100).total.ops
    pairs = 4096 * 4097 // 2
    assert row.flops == 4 * 16 * 4096**2 * 256
    assert row.compute_s == pytest.approx(4 * 16 * pairs * 256 / PEAK, rel=1e-12)
    assert row.limit_s == row.compute_s  # of memory it needs 40 us, of vector units 20 us


def test_arithmetic_outside_of_matrix_units_limits_where_it_takes_longer():
    # each score costs 4 x 4 FLOPs at the matrix peak and 5 at the vector peak, which is slower by 14.8
    made = workload(Stage("all", (attention(d=4),)), n=4096)
    (row,) = estimate(made, H100).total.ops
    assert row.compute_s == pytest.approx(5 * 16 * 4096**2 / VECTOR, rel=1e-12)
    assert 4 * 4 / PEAK < 5 / VECTOR


def test_half_bytes_round_up_once_over_all_runs():
    # 3 elements of 4 bits and one of 16 are 28 bits; three runs of 28 bits are 10.5 bytes
    three = op("copy", (tensor("3", "fp4"),), (tensor("1"),))
    once, thrice = (estimate(workload(Stage("a", (three,), repeat=repeat)), H100).total.bytes for repeat in "13")
    assert (once, thrice) == (4, 11)
    loop = estimate(workload(Stage("a", (three,), loop=("i", "5"))), H100).total
    assert loop.bytes == 18  # 140 bits
    assert loop.memory_s == pytest.approx(140 / 8 / BANDWIDTH, rel=1e-12)


def test_a_tie_of_compute_and_memory_is_compute():
    empty = estimate(workload(Stage("a", (op("copy"),))), H100)
    assert (empty.total.ops[0].bound, empty.total.bound, empty.stages[0].intensity) == ("compute", "compute", 0.0)


def test_a_stage_that_never_runs_has_no_rows_and_less_than_never_is_refused():
    made = workload(Stage("a", (fc(),), repeat="runs"), runs=0)
    (none,) = estimate(made, H100).stages
    assert (none.repeat, none.ops, none.limit_s) == (0, (), 0.0)
    with pytest.raises(ValueError, match=r"^stage a would run -1 times$"):
        estimate(workload(Stage("a", (fc(),), repeat="runs-1"), runs=0), H100)
    with pytest.raises(ValueError, match=r"^stage a would loop -1 times; at most 1,000,000$"):
        estimate(workload(Stage("a", (fc(),), loop=("i", "runs-1")), runs=0), H100)
    with pytest.raises(ValueError, match=r"^stage a would loop 1,000,001 times; at most 1,000,000$"):
        estimate(workload(Stage("a", (fc(),), loop=("i", "1000001"))), H100)


def test_counts_are_multiplied_by_calls_turns_and_repeats():
    called = replace(fc(), count=poly("5"))
    (stage,) = estimate(workload(Stage("a", (called,), repeat="3", loop=("i", "7"))), H100).stages
    (row,) = stage.ops
    assert (stage.repeat, row.count, row.flops) == (21, 105, 105 * 2 * 8 * 32 * 64)
    assert row.limit_s == pytest.approx(105 * 2 * (8 * 64 + 64 * 32 + 8 * 32) / BANDWIDTH, rel=1e-12)
    (row,) = estimate(workload(Stage("a", (called,), repeat="3")), H100).total.ops
    assert (row.count, row.flops) == (15, 15 * 2 * 8 * 32 * 64)
    summed = replace(called, attrs={"total": True})  # its sizes are sums over its calls already
    (row,) = estimate(workload(Stage("a", (summed,))), H100).total.ops
    assert (row.count, row.flops) == (5, 2 * 8 * 32 * 64)


def test_a_loop_whose_calls_and_sizes_both_change_is_the_sum_of_their_products():
    calls = replace(fc(), count=poly("i+1"), reads=(tensor("i"),), writes=(), kind="copy", dims={})
    total = estimate(workload(Stage("a", (calls,), repeat="2", loop=("i", "5"))), H100).total
    assert total.bytes == 2 * sum((i + 1) * 2 * i for i in range(5))
    assert total.ops[0].count == 2 * (1 + 2 + 3 + 4 + 5)


def test_the_sum_over_a_loop_does_not_overflow():
    # 2^61, 2^62 and 3 x 2^61 FLOPs: each fits into 64 bits, their sum does not
    wide = op("matmul", b=1, m=2**30, n=2**30, k="1+i")
    total = estimate(workload(Stage("a", (wide,), loop=("i", "3"))), H100).total
    assert total.flops == 6 * 2**61


def test_fp32_has_its_own_peak_where_a_device_states_one_and_that_of_bf16_where_not():
    wide = op("linear", (tensor("8,64", "fp32"),) * 2, (), b=1, m=8, n=32, k=64)
    made = workload(Stage("a", (wide,)))
    known = estimate(made, H100)
    assert known.total.compute_s == pytest.approx(2 * 8 * 32 * 64 / 66.9e12, rel=1e-12)
    assert not any("fp32 matrix peak" in text for text in known.assumptions)
    tpu = parse_node("TPU v5e")
    assert "fp32" not in tpu.device.dense_flops
    replaced = estimate(made, tpu)
    assert replaced.total.compute_s == pytest.approx(2 * 8 * 32 * 64 / tpu.device.peak("bf16"), rel=1e-12)
    assert any("no fp32 matrix peak" in text for text in replaced.assumptions)


def test_what_is_assumed_is_said_only_where_it_is():
    made = workload(Stage("a", (attention(),)), n=4)
    assert estimate(made, H100).assumptions == ()
    (two,) = estimate(made, parse_node("2xH100")).assumptions
    assert two.startswith("2 devices share the work perfectly")


# --------------------------------------------------------------------------------------- memory


def held(size, cache="0", **stage):
    return Stage(stage.pop("name", "a"), (), held=(Held(0, poly(size), Poly()),), cache=poly(cache), **stage)


def test_the_largest_stage_sets_the_peak_wherever_it_stands():
    large, small = held("100", "30", name="large"), held("40", "20", name="small")
    for stages in ((large, small), (small, large)):
        found = memory_of(workload(*stages), H100, {})
        assert (found.peak_stage, found.activation_bytes, found.cache_bytes) == ("large", 140, 60)
    tie = memory_of(workload(large, held("100", name="second")), H100, {})
    assert (tie.peak_stage, tie.cache_bytes) == ("large", 60)
    assert memory_of(workload(), H100, {}).peak_stage == ""


def test_a_loop_without_turns_holds_nothing_and_one_with_turns_its_largest():
    made = workload(held("10+n*i-2*i*i", "3+i", loop=("i", "turns")), n=8, turns=0)
    assert memory_of(made, H100, {"n": 8, "turns": 0}).peak_bytes == 0
    # 10, 16, 18, 16, 10: the largest is the third; the cache is longest in the fifth
    found = memory_of(made, H100, {"n": 8, "turns": 5})
    assert (found.peak_bytes, found.cache_bytes) == (2 * 18, 2 * 7)


def test_candidates_of_types_of_their_own_add_their_bytes():
    stage = Stage("a", (), held=(Held(0, poly("3"), poly("7")), Held(1, poly("6"), poly("0"))), dtype="fp4")
    assert memory_of(workload(stage), H100, {}).activation_bytes == 3 * 4 // 8 + 7
    assert memory_of(workload(replace(stage, dtype="")), H100, {}).activation_bytes == 3 * 2 + 7


def test_weights_round_up_to_whole_bytes_and_stages_of_one_name_share_the_largest():
    one = Stage("a", (), weights={"fp4": 3, "bf16": 5}, weights_name="w")
    two = Stage("b", (), weights={"bf16": 9}, weights_name="w")
    assert memory_of(workload(one), H100, {}).weight_bytes == 12  # 12 bits and 80
    for stages in ((one, two), (two, one)):
        assert memory_of(workload(*stages), H100, {}).weight_bytes == 20  # 12 bits and 144: 19.5
    assert memory_of(workload(one, replace(two, weights_name="")), H100, {}).weight_bytes == 12 + 18


def test_memory_that_is_just_full_fits():
    full = workload(Stage("a", (), weights={"int8": 80 * 10**9}))
    assert memory_of(full, H100, {}).fits
    assert not memory_of(workload(Stage("a", (), weights={"int8": 80 * 10**9 + 1})), H100, {}).fits
    assert memory_of(workload(Stage("a", (), weights={"int8": 160 * 10**9})), parse_node("2xH100"), {}).fits


# ------------------------------------------------------------------------------------ cost and targets


@pytest.mark.parametrize("rate", [57, 114, 456, 903, 1000])
def test_a_rate_that_is_reached_exactly_needs_no_device_more(rate):
    """57 / 3600 x 3600 is 57.00000000000001 in floating point."""
    assert devices_for(rate / 3600, 1.0, 1) == rate
    assert devices_for((rate + 0.001) / 3600, 1.0, 1) == rate + 1


def test_at_least_one_device_and_energy_and_price_by_hand():
    assert devices_for(1e-15, 100.0, 8) == 1
    assert devices_for(16 / 3600, 4.0, 2) == 8
    node = parse_node("2xH100")
    cost = cost_of(node, 1800.0, 3, usd_per_device_hour=5.0)
    assert (cost.items_per_hour, cost.usd_per_hour, cost.joules_per_item) == (6.0, 10.0, 2 * 700 * 1800 / 3)
    assert cost.price_source == "given by the user"
    assert cost.usd_per_s == pytest.approx(10 / 3600)
    assert cost_of(node, 0.0, 1).items_per_hour == math.inf


def test_a_price_is_the_median_where_it_is_known_else_the_middle_of_its_range():
    def hourly(median):
        return cost_of(Node(H100.device, 2, Price(1.0, 4.0, "2026-01-01", "a list", median)), 1.0, 1).usd_per_hour

    assert (hourly(3.0), hourly(None)) == (6.0, 5.0)


def model(parameters):
    """A model of so many 16-bit parameters, of which one run reads 1 MB."""
    read = op("copy", (tensor("1000000", "int8"),))
    return workload(Stage("all", (read,), weights={"bf16": parameters}))


@pytest.mark.parametrize(
    ("on", "parameters", "rate", "devices"),
    [
        # as many runs as one, half or two and a half of the node make in an hour
        ("H100", 40 * 10**9, 1.0, 1),  # 80 GB just fit one
        ("H100", 40 * 10**9, 2.5, 3),
        ("H100", 50 * 10**9, 0.5, 2),  # 100 GB need two, which hold one copy
        ("H100", 50 * 10**9, 2.5, 4),
        ("H100", 130 * 10**9, 3.5, 4),
        ("H100", 130 * 10**9, 4.5, 8),
        ("8xH100", 50 * 10**9, 0.1, 8),  # a node is bought whole
        ("2xH100", 130 * 10**9, 0.1, 4),
    ],
)
def test_devices_come_in_groups_that_hold_the_model(on, parameters, rate, devices):
    one = predict(model(parameters), on, usd_per_device_hour=2.0)
    found = reach(one, f"{rate * one.cost.items_per_hour}/h")
    assert (found.devices, found.usd_per_hour) == (devices, 2.0 * devices)
    assert found.items_per_hour == pytest.approx(rate * one.cost.items_per_hour)


def test_an_absurd_number_of_devices_is_refused():
    one = predict(model(1), "H100")
    with pytest.raises(ValueError, match=r"would need .* devices; at most 100,000,000"):
        reach(one, f"{one.cost.items_per_hour * 1.5e8}/h")


@pytest.mark.parametrize("share", ["1e-6", "1"])
def test_utilization_ends_at_its_bounds(share):
    assert Utilization(float(share)).of("linear") == float(share)


def test_utilization_says_its_numbers_and_where_they_come_from():
    assert str(parse_utilization("0.5, attention=0.7")) == "0.5, attention 0.7 (chosen by the user)"
    named = parse_utilization("attention=0.7,attention=0.8")
    assert (named.of("attention"), named.of("linear")) == (0.8, 0.48)
    assert named.source.startswith("kinds not named: median over 15 models")
    with pytest.raises(ValueError, match="at most 1, not 0"):
        Utilization(0.5, {"linear": 0.0})


def test_the_similarity_matrix_divides_both_sides_at_every_stage():
    # 4 x 6 = 24, then 24 / 9 after one stage of a factor 3
    assert similarity_matrix_bytes(4, 6, 1, depth=1, factor=3, bytes_per_element=4) == pytest.approx(
        4 * (2 * 24 * 25 + 24 / 9 * (24 / 9 + 1))
    )
    similarity_matrix_bytes(1, 1, 0, depth=0)
    for wrong in ((0, 1, 0, 0), (1, 0, 0, 0), (1, 1, -1, 0), (1, 1, 0, -1), (1, 1, 0, 0, 0), (1, 1, 0, 0, 1, 0)):
        with pytest.raises(ValueError, match="at least"):
            similarity_matrix_bytes(*wrong)


# --------------------------------------------------------------------------------------- passes


def moved(*ops, passes=lambda w: w, bound="fused", **stage):
    return estimate(passes(workload(Stage("all", ops, **stage), n=8)), H100, bound=bound).total.bytes


def test_baseline_attention_masks_where_it_is_causal_or_has_a_mask():
    matrix = 16 * 8 * 8
    plain = moved(attention(), passes=materialize_attention)
    causal = moved(attention(causal=True), passes=materialize_attention)
    assert causal - plain == 2 * (2 * matrix + 64)  # read and written again, and a mask of 8 x 8 read
    wide = moved(attention(mask=(tensor("1,1,8,8", "fp32"),)), passes=materialize_attention)
    assert wide - plain == 2 * 2 * matrix + 4 * 64
    both = moved(attention(causal=True, mask=(tensor("1,1,8,8", "fp32"),)), passes=materialize_attention)
    assert both == wide


def test_baseline_attention_in_fp32_casts_nothing():
    matrix = 4 * 16 * 8 * 8
    each = 4 * 16 * 8 * 256
    # scores written, scaled (2), softmax (2), read: six times the matrix
    assert moved(attention(dtype="fp32"), passes=materialize_attention) == 6 * matrix + 4 * each


def test_baseline_attention_is_cut_once_and_rows_that_hold_memory_move_along():
    stage = Stage("all", (attention(), fc()), held=(Held(1, poly("7"), Poly()), Held(0, poly("9"), poly("1"))))
    once = materialize_attention(workload(stage, n=8))
    made = once.stages[0]
    assert [o.attrs.get("piece", o.kind) for o in made.ops] == [
        "scores", "scale", "softmax", "cast", "values", "linear",
    ]  # fmt: skip
    scores = 16 * 8 * 8
    assert [(h.row, h.elements({"n": 8}), h.fixed_bytes({"n": 8})) for h in made.held] == [
        (5, 7, 0),
        (0, 9 + scores, 1 + 4 * scores),
    ]
    assert materialize_attention(once).stages[0].ops == made.ops


def test_what_is_written_may_stay_on_the_chip_too():
    made = op("elementwise", (tensor("5"),), (tensor("7", traffic="chip"),))
    assert (moved(made, bound="unfused"), moved(made)) == (2 * (5 + 7), 2 * 5)
    assert moved(fc(), bound="unfused") == moved(fc())


def weights_after(choice, *ops, **weights):
    stage = Stage("all", ops, weights=weights)
    return dict(set_precision(workload(stage), choice).stages[0].weights)


def test_weights_that_two_layers_share_are_moved_once():
    tied = fc(path="embed"), fc(path="head")
    assert weights_after("fp8", *tied, bf16=2048) == {"fp8": 2048}
    assert weights_after("linear=fp8", *tied, bf16=2048) == {"fp8": 2048}
    assert weights_after("linear=fp8", *tied, bf16=3000) == {"fp8": 3000}  # of two times 2048 no more than are there
    assert weights_after("fp8", fc(), bf16=3000) == {"fp8": 3000}
    assert weights_after("linear=fp8", fc(), bf16=3000) == {"fp8": 2048, "bf16": 952}
    assert weights_after("linear=fp8", fc(), bf16=3000, fp32=5, fp8=7) == {"fp8": 2055, "bf16": 952, "fp32": 5}
    assert weights_after("linear=fp8", fc(), fc(), bf16=9000) == {"fp8": 2048, "bf16": 6952}  # one layer called twice
    assert weights_after("linear=fp8", fc(path="blocks.[0-2].fc"), bf16=9000) == {"fp8": 6144, "bf16": 2856}
    assert weights_after("linear=fp8", fc("fp32"), bf16=9000) == {"bf16": 9000}


@pytest.mark.parametrize(
    ("choice", "weights", "activations"),
    [
        ("fp8,weights=int8", "int8", "fp8"),
        ("weights=int8,fp8", "fp8", "fp8"),  # the later one holds
        ("linear=int8,all.linear=fp8", "fp8", "fp8"),
        ("all.linear=fp8,linear=int8", "int8", "int8"),
        ("conv2d=fp8", "bf16", "bf16"),
        ("activations=fp8,weights=bf16", "bf16", "fp8"),
    ],
)
def test_of_two_choices_for_one_operand_the_later_holds(choice, weights, activations):
    (made,) = set_precision(workload(Stage("all", (fc(),), weights={"bf16": 2048})), choice).stages[0].ops
    assert [t.dtype for t in (*made.reads, *made.writes)] == [activations, weights, activations]


def test_a_stage_is_changed_by_its_own_rules_alone():
    made = set_precision(workload(Stage("a", (fc(),)), Stage("b", (fc(),))), "b=fp8")
    assert [stage.dtype for stage in made.stages] == ["", "fp8"]
    assert [stage.ops[0].reads[0].dtype for stage in made.stages] == ["bf16", "fp8"]
    assert set_precision(workload(Stage("a", ())), "fp8,activations=int8").stages[0].dtype == "int8"
    with pytest.raises(ValueError, match="already set; name all parts in one choice"):
        set_precision(made, "a=fp8")


def test_choices_that_contradict_themselves_are_refused():
    assert len(parse_precision("fp8,weights=int8", ["a"])) == 2
    with pytest.raises(ValueError, match=r"'fp8,int8' gives everything two dtypes"):
        parse_precision("fp8,int8", ["a"])
    with pytest.raises(ValueError, match=r"gives a.linear two dtypes"):
        parse_precision("a.linear=fp8, a.linear=int8", ["a"])
    with pytest.raises(ValueError, match=r"'=fp8' names no part; write PART=fp8 or just fp8"):
        parse_precision("=fp8", ["a"])


def test_a_cache_of_odd_length_in_four_bits_takes_whole_bytes():
    stage = Stage("a", (), held=(Held(0, poly("10"), Poly()),), cache=poly("3"))
    (made,) = set_precision(workload(stage), "kv=fp4").stages
    assert made.cache_dtype == "fp4"
    assert [(h.elements({}), h.fixed_bytes({})) for h in made.held] == [(7, 2)]
