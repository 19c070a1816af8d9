"""The prediction as data: its documented JSON, its sums, and the grid that equals it."""

import copy
import pickle
from dataclasses import replace
from fractions import Fraction
from inspect import signature

import numpy as np
import pytest
from workload_made import op, tensor, workload

import frameroof
from frameroof.estimate import RUNGS, estimate, stages
from frameroof.estimate.expected import chosen
from frameroof.estimate.expected.efficiency import stated
from frameroof.estimate.grid import estimate_grid
from frameroof.hardware import parse_node
from frameroof.study.predict import predict, prepare
from frameroof.study.target import reach
from frameroof.workload.expr import poly
from frameroof.workload.records import Stage

SUMS = ("flops", "vector_flops", "bytes", "compute_s", "memory_s", "limit_s", "expected_s")


def test_the_documented_json(tiny):
    data = predict(tiny, "8xH100", sizes={"batch": 2}).to_dict(ops=True)
    total = data["total"]
    assert total["intensity"] == pytest.approx(total["flops"] / total["bytes"])
    cold = predict(tiny, "8xH100", sizes={"batch": 2}, cold=True).to_dict()["total"]
    assert total["limit_s"] <= total["low_s"] < total["expected_s"] == cold["expected_s"] < total["high_s"]
    share = predict(tiny, "8xH100", sizes={"batch": 2}, utilization=0.48).to_dict()["total"]
    assert share["expected_s"] == pytest.approx(cold["limit_s"] / 0.48)
    assert (share["low_s"], share["high_s"]) == (None, None)
    assert total["limit_s"] < cold["limit_s"]
    assert max(total["compute_s"], total["memory_s"]) <= total["limit_s"] <= total["compute_s"] + total["memory_s"]
    assert data["throughput"]["items_per_hour"] == pytest.approx(2 * 3600 / data["total"]["expected_s"])
    usd = data["cost"]["usd_per_item"] * data["throughput"]["items_per_hour"]
    assert usd == pytest.approx(data["cost"]["usd_per_hour"])
    memory = data["memory"]
    parts = memory["weight_bytes"] + memory["activation_bytes"] + memory["cache_bytes"]
    assert (memory["peak_bytes"], memory["available_bytes"], memory["fits"]) == (parts, 8 * 80 * 10**9, True)
    assert 0 < memory["weight_bytes"] < parts
    assert data["stages"][0]["name"] == "denoise"
    assert data["stages"][0]["repeat"] == 8
    first = data["stages"][0]
    assert first["bound"] == ("compute" if first["compute_s"] >= first["memory_s"] else "memory")
    assert {"path", "kind", "flops", "bytes", "count", "stage"} <= set(data["ops"][0])
    assert data["uncounted"] == []
    assert "made for tests" in data["assumptions"]["model"]


def test_operations_add_up_to_stages_and_stages_to_the_total(tiny):
    data = predict(tiny, "H100").to_dict(ops=True)
    for name in SUMS:
        total = data["total"][name]
        assert sum(s[name] for s in data["stages"]) == pytest.approx(total, rel=1e-12)
        assert sum(op[name] for op in data["ops"]) == pytest.approx(total, rel=1e-9)
    assert sum(op["flops"] for op in data["ops"]) == data["total"]["flops"]


def test_the_public_name_is_the_same(tiny):
    assert frameroof.predict(tiny, "H100").limit_s == predict(tiny, "H100").limit_s


def test_eager_moves_more_than_fused_and_computes_the_same(tiny):
    eager, fused = (predict(tiny, "H100", elementwise=e).estimate.total for e in ("eager", "fused"))
    assert eager.bytes > fused.bytes
    assert eager.flops == fused.flops


def test_baseline_attention_costs_bytes_and_memory(tiny):
    sizes = {"height": 512, "width": 512}
    base, flash = (predict(tiny, "H100", sizes=sizes, attention=a) for a in ("baseline", "fused"))
    assert base.estimate.total.bytes > 5 * flash.estimate.total.bytes
    assert base.memory.activation_bytes > 2 * flash.memory.activation_bytes


@pytest.mark.parametrize("dtype", [None, "fp8", "linear=fp8,weights=int8"])
def test_the_grid_is_the_prediction_at_every_point(tiny, dtype):
    rng = np.random.default_rng(1)
    sizes = {
        "batch": rng.integers(1, 9, 40),
        "height": 8 * rng.integers(3, 64, 40),
        "steps": rng.integers(1, 50, 40),
    }
    nodes = [parse_node(name) for name in ("H100", "4xH200", "MI300X")]
    workload, _ = prepare(tiny, dtype=dtype)
    grid = estimate_grid(workload, nodes, sizes)
    for row, node in enumerate(nodes):
        for at in range(0, 40, 7):
            one = predict(tiny, node, sizes={n: int(v[at]) for n, v in sizes.items()}, dtype=dtype)
            assert grid.limit_s[row, at] == pytest.approx(one.limit_s, rel=1e-9)
            assert grid.expected_s[row, at] == pytest.approx(one.expected_s, rel=1e-9)
            ends = grid.low_s[row, at], grid.high_s[row, at]
            assert ends == pytest.approx((one.low_s, one.high_s), rel=1e-9)
            assert grid.peak_bytes[row, at] == one.memory.peak_bytes
            if one.cost.usd_per_item is None:
                assert np.isnan(grid.usd_per_item[row, at])
            else:
                assert grid.usd_per_item[row, at] == pytest.approx(one.cost.usd_per_item, rel=1e-9)


@pytest.mark.parametrize("bound", RUNGS)
@pytest.mark.parametrize("software", ["compiled", "diffusers-eager"])
def test_intervals_of_a_grid_are_those_of_every_rung(tiny, bound, software):
    workload, _ = prepare(tiny)
    sizes = {"batch": [1, 8], "height": [128, 504]}  # one waits for its host, one does not
    grid = estimate_grid(workload, [parse_node("H100")], sizes, chosen(software=software), bound=bound)
    ones = [
        predict(tiny, "H100", sizes={"batch": b, "height": h}, software=software, bound=bound)
        for b, h in ((1, 128), (8, 504))
    ]
    assert grid.low_s[0].tolist() == pytest.approx([one.low_s for one in ones], rel=1e-9)
    assert grid.high_s[0].tolist() == pytest.approx([one.high_s for one in ones], rel=1e-9)


def test_a_share_of_the_limit_has_no_interval_in_a_grid(tiny):
    grid = estimate_grid(tiny, [parse_node("H100")], {"batch": [1, 2]}, chosen(0.5))
    assert np.isnan([grid.low_s, grid.high_s]).all()


def test_the_grid_refuses_what_predict_refuses(tiny):
    with pytest.raises(ValueError, match="height=100 is not admissible"):
        estimate_grid(tiny, [parse_node("H100")], {"height": [128, 100]})
    with pytest.raises(ValueError, match="differ in length"):
        estimate_grid(tiny, [parse_node("H100")], {"height": [128, 136], "batch": [1]})


def test_a_target_needs_whole_nodes(tiny):
    one = predict(tiny, "8xH100")
    rate = one.cost.items_per_hour
    assert reach(one, f"{rate * 0.5}/h").devices == 8
    assert reach(one, f"{rate * 2.5}/h").devices == 24
    with pytest.raises(ValueError, match="above zero"):
        reach(one, "0/h")


def test_nothing_is_faster_than_the_dense_peak(tiny):
    for name in ("H100", "MI300X", "RTX 4090"):
        one = predict(tiny, name, dtype="bf16")
        assert one.estimate.total.flops / one.limit_s <= parse_node(name).device.peak("bf16")


@pytest.mark.parametrize(
    "let", ["prompt+i+1", "min(window, 3*(i+1))", "prompt//(i+1)", "(prompt+i)*(i+2)", "max(prompt-40*i, 5)"]
)
def test_the_grid_sums_loops_as_predict_does(let):
    from frameroof.workload.expr import poly
    from frameroof.workload.recipe import Size
    from frameroof.workload.records import Held, Op, Stage, Tensor, Workload

    kv = Tensor((poly("b"), poly("8"), poly("kv"), poly("64")), "bf16")
    q = Tensor((poly("b"), poly("8"), poly("512"), poly("64")), "bf16")
    sizes = {"b": "b", "heads": "8", "kv_heads": "8", "q": "512", "kv": "kv", "d": "64", "dv": "64"}
    op = Op("a", "attention", "sdpa", (q, kv, kv), (q,), {n: poly(t) for n, t in sizes.items()}, {"causal": False})
    held = (Held(0, poly("b*kv"), poly("7")),)
    stage = Stage("decode", (op,), {"b": "batch", "kv": let}, repeat="2", loop=("i", "turns-1"), held=held)
    params = {"batch": Size(1), "prompt": Size(50), "window": Size(21), "turns": Size(9)}
    workload = Workload("loop", params, (stage,))
    rng = np.random.default_rng(2)
    chosen = {"batch": rng.integers(1, 9, 30), "prompt": rng.integers(1, 4000, 30), "turns": rng.integers(1, 30, 30)}
    nodes = [parse_node("H100"), parse_node("L4")]
    grid = estimate_grid(workload, nodes, chosen)
    for row, node in enumerate(nodes):
        for at in range(30):
            one = predict(workload, node, sizes={n: int(v[at]) for n, v in chosen.items()})
            assert grid.limit_s[row, at] == pytest.approx(one.limit_s, rel=1e-9)
            assert grid.peak_bytes[row, at] == one.memory.peak_bytes


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "int8", "elementwise": "eager"},
        {"dtype": "fp32", "maths": "tf32"},
        {"dtype": "fp32", "maths": "strict", "bound": "light"},
        {"attention": "baseline", "cold": True},
    ],
)
def test_a_grid_by_names_is_predict_at_every_point(options):
    sizes = {"batch": [1, 3], "height": [512, 768]}
    grid = frameroof.estimate_grid("sd15", ["H100", "4xA100"], sizes, 0.5, **options)
    for row, node in enumerate(("H100", "4xA100")):
        for column in range(2):
            at = {name: values[column] for name, values in sizes.items()}
            one = frameroof.predict("sd15", node, sizes=at, utilization=0.5, **options)
            assert grid.limit_s[row, column] == pytest.approx(one.limit_s, rel=1e-12)
            assert grid.expected_s[row, column] == pytest.approx(one.expected_s, rel=1e-12)
            assert grid.peak_bytes[row, column] == one.memory.peak_bytes


def test_a_grid_takes_every_option_of_predict_but_what_is_of_one_machine():
    """A price, of which several machines have their own (`Node.price`), and what was measured."""
    options = [signature(of).parameters for of in (frameroof.predict, frameroof.estimate_grid)]
    assert {name for name in options[0] if name not in options[1]} == {"usd_per_device_hour", "measured"}


@pytest.mark.parametrize(
    ("on", "sizes", "said"),
    [
        ([], {}, "no machine is named"),
        (["H100", "H1000"], {}, "no device is called 'H1000'"),
        ("H100", {"height": [512, 513]}, "height=513 is not admissible"),
        ("H100", {"height": [512], "width": [512, 512]}, "differ in length"),
    ],
)
def test_a_grid_that_cannot_be_says_why(on, sizes, said: str):
    with pytest.raises(ValueError, match=said):
        frameroof.estimate_grid("sd15", on, sizes)


def test_copies_of_a_predicted_workload_start_anew(tiny):
    """What predictions keep with a workload is of that one alone: it neither travels nor outlives a change."""
    small = len(pickle.dumps(tiny))
    before = predict(tiny, "H100", dtype="weights=fp8").memory.weight_bytes
    assert len(pickle.dumps(tiny)) == small
    for changed in (copy.deepcopy(tiny), pickle.loads(pickle.dumps(tiny))):
        assert changed == tiny
        for stage in changed.stages:
            stage.weights.update({name: 2 * count for name, count in stage.weights.items()})
        assert predict(changed, "H100", dtype="weights=fp8").memory.weight_bytes == 2 * before
    assert predict(tiny, "H100", dtype="weights=fp8").memory.weight_bytes == before


@pytest.mark.parametrize("cells", [0, 6 * 4])
@pytest.mark.parametrize("repeat", ["1", "n"])
def test_turns_at_once_are_turns_one_by_one(monkeypatch, repeat, cells):
    """Sizes that follow the turn, that do not, and both in one operation; called once and often."""
    varied, fixed = tensor("k,64"), tensor("512,64")
    ops = (
        op("linear", [varied, tensor("64,64", weight=True)], [varied], b=1, m="k", n=64, k=64),
        op("linear", [fixed, tensor("64,64", weight=True)], [fixed], b=1, m=512, n=64, k=64),
        op("norm", [varied], [fixed]),
        op("norm", [fixed], [fixed]),
        replace(op("matmul", [fixed], [varied], b=1, m="k", n=7, k="k"), count=poly("3*i+1")),
        replace(op("matmul", [fixed], [fixed], b=1, m=512, n=512, k=512), count=poly("3*i+1")),
    )
    loop = Stage("s", ops, {"k": "1000*i+n"}, repeat=repeat, loop=("i", "11"), share=Fraction(1, 3))
    once = estimate(workload(loop, n=7), parse_node("H100")).stages
    monkeypatch.setattr(stages, "MOST_CELLS", cells)
    again = estimate(workload(loop, n=7), parse_node("H100")).stages
    for one, other in zip(once[0].ops, again[0].ops, strict=True):
        a, b = ({n: getattr(row, n) for n in row.__struct_fields__ if n not in ("op", "bound")} for row in (one, other))
        assert a == pytest.approx(b, rel=1e-12)
        assert (one.op, one.count, one.flops, one.bytes) == (other.op, other.count, other.flops, other.bytes)
    for rung in RUNGS:
        assert once[0].bounds.at(rung) == pytest.approx(again[0].bounds.at(rung), rel=1e-12)
    seconds = sum(2 * (1000 * i + 7) ** 2 * 7 * (3 * i + 1) for i in range(11)) / 989.4e12 / 3
    assert once[0].ops[4].compute_s == pytest.approx(seconds * (7 if repeat == "n" else 1))


def test_operations_are_alike_only_where_their_limits_are():
    """A convolution and a product of the same sizes in fp32 have other units; collectives of one size other rings."""
    x, w, y = (tensor(shape, "fp32") for shape in ("8,64", "64,32", "8,32"))
    ops = (
        op("linear", [x, w], [y], b=1, m=8, n=32, k=64),
        op("conv1d", [x, w], [y], n=8 * 32, k=64),
        op("collective", [x], [x], name="all_reduce"),
        op("collective", [x], [x], name="all_gather"),
    )
    found = estimate(workload(Stage("s", ops)), parse_node("8xH100")).stages[0].ops
    assert found[0].compute_s / found[1].compute_s == pytest.approx(494.7 / 66.9)
    assert found[2].limit_s == pytest.approx(2 * found[3].limit_s)


def test_each_device_does_its_share_of_a_loop_by_a_table_too():
    loop = Stage("s", (op("norm", [tensor("k,64")], [tensor("k,64")]),), {"k": "100000*i+9"}, loop=("i", "5"))
    one, eight = (estimate(workload(loop), parse_node(on), None, stated()).total for on in ("H100", "8xH100"))
    assert eight.expected_s == pytest.approx(one.expected_s / 8)
