"""What a command prints, and its exit status: in this process, where a new one would prove nothing more."""

from __future__ import annotations

import gc
import io
import os
import sys
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from frameroof.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote, under the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def said(*words: object, cwd: Path | None = None) -> Said:
    """Run ``frameroof WORDS`` in `cwd`, as a fresh process would: whatever it changes in this one is put back."""
    before = sys.argv, dict(os.environ), gc.isenabled(), sys.path[:], set(sys.modules)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    sys.argv = ["frameroof", *map(str, words)]
    os.environ.pop("FRAMEROOF_DEBUG", None)
    try:
        with chdir(cwd or "."), redirect_stdout(out), redirect_stderr(err):
            status = _status()
    finally:
        sys.argv, environment, collected, sys.path[:], known = before
        os.environ.clear()
        os.environ.update(environment)
        if collected:
            gc.enable()
        for name in {*sys.modules} - known if cwd else ():  # a user's file is another one in the next folder
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(cwd)):
                del sys.modules[name]
    return Said(status, *(_text(stream) for stream in (out, err)))


def _status() -> int:
    try:
        main()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    written = stream.buffer
    assert isinstance(written, io.BytesIO)
    return written.getvalue().decode()


def run(capsys, monkeypatch, *words: str) -> tuple[int, str]:
    """Exit status and everything printed by a command."""
    monkeypatch.setattr(sys, "argv", ["frameroof", *words])
    monkeypatch.setenv("COLUMNS", "200")
    try:
        status = main() or 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    said = capsys.readouterr()
    return status, said.out + said.err
