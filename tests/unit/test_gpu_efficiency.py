"""What `benchmarks/gpu.py calibrate` writes is what `--efficiency` reads: a round trip, and fits of planted truths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_said import run
from pretended_cuda import Device, pretended_cuda

from frameroof.estimate.expected import Bounds, Work
from frameroof.estimate.expected.efficiency import Efficiency, stated
from frameroof.estimate.expected.file import load_efficiency
from frameroof.roofline import Roofline
from frameroof.workload import file
from frameroof.workload.records import Workload

H200 = "H200-SXM-141GB"
FILE = f"{H200}.efficiency.json"


@pytest.fixture
def cuda() -> Iterator[Device]:
    with pretended_cuda() as device:
        yield device


def test_calibrate_writes_what_predict_reads(
    script: Any, tiny: Workload, tmp_path: Path, cuda: Device, capsys: Any, monkeypatch: Any
) -> None:
    options = ["--device", "cuda", "--size", "tiny", "--samples", "2", "--out", str(tmp_path)]
    assert script.main(["calibrate", *options]) == 0
    assert json.loads((tmp_path / "calibrate.json").read_text("utf-8"))["efficiency"] == FILE
    kept = json.loads((tmp_path / FILE).read_text("utf-8"))["made_with"]
    assert kept["environment"]["gpu"]["name"] == kept["properties"]["name"] == "NVIDIA H200"
    assert {len(row["samples_s"]) for row in kept["rows"] if row["state"] == "measured"} == {2}
    capsys.readouterr()
    path, model = str(tmp_path / FILE), str(file.save(tiny, tmp_path / "tiny.workload.json"))
    code, out = run(capsys, monkeypatch, "predict", model, "--on", "H200", "--efficiency", path)
    text = " ".join(out.split())
    assert code == 0, out
    assert f"by efficiencies measured on {H200} at tiny sizes" in text
    assert f"Efficiencies measured on {H200} at tiny sizes ({path}, 20" in text
    code, out = run(capsys, monkeypatch, "predict", model, "--on", "H100", "--efficiency", path)
    assert (code, out) == (2, f"frameroof: {path} is for {H200}; it says nothing of H100-SXM5-80GB\n")


def test_without_known_peaks_there_is_no_file(script: Any, tmp_path: Path) -> None:
    line = [
        "calibrate",
        "--device",
        "cpu",
        "--size",
        "tiny",
        "--samples",
        "2",
        "--only",
        "copy",
        "--out",
        str(tmp_path),
    ]
    assert script.main(line) == 0
    said = json.loads((tmp_path / "calibrate.json").read_text("utf-8"))["efficiency"]
    assert said == "None: no peaks of cpu are known, and shares are of peaks."
    assert [path.name for path in tmp_path.iterdir()] == ["calibrate.json"]


# ------------------------------------------------------------------------ a fit whose truth is known


@pytest.fixture
def calibrated(gpu: Any, tmp_path: Path, monkeypatch: Any) -> Any:
    """Writes the file of rows at full size, of which each took what a model of expected time says."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    calibrate, record, works = gpu("calibrate"), gpu("record"), gpu("works")
    machine = gpu("limits").machine(torch.device("cuda"))

    def write(truth: Efficiency, only: str = "", slower: float = 1.0) -> Path:
        session = record.Session(torch.device("cuda"), "full", tmp_path, machine)
        log = record.Log(session, "calibrate", ())
        log.about = {"commit": "c0ffee", "environment": {"date": "2026-11-30T10:00:00Z"}}
        for part in ("_gemms", "_attention", "_convolutions", "_elementwise", "_copies"):
            for case in getattr(calibrate, part)(session):
                if only in case.name and (op := works.of(case.about)):
                    work = Work(op)
                    log.predict(case.name, case.prediction, **case.about)
                    log.measure(case.name, [slower * float(truth.call_s(work, Bounds.of(work, Roofline(machine))))] * 3)
        for name, seconds in (("launch/host", 12e-6), ("launch/graph-node", 3e-6)):
            log.predict(name, {})
            log.measure(name, [seconds] * 3)
        return tmp_path / gpu("efficiency").write(log)

    return write


def planted() -> Efficiency:
    """Other shares than the stated ones, each the same at every size; launches that nothing here waits for."""
    table = stated().table
    flat = {name: replace(getattr(table, name), points=((1.0, share),)) for name, share in SHARES.items()}
    numbers = {"convolution": 0.5, "unfused": 0.3, "kernel": 1e-9}
    made = {name: replace(getattr(table, name), value=value) for name, value in numbers.items()}
    return replace(stated(), table=replace(table, **flat, **made))


SHARES = {"matrix": 0.8, "memory": 0.7, "flash": 0.6}


def test_shares_that_were_planted_are_found(calibrated: Any) -> None:
    """Products, traffic, convolutions and attention of one truth: the file has its shares, whatever tiles and waves."""
    found = load_efficiency(calibrated(planted()))
    assert isinstance(found, Efficiency)
    assert (found.about.device, found.about.date) == (H200, "2026-11-30")
    for name, share in SHARES.items():
        points = getattr(found.table, name).points
        assert [each for _, each in points] == pytest.approx([share] * len(points), rel=1e-5)
        assert len(points) >= (2 if name == "flash" else 4)
    assert found.table.convolution.value == pytest.approx(0.5, rel=1e-5)
    assert (found.table.host.value, found.table.kernel.value) == (12.0, 3.0)
    assert "rows of calibrate on H200" in found.table.matrix.source
    for name in ("tile", "flash_rows", "group_norm_passes", "links"):
        assert getattr(found.table, name) == getattr(stated().table, name)


def test_what_was_not_measured_stays_as_stated(calibrated: Any) -> None:
    found = load_efficiency(calibrated(planted(), only="gemm"))
    assert isinstance(found, Efficiency)
    assert found.table.matrix != stated().table.matrix
    assert (found.table.memory, found.table.flash) == (stated().table.memory, stated().table.flash)


@pytest.mark.parametrize(
    ("slower", "share", "said"),
    [(0.5, 1.0, "came out above 1 and stand as 1"), (1e7, 1e-6, "came out below 1e-06 and stand as that")],
)
def test_a_share_that_cannot_be_is_cut_and_said(calibrated: Any, slower: float, share: float, said: str) -> None:
    """Rows faster than the peak allows, or slower than any: the file can be read, and its source says what was cut."""
    found = load_efficiency(calibrated(planted(), only="gemm/bf16", slower=slower))
    assert isinstance(found, Efficiency)
    assert {each for _, each in found.table.matrix.points} == {share}
    assert said in found.table.matrix.source
