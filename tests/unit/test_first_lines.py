"""The three lines that a report begins with: true of each kind of run, and made of numbers that the tables show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from run_made import MS, advised, made

from frameroof.recorded import concerns
from frameroof.report.analysis import print_run
from frameroof.run import GroupRow, HostFunctionRow, load_run, save_run
from frameroof.trace.advice import conclude
from frameroof.trace.advice.first_lines import first_lines
from frameroof.trace.to_run import analyze

REAL = Path(__file__).parents[3] / "shared/traces/real"


def lines(run):
    conclude(run, None)
    return run.first_lines


def test_idle_time_and_work_are_said_by_size():
    """100 ms: 60 busy (40 of attention), 40 idle (30 for launches); the host's own time is 90 ms."""
    found = lines(made())
    assert (
        found.where == "busy 60.00 ms of 100.0 ms (60.0%): attention 40.00 ms, linear 20.00 ms; idle 40.00 ms (40.0%)"
    )
    assert found.why == (
        "aten::bmm takes 40.00 ms, 66.7% of the work, because attention writes out its similarity matrix; "
        "idle for 30.00 ms because the host was on its way to the next launch, or inside it"
    )
    assert found.change == "Reduce launch overhead: at most 30.00 ms of 100.0 ms (30%)"


def test_communication_that_nothing_hides_is_a_reason():
    exposed = {"time_ns": 50 * MS, "overlapped_ns": 5 * MS, "exposed_ns": 45 * MS}
    assert lines(made(communication=exposed)).why.startswith("45.00 ms of communication ran while nothing else did")


def test_what_is_short_beside_the_run_is_no_reason():
    """10 ms of 100 are below 15 %."""
    assert "idle" not in lines(made(idle={"host_launch": 10 * MS})).why


@pytest.mark.parametrize(
    ("times", "said"),
    [([20], "; 20.00 ms of it in prepare"), ([16, 10], "; most of it in prepare"), ([6, 5], "; much of it in prepare"),
     ([8], "")],
)  # fmt: skip
def test_the_function_that_fills_idle_time_is_named_with_what_one_row_tells(times, said):
    """Of 30 ms of waiting for launches; from 9 ms on it is named."""
    rows = [HostFunctionRow("host_launch", "prepare", "annotation", str(t), "", t * MS, t / 40, 50) for t in times]
    assert lines(made(host_functions=rows)).why.partition("or inside it")[2] == said


def test_advice_that_saves_memory_alone_is_no_first_change():
    run = made(advice=[advised("memory", concerns.Stage("denoise"), 0.0)])
    assert first_lines(run).change == "nothing was found that could bring 2 % of the run"


def test_of_the_host_alone_nothing_is_said_of_a_device():
    run = made()
    run.summary.on_cpu = run.summary.host_only = True
    found = lines(run)
    assert found.where.endswith("of a device the file holds no work")
    assert found.change.startswith("record the device as well")
    assert "idle" not in f"{found.where} {found.why}"


def test_a_run_of_nothing_has_no_lines():
    assert lines(made(classes=[], operators=[])).where == ""


def test_nothing_to_change_is_said():
    run = made(idle={}, attention=[], syncs=[], classes=[GroupRow("linear", 60 * MS, 1, 1.0)])
    assert lines(run).change == "nothing was found that could bring 2 % of the run"


def test_they_are_saved_with_the_run(tmp_path):
    run = made()
    conclude(run, None)
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run").first_lines == run.first_lines


@pytest.mark.shared
@pytest.mark.parametrize("path", sorted(REAL.glob("*.json*")), ids=lambda path: path.name.partition(".")[0])
def test_every_number_of_the_lines_stands_in_the_tables(path, capsys):
    run = analyze(path)
    print_run(run)
    _, *rest = capsys.readouterr().out.splitlines()
    first = [line.partition(": ")[2] for line in rest[:3]]
    assert [line.partition(":")[0] for line in rest[:3]] == ["Where the time went", "Why", "What to change first"]
    tables = "\n".join(rest[3:])
    for number in re.findall(r"\d+\.\d+ (?:s|ms|µs)", " ".join(first)):
        assert number in tables, number
