"""The distance of a run from its limits as files: JSON, one CSV file a table; and as Markdown for a pull request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..gap import Gap, GapRow, GapSum, Violation
from ..recorded import Advice
from ..written import as_json, make_folder, together, write_whole
from .distance import CELLS, cells, headline, remarks, sum_cells
from .markdown import code, escaped
from .markdown import table as markdown_table
from .run_tables import ms

if TYPE_CHECKING:
    import polars

JSON = "gap.json"


def as_dict(gap: Gap, advice: Sequence[Advice]) -> dict[str, Any]:
    """For JSON: form frameroof.gap/1."""
    import msgspec

    return {"schema": "frameroof.gap/1", **msgspec.to_builtins(gap), "advice": msgspec.to_builtins(list(advice))}


def write_json(gap: Gap, advice: Sequence[Advice], folder: str | os.PathLike[str], force: bool = False) -> Path:
    """Write `gap.json` into `folder`, made if missing. Raises `ValueError`, a sentence, where it cannot be written."""
    with together():
        return write_whole(make_folder(folder) / JSON, as_json(as_dict(gap, advice)), force)


def frames(gap: Gap, advice: Sequence[Advice]) -> dict[str, polars.DataFrame]:
    """Every table by name: operations, classes, stages, violations, advice."""
    from .frames import frame_of

    return {
        "operations": frame_of(gap.rows, GapRow),
        "classes": frame_of(gap.classes, GapSum),
        "stages": frame_of(gap.stages, GapSum),
        "violations": frame_of(gap.violations, Violation),
        "advice": frame_of(advice, Advice),
    }


def write_csv(gap: Gap, advice: Sequence[Advice], folder: str | os.PathLike[str], force: bool = False) -> list[Path]:
    """One `<table>.csv` for each table into `folder`, as of a run. Raises `ValueError` as `write_json`."""
    from .frames import as_text, write_tables

    return write_tables(frames(gap, advice), folder, ".csv", lambda frame, out: as_text(frame).write_csv(out), force)


def markdown(gap: Gap, advice: Sequence[Advice], top: int = 15) -> str:
    """A gap as a comment for a pull request."""
    lines = [f"### Beside the limits of {escaped(gap.device)}", "", escaped(headline(gap)), ""]
    for name, sums in (("class", gap.classes), ("stage", gap.stages)):
        if len(sums) > 1 or name == "class":
            head = (name, "measured", "limit", "above", "reached", "without a limit")
            rows = [list(map(escaped, sum_cells(each))) for each in sums]
            lines += [*markdown_table(head, rows, "|:--|--:|--:|--:|--:|--:|"), ""]
    rows = [[code(cell) if at == 1 else escaped(cell) for at, cell in enumerate(cells(row))] for row in gap.rows[:top]]
    summary = f"Operations, by the time above their limit (the first {len(rows)} of {len(gap.rows)})"
    lines += [f"<details><summary>{summary}</summary>", "", *markdown_table(CELLS, rows), "", "</details>", ""]
    lines += [f"- {escaped(text)}" for text, _ in remarks(gap)]
    for each in advice:
        lines += [f"- **{escaped(each.title)}**: at most {ms(each.max_gain_s * 1e9)}. {escaped(each.evidence)}."]
    return "\n".join(lines) + "\n"
