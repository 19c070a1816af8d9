"""Recording: what is saved, and the command `frameroof profile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_said import Said, said
from profile_made import RECORDS, Net, names
from torch import nn

import frameroof
from frameroof.profiler.build import make
from frameroof.run import load_run

pytestmark = RECORDS


def test_a_run_is_saved_whole_and_never_over_another(tmp_path: Path):
    net = Net()
    with frameroof.profile(net, out=tmp_path / "run"):
        net(torch.randn(2, 16))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["run.json", "trace.json.gz"]
    assert load_run(tmp_path / "run").measured.profiled_ns > 0
    with pytest.raises(ValueError, match="--force"):
        frameroof.profile(net, out=tmp_path / "run")
    with frameroof.profile(net, out=tmp_path / "run", force=True):
        net(torch.randn(2, 16))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_inputs_of_a_builder_are_no_leftovers():
    def build() -> tuple[Any, ...]:
        return nn.Linear(8, 8).train(), (torch.empty(4, 8),), {"input": torch.empty(2, dtype=torch.int64)}

    work = make("forward", build, "cpu", "bf16")
    assert work.args[0].dtype == torch.bfloat16
    assert 0.5 < float(work.args[0].float().std()) < 2
    assert work.kwargs["input"].tolist() == [0, 0]
    assert not work.module.training
    with pytest.raises(ValueError, match="not None"):
        make("forward", lambda: None, "cpu")


BUILDER = """
import torch
from torch import nn
def build(batch: int = 2, width: int = 16):
    return nn.Sequential(nn.Linear(width, 32), nn.ReLU()), (torch.empty(batch, width),), {}
def work():
    torch.ones(64, 64) @ torch.ones(64, 64)
def broken():
    raise RuntimeError("on purpose")
"""


def command(*words: str, folder: Path) -> Said:
    return said("profile", *words, cwd=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.py").write_text(BUILDER)
    return tmp_path


def test_a_builder_is_profiled(folder: Path):
    words = ("b.py:build", "--size", "batch=3", "--repeat", "2", "--out", "run", "--json", "--device", "cpu")
    done = command(*words, folder=folder)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert len(data["measured"]["samples_ns"]) == 2
    assert data["measured"]["sizes"] == {"batch": 3}
    assert [o["flops"] for o in data["operators"] if o["name"] == "aten::addmm"] == [2 * 3 * 16 * 32]
    assert [s["name"] for s in data["stages"] if s["source"]] == ["forward"]
    assert sorted(p.name for p in (folder / "run").iterdir()) == ["run.json", "trace.json.gz", "workload.json"]
    assert names(folder / "run" / "trace.json.gz") == ["Sequential", "0", "1"]
    again = command("b.py:build", "--out", "run", folder=folder)
    assert (again.returncode, again.stdout) == (2, "")
    assert "--force" in again.stderr


def test_a_function_is_called_as_it_is(folder: Path):
    done = command("b.py:work", "--repeat", "1", "--json", "--device", "cpu", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "aten::mm" in {o["name"] for o in json.loads(done.stdout)["operators"]}


def test_a_script_is_run_as_main_with_its_arguments(folder: Path):
    (folder / "s.py").write_text(
        "import sys, torch, frameroof\nassert __name__ == '__main__'\nprint(sys.argv)\n"
        "with frameroof.stage('prepare'):\n    torch.nn.Linear(4, 4)(torch.ones(1, 4))\n"
    )
    done = command("s.py", "--json", "--", "--steps", "3", folder=folder)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert "['s.py', '--steps', '3']" in done.stderr
    assert "Linear" in {m["name"] for m in data["modules"]}
    assert "prepare" in {s["name"] for s in data["stages"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("b.py:broken",), "on purpose"),
        (("b.py:nothing",), "nothing"),
        (("b.py:build", "--size", "depth=3"), "depth"),
        (("fails.py",), "at line 2"),
        (("exits.py",), "exit code 3"),
        (("missing.py",), "does not exist"),
        (("no-such-model",), "unknown model"),
        (("sd15", "--stage", "no-such-stage"), "denoise"),
        (("sd15", "--size", "height=513"), "513"),
        (("b.py:build", "--device", "tpu"), "cpu or cuda"),
        (("b.py:build", "x"), "--"),
    ],
)
def test_what_fails_is_one_sentence_and_leaves_nothing(folder: Path, words: tuple[str, ...], said: str):
    (folder / "fails.py").write_text("x = 1\nx / 0\n")
    (folder / "exits.py").write_text("raise SystemExit(3)\n")
    done = command(*words, "--out", "run", folder=folder)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("frameroof: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.stderr
    assert not [p for p in folder.iterdir() if "run" in p.name]


def test_a_model_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch):
    from frameroof.cli.work import Asked, job_of
    from frameroof.profiler import environment

    monkeypatch.setattr(environment, "free_bytes", lambda device: 10**9)
    with pytest.raises(ValueError, match=r"needs 3\.438 GB for its weights, and 1\.000? ?GB"):
        job_of(Asked("sd15", stages=["denoise"]), lambda text: None)
