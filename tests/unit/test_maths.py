"""Units that are not types of storage: what multiplies fp32, TF32 and sums in fp16, wherever one can be said."""

from __future__ import annotations

import msgspec
import pytest
import torch
from cli_said import said
from test_roofline_edges import machine
from trace_made import H100, Made
from workload_made import op, tensor, workload

from frameroof.count import count
from frameroof.dtypes import MATHS, unit_of
from frameroof.estimate import estimate, estimate_grid
from frameroof.gap import find_gap
from frameroof.hardware import Node, device
from frameroof.passes import held_as, set_maths, set_precision
from frameroof.profiler.build import multiplied_in
from frameroof.roofline import Roofline
from frameroof.study.predict import predict
from frameroof.workload.file import dumps, loads
from frameroof.workload.records import Stage

PEAKS = {"fp32": 1e12, "tf32": 8e12, "bf16": 16e12, "fp16": 16e12, "fp8": 32e12}
NODE = Node(machine(vector=None, **PEAKS))


def both(dtype="fp32"):
    """A convolution of 8 GFLOP and a product of 16 GFLOP, of next to no bytes."""
    small = (tensor("1", dtype), tensor("1", dtype, weight=True))
    ops = (
        op("conv2d", small, small[:1], path="conv", n=10**9, k=4),
        op("linear", small, small[:1], path="product", b=1, m=8 * 10**9, n=1, k=1),
    )
    return workload(Stage("s", ops, weights={dtype: 2}, dtype=dtype))


@pytest.mark.parametrize(
    ("dtype", "maths", "conv", "product"),
    [
        ("fp32", "torch", "tf32", "fp32"),
        ("fp32", "strict", "fp32", "fp32"),
        ("fp32", "tf32", "tf32", "tf32"),
        ("tf32", "strict", "tf32", "tf32"),  # what was said outright stays
        ("fp64", "tf32", "fp64", "fp64"),
        ("fp16", "tf32", "fp16", "fp16"),
        ("fp16_acc", "torch", "fp16_acc", "fp16_acc"),
        (None, "strict", "bf16", "bf16"),
    ],
)
def test_the_unit_is_that_of_the_maths(dtype, maths, conv, product):
    assert (unit_of(dtype, "conv3d", maths), unit_of(dtype, "linear", maths)) == (conv, product)
    assert unit_of(dtype, "attention", maths) == ("tf32x3" if product == "fp32" else product)


def test_fp32_attention_is_three_products_in_tf32_where_that_is_faster():
    """H100: 494.7 / 3 = 164.9 TFLOP/s, of 67 in fp32; a device whose TF32 is no faster than its fp32 stays at fp32."""
    assert Roofline(device("H100")).peak("tf32x3") == pytest.approx(494.7e12 / 3, rel=1e-3)
    assert Roofline(machine(fp32=50e12, tf32=100e12)).peak("tf32x3") == 50e12
    assert Roofline(machine(fp32=50e12)).peak("tf32x3") == 50e12


@pytest.mark.parametrize(("maths", "conv_s", "product_s"), [
    (None, 1e-3, 16e-3), ("torch", 1e-3, 16e-3), ("strict", 8e-3, 16e-3), ("tf32", 1e-3, 2e-3),
])  # fmt: skip
def test_limits_follow_the_maths_everywhere(maths, conv_s, product_s):
    made = both()
    found = estimate(made, NODE, maths=maths)
    assert [row.compute_s for row in found.stages[0].ops] == pytest.approx([conv_s, product_s])
    assert estimate_grid(made, [NODE], {}, maths=maths).limit_s[0] == pytest.approx([conv_s + product_s])
    told = predict(made, NODE, maths=maths)
    assert told.limit_s == pytest.approx(conv_s + product_s)
    assert told.choices["maths"].startswith(f"{maths or 'torch'}: ")
    assert predict(set_maths(made, maths), NODE).limit_s == told.limit_s  # kept where nothing is said
    assert predict(set_maths(made, "strict"), NODE, maths=maths or "torch").limit_s == told.limit_s  # else replaced


def test_maths_are_kept_in_files_and_touch_nothing_but_fp32():
    strict = set_maths(both(), "strict")
    assert (strict.passes, set_maths(strict, "torch").stages) == (("maths strict",), both().stages)
    assert set_maths(strict, "tf32").passes == ("maths tf32",)
    half = set_maths(both("bf16"), "strict")
    assert estimate(half, NODE).total.limit_s == estimate(both("bf16"), NODE).total.limit_s
    assert predict(half, NODE, dtype="fp32").limit_s == predict(strict, NODE).limit_s  # a later pass changes nothing
    again = loads(dumps(strict))
    assert estimate(again, NODE).total.compute_s == estimate(strict, NODE).total.compute_s
    with pytest.raises(ValueError, match=r"^maths is torch, strict or tf32, not 'fast'$"):
        predict(both(), NODE, maths="fast")


def test_tf32_is_a_dtype_of_32_bits_and_fp16_acc_one_of_16():
    made = both("bf16")
    wide, summed = (predict(made, NODE, dtype=name) for name in ("tf32", "fp16_acc"))
    assert wide.estimate.total.bytes == 2 * predict(made, NODE).estimate.total.bytes
    assert wide.limit_s == pytest.approx(3e-3)
    assert wide.memory.weight_bytes == 2 * 4
    assert summed.estimate.total.bytes == predict(made, NODE).estimate.total.bytes
    assert predict(made, NODE, dtype="linear=tf32").limit_s == pytest.approx(0.5e-3 + 2e-3)
    words = "m states no fp16_acc matrix peak: fp16_acc matrix work is limited at its fp16 peak"
    assert (summed.limit_s, words in summed.estimate.assumptions) == (pytest.approx(1.5e-3), True)
    faster = Node(machine(vector=None, **PEAKS, fp16_acc=32e12))
    assert predict(made, faster, dtype="fp16_acc").limit_s == pytest.approx(0.75e-3)
    assert predict(made, faster, dtype="fp16").limit_s == pytest.approx(1.5e-3)


def test_sums_in_fp16_are_twice_as_fast_on_geforce_alone():
    for name, peak in (("RTX 4090", 330.3e12), ("RTX 5090", 419e12)):
        assert (device(name).peak("fp16_acc"), device(name).peak("fp16")) == (peak, pytest.approx(peak / 2, rel=1e-3))
    with pytest.raises(ValueError, match="H100-SXM5-80GB has no fp16_acc peak"):
        device("H100").peak("fp16_acc")


def test_a_module_is_counted_for_a_unit():
    module, inputs = torch.nn.Linear(64, 32), (torch.randn(8, 64),)
    plain, made = count(module, inputs), count(module, inputs, dtype="tf32")
    assert (made.dtype, [op.unit for op in made.stages[0].ops]) == ("tf32", ["tf32"])
    assert (made.stages[0].weights, plain.stages[0].weights) == ({"tf32": 2080}, {"fp32": 2080})
    assert held_as(plain, "tf32").stages == made.stages
    assert predict(made, NODE).estimate.total.bytes == predict(plain, NODE).estimate.total.bytes
    assert set_precision(made, "bf16").stages[0].weights == {"bf16": 2080}
    assert count(module, inputs, dtype="fp16_acc").stages[0].ops[0].unit == "fp16_acc"


def test_a_profile_switches_torch_and_puts_it_back():
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    with multiplied_in("tf32", "cuda"):
        assert products.allow_tf32
    assert products.allow_tf32 == before
    with multiplied_in("bf16", "cpu"), multiplied_in(None, "cpu"):
        assert products.allow_tf32 == before
    with pytest.raises(ValueError, match=r"^tf32 is a unit of GPUs; --dtype fp32 runs the same on cpu$"):
        multiplied_in("tf32", "cpu").__enter__()


def test_the_command_takes_them():
    seconds = {}
    for choice in (*(("fp32", "--maths", maths) for maths in MATHS), ("tf32",)):
        ended = said("predict", "sdxl-base", "--json", "--dtype", *choice)
        assert ended.returncode == 0
        seconds[choice[-1], choice[0]] = msgspec.json.decode(ended.stdout)["total"]["limit_s"]
    assert seconds["tf32", "fp32"] == pytest.approx(seconds["tf32", "tf32"])
    assert seconds["tf32", "fp32"] < seconds["torch", "fp32"] < seconds["strict", "fp32"]
    words = " ".join(said("predict", "sdxl-base", "--dtype", "vae_decode=fp32", "--maths", "strict").stdout.split())
    assert "Maths strict: operands in fp32" in words
    assert "Maths" not in said("predict", "sdxl-base").stdout  # none of its products is in fp32
    wrong = said("predict", "sdxl-base", "--maths", "fast")
    assert (wrong.returncode, "maths is torch, strict or tf32, not 'fast'" in wrong.stderr) == (2, True)


FP32 = ["float", "float"]
SLOW = 4_000_000
"""Nanoseconds in which 4096^3 multiply-adds run slower than an H100 can in fp32 or in TF32."""


def traced(tmp_path):
    t = Made(**H100)
    t.one("aten::mm", 10_000, SLOW, dims=[[4096, 4096]] * 2, types=FP32)
    image, concrete = (
        [[1, 4096, 64, 64], [4096, 4096, 1, 1]],
        ["", "", "", "[1, 1]", "[0, 0]", "[1, 1]", "False", "", "1"],
    )
    t.one("aten::convolution", 20_000_000, SLOW, dims=[*image, *[[]] * 7], types=FP32, concrete=concrete)
    return t


@pytest.mark.parametrize(("maths", "mm", "conv"), [
    (None, "fp32", "tf32"), ("torch", "fp32", "tf32"), ("strict", "fp32", "fp32"), ("tf32", "tf32", "tf32"),
])  # fmt: skip
def test_traces_are_limited_by_the_unit_that_is_said(tmp_path, maths, mm, conv):
    h100 = device("H100")
    run = traced(tmp_path).run(tmp_path)
    found = {row.name: row.limit_ns for row in find_gap(run, h100, maths=maths).rows}
    assert found == {
        name: round(2 * 4096**3 / h100.dense_flops[unit] * 1e9)
        for name, unit in (("aten::mm", mm), ("aten::convolution", conv))
    }
    assert run.maths == (maths or "torch")
    assert find_gap(run, h100).limit_ns == sum(found.values())  # it stays with the run


def test_sums_in_fp16_are_known_by_their_rate(tmp_path):
    card = device("RTX 4090")
    t = Made(**H100)
    least = 2 * 4096**3 / card.dense_flops["fp16_acc"] * 1e9
    t.one("aten::mm", 10_000, round(1.2 * least), dims=[[4096, 4096]] * 2, types=["c10::Half", "c10::Half"])
    (row,) = find_gap(t.run(tmp_path), card).rows
    assert row.limit_ns == round(least)
    assert row.mfu == pytest.approx(1 / 1.2, rel=1e-3)


def test_analyze_takes_the_maths(tmp_path):
    path = traced(tmp_path).write(tmp_path)
    shares = {}
    for maths in MATHS:
        ended = said("analyze", path, "--maths", maths, "--json")
        run = msgspec.json.decode(ended.stdout)
        assert run["source"]["maths"] == maths
        shares[maths] = {row["name"]: row["share_of_peak"] for row in run["operators"]}
    h100 = device("H100").dense_flops
    ratio = h100["tf32"] / h100["fp32"]
    assert shares["strict"]["aten::mm"] == shares["torch"]["aten::mm"]
    assert shares["torch"]["aten::mm"] == pytest.approx(ratio * shares["tf32"]["aten::mm"])
    assert shares["strict"]["aten::convolution"] == pytest.approx(ratio * shares["torch"]["aten::convolution"])
    assert said("gap", path, "--maths", "fast").returncode == 2
