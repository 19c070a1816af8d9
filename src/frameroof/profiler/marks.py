"""Stages as a user's program marks them: ranges while something is recorded, nothing at all otherwise; no torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ContextDecorator, contextmanager
from typing import Any

Opener = Callable[[str], AbstractContextManager[Any]]


class Stage(ContextDecorator):
    """One named stage, as a `with` block or a decorator."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._open = threading.local()  # a decorated function may be entered again, and from several threads

    def __enter__(self) -> Stage:
        opened = _opener(self.name) if _opener else None
        if opened is not None:
            opened.__enter__()
        self._open.__dict__.setdefault("ranges", []).append(opened)
        return self

    def __exit__(self, *error: Any) -> None:
        opened = self._open.ranges.pop()
        if opened is not None:
            opened.__exit__(*error)


def stage(name: str) -> Stage:
    """Name a stage of the program: ``with frameroof.stage("denoise"):`` or ``@frameroof.stage("denoise")``.

    While `frameroof profile` records, the stage becomes a row of the report; otherwise it costs and does nothing.
    Raises `ValueError`, a sentence, for an empty name.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"a stage needs a name, not {name!r}")
    return Stage("".join("'" if c in '"\\' else c for c in name if c.isprintable()))


_opener: Opener | None = None


@contextmanager
def opening(opener: Opener) -> Iterator[None]:
    """Open every stage with `opener` inside the block."""
    global _opener
    before, _opener = _opener, opener
    try:
        yield
    finally:
        _opener = before
