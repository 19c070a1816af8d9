"""`benchmarks/gpu.py` on a CPU at tiny sizes: its files, what resumes, what it predicts, what it finds wrong."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from frameroof.hardware import device, parse_node
from frameroof.lab.stream.needed import Needed
from frameroof.lab.stream.variants import VARIANTS
from frameroof.report.stream_log import optimization_log
from frameroof.stream import kernels
from frameroof.stream.config import preset
from frameroof.study.stream import predict
from frameroof.study.stream_records import read_log_file

ROOT = Path(__file__).parents[2]
CPU = ["--device", "cpu", "--size", "tiny", "--samples", "3"]
ONLY = ["kernels/gate", "linear", "attention", "fold", "stream/baseline", "gemm", "scale", "copy", "launch"]


@pytest.fixture(scope="module")
def ran(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sections, a part of each."""
    out = tmp_path_factory.mktemp("gpu")
    assert script.main(["check", "calibrate", "stream", "quant", *CPU, "--out", str(out), "--only", *ONLY]) == 0
    return out


def rows(folder: Path, section: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads((folder / f"{section}.json").read_text("utf-8"))["rows"]}


@pytest.mark.parametrize("section", ["check", "calibrate", "stream", "quant"])
def test_a_file_is_whole(ran: Path, section: str) -> None:
    data = json.loads((ran / f"{section}.json").read_text("utf-8"))
    assert data["schema"] == "frameroof.benchmarks.gpu/1"
    assert (data["section"], data["size"], data["finished"]) == (section, "tiny", True)
    assert data["environment"]["versions"]["torch"] in (data["torch"], torch.__version__.split("+")[0])
    assert {"cpu", "date"} <= set(data["environment_after"])
    assert data["notes"]
    assert data["rows"]
    for row in data["rows"]:
        assert row["state"] in ("measured", "refused")
        assert "prediction" in row
        assert row["state"] == "measured" or len(row["why"]) > 10
        assert all(x > 0 for x in row.get("samples_s", []))


def test_a_check_has_its_error_beside_its_tolerance(ran: Path) -> None:
    found = rows(ran, "check")
    assert found["kernels/gate_residual/odd/float32"]["ran"] == "torch"
    assert 0 < found["stream/tiny/fold"]["error"] < 1e-5 == found["stream/tiny/fold"]["tolerance"]
    assert 1e-4 < found["linears/fp8/5x32x48"]["error"] < found["linears/fp8/5x32x48"]["of_bf16"] < 0.1
    assert all(row["ok"] for row in found.values() if row["state"] == "measured")
    refused = {name for name, row in found.items() if row["state"] == "refused"}
    assert all(name.startswith("attention/") for name in refused)


def test_every_row_has_all_its_samples(ran: Path) -> None:
    for section in ("calibrate", "quant"):
        measured = [row for row in rows(ran, section).values() if row["state"] == "measured"]
        assert {len(row["samples_s"]) for row in measured} == {3}
    assert rows(ran, "calibrate")["launch/graph"]["why"] == "CUDA graphs need a CUDA device."
    assert rows(ran, "quant")["linear/24x32x64/int8"]["error_of_bf16"] < 0.05
    gemm = rows(ran, "calibrate")["gemm/fp32/32x48x64"]["prediction"]
    assert (gemm["flops"], gemm["bytes"]) == (2 * 32 * 48 * 64, 4 * (32 * 64 + 48 * 64 + 32 * 48))
    assert gemm["limit_s"] is None  # no file has this CPU's peaks


def test_a_stream_has_steady_blocks_switches_and_forwards(ran: Path) -> None:
    """10 blocks: 4 fill the window, 6 and 8 are switched, 4, 5, 7 and 9 are steady."""
    found = rows(ran, "stream")
    for name, kinds in (("baseline", {"step 1", "step", "context", "recache"}), ("fold", {"folded step 1", "recache"})):
        row = found[f"stream/{name}"]
        assert [len(row[what]) for what in ("samples_s", "block_device_s", "baseline_s", "switch_s")] == [4, 4, 4, 2]
        assert len(row["all_blocks_s"]) == 10
        assert kinds <= set(row["forwards_s"])
        assert len(row["forwards_s"]["recache"]) == 2
        assert len(row["forwards_s"]["step"]) == 6 * 3
        assert row["parity"]["equal"]
    assert found["stream/fold"]["keep"] is None
    assert found["stream/fold"]["why"] == "recache-needed was not measured"
    assert found["stream/fold"]["quality"]["taught_relative"] < 1e-5
    assert found["stream/baseline"]["quality"]["floor"] == 0


def row_of(samples: list[float], step: float, equal: bool | None = True) -> dict[str, Any]:
    return {
        "state": "measured", "samples_s": samples, "baseline_s": [4.0] * 3, "switch_latency_s": [1.0],
        "baseline_latency_s": [2.0], "forwards_s": {"step": [step]}, "prediction": {"limit_s": samples[0] / 2},
        "change": "x", "before": "ring", "of": "block", "quality": {}, "ok": True,
        "parity": None if equal is None else {"equal": equal, "relative": 0.0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "equal", "keep", "why"),
    [
        ([1.0, 1.1, 1.2], None, True, "faster"),
        ([1.9, 2.0, 2.1], True, True, "no gain of the block beyond the spread, and equal numbers"),
        ([1.9, 2.0, 2.1], None, False, "no gain of the block beyond the spread"),
        ([3.0, 3.1, 3.2], None, False, "slower; most in a step, +500.00 ms of device time"),
    ],
)
def test_a_row_of_the_log_says_what_was_saved_and_predicted(
    gpu: Any, h200: Any, tmp_path: Path, samples: list[float], equal: bool | None, keep: bool, why: str
) -> None:
    log = gpu("record").Log(gpu("record").Session(torch.device("cpu"), "tiny", tmp_path, h200), "stream", ())
    log.rows = {"stream/ring": row_of([2.0, 2.0, 2.0], 0.5), "stream/fp8": row_of(samples, 1.0, equal)}
    gpu("stream")._compare(log, "fp8")
    found = log.rows["stream/fp8"]["log"]
    assert (found["keep"], found["why"]) == (keep, why)
    assert (found["before_s"], found["after_s"], found["baseline_s"]) == (2.0, samples[1], 4.0)
    assert found["predicted"] == {"saved_s": (2.0 - samples[0]) / 2, "what": "limit against limit"}


def test_the_log_takes_a_file_of_this_script(ran: Path) -> None:
    found = read_log_file((ran / "stream.json").read_bytes(), "stream.json")
    text = optimization_log([found], predict("H100"))
    assert "## Measured: tiny on cpu, float32" in text
    assert "- context pass folded into the next block's first step: not run; recache-needed was not measured." in text


def test_steps_at_the_published_window_are_timed(script: ModuleType, tmp_path: Path) -> None:
    """21 frames of keys, 7 blocks fill them, 8 follow; of each the mean of 3 later steps, four times."""
    assert script.main(["stream", *CPU, "--out", str(tmp_path), "--only", "published"]) == 0
    (row,) = rows(tmp_path, "stream").values()
    step = 2 * (2 * 18 * (6 * 32**2 + 2 * 32 * 64) + 4 * 18 * (7 * 18 + 8) * 32) + 2 * 18 * 2 * 16 * 32
    assert row["prediction"]["flops"] == 4 * step
    assert len(row["samples_s"]) == 8
    assert row["flop_per_s"] == pytest.approx(4 * step / row["median_s"])


def test_what_is_finished_is_not_run_again(script: ModuleType, tmp_path: Path, capsys: Any) -> None:
    calibrate = ["calibrate", *CPU, "--out", str(tmp_path)]
    assert script.main([*calibrate, "--only", "gemm/fp32"]) == 0
    before = rows(tmp_path, "calibrate")
    assert script.main([*calibrate, "--only", "gemm"]) == 2
    assert "calibrate.json exists; --resume goes on with it" in capsys.readouterr().err
    assert script.main([*calibrate, "--resume", "--only", "gemm"]) == 0
    after = rows(tmp_path, "calibrate")
    assert list(after) == ["gemm/fp32/32x48x64", "gemm/bf16/32x48x64"]
    assert after["gemm/fp32/32x48x64"] == before["gemm/fp32/32x48x64"]
    assert script.main([*calibrate, "--resume", "--size", "full"]) == 2
    assert "was made with size tiny, this is full" in capsys.readouterr().err


def test_after_its_seconds_a_section_begins_nothing(script: ModuleType, tmp_path: Path) -> None:
    assert script.main(["calibrate", *CPU, "--out", str(tmp_path), "--seconds", "0", "--only", "gemm"]) == 0
    data = json.loads((tmp_path / "calibrate.json").read_text("utf-8"))
    assert not data["finished"]
    assert {row["state"] for row in data["rows"]} == {"predicted"}


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_a_wrong_kernel_is_found(script: ModuleType, tmp_path: Path, monkeypatch: Any, wrong: float) -> None:
    right = kernels.gate_residual
    monkeypatch.setattr(kernels, "gate_residual", lambda residual: right(residual) * wrong)
    only = ["--only", "kernels/gate_residual/", "kernels/dequantize/"]
    assert script.main(["check", *CPU, "--out", str(tmp_path), *only]) == 1
    bad = {name for name, row in rows(tmp_path, "check").items() if not row["ok"]}
    assert bad == {f"kernels/gate_residual/odd/{dtype}" for dtype in ("float32", "bfloat16")}


def test_no_gpu_is_a_sentence(script: ModuleType, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main(["check", "--out", str(tmp_path)]) == 2
    assert "No CUDA device is here" in capsys.readouterr().err


# ---------------------------------------------------------------------------------- predictions


@pytest.fixture
def h200(gpu: Any, monkeypatch: Any) -> Any:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    return gpu("limits").machine(torch.device("cuda"))


def test_limits_are_the_datasheets(gpu: Any, h200: Any) -> None:
    """989.4 TFLOP/s and 4.8 TB/s; a copy of 48 MB, read and written, and a product that no cache can help."""
    works = gpu("works")
    square = h200.predict(works.product(8192, 8192, 8192))
    assert (square["flops"], square["bytes"]) == (2 * 8192**3, 3 * 2 * 8192**2)
    assert square["limit_s"] == pytest.approx(2 * 8192**3 / 989.4e12)
    assert square["bound"] == "compute"
    assert square["expected_s"] == pytest.approx(square["limit_s"] / 0.95)
    copy = h200.predict(works.copy(48_000_000))
    assert (copy["limit_s"], copy["bound"]) == (pytest.approx(20e-6), "memory")
    assert h200.predict(works.product(1, 1, 1))["expected_s"] == pytest.approx(2e-6)  # the smallest kernel
    whole = h200.whole(989.4e12, 1e6)
    assert (whole["limit_s"], whole["expected_s"]) == (pytest.approx(1.0), pytest.approx(1 / 0.48))


def test_what_is_measured_at_full_size(gpu: Any, h200: Any, tmp_path: Path) -> None:
    """Every case of a GPU has a name of its own and a limit that is not above what is expected; nothing is run."""
    session = gpu("record").Session(torch.device("cuda"), "full", tmp_path, h200)
    calibrate, quant, check = gpu("calibrate"), gpu("quant"), gpu("check")
    cases = [case for shape in quant._shapes(session) for case in quant._cases(session, shape)]
    for part in ("_gemms", "_attention", "_convolutions", "_elementwise", "_copies"):
        cases += getattr(calibrate, part)(session)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    for case in cases:
        expected, limit = case.prediction["expected_s"], case.prediction["limit_s"]
        assert 0 < limit < 1
        assert expected is None or expected >= limit
        assert expected is not None or case.prediction["bound"] == "host link"
    for kind in (
        "gemm/fp8/8192x8192x8192",
        "gemm/tf32/",
        "conv3d/1x96x96x12x480x832/channels_last",
        "copy/HtoD/pinned",
    ):
        assert any(name.startswith(kind) for name in names), kind
    by_name = {case.name: case.prediction for case in cases}
    math, flash = (by_name[f"attention/1x12x4680x18720x128/{name}"] for name in ("math", "flash"))
    assert math["bytes"] - flash["bytes"] == 8 * 12 * 4680 * 18720
    checks = [name for name, _, _ in check._all(session)]
    assert len(set(checks)) == len(checks)
    assert {"stream/tiny/fused-graph", "layer/bf16/fp8-graph", "kernels/qk_norm_rope_write/block/bfloat16"} <= {*checks}


def test_peaks_are_what_frameroof_reads(h200: Any) -> None:
    known = device("H200")
    assert h200.bandwidth == known.bandwidth
    assert h200.peaks == pytest.approx({dtype: known.peak(dtype) for dtype in h200.peaks}, rel=1e-12)
    assert {"bf16", "fp8", "int8", "tf32"} <= set(h200.peaks)
    assert h200.vector_peak == pytest.approx(known.vector_peak)
    assert h200.compute_units == known.compute_units


def test_a_group_that_runs_late_ends_with_enough_blocks(gpu: Any, h200: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The window is full after 4 blocks, and 6 is the first switch: 12 more hold six steady blocks."""
    stream, record = gpu("stream"), gpu("record")
    monkeypatch.setattr(stream, "_blocks", lambda session: 40)
    session = record.Session(torch.device("cpu"), "tiny", tmp_path, h200, only=("stream/ring",), deadline=0.0)
    log = record.Log(session, "stream", ())
    setup = stream.Setup()
    stream._predict(log, setup)
    stream._measure(log, setup, ["ring"])
    row = log.rows["stream/ring"]
    assert row["state"] == "measured"
    assert len(row["all_blocks_s"]) == 18
    assert len(row["samples_s"]) >= stream.ENOUGH


def test_decoders_are_predicted_and_those_of_a_cpu_measured(gpu: Any, script: ModuleType, tmp_path: Path) -> None:
    only = ["--only", "decode/tiny", "decode/after", "decode/beside", "decode/wan-frame"]
    assert script.main(["stream", *CPU, "--out", str(tmp_path), *only]) == 0
    found = rows(tmp_path, "stream")
    assert {name for name, row in found.items() if row["state"] == "measured"} == {
        "decode/tiny", "decode/after", "decode/wan-frame"
    }  # fmt: skip
    assert len(found["decode/after"]["samples_s"]) == 2
    assert "needs a CUDA device" in found["decode/beside"]["why"]


def test_unknown_devices_have_no_limit(gpu: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Nothing 1")
    assert gpu("limits").machine(torch.device("cuda")).predict(gpu("works").copy(1))["limit_s"] is None


def test_a_block_is_counted_as_the_engine_counts_it(gpu: Any, h200: Any) -> None:
    counted, c = gpu("counted"), preset("tiny")
    ours = counted.block(h200, c, "fp32", VARIANTS["ring"])
    assert ours["flops"] == Needed(c, parse_node("H200"), "fp32").parts(6, 0)["block"].flops
    full = predict("H200")
    copies = full.copies_of(True) + 4 * full.copies_of(False)
    assert counted.copied_bytes(preset("longlive-1.3b"), 2) / 4.8e12 == pytest.approx(copies)
    limits = {
        name: counted.block(h200, preset("longlive-1.3b", VARIANTS[name].config), "bf16", VARIANTS[name])["limit_s"]
        for name in ("baseline", "ring", "fp8-ffn", "fp8")
    }
    engine = Needed(preset("longlive-1.3b"), parse_node("H200"), "bf16")
    for kind, sizes in counted.DECODED.items():
        found = replace(engine, decoder=kind).decoding
        assert sizes == (found.flops, found.bytes)
    assert limits["baseline"] - limits["ring"] == pytest.approx(copies)
    assert limits["ring"] > limits["fp8-ffn"] > limits["fp8"] > limits["ring"] / 2
    everything = counted.block(h200, preset("longlive-1.3b", "fold"), "bf16", VARIANTS["fp8-all"])
    assert everything["flops_8bit"] == pytest.approx(everything["flops"], rel=1e-3)  # patches in and out are not


# ------------------------------------------------------------------------------------ the rest


def test_cases_take_turns_in_other_orders(gpu: Any, h200: Any, tmp_path: Path) -> None:
    seen: list[str] = []
    works = {name: (lambda name=name: seen.append(name)) for name in "abcd"}
    session = gpu("record").Session(torch.device("cpu"), "tiny", tmp_path, h200, samples=6)
    found = gpu("clock").sample(session, works)
    rounds = [tuple(seen[at : at + 4]) for at in range(0, 24, 4)]
    assert all(sorted(order) == list("abcd") for order in rounds)
    assert len(set(rounds)) > 2
    assert {len(times) for times in found.values()} == {6}


def test_traces_are_summed_and_packed(gpu: Any, tmp_path: Path) -> None:
    suite, folder = gpu("suite"), tmp_path / "traces"
    folder.mkdir()
    events = [{"cat": "kernel", "name": "gemm", "dur": 3.0}, {"cat": "kernel", "name": "gemm", "dur": 4.0}]
    events += [{"cat": "gpu_memcpy", "name": "copy", "dur": 9.0}, {"cat": "cpu_op", "name": "aten::mm", "dur": 90.0}]
    file = folder / "a.trace.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    top = suite.top_kernels(file)
    assert [(row["name"], row["calls"], row["seconds"]) for row in top] == [
        ("copy", 1, pytest.approx(9e-6)),
        ("gemm", 2, pytest.approx(7e-6)),
    ]
    for name, size in (("b", 10 << 20), ("c", 8 << 20), ("d", 16 << 20)):
        (folder / f"{name}.trace.json.gz").write_bytes(bytes(size))
    suite._pack(tmp_path)
    packs = {}
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path) as tar:
            packs[path.name] = tar.getnames()
    assert packs == {
        "traces-0.tar": ["a.trace.json.gz", "c.trace.json.gz"],
        "traces-1.tar": ["b.trace.json.gz"],
    }
    assert [path.name for path in folder.iterdir()] == ["d.trace.json.gz"]


def test_it_runs_without_msgspec_polars_and_diffusers(tmp_path: Path) -> None:
    """As on a machine without them; the suite then says what it lacks."""
    code = f"""
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("msgspec", "polars", "diffusers"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = ["gpu.py", "suite", "stream", "quant", *{CPU!r}, "--out", {str(tmp_path)!r}, "--only", "suite",
            "stream/baseline", "estimate", "linear", "decode/wan-frame"]
runpy.run_path({str(ROOT / "benchmarks" / "gpu.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path, "suite")["suite"]["why"] == "ModuleNotFoundError: No module named 'msgspec'"
    stream = rows(tmp_path, "stream")
    assert stream["stream/estimate"]["state"] == "refused"
    assert len(stream["stream/baseline"]["samples_s"]) == 4
    assert stream["decode/wan-frame"]["state"] == "measured"


@pytest.mark.full
def test_every_kernel_that_is_checked_first_compiles_for_a_gpu(gpu: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """At the odd sizes too, on tensors without data; `frameroof.stream.kernels.aot` has those of the full size."""
    from frameroof.stream.kernels import aot

    if reason := aot.why_not():
        pytest.skip(reason)
    from frameroof.stream.kernels import launch

    found: dict[Any, Any] = {}
    monkeypatch.setattr(launch.Launch, "run", lambda self: found.setdefault(aot.kind(self), self))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    session = SimpleNamespace(device=torch.device("meta"), seed=0)
    for shape in ((2, 2, 3, 3, 10), (1, 3, 1560, 12, 128)):
        for dtype in (torch.float32, torch.bfloat16):
            for _, call in gpu("check")._calls(session, shape, dtype).values():
                call(launch)
    assert len(found) > 40
    for key, each in found.items():
        assert aot._compiled(key[0], each, 90).spill_stores == 0, key
