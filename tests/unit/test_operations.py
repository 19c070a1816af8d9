"""What one operation counts, and which sizes may be chosen: every rule at sizes small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from workload_made import op, tensor

from frameroof.workload.expr import Expr, Poly, poly
from frameroof.workload.recipe import Size
from frameroof.workload.records import Op, Stage, Workload


def attention(q=6, kv=6, reads=(), **attrs):
    """Two entries of a batch, three heads; queries and keys of 4 elements, values of 5."""
    return op("attention", reads, (), attrs=attrs, b=2, heads=3, kv_heads=3, q=q, kv=kv, d=4, dv=5)


# --------------------------------------------------------------------------------------- FLOPs


@pytest.mark.parametrize(
    ("made", "flops"),
    [
        (op("linear", (), (), b=2, m=3, n=5, k=7), 2 * 210),
        (op("matmul", (), (), b=2, m=3, n=5, k=7), 2 * 210),
        (op("conv1d", (), (), n=11, k=13), 2 * 143),
        (op("conv3d", (), (), n=11, k=13), 2 * 143),
        (attention(q=6, kv=7), 2 * (2 * 3 * 6 * 7) * (4 + 5)),
        (op("norm", (tensor("9"),), (tensor("9"),)), 0),
    ],
)
def test_flops_are_two_for_each_multiply_add(made, flops):
    assert made.flops()({}) == flops
    assert made.executed_flops()({}) == flops


def test_a_causal_square_executes_its_triangle_with_the_diagonal():
    # 6 queries see 1 + 2 + … + 6 = 21 of 36 keys, over 2 x 3 heads, 2 (4 + 5) FLOPs each
    made = attention(causal=True)
    assert made.flops()({}) == 6 * 36 * 18
    assert made.executed_flops()({}) == 6 * 21 * 18
    assert attention(causal=False).executed_flops()({}) == 6 * 36 * 18
    assert attention(q=1, kv=1, causal=True).executed_flops()({}) == 6 * 18


@pytest.mark.parametrize(
    ("q", "kv", "align", "pairs"),
    [
        (2, 8, "upper_left", 1 + 2),
        (2, 8, "lower_right", 7 + 8),
        (2, 8, None, 1 + 2),  # a file that does not say it: torch's own
        (8, 2, "upper_left", 1 + 2 * 7),
        (8, 2, "lower_right", 1 + 2),
        (1, 8, "lower_right", 8),
        (3, 3, "lower_right", 6),
    ],
)
def test_causal_attention_executes_the_pairs_that_its_mask_leaves(q, kv, align, pairs):
    made = attention(q=q, kv=kv, causal=True, **({} if align is None else {"align": align}))
    assert made.executed_flops()({}) == 6 * pairs * 18
    assert made.flops()({}) == 6 * q * kv * 18  # the whole rectangle is counted


@pytest.mark.parametrize(
    ("made", "flops"),
    [
        (op("softmax", (tensor("10"),), (tensor("10"),)), 50),  # max, subtract, exp, sum, divide
        (op("norm", (tensor("10"),), (tensor("10"),)), 80),
        (op("reduction", (tensor("10"),), (tensor("2"),)), 10),  # by what is read
        (op("elementwise", (tensor("10"),), (tensor("30"),)), 30),  # by what is written
        (op("copy", (tensor("10"),), (tensor("10"),)), 0),
        (op("embedding", (tensor("10"),), (tensor("10"),)), 0),
        (op("norm", (tensor("10"),), (tensor("2"),), "mean", {"part": "layer_norm"}), 10),
        (op("norm", (tensor("10"),), (tensor("2"),), "linalg_vector_norm", {"part": "rms"}), 10),
        (op("norm", (tensor("2"),), (tensor("10"),), "mul", {"part": "layer_norm"}), 10),
        (op("elementwise", (), ()), 0),
        (attention(), 5 * 216),  # the softmax of its 2 x 3 x 6 x 6 scores
        (attention(piece="softmax"), 5 * 216),
        (attention(piece="scale"), 216),
        (attention(piece="mask"), 216),
        (attention(piece="cast"), 216),
        (attention(piece="scores"), 0),
        (attention(piece="values"), 0),
    ],
)
def test_other_arithmetic_follows_the_convention(made, flops):
    assert made.vector_flops()({}) == flops


# --------------------------------------------------------------------------------- bytes and types


def test_bits_of_what_is_moved():
    weight = tensor("3,5", "fp8", weight=True)
    made = op("linear", (tensor("7", "fp32"), weight, tensor("9", "fp4", traffic="chip")), (tensor("11", "fp4"),))
    assert made.bits()({}) == 7 * 32 + 15 * 8 + 9 * 4 + 11 * 4
    assert made.moved_bits()({}) == 7 * 32 + 15 * 8 + 11 * 4
    assert replace(made, attrs={"unused": True}).moved_bits()({}) == 0
    assert made.weight_bits()({}) == 15 * 8
    assert tensor("2", "complex128").bits({}) == 256
    assert tensor("2", "bool").bits({}) == 16


@pytest.mark.parametrize(
    ("reads", "widest"),
    [
        ("bf16 bf16", "bf16"),
        ("bf16 int8", "bf16"),  # weights alone in 8 bits leave the peak that of the activations
        ("int8 bf16", "bf16"),
        ("fp8 fp4", "fp8"),
        ("int8 int8", "int8"),
        ("tf32 bf16", "tf32"),
        ("tf32 fp32", "fp32"),
        ("fp64 fp32", "fp64"),
        ("int64 fp16", "fp16"),  # an index is no operand of matrix work
        ("int64", "fp32"),
        ("", "fp32"),
    ],
)
def test_the_widest_operand_names_the_peak(reads, widest):
    assert op("linear", [tensor("4", dtype) for dtype in reads.split()], ()).compute_dtype == widest


def test_a_mask_is_no_operand_of_the_products_of_an_attention():
    qkv = [tensor("4")] * 3
    assert attention(reads=(*qkv, tensor("4", "fp32"))).compute_dtype == "bf16"
    assert attention(reads=(*qkv[:2], tensor("4", "fp32"))).compute_dtype == "fp32"  # values are
    assert op("linear", (*qkv, tensor("4", "fp32")), ()).compute_dtype == "fp32"


def test_an_operation_of_summed_sizes_counts_once():
    assert Op("at", "copy", "copy", (), (), count=poly("3")).times == poly("3")
    assert Op("at", "copy", "copy", (), (), attrs={"total": True}, count=poly("3")).times == poly("1")


# --------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("size", "lowest"),
    [
        (Size(5, step=4, offset=1), 1),  # 1 + 4k: one frame is admissible
        (Size(512, step=8), 8),
        (Size(7), 1),
        (Size(7, step=4, offset=3, least=7), 7),
        (Size(0, least=0), 0),
    ],
)
def test_the_smallest_admissible_size(size, lowest):
    assert size.lowest == lowest
    size.check("n", lowest)
    with pytest.raises(ValueError, match=rf"n={lowest - 1} is too small; the smallest is {lowest}$"):
        size.check("n", lowest - 1)


def test_sizes_between_the_steps_are_refused_with_the_nearest():
    frames = Size(5, step=4, offset=1, most=13)
    for good in (1, 5, 9, 13):
        frames.check("frames", good)
    with pytest.raises(ValueError, match=r"it must be 1 \+ a multiple of 4, such as 5 or 9$"):
        frames.check("frames", 8)
    with pytest.raises(ValueError, match=r"such as 1 or 5$"):
        frames.check("frames", 3)
    with pytest.raises(ValueError, match=r"frames=14 is too large; the largest is 13$"):
        frames.check("frames", 14)
    with pytest.raises(ValueError, match=r"it must be a multiple of 8, such as 16 or 24$"):
        Size(512, step=8).check("height", 23)
    with pytest.raises(ValueError, match=r"such as 16$"):  # 8 would be too small
        Size(512, step=8, least=12).check("height", 15)


def test_sizes_end_where_they_become_absurd():
    Size(1).check("n", 10**9)
    with pytest.raises(ValueError, match=r"n=1000000001 is absurd; sizes go up to 1,000,000,000$"):
        Size(1).check("n", 10**9 + 1)
    for wrong in (True, 2.0, "2"):
        with pytest.raises(ValueError, match="must be a whole number"):
            Size(1).check("n", wrong)  # type: ignore[arg-type]


def made(**stage):
    return Workload("hand", {"n": Size(4), "turns": Size(3, least=0)}, (Stage("all", (), **stage),))


def test_sizes_that_were_chosen_come_before_the_defaults():
    assert made().sizes() == {"n": 4, "turns": 3}
    assert made().sizes({"n": 9}) == {"n": 9, "turns": 3}
    with pytest.raises(ValueError, match=r"hand has no size 'm'; it has: n, turns$"):
        made().sizes({"m": 1})


def test_limits_of_a_stage_hold_at_the_first_and_the_last_turn():
    grown = made(let={"kv": "n+i"}, limits={"kv": Size(1, most=7)}, loop=("i", "turns"))
    grown.sizes({"n": 5})  # 5, 6, 7
    with pytest.raises(ValueError, match=r"^stage all: kv=8 is too large; the largest is 7$"):
        grown.sizes({"n": 6})
    shrunk = made(let={"kv": "n-i"}, limits={"kv": Size(1, most=7)}, loop=("i", "turns"))
    with pytest.raises(ValueError, match="kv=8 is too large"):
        shrunk.sizes({"n": 8})
    with pytest.raises(ValueError, match="kv=0 is too small"):
        shrunk.sizes({"n": 2})
    shrunk.sizes({"n": 99, "turns": 0})  # no turn, nothing to hold


def test_names_are_bound_in_order_and_a_later_one_may_use_an_earlier():
    bound = Stage("all", (), let={"h": "n//2", "n": "h+1", "m": "n*h"}).bind({"n": 9})
    assert bound == {"n": 5, "h": 4, "m": 20}


def test_operations_without_a_rule_are_summed_over_the_stages():
    stages = (Stage("a", (), uncounted={"fft": 2, "sort": 1}), Stage("b", (), uncounted={"fft": 3}))
    assert Workload("hand", {}, stages).uncounted == {"fft": 5, "sort": 1}


def test_a_polynomial_knows_nothing_of_zero_terms():
    assert Poly({("n",): 0}) == Poly()
    assert not Poly({("n",): 0})
    assert poly("n-n") == Poly()
    assert str(poly("0*n")) == "0"
    assert str(poly("b*h*2-n+1-3*b")) == "2*b*h-3*b-n+1"
    assert str(poly("-n*h")) == "-h*n"


# --------------------------------------------------------------------------------------- expressions


@pytest.mark.parametrize(
    "text",
    ["min(h)", "min(h, 2, 3)", "ceil(h)", "min(h, 2, key=3)", "h.min(1, 2)", "min(1, 2)(3, 4)", "True", "+h", "h % 2"],
)
def test_only_the_three_functions_of_two_numbers_are_of_the_grammar(text):
    with pytest.raises(ValueError, match="is not of the grammar"):
        Expr(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("min(40, h)", [30, 40]),
        ("min(h, 40)", [30, 40]),
        ("max(40, h)", [40, 50]),
        ("ceil(h, 7)", [5, 8]),  # 30 / 7 = 4.3, 50 / 7 = 7.1
        ("-h//7", [-5, -8]),  # rounded down
        ("ceil(-h, 7)", [-4, -7]),
    ],
)
def test_functions_of_a_number_and_an_array(text, values):
    assert Expr(text)({"h": np.array([30, 50])}).tolist() == values
    assert [Expr(text)({"h": h}) for h in (30, 50)] == values


def test_polynomials_are_compared_and_hashed_by_value():
    assert poly("a*b+2") == poly("2+b*a")
    assert hash(poly("a*b+2")) == hash(poly("2+b*a"))
    assert poly("a*b") * poly("a+1") == poly("a*a*b+a*b")
    assert poly("a*a").substitute({"a": poly("b+1")}) == poly("b*b+2*b+1")
    assert poly("a*b").names == {"a", "b"}
    assert (poly("a") - 1 + 1) == poly("a")
