"""The command as a user meets it: output, exit codes, sentences, nothing written on error."""

import json
import os
import subprocess
import sys

import pytest
from cli_said import said as run

from frameroof.workload import file


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    return file.save(tiny, tmp_path_factory.mktemp("w") / "tiny.workload.json")


def test_predict_prints_a_table_and_json(saved):
    table = run("predict", saved, "--on", "8xH100", "--batch", "2", "--target", "1000/h")
    assert table.returncode == 0, table.stderr
    for word in ("denoise", "limit", "expected", "memory", "2 per multiply-add", "made for tests"):
        assert word in table.stdout
    data = json.loads(run("predict", saved, "--on", "8xH100", "--json", "--ops", "--target", "9/s").stdout)
    assert data["target"]["devices"] % 8 == 0
    assert data["ops"]


def test_the_rung_and_the_cache_are_asked_for_by_name(saved):
    def asked(*more):
        return json.loads(run("predict", saved, "--on", "H100", "--json", *more).stdout)

    fused, cold, eager = asked(), asked("--cold"), asked("--elementwise", "eager")
    assert (fused["rung"], fused["cold"], cold["cold"], eager["rung"]) == ("fused", False, True, "unfused")
    for rung in ("compulsory", "light", "fused", "unfused"):
        one = asked("--bound", rung)
        assert one["rung"] == rung
        assert one["bounds"] == one["total"]["bounds"] == fused["bounds"]
        assert one["total"]["limit_s"] == one["stages"][0]["limit_s"] == fused["bounds"][f"{rung}_s"]
    assert list(fused["bounds"].values()) == sorted(fused["bounds"].values())
    assert cold["bounds"]["fused_s"] > fused["bounds"]["fused_s"]
    assert eager["total"]["limit_s"] == fused["bounds"]["unfused_s"]
    assert "limit (light)" in run("predict", saved, "--on", "H100", "--bound", "light").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "nosuchmodel"], "unknown model 'nosuchmodel'"),
        (["predict", "SAVED", "--on", "H1000"], "no device"),
        (["predict", "SAVED", "--dtype", "fp9"], "unknown dtype 'fp9'"),
        (["predict", "SAVED", "--on", "H100", "--dtype", "fp4"], "no fp4 peak"),
        (["predict", "SAVED", "--height", "100"], "height=100 is not admissible"),
        (["predict", "SAVED", "--batch", "-3"], "too small"),
        (["predict", "SAVED", "--frames", "5"], "no size 'frames'"),
        (["predict", "SAVED", "--size", "height"], "write NAME=NUMBER"),
        (["predict", "SAVED", "--utilization", "1.2"], "at most 1"),
        (["predict", "SAVED", "--price", "-1"], "above 0"),
        (["predict", "SAVED", "--attention", "flash3"], "fused or baseline"),
        (["predict", "SAVED", "--bound", "best"], "a bound is compulsory, light, fused or unfused, not 'best'"),
        (["predict", "SAVED", "--bound", "light", "--elementwise", "eager"], "contradict each other"),
        (["predict", "SAVED", "--target", "many"], "many"),
        (["predict", "missing.workload.json"], "cannot be read"),
        (["hardware", "H1000"], "no device"),
        (["models", "nosuchmodel"], "unknown model"),
        (["reproduce", "nosuchpost"], "nosuchpost"),
        (["count", "missing.py:build"], "missing.py does not exist"),
        (["count", "os:nothing"], "has no 'nothing'"),
        (["count", "SAVED", "--dtype", "fp8"], "bf16, fp16, fp16_acc, fp32 or tf32"),
        (["predikt", "SAVED"], "no verb 'predikt'; did you mean predict? verbs: predict, "),
        (["--debug"], "a verb is missing: predict, "),
        (["--versoin"], "has no option --versoin; did you mean --version?"),
        (["predict", "SAVED", "--stepz", "3"], "predict has no option --stepz; did you mean --steps"),
        (["stream", "serve", "--xyzzy"], "stream serve has no option --xyzzy; `frameroof stream serve --help` lists"),
        (["predict", "SAVED", "--xyzzy"], "predict has no option --xyzzy; `frameroof predict --help` lists all"),
        (["predict"], "predict needs MODEL (A model of the catalogue, or a workload file)"),
        (["predict", "SAVED", "--batch", "x"], "--batch is a whole number, not 'x'"),
        (["predict", "SAVED", "--price", "x"], "--price is a number, not 'x'"),
        (["predict", "SAVED", "--batch"], "--batch needs a value"),
        (["predict", "SAVED", "--json=3"], "--json takes no value"),
        (["predict", "SAVED", "other"], "predict takes MODEL and options; 'other' is too much"),
        (["predict", "/dev/zero"], "it is a pipe, socket or device, not a file"),
        (["predict", "SAVED", "--hardware-file", "/dev/zero"], "it is a pipe, socket or device, not a file"),
        (["count", "/dev/null.py:build"], "/dev/null.py does not exist"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(saved, arguments, sentence):
    result = run(*(saved if a == "SAVED" else a for a in arguments))
    assert result.returncode == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_version_is_that_of_the_package():
    from importlib.metadata import version

    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"frameroof {version('frameroof')}\n")


def test_a_bare_command_shows_its_help():
    result = run()
    assert result.returncode == 2
    assert "predict" in result.stdout


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("pipe.workload.json", "pipe.py"):
        os.mkfifo(tmp_path / name)
    for arguments in (
        ["predict", "pipe.workload.json"],
        ["models", "./pipe.workload.json"],
        ["count", "pipe.py:build"],
    ):
        result = run(*arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert "it is a pipe, socket or device, not a file" in result.stderr


def test_debug_shows_the_traceback(saved):
    assert "Traceback" in run("--debug", "predict", saved, "--on", "H1000").stderr


BUILDER = """
import torch
from torch import nn

def build(batch=1, tokens=8):
    return nn.Linear(16, 4), (torch.empty(batch, tokens, 16),), {}

def bad(batch=1):
    class Peek(nn.Module):
        def forward(self, x):
            return x.sum().item()
    return Peek(), (torch.empty(batch),), {}
"""


def test_count_a_users_file_and_predict_it(tmp_path):
    (tmp_path / "mine.py").write_text(BUILDER)
    data = json.loads(run("count", "mine.py:build", "--size", "tokens=10", "--json", cwd=tmp_path).stdout)
    assert data["total"]["flops"] == 2 * 10 * 16 * 4
    assert data["total"]["params"] == 16 * 4 + 4
    assert data["total"]["bytes"] == 2 * (10 * 16 + 64 + 4 + 10 * 4)
    assert data["uncounted"] == []
    written = run("count", "mine.py:build", "--out", "m.workload.json", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    again = run(
        "predict",
        "m.workload.json",
        "--on",
        "MI300X",
        "--size",
        "tokens=100",
        "--batch",
        "3",
        "--json",
        cwd=tmp_path,
    )
    assert json.loads(again.stdout)["total"]["flops"] == 2 * 300 * 16 * 4


def test_count_says_which_line_and_writes_nothing(tmp_path):
    (tmp_path / "mine.py").write_text(BUILDER)
    result = run("count", "mine.py:bad", "--out", "m.workload.json", cwd=tmp_path)
    assert result.returncode == 2
    assert "mine.py:11 in forward: `return x.sum().item()`" in result.stderr
    assert not (tmp_path / "m.workload.json").exists()


def test_count_keeps_an_existing_file(tmp_path):
    (tmp_path / "mine.py").write_text(BUILDER)
    (tmp_path / "m.workload.json").write_text("precious")
    result = run("count", "mine.py:build", "--out", "m.workload.json", cwd=tmp_path)
    assert (result.returncode, (tmp_path / "m.workload.json").read_text()) == (2, "precious")
    assert "--force" in result.stderr


def test_listings(saved):
    assert "H100-SXM5-80GB" in run("hardware").stdout
    assert "with sparsity (not used)" in run("hardware", "H100").stdout
    assert "steps*guidance" in run("models", saved).stdout
    assert {d["name"] for d in json.loads(run("hardware", "--json").stdout)} >= {"H100-SXM5-80GB", "MI300X"}


def test_the_program_says_all_of_it_before_it_ends_at_once(tmp_path):
    """`python -m frameroof` leaves without cleaning up; `main` does not."""
    words = ("hardware", "--json")
    fast = subprocess.run([sys.executable, "-m", "frameroof", *words], capture_output=True, text=True, check=True)
    assert fast.stdout == run(*words).stdout != ""
    wrong = subprocess.run([sys.executable, "-m", "frameroof", "predict", "no-such"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "frameroof: unknown model 'no-such'; `frameroof models` lists all\n"


def test_where_somebody_waits_for_the_end_it_comes_in_order():
    """What was registered for the end is done either way; the interpreter is taken apart only where that matters."""
    program = (
        "import atexit, {}\nclass Held:\n    def __del__(self): print('taken apart')\nheld = Held()\n"
        "atexit.register(print, 'ended')\nfrom frameroof.cli import program\nprogram()"
    )
    for module, ending in (("json", "ended\n"), ("torch", "ended\ntaken apart\n")):
        words = [sys.executable, "-c", program.format(module), "--version"]
        found = subprocess.run(words, capture_output=True, text=True, check=True)
        assert found.stdout.partition("\n")[2] == ending
