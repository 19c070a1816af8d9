"""A trace file as pieces of text that end where an event ends, without ever holding the whole file.

The splitting needs no JSON parser: a raw newline or an unescaped quote cannot stand inside a JSON string, so the text
`}, {"ph"` is the border of two events, or of two objects inside one. Where a border was mistaken the piece is no JSON;
the reader notices, and `ends` finds the true one.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from ...files import check_file, opened
from ...outside import paired
from .decompress import Ahead, is_packed, unpacked
from .other_formats import described

SQLITE_MAGIC = b"SQLite format 3\x00"
PIECE_BYTES = 1 << 20
"""About how much text is decoded at once."""
LIMIT_BYTES = 8 << 30
"""The most text a file may unpack to (a guard against compressed bombs); `read(..., limit_bytes=)` changes it."""
LONGEST_EVENT = 16 << 20
"""The most text without the end of an event: more is no event, and left out."""
LONGEST_HEAD = 16 << 20
"""The most text before the first event."""
LONGEST_RUIN = 48 << 20
"""The most text that is left out in all."""
MOST_RATIO, RATIO_FROM = 100, 64 << 20
"""How often a compressed file may unfold to its own size, from so much text on; traces come to 30."""
_WORTH_A_THREAD = 1 << 19

_OPEN = re.compile(rb'"traceEvents"\s*:\s*\[')
_BORDERS = (re.compile(rb'\}\s*,\s*(?=\{\s*"ph")'), re.compile(rb'\}\s*,\s*(?=\{\s*"|\{\s*\})'))
_EVENT_FIRST = re.compile(rb'\{\s*"(?:ph|cat|name|pid|tid|ts|dur|args|id|bp)"\s*:')
_TRACES = re.compile(rb'\[\s*\{\s*"(?:schemaVersion|deviceProperties|traceEvents|displayTimeUnit)"\s*:')
_LINE_END = re.compile(rb"\}[ \t\r]*\n\s*\{")
_ESCAPED = re.compile(rb"\\.", re.S)
_WINDOW = 1 << 16
_SEAM = 1 << 10  # blanks between two events are fewer
_BLANK = b" \t\r\n"
BOM = b"\xef\xbb\xbf"


class TraceError(ValueError):
    """A trace that cannot be read at all; the message is a sentence for the user."""


@dataclass
class TraceFile:
    """An open trace file."""

    path: Path
    limit_bytes: int = LIMIT_BYTES
    text_bytes: int = 0
    """Text seen so far, unpacked."""
    problems: list[str] = field(default_factory=list)
    lines: bool = False
    """Whether the file is no list, but one event behind the other, a line each."""
    header: bytes = b""
    """The text before the first event, up to the bracket that opens the events; b"[" for a bare list."""
    _ahead: Ahead | None = None
    _begun: bytes = b""
    """The text that was read before it was known to be lines."""

    def begin(self) -> TraceFile:
        """Unpack a compressed file from now on, ahead of its use, beside whatever else is done first."""
        if self._ahead is None and is_packed(self.path) and self.path.stat().st_size > _WORTH_A_THREAD:
            self._ahead = Ahead(unpacked(self.path, PIECE_BYTES, self.problems))
        return self

    def close(self) -> None:
        """Leave the file; nothing happens where it was read to its end."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """(text of whole events, is it the last piece), the last one with whatever follows the events.

        Joined they give the text, with halves of surrogate pairs mended (`outside.paired`): all but the first start
        with the comma behind the event before. Raises `TraceError`, a sentence, for a file that holds no events' ends.
        """
        blocks = self._blocks()
        rest, known, left_out = self._read_header(blocks), 0, 0  # in `known` bytes of `rest` there is no border
        for block in self._in_commas(chain([self._begun], blocks)) if self.lines else blocks:
            before, block = (rest, block) if len(block) >= PIECE_BYTES else (b"", rest + block)
            if len(before) + len(block) < PIECE_BYTES:
                rest = block
                continue
            cut = _last_border(block, 0 if before else known)
            if not cut and before:
                before, block = b"", before + block
                cut = _last_border(block, known)
            rest = block[cut:]
            known = max(0, len(rest) - _SEAM)
            if cut:
                yield paired(b"".join((before, memoryview(block)[:cut]))), False
            elif len(rest) > LONGEST_EVENT:
                left_out += len(rest)
                rest, known = b"", 0
                if left_out > LONGEST_RUIN:
                    raise TraceError(f"{self.path} holds {left_out >> 20} MiB of text without the end of an event")
        if left_out:
            self.problems.append(f"{left_out >> 20} MiB of text without the end of an event; it is left out")
        yield paired(rest), True

    def _read_header(self, blocks: Iterator[bytes]) -> bytes:
        buffer = b""
        for block in blocks:
            seen, buffer = len(buffer), buffer + block
            start = buffer[:64].removeprefix(BOM).lstrip(_BLANK)
            if _TRACES.match(start):
                raise TraceError(f"{self.path} is a list of traces, not of events; give each trace a file of its own")
            if start[:1] == b"[":
                self.header = b"["
                return buffer[buffer.index(b"[") + 1 :]
            found = _opening(buffer, max(0, seen - 256))
            if found:
                self.header = paired(buffer[:found])
                return buffer[found:]
            if (start and start[:1] != b"{") or len(buffer) > LONGEST_HEAD:
                break
        if _EVENT_FIRST.match(start := buffer.removeprefix(BOM).lstrip(_BLANK)):
            self.header, self.lines, self._begun = b"[", True, start
            return b""
        what = "is empty" if not buffer.strip(_BLANK) else "holds no list of events (`traceEvents`), so it is no trace"
        what = described(buffer[: 1 << 18]) or what
        raise TraceError(f"{self.path} {what}" + "".join(f" ({problem})" for problem in self.problems))

    def _in_commas(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Blocks of text whose lines are events, with commas between these."""
        kept = b""
        for block in blocks:
            text = _LINE_END.sub(b"},{", kept + block)
            end = text.rstrip(_BLANK)
            kept = text[len(end) - end.endswith(b"}") :]  # the comma may be due behind it
            yield text[: len(text) - len(kept)]
        yield kept

    def _blocks(self) -> Iterator[bytes]:
        self.begin()
        size = self.path.stat().st_size
        try:
            for block in self._ahead or unpacked(self.path, PIECE_BYTES, self.problems):
                self.text_bytes += len(block)
                if self.text_bytes > max(RATIO_FROM, MOST_RATIO * size):
                    raise TraceError(f"{self.path} unpacks to more than {MOST_RATIO} times its size, as no trace does")
                if self.text_bytes > self.limit_bytes:
                    limit = f"{self.limit_bytes / 2**30:.3g} GiB"
                    raise TraceError(f"{self.path} unpacks to more than {limit}; a larger limit can be given")
                yield block
        finally:
            self.close()


def is_sqlite(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an SQLite database, by its first bytes; False for what is no regular file or cannot be read."""
    try:
        with opened(path, None) as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except ValueError:
        return False


def open_trace(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> TraceFile:
    """Check that `path` is a file that can be read; `TraceError` with a sentence otherwise."""
    try:
        target = check_file(path, None)
    except ValueError as error:
        raise TraceError(str(error)) from error
    return TraceFile(target, limit_bytes)


def _opening(buffer: bytes, start: int) -> int:
    """After the bracket that opens the events: the first one that is no deeper than the object of the file; 0: none."""
    first = 0
    for found in islice(_OPEN.finditer(buffer, start), 16):
        before = _ESCAPED.sub(b"__", buffer[: found.start()])
        bare = re.sub(rb'"[^"]*"', b"", before)
        deep = sum(map(bare.count, (b"{", b"["))) - sum(map(bare.count, (b"}", b"]")))
        if deep <= 1 or b'"' in bare:  # a lone quote: the head is broken, and its depth unknown
            return found.end()
        first = first or found.end()
    return first


def _last_border(buffer: bytes, first: int = 0) -> int:
    """Where the last object from `first` on that is followed by another one ends (after its brace), 0 if none is."""
    for border in _BORDERS:
        end, width = len(buffer), _WINDOW
        while True:
            start = max(first, end - width)
            found = deque(border.finditer(buffer, start), maxlen=1)
            if found:
                return found[0].start() + 1
            if start == first:
                break
            width *= 8
    return 0
