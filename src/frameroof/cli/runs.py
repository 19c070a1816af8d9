"""A run as a verb is given one: a folder, its JSON under any name, or a trace that is analyzed now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .window import Asked

if TYPE_CHECKING:
    from ..run import Run

WHOLE = Asked()


def load(path: str, window: Asked = WHOLE) -> Run:
    """The run at `path`, or that stretch of it; `ValueError` with a sentence where there is none."""
    from ..report.progress import status
    from ..trace.runs import is_run, run_of
    from .heap import suit_large_files

    if is_run(path):
        if window:
            raise ValueError(f"{path} is a saved run; --step and --between cut traces (or analyze them with --out)")
        return run_of(path)
    from ..trace.to_run import analyze

    suit_large_files()
    with status(f"reading {Path(path).name}"):
        return analyze(path, step=window.step, between=window.between)
