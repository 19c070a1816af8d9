"""Markdown for GitHub in which every name is text: no markup, link, formula or HTML of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..outside import clean

_SIGNS = re.compile(r"([\\`*_<|~$\[\]&])")
_STARTS = re.compile(r"^(\s*)([#+=>-]|\d+[.)])(?=\s|$|-|=|#|>)")


def escaped(text: str) -> str:
    """Text in a line or a cell."""
    found = _SIGNS.sub(r"\\\1", clean(text))
    return _STARTS.sub(lambda start: f"{start[1]}{start[2][:-1]}\\{start[2][-1]}", found)


def code(text: str) -> str:
    """Text in a typewriter's letters, also in a cell, where a pipe would end it."""
    return "`" + clean(text).replace("`", "'").replace("|", "\\|") + "`"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], rule: str = "") -> list[str]:
    """The lines of a table whose cells are Markdown already; `rule` is the line below the names, if it is not plain."""
    return [
        "|" + "".join(f" {name} |" if name else " |" for name in columns),
        rule or f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
