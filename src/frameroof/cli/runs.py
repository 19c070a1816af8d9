"""A run as a verb is given one: a folder, its JSON under any name, or a trace that is analyzed now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..run import Run

_RUN = re.compile(rb'\s*\{\s*"source"\s*:')


def load(path: str) -> Run:
    """The run at `path`; `ValueError` with a sentence where there is none."""
    from ..report.progress import status
    from ..run import load_run

    target = Path(path)
    if target.is_dir() or _is_run(target):
        return load_run(target)
    from ..trace.analysis import analyze
    from .heap import suit_large_files

    suit_large_files()
    with status(f"reading {target.name}"):
        return analyze(target)


def _is_run(file: Path) -> bool:
    """Whether a file starts as a run's JSON does, or is named as one."""
    if not file.is_file():
        return file.name == "run.json"
    with open(file, "rb") as start:
        return file.name == "run.json" or _RUN.match(start.read(256)) is not None
