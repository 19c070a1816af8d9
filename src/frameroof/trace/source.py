"""A trace file as pieces of text that end where an event ends, without ever holding the whole file.

The splitting needs no JSON parser: a raw newline or an unescaped quote cannot stand inside a JSON string, so the text
`}, {"ph"` is the border of two events. Where a border was mistaken the piece is no JSON, which the reader notices.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PIECE_BYTES = 4 << 20
"""About how much text is decoded at once."""
LIMIT_BYTES = 8 << 30
"""The most text a file may unpack to (a guard against compressed bombs); `read(..., limit_bytes=)` changes it."""
LONGEST_EVENT = 64 << 20
"""The most text without the end of an event."""

_OPEN = re.compile(rb'"traceEvents"\s*:\s*\[')
_BORDER = re.compile(rb'\}\s*,\s*(?=\{\s*"ph")')
_LOOSE_BORDER = re.compile(rb'\}\s*,\s*(?=\{\s*"(?:name|cat|pid|tid|ts|dur|args|id)")')
_WINDOW = 1 << 16


class TraceError(ValueError):
    """A trace that cannot be read at all; the message is a sentence for the user."""


@dataclass
class Source:
    """An open trace file."""

    path: Path
    limit_bytes: int = LIMIT_BYTES
    text_bytes: int = 0
    """Text seen so far, unpacked."""
    problems: list[str] = field(default_factory=list)
    header: bytes = b""
    """The text before the first event, up to the bracket that opens the events; b"[" for a bare list."""

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """(text of whole events, is it the last piece), the last one with whatever follows the events."""
        blocks = self._blocks()
        buffer = self._read_header(blocks)
        for block in blocks:
            buffer += block
            if len(buffer) < PIECE_BYTES:
                continue
            cut = _last_border(buffer)
            if cut:
                yield buffer[:cut], False
                buffer = buffer[cut:].lstrip(b" \t\r\n,")
            elif len(buffer) > LONGEST_EVENT:
                raise TraceError(f"{self.path}: no event ends within {LONGEST_EVENT >> 20} MiB of text: no trace")
        yield buffer, True

    def _read_header(self, blocks: Iterator[bytes]) -> bytes:
        buffer = b""
        for block in blocks:
            buffer += block
            start = buffer.lstrip(b"\xef\xbb\xbf \t\r\n")
            if start[:1] == b"[":
                self.header = b"["
                return start[1:]
            found = _OPEN.search(buffer)
            if found:
                self.header = buffer[: found.end()]
                return buffer[found.end() :]
            if start and start[:1] != b"{":
                break
            if len(buffer) > LONGEST_EVENT:
                break
        what = "is empty" if not buffer.strip() else "holds no list of events (`traceEvents`), so it is no trace"
        raise TraceError(f"{self.path} {what}")

    def _blocks(self) -> Iterator[bytes]:
        for block in _unpacked(self.path, self.problems):
            self.text_bytes += len(block)
            if self.text_bytes > self.limit_bytes:
                raise TraceError(
                    f"{self.path} unpacks to more than {self.limit_bytes / 2**30:.3g} GiB; a larger limit can be given"
                )
            yield block


def open_source(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> Source:
    """Check that `path` is a file that can be read; `TraceError` with a sentence otherwise."""
    target = Path(path)
    try:
        mode = os.stat(target).st_mode
        if stat.S_ISDIR(mode):
            raise TraceError(f"{target} is a folder, not a trace file")
        if not stat.S_ISREG(mode):
            raise TraceError(f"{target} is no regular file")
        with open(target, "rb"):
            pass
    except OSError as error:
        raise TraceError(f"{target} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise error if isinstance(error, TraceError) else TraceError(f"{target!s} is no path: {error}") from error
    return Source(target, limit_bytes)


def _last_border(buffer: bytes) -> int:
    """Where the last event that has ended ends (after its brace), 0 if none has."""
    for pattern in (_BORDER, _LOOSE_BORDER):
        end, width = len(buffer), _WINDOW
        while True:
            start = max(0, end - width)
            found = None
            for found in pattern.finditer(buffer, start):
                pass
            if found:
                return found.start() + 1
            if start == 0:
                break
            width *= 8
    return 0


def _unpacked(path: Path, problems: list[str]) -> Iterator[bytes]:
    """The text of a plain or gzip file, block by block; a broken end of a gzip file is a problem, not an error."""
    with open(path, "rb") as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        if not packed:
            while block := file.read(PIECE_BYTES):
                yield block
            return
        unpacker = zlib.decompressobj(wbits=31)
        while True:
            data = unpacker.unconsumed_tail or file.read(1 << 20)
            if unpacker.eof:
                data = unpacker.unused_data + data
                if data[:2] != b"\x1f\x8b":
                    return
                unpacker = zlib.decompressobj(wbits=31)
            if not data:
                yield unpacker.flush()
                if unpacker.eof:
                    return
                problems.append("the compressed file ends too early; what follows is lost")
                return
            try:
                yield unpacker.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                problems.append(f"the compressed file is broken ({error}); what follows is lost")
                return


