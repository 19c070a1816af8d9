"""Inputs that no one should believe: each ends in a sentence or a whole report, without a control character."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_said import said
from run_made import made

from frameroof.estimate import estimate, memory_of
from frameroof.files import opened, read_unpacked, read_whole
from frameroof.hardware import load_devices, parse_changes, parse_node
from frameroof.run import load_run
from frameroof.trace.to_run import analyze
from frameroof.workload.expr import expr
from frameroof.workload.file import loads

NUMBERS = ("1e999", "-1e999", "1e99999999999999999999", "1e-99999999999999999999", "NaN", "Infinity", "9" * 5000, "-5",
           '"1e999999999"', '"sNaN"', '"' + "9" * 50_000 + '"', "2999999999999999", "true", "[1]", "null")  # fmt: skip
EVIL = "\x1b[31mRED\x1b]0;pwn\x07\u202ertl\r\n\ud800\x9b2J"


def kernel(**changed: Any) -> dict[str, Any]:
    args = {"device": 0, "stream": 7, "correlation": 1}
    return {"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": 5, "dur": 2, "args": args} | changed


def trace(path: Path, *events: dict[str, Any], device: str = "NVIDIA H100", **values: str) -> Path:
    """A trace of some events; a text "@name" in it is replaced by a piece of JSON."""
    text = json.dumps({"deviceProperties": [{"id": 0, "name": device}], "traceEvents": events})
    for name, value in values.items():
        text = text.replace(f'"@{name}"', value)
    path.write_text(text)
    return path


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", ["ts", "dur", "pid", "tid", "device", "stream", "correlation", "bytes"])
def test_an_unbelievable_number_costs_its_event_at_most(tmp_path: Path, field: str, number: str) -> None:
    odd = kernel(name="odd")
    (odd if field in odd else odd["args"])[field] = "@n"
    run = analyze(trace(tmp_path / "t.json", kernel(), odd, kernel(ts=20), n=number))
    named = {row.name: row.time_ns for row in run.kernels}
    assert named["gemm"] == 4000
    assert run.summary.kernels in (2, 3)
    assert run.summary.kernels == 3 or run.problems


def test_an_overflowing_time_is_reported_and_left_out(tmp_path: Path) -> None:
    run = analyze(trace(tmp_path / "t.json", kernel(), kernel(ts="@n"), n="1e99999999999999999"))
    assert run.summary.kernels == 1
    assert [p.count for p in run.problems if p.what == "events whose time is no believable number"] == [1]


def test_lengths_that_no_sum_could_hold_are_reported_and_left_out(tmp_path: Path) -> None:
    long = [kernel(ts=i, dur=2_900_000_000_000_000) for i in range(9)]
    run = analyze(trace(tmp_path / "t.json", kernel(ts=100), *long))
    assert (run.summary.kernels, run.summary.kernel_ns) == (1, 2000)
    assert [p.count for p in run.problems if "so long" in p.what] == [9]


@pytest.mark.parametrize("cat", ["kernel", "cpu_op", "user_annotation", "python_function", "made_up"])
def test_names_are_clean_and_bounded(tmp_path: Path, cat: str) -> None:
    name = {"python_function": "nn.Module: ", "user_annotation": "stage::"}.get(cat, "") + EVIL
    run = analyze(trace(tmp_path / "t.json", kernel(), kernel(cat=cat, name=name, ts=1, dur=50), device=EVIL))
    text = json.dumps(run.to_dict(), ensure_ascii=False)
    assert text.isprintable()
    assert run.summary.device == "REDrtl \ufffd"


@pytest.mark.parametrize("piece", ["a.", "a/", "<", "(", ", seq = 1", "::", "\n", "1x"])
def test_long_names_take_no_longer_than_their_length(tmp_path: Path, piece: str) -> None:
    name = piece * (20_000 // len(piece))
    events = [
        kernel(name=name),
        kernel(cat="cpu_op", name="mod::" + name, tid=1, ts=0, dur=90, args={}),
        kernel(cat="cpu_op", name=name, tid=1, ts=1, dur=80, args={"External id": 1, "Input Dims": [[4]]}),
        kernel(cat="cuda_runtime", name="cudaLaunchKernel", tid=1, ts=2, dur=1, args={"correlation": 1}),
    ]
    run = analyze(trace(tmp_path / "t.json", *events))
    assert len(run.kernels[0].name) <= 10_000
    assert len(run.modules) <= 100


@pytest.mark.parametrize("deep", ["[" * 500 + "]" * 500, "[" * 50_000 + "]" * 50_000, '{"a":' * 500 + "1" + "}" * 500])
@pytest.mark.parametrize("field", ["Input Dims", "Concrete Inputs", "Anything"])
def test_deep_arguments_leave_the_rest_of_the_trace(tmp_path: Path, field: str, deep: str) -> None:
    operator = kernel(
        cat="cpu_op", name="aten::mm", tid=1, ts=0, args={"External id": 1, "Input Dims": [[4]], field: "@d"}
    )
    assert analyze(trace(tmp_path / "t.json", operator, kernel(), d=deep)).summary.kernels == 1


# ----------------------------------------------------------------------------------- workloads


def workload(
    op: dict[str, Any] | None = None, stage: dict[str, Any] | None = None, default: int = 1, **top: Any
) -> dict[str, Any]:
    """A workload of one product, with some fields of its operation, its stage or the whole changed."""
    product = {"path": "a", "kind": "linear", "name": "x", "reads": [0, 1], "writes": [2], "dims": dims("b")} | (
        op or {}
    )
    tensors = ["bf16[b,4]", "w:bf16[4,4]", "bf16[b,4]"]
    whole = {"format": "frameroof.workload", "version": 1, "grammar": 1, "name": "t"} | top
    stages = [{"name": "s", "tensors": tensors, "ops": [product | (op or {})], "weights": {"bf16": 16}} | (stage or {})]
    params = {"b": {"default": default}} | top.get("params", {})
    return whole | {"params": params, "stages": stages}


def dims(m: str) -> dict[str, Any]:
    return {"b": 1, "m": m, "n": 4, "k": 4}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"default": -5}, "too small"),
        ({"default": 10**308}, r"beyond 2\^62 - at `\$.params.b.default`"),
        ({"version": -1}, "versions begin at 1"),
        ({"grammar": 0}, "versions begin at 1"),
        (
            {"stage": {"let": {f"x{i}": f"x{i - 1}*x{i - 1}" if i else "b+2" for i in range(60)}}},
            "grows beyond any use",
        ),
        ({"stage": {"let": {"x": "*".join(["(b+1)"] * 2000)}}}, "too long"),
        ({"stage": {"let": {"x": "(" * 180 + "b" + ")" * 180}, "repeat": "-" * 1900 + "b"}}, "expression|deeply"),
        ({"stage": {"let": {"min": "b"}}}, "cannot be the name"),
        ({"stage": {"repeat": "0-b"}}, "run 0-b times"),
        ({"stage": {"loop": ["i", "3"], "let": {"m": "b-i"}, "cache": "m"}}, "negative"),
        ({"stage": {"tensors": ["bf16[" + "b," * 200 + "4]"] * 3}}, "at most 64"),
        ({"op": {"dims": dims("b-9")}}, "negative"),
        ({"op": {"dims": dims("*".join(["b"] * 99))}}, "beyond any use"),
        ({"op": {"reads": [0, 7]}}, "names a tensor"),
        ({"op": {"reads": [0, -1]}}, "names a tensor"),
        ({"op": {"kind": "a" * 9000}}, "unknown kind"),
        ({"notes": ["x" * 5000] * 50}, "250,000 characters"),
        ({"source": ["x" * 5000] * 50}, "250,000 characters"),
        ({"params": {"batch": {"default": 0, "least": 0}}}, "the batch is the items of a run, at least 1"),
    ],
)
def test_a_workload_beyond_use_is_a_sentence(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        loads(json.dumps(workload(**changed)).encode())
    assert len(str(caught.value)) < 500


def test_integers_of_a_loop_do_not_wrap_unseen() -> None:
    stage = {"loop": ["i", "100000"], "let": {"x": "(i+1)*(i+1)*(i+1)*(i+1)*(i+1)*(i+1)*(i+1)"}}
    with pytest.raises(ValueError, match="grows beyond any use"):
        estimate(loads(json.dumps(workload({"dims": dims("x")}, stage)).encode()), parse_node("H100"))
    with pytest.raises(ValueError, match="grows beyond any use"):
        expr("(i+1)*(i+1)*(i+1)*(i+1)*(i+1)//(i+1)//(i+1)//(i+1)")(i=np.arange(100_000))


def test_products_over_a_loop_do_not_wrap_unseen() -> None:
    stage = {"loop": ["i", "1000"], "let": {"x": "1000000000000*(i+1)"}}
    for least in ({"dims": dims("x*x*x*x*x*x*x*x")}, {"dims": dims("x*100000")}):  # 1e120 and 3e21 in the last turn
        with pytest.raises(ValueError, match="a size grows beyond any use"):
            estimate(loads(json.dumps(workload(least, stage)).encode()), parse_node("H100"))
    counted = loads(json.dumps(workload({"dims": dims("x"), "count": "x"}, stage)).encode())
    assert estimate(counted, parse_node("H100")).total.flops == sum(2 * 16 * (10**12 * i) ** 2 for i in range(1, 1001))
    held = {"held": [[0, "x*100000", 0]]}  # 1e20 elements in the last turn
    with pytest.raises(ValueError, match="a size grows beyond any use"):
        memory_of(loads(json.dumps(workload(stage=stage | held)).encode()), parse_node("H100"), {"b": 1})


def test_a_chosen_size_is_bounded_as_the_default_is() -> None:
    made = loads(json.dumps(workload({"dims": dims("*".join(["b"] * 30))})).encode())
    assert estimate(made, parse_node("H100")).total.flops == 2 * 4 * 4
    with pytest.raises(ValueError, match="a size grows beyond any use"):
        estimate(made, parse_node("H100"), {"b": 10**9})


def test_a_division_by_zero_in_one_turn_is_a_sentence_and_no_warning() -> None:
    with warnings.catch_warnings(record=True) as warned, pytest.raises(ValueError, match="divides by zero"):
        expr("4//(2-i)")(i=np.arange(4))
    assert not warned


@pytest.mark.parametrize(("align", "pairs"), [("upper_left", 3 * 4 / 2 + 3 * 2), ("lower_right", 3 * 4 / 2)])
def test_causal_attention_of_sizes_that_only_the_user_knows(align: str, pairs: float) -> None:
    """Five queries over three keys: which is smaller is known when sizes are chosen."""
    attention = {
        "kind": "attention",
        "reads": [0, 0, 0],
        "dims": {"b": 1, "heads": 1, "kv_heads": 1, "q": "b+4", "kv": "2*b+1", "d": 8, "dv": 8},
        "attrs": {"causal": True, "align": align},
    }
    (row,) = estimate(loads(json.dumps(workload(attention)).encode()), parse_node("H100")).total.ops
    peak = parse_node("H100").device.dense_flops["bf16"]
    assert row.compute_s >= 4 * 8 * pairs / peak * (1 - 1e-9)
    assert row.flops == 4 * 8 * 15


def test_nothing_to_compute_is_a_sentence_and_no_endless_rate(tmp_path: Path) -> None:
    file = tmp_path / "w.workload.json"
    for stage in ({"loop": ["i", "0"]}, {"repeat": "0"}):
        file.write_text(json.dumps(workload(stage=stage)))
        done = said("predict", file)
        assert (done.returncode, done.stdout) == (2, "")
        assert "t computes nothing at these sizes" in done.stderr


# ------------------------------------------------------------------------- hardware, runs, files


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a=" + "[" * 90_000, "nested too deeply"),
        (".".join(["a"] * 5000) + "=1", "nested too deeply"),
        ('vendor="V"\nx=1e400\ndevice=[]', r"inf, which is not finite .* at `\$.x`"),
        ('vendor="V"\nx=nan\ndevice=[]', "nan, which is not finite"),
        ('vendor="V"\ndevice=[{x=' + "9" * 200 + "}]", r"at `\$.device\[0\].x`"),
    ],
)
def test_a_hardware_file_beyond_use_is_a_sentence(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "h.toml").write_text(text)
    with pytest.raises(ValueError, match=why):
        load_devices(tmp_path / "h.toml")


@pytest.mark.parametrize("value", ["1e999", "1e308", "1e-300", "0", "nan", "9" * 5000])
def test_a_setting_beyond_use_is_a_sentence(value: str) -> None:
    with pytest.raises(ValueError, match=r"--set bf16=.*(must be above zero and finite|is no value)"):
        parse_changes([f"bf16={value}"])


def test_a_count_beyond_use_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="is no number of devices"):
        parse_node("9" * 5000 + "xH100")


def test_pipes_and_devices_are_never_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for read in (load_run, analyze, read_whole, read_unpacked):
        for name in ("run.json", "zero.json"):
            with pytest.raises(ValueError, match="cannot be read: it is a pipe, socket or device"):
                read(tmp_path / name)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(ValueError, match="has 5 bytes, and at most 4 are read"), opened(tmp_path / "a", 4):
        pass
    with pytest.raises(ValueError, match="has more than 0 bytes"):
        read_whole("/proc/self/maps", 0)  # says that it has none


# ------------------------------------------------------------------- the inputs that failed once

ANALYZE = (["analyze", "FILE"], ["analyze", "FILE", "--json"], ["analyze", "FILE", "--csv", "DIR"])
RUN = {
    "ts_exponent_overflow.json": (ANALYZE, "no believable number"),
    "device_name_surrogate.json": (ANALYZE, "N\ufffdVIDIA H100"),
    "evil_names.json": (ANALYZE, "[bold]RED"),
    "letbomb.workload.json": ([["predict", "FILE"]], "grows beyond any use"),
    "b308.workload.json": ([["predict", "FILE"]], "beyond 2^62 - at `$.params.b.default`"),
    "neg.workload.json": ([["predict", "FILE"]], "b=-5 is too small"),
    "hw_deep.toml": ([["predict", "sdxl", "--hardware-file", "FILE", "--on", "Mine"]], "nested too deeply"),
    "run_median_text.json": ([["gap", "RUN"], ["compare", "RUN", "RUN"]], "measured.median_ns"),
}


def test_what_failed_once_ends_as_its_truth_says(shared: Path, tmp_path: Path) -> None:
    truth = json.loads((shared / "cases" / "inputs" / "TRUTH.json").read_text())["truth"]
    assert set(truth) == set(RUN)
    for name, (commands, says) in RUN.items():
        file, folder = shared / "cases" / "inputs" / name, tmp_path / name
        folder.mkdir()
        (folder / "run.json").write_bytes(file.read_bytes())
        words = {"FILE": str(file), "RUN": str(folder), "DIR": str(folder / "tables")}
        for command in commands:
            done = said(*(words.get(word, word) for word in command))
            text = done.stdout + done.stderr
            assert (name, done.returncode) == (name, truth[name]["exit"]), text
            assert "Traceback" not in text
            assert text.replace("\n", "").isprintable(), name
            assert says in " ".join(text.split()) or "--csv" in command, text


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("median_ns", "soon", r"Expected `int \| null`, got `str` - at `\$.measured.median_ns`"),
        ("median_ns", -1, r"at `\$.measured.median_ns`"),
        ("median_ns", 2**70, r"beyond 2\^62 - at `\$.measured.median_ns`"),
        ("dims", [[1, [2]]], r"dimensions .* at `\$.shapes\[0\]`"),
        ("dims", [["a"]], r"at `\$.shapes\[0\].dims\[0\]\[0\]`"),
        ("dims", [[[[[1]]]]], r"at `\$.shapes\[0\].dims"),
        ("version", -1, "a run of version -1;"),
        ("version", "1", "a run of version '1'"),
        ("share", 1e40, r"not finite or beyond 1e\+30 - at `\$.classes\[0\].share`"),
    ],
)
def test_a_run_names_the_field_that_it_has_wrong(tmp_path: Path, field: str, value: Any, why: str) -> None:
    data = made().to_dict()
    where = {"median_ns": data["measured"], "dims": data["shapes"][0], "version": data, "share": data["classes"][0]}
    where[field][field] = value
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=why):
        load_run(tmp_path)
