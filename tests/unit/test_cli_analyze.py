"""`frameroof analyze` and `frameroof gap` as a user meets them: output, JSON, files, sentences for wrong input."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
from cli_said import said
from trace_made import H100, Made

DOCS = Path(__file__).parents[2] / "docs"
BF16 = "c10::BFloat16"


@pytest.fixture
def user(monkeypatch, tmp_path):
    """Types a command in an empty folder; gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def type_(*arguments):
        found = said(*arguments)
        return found.returncode, found.stdout, found.stderr

    return type_


@pytest.fixture
def trace(tmp_path):
    """Two steps of a made denoiser on an H100: eager attention, linears, an .item() and a wait."""
    t = Made(**H100, distributedInfo={"rank": 1, "world_size": 2, "backend": "nccl"})
    t.frame("train.py(12): step", 0, 3_000_000)
    for step in range(2):
        at = 100_000 + 1_000_000 * step
        t.module("DiTModel_0", at, 800_000)
        matrix = [2, 8, 512, 512]
        for i, (name, dims) in enumerate(
            [
                ("aten::addmm", [[512], [1024, 512], [512, 512]]),
                ("aten::bmm", [[16, 512, 64], [16, 64, 512]]),
                ("aten::_softmax", [matrix, [], []]),
                ("aten::bmm", [[16, 512, 512], [16, 512, 64]]),
                ("aten::add", [[1024, 512], [1024, 512]]),
                ("aten::gelu", [[1024, 512]]),
            ]
        ):
            t.one(name, at + 20_000 + 50_000 * i, 40_000, dims=dims, types=[BF16 if d else "" for d in dims])
        t.op("aten::item", at + 290_000, 230_000)
        t.call(at + 300_000, 200_000, name="cudaStreamSynchronize")
    return t.write(tmp_path, "step.json")


def test_the_report_for_a_person(user, trace):
    code, out, _ = user("analyze", trace)
    assert code == 0
    for words in (
        "step.json on NVIDIA H100 80GB HBM3 (= H100-SXM5-80GB)",
        "2 x 8 x 512 x 512 x 64",
        "denoise",
        "the host had waited for the device",
        "aten::item",
        "train.py(12): step",
        "Advice, by the most it can bring",
        "Coverage, as shares of the time: operator 100.0%",
        "2 per multiply-add",
    ):
        assert words in out, words


def test_the_json_is_the_record_with_its_schema(user, trace):
    code, out, _ = user("analyze", trace, "--json")
    data = json.loads(out)
    assert (code, data["schema"], data["version"]) == (0, "frameroof.analyze/1", 1)
    assert data["summary"]["busy_ns"] == 480_000
    assert sum(data["idle"].values()) == data["summary"]["idle_ns"]
    assert data["operators"][0]["class"] == "attention"
    assert "NaN" not in out
    check_documented("json-analyze", data)


def test_the_json_of_gap(user, trace):
    code, out, _ = user("gap", trace, "--json")
    data = json.loads(out)
    assert (code, data["schema"], data["device"]) == (0, "frameroof.gap/1", "H100-SXM5-80GB")
    assert sum(r["time_ns"] for r in data["rows"]) == data["time_ns"] == 480_000
    check_documented("json-gap", data)


def keys(data, below):
    if isinstance(data, list):
        return {key for item in data for key in keys(item, below)}
    if not isinstance(data, dict):
        return set()
    return set(data).union(*(keys(value, below) for key, value in data.items() if key not in below))


def check_documented(label, data):
    """Every key stands in its section, and every key that the section names in its first column is there."""
    text = (DOCS / "reference" / "analyze-json.rst").read_text("utf-8")
    section = text.split(f".. _{label}:")[1].split("\n.. _json-")[0]
    below = ("idle", "classes_of_stage", "versions", "ignored", "environment", "measured", "outside", "communication")
    found = keys({k: v for k, v in data.items() if k not in ("stages", "steps") or label == "json-gap"}, below)
    found |= {key for row in (*data.get("stages", []), *data.get("steps", [])) for key in row}
    named = set(re.findall(r"``(\w+)``", section + text.split(".. _json-advice:")[1].split("\n.. _json-")[0]))
    assert found <= named, found - named
    assert data["schema"] in section


def test_a_run_is_saved_and_put_beside_its_limits(user, trace, tmp_path):
    code, _, err = user("analyze", trace, "--out", "runs/one")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "runs/one/run.json").read_text())["summary"]["device"] == "NVIDIA H100 80GB HBM3"
    for given in ("runs/one", "runs/one/run.json", trace):
        code, out, _ = user("gap", given)
        assert code == 0
        assert "Beside the limits of H100-SXM5-80GB" in out
    code, out, _ = user("gap", "runs/one", "--on", "MI300X", "--top", "2")
    assert "Beside the limits of MI300X" in out
    assert "the first 2 of" in out


def test_nothing_is_overwritten_unasked(user, trace, tmp_path):
    assert user("analyze", trace, "--out", "run")[0] == 0
    before = (tmp_path / "run/run.json").read_bytes()
    code, out, err = user("analyze", trace, "--out", "run", "--on", "MI300X")
    assert (code, out, err) == (2, "", "frameroof: run/run.json exists; --force overwrites it\n")
    assert (tmp_path / "run/run.json").read_bytes() == before
    assert user("analyze", trace, "--out", "run", "--on", "MI300X", "--force")[0] == 0
    assert (tmp_path / "run/run.json").read_bytes() != before


@pytest.mark.parametrize(
    ("options", "there"),
    [
        (("--csv", "tables"), "tables/classes.csv"),
        (("--parquet", "tables"), "tables/classes.parquet"),
        (("--perfetto", "p.json.gz"), "p.json.gz"),
    ],
)
def test_what_is_there_is_refused_before_the_trace_is_read(user, trace, tmp_path, options, there):
    assert user("analyze", trace, *options)[0] == 0
    before = (tmp_path / there).read_bytes()
    code, out, err = user("analyze", "no-such-trace.json", *options)
    assert (code, out, err) == (2, "", f"frameroof: {there} exists; --force overwrites it\n")
    assert (tmp_path / there).read_bytes() == before


def test_several_ranks(user, trace, tmp_path):
    t = Made(distributedInfo={"rank": 0, "world_size": 2, "backend": "nccl"})
    t.one("aten::mm", 10_000, 1_000_000, dims=[[8, 8], [8, 8]])
    t.one("c10d::allreduce_", 1_020_000, 20_000, "ncclDevKernel_AllReduce")
    other = t.write(tmp_path, "rank0.json")
    code, out, _ = user("analyze", trace, other, "--out", "job")
    assert code == 0
    assert re.search(r"^ 1 .*step\.json", out, re.M)
    assert "Rank 0 computes longest" in out
    saved = {p.parent.name: json.loads(p.read_text())["source"] for p in (tmp_path / "job").glob("*/run.json")}
    assert {name: source["path"] for name, source in saved.items()} == {"rank0": "rank0.json", "rank1": "step.json"}
    assert user("analyze", trace, other, "--out", "job")[2] == (
        "frameroof: job/rank0/run.json exists; --force overwrites it\n"
    )
    assert user("analyze", trace, other, "--csv", "tables")[0] == 0
    rows = {p.parent.name: p.read_text().splitlines()[1] for p in (tmp_path / "tables").glob("*/classes.csv")}
    assert rows["rank0"].startswith("linear,1000000,1,")
    assert set(rows) == {"rank0", "rank1"}
    assert user("analyze", trace, other, "--csv", "tables")[2].startswith("frameroof: tables/rank0/classes.csv exists")
    assert "belong to one trace" in user("analyze", trace, other, "--capture", other)[2]
    data = json.loads(user("analyze", trace, other, "--json")[1])
    assert data["schema"] == "frameroof.analyze-ranks/1"
    assert [r["rank"] for r in data["overall"]["ranks"]] == [1, 0]
    assert data["overall"]["problems"] == []
    text = (DOCS / "reference" / "analyze-json.rst").read_text("utf-8")
    section = text.split(".. _json-analyze-ranks:")[1].split("\n.. _json-")[0]
    assert keys(data["overall"], ()) <= set(re.findall(r"``(\w+)``", section))


def test_two_traces_of_one_rank_are_said(user, trace, tmp_path):
    t = Made(distributedInfo={"rank": 1, "world_size": 2, "backend": "nccl"})
    t.one("aten::mm", 10_000, 1_000_000, dims=[[8, 8], [8, 8]])
    code, out, _ = user("analyze", trace, t.write(tmp_path, "again.json"))
    assert code == 0
    assert "Problem: 2 of the traces are of rank 1" in out
    assert out.startswith("Where the time went: 2 ranks, each busy 480.0 µs to 1.000 ms, idle ")
    assert [line.partition(":")[0] for line in out.splitlines()[:3]] == [
        "Where the time went", "Why", "What to change first",
    ]  # fmt: skip


def test_a_report_of_the_processor_speaks_of_operators(user, tmp_path):
    t = Made()
    t.module("DiT_0", 0, 20_000)
    t.op("aten::mul", 1_000, 5_000, [[8, 8]])
    _, out, _ = user("analyze", t.write(tmp_path, "cpu.json"))
    assert "1 operator\n" in out
    assert "operators" in out
    assert not re.search("kernel|idle before", out)


def test_a_wait_is_named_with_the_call_that_waits(user, trace):
    _, out, _ = user("analyze", trace)
    assert re.search(r"aten::item +cudaStreamSynchronize +train\.py\(12\): step", out)


def test_rates_that_the_device_cannot_reach(user, tmp_path):
    """2 x 4096^3 FLOPs in 250 us are 550 TFLOP/s and 403 GB/s; 96 MiB in 10 us are more than any memory moves."""
    t = Made(**H100)
    t.one("aten::mm", 10_000, 250_000, dims=[[4096, 4096]] * 2, types=[BF16] * 2)
    t.one("aten::mul", 300_000, 10_000, dims=[[4096, 4096]] * 2, types=[BF16] * 2)
    path = t.write(tmp_path, "fast.json")
    data = json.loads(user("analyze", path, "--json")[1])
    rates = {o["name"]: o["bytes_per_s"] for o in data["operators"]}
    assert rates["aten::mul"] is None
    faults = "operators above the memory bandwidth of H100-SXM5-80GB, by more than its cache holds"
    assert [(p["what"].partition(";")[0], p["count"]) for p in data["problems"]] == [(faults, 1)]
    assert rates["aten::mm"] == pytest.approx(3 * 2 * 4096**2 / 250e-6)
    assert {o["name"]: o["above"] for o in data["operators"]} == {"aten::mul": "a fault of ours", "aten::mm": ""}
    assert "above peak" in user("analyze", path)[1]
    _, out, _ = user("analyze", path, "--on", "A100")
    assert "Problem: operators faster than the dense peak of A100" in out
    assert "(1): their times are not those of this device" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["analyze"], "analyze needs TRACE"),
        (["analyze", "missing.json"], "missing.json cannot be read"),
        (["analyze", "."], "is a folder"),
        (["analyze", "notes.txt"], "notes.txt holds no list of events"),
        (["analyze", "empty.json"], "empty.json"),
        (["analyze", "/dev/zero"], "/dev/zero"),
        (["analyze", "TRACE", "--on", "H1000"], "no device is called 'H1000'; did you mean"),
        (["analyze", "TRACE", "--out", "notes.txt"], "notes.txt cannot be made"),
        (["analyze", "TRACE", "--out", "notes.txt/x"], "notes.txt/x cannot be made: Not a directory"),
        (["analyze", "TRACE", "--capture", "missing.json"], "missing.json cannot be read"),
        (["analyze", "TRACE", "--capture", "TRACE"], "holds no graph capture"),
        (["analyze", "TRACE", "--against", "nosuch"], "unknown model 'nosuch'"),
        (["analyze", "TRACE", "TRACE", "--capture", "TRACE"], "belong to one trace"),
        (["analyze", "TRACE", "copy.json"], "step.json and copy.json are the same trace"),
        (["analyze", "report.nsys-rep"], "nsys export --type sqlite --output report.sqlite report.nsys-rep"),
        (["analyze", "TRACE", "--top", "0"], "--top"),
        (["gap"], "gap needs RUN"),
        (["gap", "missing"], "missing cannot be read"),
        (["gap", "hollow"], "a run is a folder made by analyze or profile"),
        (["gap", "run.json"], "run.json is a run of version 99; this frameroof reads version 1"),
        (["gap", "TRACE", "--on", "H1000"], "no device is called 'H1000'"),
        (["gap", "TRACE", "--against", "nosuch"], "unknown model 'nosuch'"),
        (["gap", "TRACE", "--size", "batch=2"], "--size belongs to the workload of --against"),
        (["gap", "TRACE", "--against", "dit-xl-2", "--size", "batch=0"], "too small"),
        (["gap", "cpu.json"], "say whose limits count with --on"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(user, trace, tmp_path, arguments, sentence):
    (tmp_path / "hollow").mkdir()
    (tmp_path / "notes.txt").write_text("not a trace")
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "copy.json").write_bytes(trace.read_bytes())
    (tmp_path / "report.nsys-rep").write_bytes(b"NVTX")
    (tmp_path / "run.json").write_text('{"version": 99}')
    t = Made()
    t.op("aten::mm", 0, 1000)
    t.write(tmp_path, "cpu.json")
    code, out, err = user(*(trace if a == "TRACE" else a for a in arguments))
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("frameroof: ")
    assert err.count("\n") == 1


def test_the_trace_of_the_guide_is_what_its_script_writes(tmp_path):
    examples = DOCS / "guide" / "examples"
    script = tmp_path / "made_trace.py"
    script.write_text((examples / "made_trace.py").read_text("utf-8"), "utf-8")
    runpy.run_path(str(script))
    assert (tmp_path / "denoise.json").read_bytes() == (examples / "denoise.json").read_bytes()


def test_an_account_of_nothing_says_so(user, tmp_path):
    code, out, _ = user("analyze", Made().write(tmp_path, "empty_events.json"))
    assert code == 0
    assert "there is nothing to account for" in out


def test_gap_writes_its_tables_and_prints_markdown(user, trace, tmp_path):
    code, out, _ = user("gap", trace, "--out", "g", "--csv", "g", "--markdown", "--top", "2")
    assert code == 0
    assert out.startswith("### Beside the limits of H100-SXM5-80GB\n\nwork 480.0 µs, limit ")
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows if "MFU" in row or "`" in row} == {11}
    printed = json.loads(user("gap", trace, "--json")[1])
    assert json.loads((tmp_path / "g/gap.json").read_text()) == printed
    tables = {path.stem for path in (tmp_path / "g").glob("*.csv")}
    assert tables == {"operations", "classes", "stages", "violations", "advice"}
    lines = (tmp_path / "g/operations.csv").read_text().splitlines()
    assert len(lines) == 1 + len(printed["rows"])
    assert lines[0].startswith("class,name,stage,")


def test_gap_overwrites_nothing_and_prints_one_form(user, trace):
    assert user("gap", trace, "--csv", "g")[0] == 0
    assert user("gap", trace, "--csv", "g")[2] == "frameroof: g/operations.csv exists; --force overwrites it\n"
    assert user("gap", trace, "--csv", "g", "--force")[0] == 0
    code, out, error = user("gap", trace, "--markdown", "--json")
    assert (code, out) == (2, "")
    assert "choose one" in error
