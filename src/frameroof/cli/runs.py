"""A run as a verb is given one: a folder, its JSON under any name, or a trace that is analyzed now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..run import Run


def load(path: str) -> Run:
    """The run at `path`; `ValueError` with a sentence where there is none."""
    from ..report.progress import status
    from ..trace.runs import is_run, run_of
    from .heap import suit_large_files

    if is_run(path):
        return run_of(path)
    suit_large_files()
    with status(f"reading {Path(path).name}"):
        return run_of(path)
