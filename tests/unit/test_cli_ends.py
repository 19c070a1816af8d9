"""How a command ends: its standard output closed, full or read by one who stops; Ctrl-C and other signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_said import run
from trace_made import Made

from frameroof.cli import stops, streams

FRAMEROOF = f"{sys.executable} -m frameroof"
NO_ROOM = "frameroof: standard output cannot be written: No space left on device\n"
CLOSED = "frameroof: standard output is closed: there is nowhere to write to\n"


def shell(line: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of a shell's line in which F is the command."""
    done = subprocess.run(["bash", "-c", line.replace("F", FRAMEROOF)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", ["predict dit-xl-2", "--version", "predict --help", "models --json"])
def test_a_closed_or_full_output_is_an_error_and_a_reader_that_stops_is_none(words: str) -> None:
    assert shell(f"F {words} >&-") == (2, "", CLOSED)
    code, first, error = shell(f"set -o pipefail; F {words} | head -n 1")
    assert (code, first.count("\n"), error) == (0, 1, "")
    assert shell(f"set -o pipefail; F {words} | true") == (0, "", "")
    if Path("/dev/full").exists():
        assert shell(f"F {words} >/dev/full") == (2, "", NO_ROOM)


def test_an_error_without_an_error_output_keeps_its_exit_code() -> None:
    assert shell("F predict none 2>&-") == (2, "", "")
    assert shell("F predict none 2>/dev/full") == (2, "", "")
    assert shell("F predict none <&- >&- 2>&-") == (2, "", "")


def test_an_encoding_that_lacks_a_sign_shows_it_escaped(tmp_path: Path) -> None:
    made = Made()
    made.kernel(0, 1500)
    code, out, error = shell(f"PYTHONIOENCODING=ascii F analyze {made.write(tmp_path)}")
    assert (code, error) == (0, "")
    assert "busy 1.500 \\xb5s of 1.500 \\xb5s" in out


def test_a_check_that_fails_says_so_though_the_reader_stops(tmp_path: Path) -> None:
    for name, took in (("before", 1000), ("after", 2000)):
        made = Made()
        made.kernel(0, took)
        made.write(tmp_path, f"{name}.json")
    code, _, error = shell(
        f"set -o pipefail; cd {tmp_path}; F compare before.json after.json --fail-on 'total>1%' | head -n 1"
    )
    assert (code, error[:27]) == (1, "frameroof: check failed: to")


# ---------------------------------------------------------------------------------------------- stops


WAITS = """
import sys, time
from frameroof import catalogue
from frameroof.cli import program

def waits():
    print("there", flush=True)
    for _ in range(600):
        time.sleep(0.1)  # a signal that comes just before a sleep does not end it

catalogue.entries = waits
sys.argv = ["frameroof", "models"]
program()
"""


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, (130, "frameroof: interrupted; nothing was written\n")),
        (signal.SIGTERM, (143, "frameroof: ended by SIGTERM; nothing was written\n")),
    ],
)
def test_a_signal_is_a_sentence_and_a_code_of_its_own(number: int, said: tuple[int, str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == said


def test_what_was_written_before_is_said(monkeypatch, capsys, tmp_path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    made = Made()
    made.kernel(0, 1000)
    made.write(tmp_path, "step.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("frameroof.report.analysis.print_run", interrupted)
    code, said = run(capsys, monkeypatch, "analyze", "step.json", "--out", "run")
    assert (code, said) == (130, f"frameroof: interrupted; {tmp_path / 'run' / 'run.json'} is written\n")
    code, said = run(capsys, monkeypatch, "analyze", "step.json")  # what another command wrote is not this one's
    assert (code, said) == (130, "frameroof: interrupted; nothing was written\n")
    monkeypatch.setattr("frameroof.report.frames.write_csv", interrupted)
    code, said = run(capsys, monkeypatch, "analyze", "step.json", "--out", "other", "--csv", "csv")
    assert (code, said) == (130, "frameroof: interrupted; nothing was written\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "step.json"]


def test_a_verb_may_say_what_is_kept() -> None:
    with pytest.raises(KeyboardInterrupt) as stop, stops.kept(lambda: "study has what is finished"):
        raise KeyboardInterrupt
    assert stops.sentence(stop.value) == "interrupted; study has what is finished"
    with pytest.raises(KeyboardInterrupt) as stop, stops.kept(lambda: "all is there"):
        raise stops.Ended(signal.SIGHUP)
    assert stops.sentence(stop.value) == "ended by SIGHUP; all is there"
    assert stops.code(stop.value) == 129


def test_a_sentence_is_one_line_without_control_characters(capsys) -> None:
    streams.complain("no file \x1b[31mred\x1b[0m\nframeroof: all is well\x07 " + "x" * 50_000)
    error = capsys.readouterr().err
    assert error.startswith("frameroof: no file red frameroof: all is well xxx")
    assert (len(error), error[-2:]) == (len("frameroof: ") + streams.LONGEST + 1, "…\n")
