"""Which operation of a workload a measured one is, where several could be meant or none is."""

from __future__ import annotations

import pytest
from trace_made import H100, Made
from workload_made import op, tensor, workload

from frameroof.gap import find_gap
from frameroof.hardware import device
from frameroof.workload.records import Stage

BF16 = "c10::BFloat16"


def linear(path, m, n=96, k=64, b=1):
    weight = tensor(f"{k},{n}", weight=True)
    return op("linear" if b == 1 else "matmul", (tensor(f"{b},{m},{k}"), weight), (), path=path, b=b, m=m, n=n, k=k)


def gap_of(tmp_path, model, *calls, stage="stage::forward", **sizes):
    """The gap of a run of some operators, each an (operator, dims) of 5 us, within one stage."""
    t = Made(**H100)
    t.note(stage, 0, 1_000_000)
    for at, (operator, dims) in enumerate(calls):
        kernel = operator if operator.startswith("triton") else "k"
        t.one(operator, 10_000 + 10_000 * at, 5_000, kernel, dims, [BF16 if d else "" for d in dims])
    return find_gap(t.run(tmp_path), device("H100"), model, sizes or None)


def paths(gap):
    return {row.name: (row.path, row.exact) for row in gap.rows}


def test_a_pointwise_operation_of_another_size_is_not_named(tmp_path):
    model = workload(Stage("forward", (op("elementwise", (tensor("3,96"),), (), "gelu", path="act"),)))
    gap = gap_of(tmp_path, model, ("aten::gelu", [[5, 96]]), ("aten::gelu_", [[6, 96]]))
    assert paths(gap) == {"aten::gelu": ("", False), "aten::gelu_": ("act", True)}


def test_a_product_of_another_size_is_named_by_its_weights(tmp_path):
    gap = gap_of(tmp_path, workload(Stage("forward", (linear("fc", 4),))), ("aten::mm", [[6, 64], [64, 96]]))
    assert paths(gap) == {"aten::mm": ("fc", False)}
    other = gap_of(tmp_path, workload(Stage("forward", (linear("fc", 4),))), ("aten::mm", [[4, 64], [64, 95]]))
    assert paths(other) == {"aten::mm": ("", False)}


def test_of_two_candidates_the_one_with_the_smaller_multiple_is_meant(tmp_path):
    for order in ((2, 4), (4, 2)):
        model = workload(Stage("forward", tuple(linear(f"m{m}", m) for m in order)))
        assert paths(gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 96]]))) == {"aten::mm": ("m4", True)}
        assert paths(gap_of(tmp_path, model, ("aten::mm", [[2, 64], [64, 96]]))) == {"aten::mm": ("m2", True)}


def test_alike_operations_are_counted_beside_the_first_by_name(tmp_path):
    model = workload(Stage("forward", (linear("q", 4), linear("k", 4), linear("k", 4), linear("wide", 8))))
    assert paths(gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 96]]))) == {"aten::mm": ("k (+1 alike)", True)}


def test_the_stage_that_was_measured_comes_first(tmp_path):
    model = workload(Stage("encode", (linear("a", 4),)), Stage("forward", (linear("b", 4),)))
    assert paths(gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 96]]))) == {"aten::mm": ("b", True)}
    elsewhere = gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 96]]), stage="stage::other")
    assert paths(elsewhere) == {"aten::mm": ("a (+1 alike)", True)}


@pytest.mark.parametrize(
    ("measured", "named"),
    [
        ("stage::vae decode", True),
        ("stage::VAE", True),
        ("stage::vae_decode_2", True),
        ("stage::vae encode", True),
        ("stage::unet", False),
    ],
)
def test_stages_are_the_same_by_their_first_word(tmp_path, measured, named):
    model = workload(Stage("other", (linear("a", 4),)), Stage("vae_decode", (linear("b", 4),)))
    gap = gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 96]]), stage=measured)
    assert paths(gap) == {"aten::mm": ("b" if named else "a (+1 alike)", True)}


@pytest.mark.parametrize(("rows", "named"), [(2, True), (16, True), (18, False), (3, False), (1, False)])
def test_a_fused_kernel_serves_at_most_eight_calls(tmp_path, rows, named):
    """The model's norm takes 2 x 64; the kernel's tensor is that of one, eight, nine, one and a half, half a call."""
    model = workload(Stage("forward", (op("norm", (tensor("2,64"),), (), "layer_norm", path="norm"),)))
    kernel = "triton_red_fused_layer_norm_3"
    gap = gap_of(tmp_path, model, (kernel, [[rows, 64]]))
    assert paths(gap) == {kernel: ("norm", True) if named else ("", False)}


def test_matrix_work_is_missing_only_where_its_stage_was_run(tmp_path):
    model = workload(
        Stage("forward", (linear("fc", 4), linear("out", 4, n=8))), Stage("decode", (linear("up", 4, n=7),))
    )
    gap = gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 96]]))
    assert gap.missing == ["forward: out"]
    nothing = gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 5]]))
    assert nothing.missing == []  # no stage is known to have run


def test_alike_operations_of_one_that_was_seen_are_not_missing(tmp_path):
    model = workload(Stage("forward", (linear("q", 4), linear("k", 4))))
    assert gap_of(tmp_path, model, ("aten::mm", [[4, 64], [64, 96]])).missing == []


def test_batched_products_are_told_by_all_sizes_but_the_batch(tmp_path):
    model = workload(Stage("forward", (linear("bmm", 5, b=6),)))
    gap = gap_of(
        tmp_path, model, ("aten::bmm", [[12, 5, 64], [12, 64, 96]]), ("aten::matmul", [[6, 4, 64], [6, 64, 96]])
    )
    assert paths(gap) == {"aten::bmm": ("bmm", True), "aten::matmul": ("bmm", False)}


# --------------------------------------------------------------------------------------- sums


def test_what_no_faster_kernel_wins_back_is_no_longer_than_the_run(tmp_path):
    """Two kernels of 1 us at once, each at its limit: together 2 us of limits within a span of 1 us."""
    t = Made(**H100)
    for stream in (7, 8):
        t.one("aten::mul", 10_000, 1_000, dims=[[4096, 4096]], types=[BF16], stream=stream)
    gap = find_gap(t.run(tmp_path), device("H100"))
    assert (gap.limit_ns, gap.idle_ns, gap.span_ns, gap.never_faster_ns) == (2_000, 0, 1_000, 1_000)


def test_rows_stand_in_order_of_their_distance_and_those_without_a_limit_by_their_time(tmp_path):
    t = Made(**H100)
    t.one("aten::mul", 10_000, 50_000, dims=[[4096, 4096]], types=[BF16])  # limit 20 us: 30 above it
    t.one("my::op", 100_000, 35_000)
    t.one("aten::add", 200_000, 45_000, dims=[[4096, 4096]], types=[BF16])
    gap = find_gap(t.run(tmp_path), device("H100"))
    limit = round(2 * 2 * 4096**2 / 3.35e12 * 1e9)
    assert [(row.name, row.above_ns) for row in gap.rows] == [
        ("my::op", None),
        ("aten::mul", 50_000 - limit),
        ("aten::add", 45_000 - limit),
    ]
    (mul_and_add, other) = gap.classes
    assert (mul_and_add.time_ns, mul_and_add.limit_ns, mul_and_add.unlimited_ns) == (95_000, 2 * limit, 0)
    assert (other.time_ns, other.limit_ns, other.above_ns, other.unlimited_ns) == (35_000, 0, 0, 35_000)
