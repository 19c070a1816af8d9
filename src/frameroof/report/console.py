"""The terminal: one console, plain tables that survive a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def console(least: int = 116) -> Console:
    """A console on standard output, at least `least` columns wide: numbers are never cut.

    A narrower terminal wraps the lines; piped output is as wide as its tables need.
    """
    found = Console(highlight=False, markup=False)
    width = max(found.width, least) if found.is_terminal else 160
    return Console(highlight=False, markup=False, width=width)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    title: str | None = None,
    text: Sequence[str] = (),
) -> Table:
    """A table whose first `left` columns, and those named in `text`, are text; the others are numbers."""
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for at, column in enumerate(columns):
        made.add_column(column, justify="left" if at < left or column in text else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
