"""Standard output and error of the command: what fails there is one sentence, and a reader that stops is no failure."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from ..outside import clean

LONGEST = 2000
"""Characters of a sentence on standard error."""


def complain(text: str) -> None:
    """One sentence on standard error, however odd the names in it are."""
    if sys.stderr is not None:
        print(f"frameroof: {clean(text, LONGEST)}", file=sys.stderr)


def say(text: str) -> None:
    """One line on standard output, of a verb that prints as it goes."""
    print(clean(text), flush=True)


class _Sink(io.FileIO):
    """A standard stream. Once nothing can be written to it, the rest goes nowhere.

    A reader that stops (`| head`) has what it wanted: the verb goes on to its end and its exit code. Any other failure
    is said, once, where `fatal`.
    """

    def __init__(self, number: int, fatal: bool) -> None:
        super().__init__(number, "wb", closefd=False)
        self.fatal = fatal

    def write(self, data: Any) -> int:
        """As `FileIO.write`; `ValueError` with a sentence where that fails."""
        if not memoryview(data).nbytes:  # click asks in this way whether a stream takes bytes
            return 0
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            _to_nowhere(self.fileno())
            if self.fatal and not isinstance(error, BrokenPipeError):
                raise ValueError(f"standard output cannot be written: {error.strerror}") from error
            return memoryview(data).nbytes


def open_streams() -> None:
    """Put a `_Sink` under both streams; `ValueError` where standard output is closed.

    A closed number would be given to the next file that is opened, and prints would go into it.
    """
    closed = sys.stdout is None
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)
    sys.stderr = _stream(sys.stderr, 2, fatal=False)
    sys.stdout = _stream(sys.stdout, 1, fatal=True)
    if closed:
        raise ValueError("standard output is closed: there is nowhere to write to")


def _stream(old: object, number: int, fatal: bool) -> io.TextIOWrapper:
    """A text stream as the `old` one; text that its encoding lacks is shown escaped."""
    sink = _Sink(number, fatal)
    if not isinstance(old, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(sink), "utf-8", "backslashreplace", line_buffering=number == 2)
    raw = isinstance(old.buffer, io.RawIOBase)  # python -u
    return io.TextIOWrapper(
        sink if raw else io.BufferedWriter(sink),
        old.encoding,
        "backslashreplace",
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
