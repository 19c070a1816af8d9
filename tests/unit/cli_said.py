"""What a command prints, and its exit status."""

from __future__ import annotations

import sys

from frameroof.cli import main


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
