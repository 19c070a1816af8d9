"""Reports of Nsight Systems that must be exported first."""

from __future__ import annotations

import os
from pathlib import Path

from ..file import TraceError

_REPORTS = (".nsys-rep", ".qdrep", ".qdstrm")


def refuse_report(path: str | os.PathLike[str]) -> None:
    """Raise `TraceError`, which names the command, where a file is called as Nsight Systems calls its own."""
    file = Path(path)
    if file.suffix in _REPORTS and file.is_file():
        out = file.with_suffix(".sqlite").name
        raise TraceError(
            f"{file} is a report of Nsight Systems, which only its own program reads; export it first: "
            f"nsys export --type sqlite --output {out} {file.name}"
        )
