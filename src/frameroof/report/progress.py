"""What a long command is doing, on standard error, while it is a terminal; silent otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is going on; the function given changes it. Names in it are text, not rich's markup."""
    shown = sys.stderr is not None and sys.stderr.isatty()
    if not shown and "FORCE_COLOR" not in os.environ and "TTY_COMPATIBLE" not in os.environ:
        yield lambda _: None  # as rich would decide, without loading it
        return
    from rich.console import Console
    from rich.text import Text

    from ..outside import clean

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(Text(clean(text))) as line:
        yield lambda new: line.update(Text(clean(new)))
