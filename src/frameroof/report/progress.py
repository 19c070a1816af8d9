"""What a long command is doing, on standard error, while it is a terminal; silent otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is going on; the function given changes it."""
    if not sys.stderr.isatty() and "FORCE_COLOR" not in os.environ and "TTY_COMPATIBLE" not in os.environ:
        yield lambda _: None  # as rich would decide, without loading it
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(text) as line:
        yield line.update
