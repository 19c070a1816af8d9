"""Ctrl-C and the signals that end a program: one sentence says what is kept, and the exit code which signal it was."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperGroup

from ..written import placed


class Ended(KeyboardInterrupt):
    """Another signal than Ctrl-C; whatever ends well at that ends well here too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Stopped(Exception):
    """A verb was stopped: typer would turn what caused it into an exit code without a word."""


class Verbs(TyperGroup):
    """The verbs, of which any may be stopped."""

    def invoke(self, ctx: Any) -> Any:
        """As typer does; `Stopped` at Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped from stop


def on_signals() -> None:
    """End at SIGTERM and SIGHUP as at Ctrl-C: temporary files go, helpers end. What is ignored stays so (nohup)."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: object) -> None:
    raise Ended(number)


@contextmanager
def kept(what: Callable[[], str]) -> Iterator[None]:
    """What to say if the block is stopped; else it is which files were written."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(what())
        raise


def sentence(stop: BaseException | None) -> str:
    """What a stop is called, and what is kept."""
    word = "interrupted"
    if isinstance(stop, Ended):
        word = f"ended by {signal.Signals(stop.number).name}"
    notes = getattr(stop, "__notes__", None)
    return f"{word}; {notes[0] if notes else _written()}"


def code(stop: BaseException | None) -> int:
    """128 and the number of the signal, as shells have it: 130 for Ctrl-C."""
    return 128 + (stop.number if isinstance(stop, Ended) else signal.SIGINT)


def _written() -> str:
    files = placed()
    if not files:
        return "nothing was written"
    more = f" and {len(files) - 1} more" if files[1:] else ""
    return f"{files[-1]}{more} {'are' if more else 'is'} written"
