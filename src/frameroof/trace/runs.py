"""A run as a user names one: a `Run`, its folder, its JSON under any name, or a trace that is analyzed now."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..files import opened
from ..run import Run, load_run

_RUN = re.compile(rb'\s*\{\s*"source"\s*:')


def run_of(given: Run | str | os.PathLike[str]) -> Run:
    """The run that was given or lies there; `ValueError` with a sentence where there is none."""
    if isinstance(given, Run):
        return given
    if is_run(given):
        return load_run(given)
    from .to_run import analyze

    return analyze(given)


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether something is a run's folder, or starts as a run's JSON does, or is named as one."""
    file = Path(path)
    if file.is_dir() or file.name == "run.json":
        return True
    try:
        with opened(file, None) as start:
            return _RUN.match(start.read(256)) is not None
    except ValueError:
        return False
