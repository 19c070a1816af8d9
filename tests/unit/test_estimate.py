"""Limits, passes, memory and cost of one hand-made workload, against arithmetic done by hand."""

from dataclasses import replace
from functools import partial

import pytest

from frameroof.estimate import (
    Utilization,
    cost_of,
    memory_of,
    parse_utilization,
    similarity_matrix_bytes,
)
from frameroof.estimate import estimate as warm
from frameroof.estimate.cost import devices_for
from frameroof.hardware import parse_node
from frameroof.passes import materialize_attention, set_precision
from frameroof.workload.expr import Poly, poly
from frameroof.workload.recipe import Size
from frameroof.workload.records import Held, Op, Stage, Tensor, Workload

H100 = parse_node("H100")
PEAK, BANDWIDTH, VECTOR = 989.4e12, 3.35e12, 66.9e12
estimate = partial(warm, cold=True)  # what a cache takes off: test_ladder


def tensor(shape, dtype="bf16", weight=False, fusable=False):
    return Tensor(tuple(poly(d) for d in shape.split(",")), dtype, weight, "chip" if fusable else "")


def workload(*ops, **stage):
    made = Stage("all", ops, let={"n": "tokens"}, held=(Held(0, poly("64*n"), Poly()),), **stage)
    return Workload("hand", {"tokens": Size(1024), "steps": Size(3), "batch": Size(1)}, (made,))


LINEAR = Op(
    "fc", "linear", "linear", (tensor("n,64"), tensor("32,64", weight=True)), (tensor("n,32"),),
    {"b": poly("1"), "m": poly("n"), "n": poly("32"), "k": poly("64")},
)  # fmt: skip
SILU = Op("act", "elementwise", "silu", (tensor("n,32", fusable=True),), (tensor("n,32"),))
ATTENTION = Op(
    "attn", "attention", "sdpa", (tensor("2,8,n,16"),) * 3, (tensor("2,8,n,16"),),
    {n: poly(size) for n, size in zip("b heads kv_heads q kv d dv".split(), "2 8 8 n n 16 16".split(), strict=True)},
    {"causal": False, "role": "self"},
)  # fmt: skip
CAUSAL = Op("attn", "attention", "sdpa", ATTENTION.reads, ATTENTION.writes, ATTENTION.dims, {"causal": True})


def test_one_linear_by_hand():
    (op,) = estimate(workload(LINEAR), H100).total.ops
    assert op.flops == 2 * 1024 * 32 * 64
    assert op.bytes == 2 * (1024 * 64 + 32 * 64 + 1024 * 32)
    assert op.compute_s == pytest.approx(op.flops / PEAK)
    assert op.memory_s == pytest.approx(op.bytes / BANDWIDTH)
    assert op.limit_s == max(op.compute_s, op.memory_s)
    assert op.bound == "memory"


def test_the_limit_is_the_larger_of_the_two_for_each_operation_not_for_the_sum():
    total = estimate(workload(LINEAR, ATTENTION), H100, {"tokens": 65536}).total
    assert total.limit_s == pytest.approx(sum(max(op.compute_s, op.memory_s) for op in total.ops))
    assert {op.bound for op in total.ops} == {"compute", "memory"}
    assert total.limit_s > max(total.compute_s, total.memory_s)


def test_repeats_and_devices_and_utilization():
    once = estimate(workload(LINEAR), H100).total
    many = estimate(workload(LINEAR, repeat="steps*2"), parse_node("4xH100"), expected=Utilization(0.25))
    assert many.total.flops == 6 * once.flops
    assert many.total.limit_s == pytest.approx(6 / 4 * once.limit_s)
    assert many.total.expected_s == pytest.approx(4 * many.total.limit_s)
    assert any("perfectly" in text for text in many.assumptions)


def test_a_loop_is_the_sum_over_its_turns():
    loop = Workload(
        "hand",
        {"tokens": Size(100), "new": Size(7)},
        (Stage("d", (ATTENTION,), {"n": "tokens+i"}, loop=("i", "new")),),
    )
    result = estimate(loop, H100)
    single = [estimate(workload(ATTENTION), H100, {"tokens": 100 + i}).total for i in range(7)]
    assert result.total.flops == sum(s.flops for s in single)
    assert result.total.bytes == sum(s.bytes for s in single)
    assert result.total.limit_s == pytest.approx(sum(s.limit_s for s in single))
    assert result.stages[0].repeat == 7


def test_a_loop_without_turns_costs_nothing():
    empty = Workload("hand", {"new": Size(1)}, (Stage("d", (ATTENTION,), {"n": "5+i"}, loop=("i", "new-1")),))
    assert estimate(empty, H100).total.limit_s == 0


def test_causal_counts_the_square_and_is_limited_by_the_triangle():
    full, half = (estimate(workload(op), H100, {"tokens": 4096}) for op in (ATTENTION, CAUSAL))
    assert full.total.flops == half.total.flops == 4 * 2 * 8 * 4096**2 * 16
    pairs = 4096 * 4097 // 2
    assert half.workload.stages[0].ops[0].executed_flops()({"n": 4096}) == 4 * 2 * 8 * pairs * 16
    assert any("triangle" in text for text in half.assumptions)


def test_fused_attention_is_linear_in_sequence_and_baseline_quadratic():
    def moved(n, passes=lambda w: w):
        return estimate(passes(workload(ATTENTION)), H100, {"tokens": n}).total.bytes

    assert moved(2048) == 2 * moved(1024) == 2 * 4 * 2 * 8 * 1024 * 16 * 2
    scores = 2 * 8 * 1024**2 * 2
    # written, scaled (2), softmax to fp32 (1 + 2), cast (2 + 1), read: ten times the matrix in bf16
    assert moved(1024, materialize_attention) == moved(1024) + 10 * scores


def test_baseline_attention_computes_the_same():
    before, after = (estimate(p(workload(ATTENTION)), H100).total for p in (lambda w: w, materialize_attention))
    assert after.flops == before.flops
    assert {op.op.attrs["piece"] for op in after.ops} == {"scores", "scale", "softmax", "cast", "values"}


def test_baseline_attention_holds_the_matrix():
    from dataclasses import replace

    made = workload(ATTENTION)
    before = memory_of(made, H100, made.sizes()).activation_bytes
    after = memory_of(materialize_attention(made), H100, made.sizes()).activation_bytes
    assert after - before == 2 * 8 * 1024**2 * (2 + 4)
    full = replace(made, dtype="fp32")
    assert (
        memory_of(materialize_attention(full), H100, full.sizes()).activation_bytes
        == 64 * 1024 * 4 + 2 * 8 * 1024**2 * 8
    )


def test_fusion_drops_marked_operands_only():
    eager, fused = (estimate(workload(LINEAR, SILU), H100, bound=bound).total for bound in ("unfused", "fused"))
    assert eager.bytes - fused.bytes == 1024 * 32 * 2
    assert eager.vector_flops == fused.vector_flops == 1024 * 32


@pytest.mark.parametrize(
    ("choice", "weight", "activation", "peak"),
    [("fp8", 1, 1, "fp8"), ("weights=fp8", 1, 2, "bf16"),
     ("linear=int8", 1, 1, "int8"), ("activations=fp8", 2, 1, "bf16"),
     ("all.linear=fp8", 1, 1, "fp8"), ("fp8,linear=bf16", 2, 2, "bf16")],
)  # fmt: skip
def test_precision_changes_bytes_and_peak(choice, weight, activation, peak):
    result = estimate(set_precision(workload(LINEAR, weights={"bf16": 2048}), choice), H100)
    (op,) = result.total.ops
    assert op.bytes == activation * (1024 * 64 + 1024 * 32) + weight * 32 * 64
    assert op.compute_s == pytest.approx(op.flops / H100.device.peak(peak))
    assert memory_of(result.workload, H100, result.sizes).weight_bytes == weight * 2048


def test_fp4_has_half_bytes_and_no_peak_on_an_h100():
    quantized = set_precision(workload(LINEAR), "fp4")
    with pytest.raises(ValueError, match="H100-SXM5-80GB has no fp4 peak; it has"):
        estimate(quantized, H100)
    (op,) = estimate(quantized, parse_node("B200")).total.ops
    assert op.bytes == (1024 * 64 + 32 * 64 + 1024 * 32) // 2


@pytest.mark.parametrize("choice", ["fp9", "lineal=fp8", "all.lineal=fp8", "=fp8", "", "fp8,", "fp6=linear"])
def test_precision_refuses_what_it_does_not_know(choice):
    with pytest.raises(ValueError, match=r"unknown|names no part"):
        set_precision(workload(LINEAR), choice)


def test_what_the_model_computes_in_fp32_stays():
    wide = Op("n", "norm", "layer_norm", (tensor("n,32", "fp32"),), (tensor("n,32"),))
    (op,) = set_precision(workload(wide), "fp8").stages[0].ops
    assert [t.dtype for t in (*op.reads, *op.writes)] == ["fp32", "fp8"]


@pytest.mark.parametrize(
    ("choice", "cache", "other", "moved", "peak"),
    [
        # dtype of cache and of other activations in bytes; what attention reads and writes; its peak
        ("kv=fp8", 1, 2, (2, 1, 2), "bf16"),
        ("all.kv=int8", 1, 2, (2, 1, 2), "bf16"),
        ("attention=fp8", 1, 2, (1, 1, 1), "fp8"),
        ("activations=fp8", 1, 1, (1, 1, 1), "fp8"),
        ("fp8,kv=bf16", 2, 1, (1, 2, 1), "bf16"),
        ("linear=fp8", 2, 2, (2, 2, 2), "bf16"),
        ("weights=fp8", 2, 2, (2, 2, 2), "bf16"),
    ],
)
def test_precision_of_keys_and_values_by_hand(choice, cache, other, moved, peak):
    each = 2 * 8 * 1024 * 16  # elements of queries, of keys, of values
    made = workload(ATTENTION, cache=poly("32*n"))  # of 64 n that are held
    result = estimate(set_precision(made, choice), H100)
    memory = memory_of(result.workload, H100, result.sizes)
    assert (memory.cache_bytes, memory.activation_bytes) == (cache * 32 * 1024, other * 32 * 1024)
    (op,) = result.total.ops
    assert op.bytes == (moved[0] + 2 * moved[1] + moved[2]) * each
    assert op.compute_s == pytest.approx(max(op.flops / H100.device.peak(peak), op.vector_flops / VECTOR))


def test_a_cache_of_a_dtype_of_its_own_stays():
    made = workload(ATTENTION, cache=poly("32*n"), cache_dtype="fp8")
    for one in (made, set_precision(made, "fp16"), set_precision(made, "kv=fp16")):
        assert memory_of(one, H100, one.sizes()).cache_bytes == 32 * 1024


def test_shared_weights_in_two_dtypes_are_two_copies_and_said():
    base = workload(LINEAR, weights={"bf16": 2048}, weights_name="one").stages[0]
    made = Workload("two", {"tokens": Size(8)}, (replace(base, name="prefill"), replace(base, name="decode")))
    size = lambda w: memory_of(w, H100, w.sizes()).weight_bytes  # noqa: E731
    assert size(made) == 2048 * 2
    assert size(set_precision(made, "fp8")) == 2048
    assert not set_precision(made, "fp8").notes
    split = set_precision(made, "decode=fp8")
    assert size(split) == 2048 * 2 + 2048
    assert split.notes == (
        "prefill and decode share weights but use them in different dtypes: memory holds a copy in each",
    )


def test_baseline_attention_writes_weights_that_are_handed_on_once():
    scores = tensor("2,8,n,n")
    handed = replace(ATTENTION, writes=(*ATTENTION.writes, scores))
    fused = [estimate(workload(op), H100).total.bytes for op in (ATTENTION, handed)]
    assert fused[1] - fused[0] == 2 * 16 * 1024**2
    baseline = [estimate(materialize_attention(workload(op)), H100).total.bytes for op in (ATTENTION, handed)]
    assert baseline[0] == baseline[1]


def test_cost_by_hand():
    cost = cost_of(parse_node("8xH100"), 60.0, 2, usd_per_device_hour=2.0)
    assert cost.items_per_hour == 120
    assert cost.usd_per_item == pytest.approx(16 / 120)
    assert cost.joules_per_item == 8 * 700 * 60 / 2
    # $16/h is $4.44e-3 per second; a user of Llama-3.1-70B spends 107 * $0.9e-6 per second
    assert cost.llm_users == pytest.approx(46.15, abs=0.01)


def test_devices_for_a_rate():
    assert devices_for(1000 / 3600, 100.0, 1) == 10
    assert devices_for(1001 / 3600, 100.0, 1) == 11
    assert devices_for(1 / 3600, 100.0, 8) == 1


@pytest.mark.parametrize("text", ["0", "1.5", "-1", "x", "linear=2", "magic=0.5", ""])
def test_utilization_refuses_what_is_none(text):
    with pytest.raises(ValueError, match=r"utilization|unknown kind"):
        parse_utilization(text)


def test_utilization_by_kind():
    chosen = parse_utilization("0.5,attention=0.7")
    assert (chosen.of("linear"), chosen.of("attention")) == (0.5, 0.7)


def test_similarity_matrix_by_hand():
    # one level only: 2 bytes * HW (HW + text)
    assert similarity_matrix_bytes(8, 8, 77, depth=0) == 2 * 64 * (64 + 77)
    # two levels: down and up at 64 tokens, once at 16
    assert similarity_matrix_bytes(8, 8, 77, depth=1) == 2 * (2 * 64 * (64 + 77) + 16 * (16 + 77))


def test_similarity_matrix_grows_with_the_fourth_power_of_the_side():
    big, bigger = (similarity_matrix_bytes(n, n, 77, depth=3) for n in (512, 1024))
    assert bigger / big == pytest.approx(16, rel=1e-3)


def test_the_default_utilization_is_the_recorded_median(root):
    import json

    from frameroof.estimate import DEFAULT_UTILIZATION

    record = json.loads((root / "benchmarks" / "results" / "utilization-2026-11-30.json").read_text())
    assert DEFAULT_UTILIZATION.default == round(record["summary"]["all"]["median"], 2)
    assert "utilization-2026-11-30.json" in DEFAULT_UTILIZATION.source
    assert max(row["share"] for row in record["rows"]) < 1  # nothing published beats its limit
