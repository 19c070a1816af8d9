"""Models of expected time behind one protocol: numbers, arrays and grids agree; files are read or refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cli_said import run

from frameroof.estimate import Utilization, estimate, estimate_grid
from frameroof.estimate.expected import DEFAULT_UTILIZATION, Bounds, Work, chosen
from frameroof.estimate.expected.efficiency import STATED, stated
from frameroof.estimate.expected.file import load_efficiency
from frameroof.estimate.expected.kernels import Kernels
from frameroof.estimate.expected.software import DEFAULT, PRESETS
from frameroof.hardware import parse_changes, parse_node, what_if
from frameroof.roofline import Roofline
from frameroof.study.predict import predict
from frameroof.study.stream import copies
from frameroof.workload import file
from frameroof.workload.expr import poly
from frameroof.workload.recipe import Size
from frameroof.workload.records import Op, Stage, Tensor, Workload

A100 = parse_node("A100")
PEAK, BANDWIDTH = 312e12, 2.039e12
MODELS = {
    "default": DEFAULT_UTILIZATION,
    "by kind": Utilization(0.5, {"attention": 0.7, "conv2d": 0.3}),
    "kernel": stated(),
    "wall": stated().on("wall"),
}
UNIFORM = {
    "schema": "frameroof.efficiency/1",
    "kind": "uniform",
    "name": "seen",
    "source": "a run of mine",
    "date": "2026-11-30",
    "device": "A100-SXM4-80GB",
    "default": 0.5,
    "by_kind": {"attention": 0.25},
}


def tensor(*shape):
    return Tensor(tuple(poly(str(side)) for side in shape), "bf16")


def attention(heads="h", d="64", name="attn", **attrs):
    """b x heads, q queries of kv keys; d wide."""
    q, kv = tensor("b", heads, "q", d), tensor("b", heads, "kv", d)
    sizes = {"b": "b", "heads": heads, "kv_heads": heads, "q": "q", "kv": "kv", "d": d, "dv": d}
    return Op(name, "attention", "sdpa", (q, kv, kv), (q,), {n: poly(t) for n, t in sizes.items()}, attrs)


def linear(m, n, k, **how):
    dims = {name: poly(size) for name, size in zip("bmnk", ("1", m, n, k), strict=True)}
    return Op("fc", "linear", "linear", (tensor(m, k), tensor(n, k)), (tensor(m, n),), dims, **how)


def every_kind():
    """A stage of each rule of the table, and a loop whose keys grow and then do not."""
    conv = Op("c", "conv2d", "conv2d", (tensor("b", "n"),), (tensor("b", "n"),), {"n": poly("b*n"), "k": poly("288")})
    norm = Op("n", "norm", "group_norm", (tensor("b", "n"),), (tensor("b", "n"),), count=poly("7"))
    total = Op("s", "elementwise", "add", (tensor("b", "n"),), (tensor("b", "n"),), {}, {"total": True}, poly("q"))
    wide = attention(d="w", name="wide")
    ops = (attention(), wide, linear("b*q", "4*h", "n"), conv, norm, total)
    let = {"b": "batch", "h": "8", "q": "tokens", "kv": "tokens", "n": "16*tokens", "w": "128*batch"}
    once = Stage("once", ops, let, repeat="steps")
    grown = {**let, "q": "1", "kv": "min(window, tokens+i)"}
    loop = Stage("loop", (attention(), linear("b", "n", "n")), grown, repeat="2", loop=("i", "steps-1"))
    params = {"batch": Size(1), "tokens": Size(64), "steps": Size(5), "window": Size(70)}
    return Workload("every", params, (once, loop))


@pytest.mark.parametrize("name", MODELS)
def test_the_grid_and_each_configuration_say_the_same(name):
    """Heads of 128 to 512 pass the widest that flash attention takes: one configuration is not another's."""
    rng = np.random.default_rng(3)
    sizes = {"batch": rng.integers(1, 5, 12), "tokens": rng.integers(1, 300, 12), "steps": rng.integers(1, 40, 12)}
    nodes = [A100, parse_node("2xH100"), parse_node("TPU v5e")]
    grid = estimate_grid(every_kind(), nodes, sizes, MODELS[name])
    for row, node in enumerate(nodes):
        for at in range(12):
            one = {size: int(values[at]) for size, values in sizes.items()}
            found = predict(every_kind(), node, sizes=one, elementwise="eager", efficiency=MODELS[name])
            assert grid.expected_s[row, at] == pytest.approx(found.expected_s, rel=1e-9)
            assert grid.limit_s[row, at] == pytest.approx(found.limit_s, rel=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_an_array_of_sizes_is_its_numbers_and_nothing_is_faster_than_its_limit(name):
    workload, machine, expected = every_kind(), Roofline(A100.device), MODELS[name]
    rng = np.random.default_rng(4)
    many = {size: rng.integers(1, 400, 20) for size in workload.params}
    for op in workload.stages[0].ops:
        whole = Work(op, workload.stages[0].bind(many))
        seconds, limits = expected.call_s(whole, Bounds.of(whole, machine)), Bounds.of(whole, machine).limit_s
        assert (seconds >= limits * (1 - 1e-12)).all()
        for at in range(20):
            one = Work(op, workload.stages[0].bind({size: int(values[at]) for size, values in many.items()}))
            assert expected.call_s(one, Bounds.of(one, machine)) == pytest.approx(seconds[at], rel=1e-12)


def test_a_uniform_model_divides_the_limit_by_the_share_of_its_kind():
    by_kind = MODELS["by kind"]
    rows = estimate(every_kind(), A100, expected=by_kind, cold=True).total.ops
    assert {op.op.kind for op in rows} == {"attention", "linear", "conv2d", "norm", "elementwise"}
    for op in rows:
        share = {"attention": 0.7, "conv2d": 0.3}.get(op.op.kind, 0.5)
        assert op.expected_s == pytest.approx(op.limit_s / share)


def test_a_table_gives_a_row_of_a_model_what_a_hand_gives():
    """16 rows are padded to 64; of all calls of a loop: 4 turns, twice."""
    op = linear("16", "8192", "8192")
    workload = Workload("one", {}, (Stage("s", (op,), repeat="2", loop=("i", "4")),))
    padded, moved = 2 * 64 * 8192 * 8192, 2 * (16 * 8192 + 8192 * 8192 + 16 * 8192)
    compute = padded / (PEAK * (0.6 + 0.3 * np.log(padded / 1e9) / np.log(16)))  # from 1 to 16 GFLOP
    memory = moved / (BANDWIDTH * 0.9)  # beyond 100 MB
    assert memory > compute
    assert estimate(workload, A100, expected=stated()).total.expected_s == pytest.approx(8 * memory)


def test_copies_of_a_stream_ask_the_same_model():
    (plain,) = copies({"cache.clone": 1e9}, A100, DEFAULT_UTILIZATION)
    assert plain.expected_s == pytest.approx(1e9 / BANDWIDTH / 0.48)
    (seen,) = copies({"cache.clone": 1e9}, A100, stated())
    assert seen.expected_s == pytest.approx(1e9 / BANDWIDTH / 0.9)


# ------------------------------------------------------------------------------------------ files


def written(tmp_path, data, name="my.efficiency.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return path


def test_a_uniform_file_is_used_for_its_device(tmp_path):
    path = written(tmp_path, UNIFORM)
    found = predict(every_kind(), A100, efficiency=path, cold=True)
    kinds = found.estimate.total.ops
    assert found.expected_s == pytest.approx(sum(op.limit_s * (4 if op.op.kind == "attention" else 2) for op in kinds))
    said = found.assumptions()["expected"]
    assert (said["model"], said["device"], said["date"], said["file"]) == (
        "uniform",
        "A100-SXM4-80GB",
        "2026-11-30",
        str(path),
    )
    assert "a run of mine" in said["source"]
    changed = what_if(A100, parse_changes(["mem_bandwidth=4TB/s"]))
    assert predict(every_kind(), changed, efficiency=path).expected_s < found.expected_s
    with pytest.raises(ValueError, match="is for A100-SXM4-80GB; it says nothing of H100"):
        predict(every_kind(), "H100", efficiency=path)
    with pytest.raises(ValueError, match="says nothing of H100"):
        estimate_grid(every_kind(), [A100, parse_node("H100")], {"batch": [1]}, load_efficiency(path))


def test_the_stated_table_is_a_file_like_any_other(tmp_path):
    """As TOML and as JSON; what a file keeps of its making is not read."""
    import tomllib

    text = STATED.read_text("utf-8")
    data = tomllib.loads(text) | {"made_with": {"samples": [[1, 2], {"anything": None}]}}
    for path in (written(tmp_path, text, "own.toml"), written(tmp_path, data)):
        found = load_efficiency(path)
        assert found.table == stated().table
        assert found.about == replace(stated().about, file=str(path))
        assert found.assumptions()[1].startswith(f"Efficiencies {stated().about.name} ({path}")
    assert load_efficiency() is stated()


def changed(old, new):
    """The stated table with one thing replaced, which it has."""
    text = STATED.read_text("utf-8")
    assert old in text
    return text.replace(old, new, 1)


WITHOUT = {key: value for key, value in UNIFORM.items() if key != "source"}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("[1, 2]", "no efficiency file that can be read: "),
        ("{", "no efficiency file that can be read: "),
        ("\x00\xff", "no efficiency file that can be read: "),
        ("{}", "it has no schema 'frameroof.efficiency/2'"),
        ({"schema": "frameroof.benchmarks.gpu/1"}, "no efficiency file but 'frameroof.benchmarks.gpu/1'"),
        (UNIFORM | {"schema": "frameroof.efficiency/3"}, "of version 3; 1 and 2 can be read"),
        (UNIFORM | {"schema": "frameroof.efficiency/2", "kind": "kernels"}, "unknown field `default`"),
        (UNIFORM | {"kind": "curves"}, "its kind is 'curves'; known are table, uniform and kernels"),
        (WITHOUT, "missing required field `source`"),
        (UNIFORM | {"source": " "}, "no name, no source or no date"),
        (UNIFORM | {"date": "yesterday"}, "no name, no source or no date"),
        (UNIFORM | {"default": 1.5}, "at most 1, not 1.5"),
        (UNIFORM | {"default": -0.1}, "not -0.1"),
        (UNIFORM | {"default": 0}, "not 0"),
        (UNIFORM | {"default": "0.5"}, "Expected `float`, got `str`"),
        (UNIFORM | {"by_kind": {"attention": 2}}, "not 2"),
        (UNIFORM | {"by_kind": {"conv": 0.5}}, "unknown kind 'conv'"),
        (UNIFORM | {"shares": 0.5}, "has 'shares', which is no key"),
        (json.dumps(UNIFORM).replace("0.5", "NaN"), "no efficiency file that can be read: "),
        (json.dumps(UNIFORM).replace("0.5", "1e999"), "no efficiency file that can be read: "),
        (changed("[128.0, 0.95]", "[128.0, 1.5]"), "matrix needs points"),
        (changed("[128.0, 0.95]", "[128.0, nan]"), "not finite"),
        (changed("[128.0, 0.95]", "[inf, 0.95]"), "not finite"),
        (changed("[1.0, 0.6], [16.0, 0.9]", "[16.0, 0.6], [1.0, 0.9]"), "sizes of matrix must rise"),
        (changed("[tile]", "[tiles]"), "missing required field `tile`"),
        (changed("value = 0.57", "value = 1.57"), "convolution is 1.57; it is from 1e-06 to 1"),
        (changed("value = 35.0", "value = nan"), "not finite"),
        (changed("value = 2.0", "value = -2.0"), "kernel is -2"),
        (changed("value = 64.0", "value = 0.0"), "tile is 0"),
        (changed("share = 0.65", "share = 1.65"), "links.nvlink needs a share"),
        (changed("gb_s_per_device = 25.0\n", ""), "links.infiniband has no gb_s_per_device"),
        (changed("[links.pcie]", "[links.usb]"), "has no links.pcie"),
        (changed('unit = "GFLOP', 'steps = 3\nunit = "GFLOP'), "has 'matrix.steps', which is no key"),
        (changed('date = "2026-11-21"\n\n[kernel]', 'date = "soon"\n\n[kernel]'), "host has no source or no date"),
        ("{" * 100_000, "no efficiency file that can be read: "),
        ("a = " + "[" * 100_000, "no efficiency file that can be read: "),
    ],
)
def test_what_is_no_efficiency_file_is_a_sentence(tmp_path, data, match):
    with pytest.raises(ValueError, match=match) as raised:
        load_efficiency(written(tmp_path, data))
    assert "my.efficiency.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_model_is_chosen(tmp_path):
    assert chosen() == Kernels(DEFAULT)
    assert chosen(software="wan") == Kernels(PRESETS["wan"])
    assert chosen(0.25, None) == Utilization(0.25)
    with pytest.raises(ValueError, match="give one of them"):
        chosen(0.5, written(tmp_path, UNIFORM))
    with pytest.raises(ValueError, match="whatever the software"):
        chosen(0.5, software="wan")


# ------------------------------------------------------------------------------------------ verbs


VERBS = {
    "predict": ("predict", "TINY", "--on", "A100"),
    "stream predict": ("stream", "predict", "--on", "A100"),
    "characterize": ("characterize", "--predict", "--models", "stable-diffusion", "--only", "figure-5"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_takes_an_efficiency_file(verb, tiny, tmp_path, capsys, monkeypatch):
    path = written(tmp_path, UNIFORM)
    line = [str(tiny_file(tiny, tmp_path)) if each == "TINY" else each for each in VERBS[verb]]
    code, out = run(capsys, monkeypatch, *line, "--efficiency", str(path))
    assert code == 0, out
    assert "limit over utilization 0.5, attention 0.25" in " ".join(out.split())
    written(tmp_path, UNIFORM | {"device": "L4"})
    code, out = run(capsys, monkeypatch, *line, "--efficiency", str(path))
    assert (code, out) == (2, f"frameroof: {path} is for L4; it says nothing of A100-SXM4-80GB\n")
    if verb != "characterize":
        code, out = run(capsys, monkeypatch, *line, "--efficiency", str(path), "--utilization", "0.5")
        assert (code, out.count("\n")) == (2, 1)
        assert "--utilization and --efficiency are two models" in out


def tiny_file(tiny, folder):
    return file.save(tiny, folder / "tiny.workload.json")


def test_json_names_the_model(tiny, tmp_path, capsys, monkeypatch):
    data = json.loads(run(capsys, monkeypatch, "predict", str(tiny_file(tiny, tmp_path)), "--json")[1])
    assert data["assumptions"]["expected"]["model"] == "kernels"
    assert "utilization" not in data["assumptions"]


def test_what_is_measured_takes_no_efficiency_file(tmp_path, capsys, monkeypatch):
    code, out = run(capsys, monkeypatch, "characterize", "--efficiency", str(written(tmp_path, UNIFORM)))
    assert code == 2
    assert "--efficiency needs --predict" in out
