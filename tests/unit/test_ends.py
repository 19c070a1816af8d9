"""Builders, files and forwards that would end the process: a sentence that names the line, and exit code 2."""

from __future__ import annotations

import os
import signal

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from frameroof import count  # noqa: E402
from frameroof.cli.app import command_line  # noqa: E402
from frameroof.count.load import load_builder  # noqa: E402


def exits_at_once():
    os._exit(3)


def aborts():
    os.abort()


def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def raises_a_signal():
    signal.raise_signal(signal.SIGTERM)


def quits():
    quit()


class ExitsInForward(nn.Module):
    def forward(self, x):
        try:
            os._exit(0)
        except Exception:  # what ends a process is caught by nobody
            return x


def builds_one_that_exits():
    return ExitsInForward(), (torch.empty(3),), {}


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (exits_at_once, r"test_ends\.py:\d+ in exits_at_once: .*os\._exit\(3\) ends the process"),
        (aborts, r"in aborts: .*os\.abort\(\) ends the process"),
        (kills_itself, r"in kills_itself: .*SIGKILL\) ends the process"),
        (raises_a_signal, r"in raises_a_signal: .*SIGTERM\) ends the process"),
        (quits, r"test_ends\.py:\d+ in quits: `quit\(\)"),
        (builds_one_that_exits, r"test_ends\.py:\d+ in forward: .*os\._exit\(0\) ends the process"),
    ],
)
def test_what_ends_the_process_is_a_sentence(build, said):
    before = os._exit, os.abort, os.kill, signal.raise_signal
    with pytest.raises(ValueError, match=said):
        count(build)
    assert (os._exit, os.abort, os.kill, signal.raise_signal) == before


def test_a_child_may_end_and_others_may_be_asked_for():
    def build():
        child = os.fork()
        if child == 0:
            os._exit(5)
        os.kill(os.getpid(), 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        return nn.Linear(4, 4), (torch.empty(3, 4),), {}

    assert len(count(build, fixed=True).stages[0].ops) == 1


@pytest.mark.parametrize("line", ["sys.exit(4)", "os._exit(4)"])
def test_a_file_that_ends_when_it_is_imported(tmp_path, line):
    file = tmp_path / "ends_at_once.py"
    file.write_text(f"import os, sys\n\n{line}\n")
    with pytest.raises(ValueError, match=r"ends_at_once.py cannot be imported: .*ends_at_once.py:3: `"):
        load_builder(f"{file}:build")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("module", "is a Linear without inputs; a builder returns"),
        ("module.forward", "has no 'module.forward'"),
        ("method", "forward is a method of a Linear: give the module itself"),
        ("pipeline", "is a pipeline of several models: count them one by one, unet"),
        ("number", "is no function but a value of type int"),
        ("nested", "pad it"),
        ("writes", "the builder returned a generator"),
    ],
)
def test_what_a_file_holds_beside_builders(tmp_path, named, said):
    file = tmp_path / "held.py"
    file.write_text(
        "import torch\nfrom torch import nn\n"
        "module = nn.Linear(4, 4)\nmethod = module.forward\nnumber = 3\n"
        "class Pipeline:\n"
        "    components = {'unet': module}\n"
        "    def __call__(self): ...\n"
        "pipeline = Pipeline()\n"
        "def nested():\n"
        "    parts = [torch.ones(2, 4), torch.ones(3, 4)]\n"
        "    return nn.Linear(4, 4), (torch.nested.nested_tensor(parts, layout=torch.jagged),), {}\n"
        "def writes():\n    yield module\n"
    )
    with pytest.raises(ValueError, match=said):
        count(f"{file}:{named}")


def test_the_command_ends_with_two(tmp_path, monkeypatch):
    file = tmp_path / "hard.py"
    file.write_text("import os\ndef build(n: int = 4):\n    os._exit(0)\n")
    result = CliRunner().invoke(command_line(), ["count", f"{file}:build"])
    assert isinstance(result.exception, ValueError)  # the command line makes it a sentence and a 2
    assert "hard.py:3 in build" in str(result.exception)
