"""The terminal: one console, plain tables that survive a pipe. All text is text: no markup, no escape sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..outside import clean


class Page(Console):
    """A console for which a string is one line of text, whatever is in it."""

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich prints; strings cleaned. Text of several lines is several prints, or a `Text`."""
        super().print(*(clean(each) if isinstance(each, str) else each for each in objects), **how)


class Grid(Table):
    """A table in which a string is one line of text, whatever is in it."""

    def __init__(self, title: str | None = None) -> None:
        super().__init__(
            box=SIMPLE_HEAD, title=title and clean(title), title_justify="left", title_style="bold", pad_edge=False
        )

    def add_column(self, header: Any = "", *more: Any, **how: Any) -> None:
        """As rich does, with the name cleaned."""
        super().add_column(_fit(header), *more, **how)

    def add_row(self, *cells: Any, **how: Any) -> None:
        """As rich does, with the cells cleaned."""
        super().add_row(*map(_fit, cells), **how)


def console(least: int = 116) -> Page:
    """A console on standard output, at least `least` columns wide: numbers are never cut.

    A narrower terminal wraps the lines; piped output is as wide as its tables need.
    """
    found = Page(highlight=False, markup=False, emoji=False)
    width = max(found.width, least) if found.is_terminal else 160
    return Page(highlight=False, markup=False, emoji=False, width=width)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    title: str | None = None,
    text: Sequence[str] = (),
) -> Grid:
    """A table whose first `left` columns, and those named in `text`, are text; the others are numbers."""
    made = Grid(title)
    for at, column in enumerate(columns):
        made.add_column(column, justify="left" if at < left or column in text else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def _fit(cell: Any) -> Any:
    return clean(cell) if isinstance(cell, str) else cell


def percent(share: float) -> str:
    """A share of a table; what is there is never 0.0%."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"
