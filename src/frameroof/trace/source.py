"""A trace file as pieces of text that end where an event ends, without ever holding the whole file.

The splitting needs no JSON parser: a raw newline or an unescaped quote cannot stand inside a JSON string, so the text
`}, {"ph"` is the border of two events, or of two objects inside one. Where a border was mistaken the piece is no JSON;
the reader notices, and `ends` finds the true one.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread

import numpy as np

SQLITE_MAGIC = b"SQLite format 3\x00"
PIECE_BYTES = 1 << 20
"""About how much text is decoded at once."""
LIMIT_BYTES = 8 << 30
"""The most text a file may unpack to (a guard against compressed bombs); `read(..., limit_bytes=)` changes it."""
LONGEST_EVENT = 16 << 20
"""The most text without the end of an event: more is no event, and left out."""
LONGEST_HEAD = 64 << 20
"""The most text before the first event."""

_OPEN = re.compile(rb'"traceEvents"\s*:\s*\[')
_BORDERS = (re.compile(rb'\}\s*,\s*(?=\{\s*"ph")'), re.compile(rb'\}\s*,\s*(?=\{\s*"|\{\s*\})'))
_ESCAPED = re.compile(rb"\\.", re.S)
_WINDOW = 1 << 16
_PACKED_BYTES = 1 << 16
_BLANK = b" \t\r\n"
BOM = b"\xef\xbb\xbf"
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x89PNG": "a picture",
    b"\x7fELF": "a program",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}


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
        """(text of whole events, is it the last piece), the last one with whatever follows the events.

        Joined they give the text unchanged: all but the first start with the comma behind the event before.
        """
        blocks = self._blocks()
        buffer = self._read_header(blocks)
        for block in blocks:
            buffer += block
            if len(buffer) < PIECE_BYTES:
                continue
            cut = _last_border(buffer)
            if cut:
                yield buffer[:cut], False
                buffer = buffer[cut:]
            elif len(buffer) > LONGEST_EVENT:
                self.problems.append(f"{len(buffer) >> 20} MiB of text without the end of an event; it is left out")
                buffer = b""
        yield buffer, True

    def _read_header(self, blocks: Iterator[bytes]) -> bytes:
        buffer = b""
        for block in blocks:
            seen, buffer = len(buffer), buffer + block
            start = buffer[:64].removeprefix(BOM).lstrip(_BLANK)
            if start[:1] == b"[":
                self.header = b"["
                return buffer[buffer.index(b"[") + 1 :]
            found = _opening(buffer, max(0, seen - 256))
            if found:
                self.header = buffer[:found]
                return buffer[found:]
            if (start and start[:1] != b"{") or len(buffer) > LONGEST_HEAD:
                break
        what = "is empty" if not buffer.strip(_BLANK) else "holds no list of events (`traceEvents`), so it is no trace"
        for magic, name in _OTHER_FORMATS.items():
            if buffer.startswith(magic):
                what = f"is {name}; a trace is JSON text, plain or compressed with gzip"
        raise TraceError(f"{self.path} {what}" + "".join(f" ({problem})" for problem in self.problems))

    def _blocks(self) -> Iterator[bytes]:
        blocks = _unpacked(self.path, self.problems)
        for block in _ahead(blocks) if self.path.stat().st_size > _WORTH_A_THREAD else blocks:
            self.text_bytes += len(block)
            if self.text_bytes > self.limit_bytes:
                raise TraceError(
                    f"{self.path} unpacks to more than {self.limit_bytes / 2**30:.3g} GiB; a larger limit can be given"
                )
            yield block


def is_sqlite(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an SQLite database, by its first bytes; False for what is no regular file or cannot be read."""
    try:
        if not os.path.isfile(path):  # a pipe would never answer
            return False
        with open(path, "rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except (OSError, ValueError):
        return False


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


@dataclass(frozen=True)
class Ends:
    """Where things end in the text of a list of events, found by counting brackets outside strings."""

    event: int
    """After the last event that is whole; 0 if none is."""
    events: int | None
    """Of the bracket that closes the list; None if the list goes on."""
    open: bool
    """Whether the text stops within an event."""


def ends(text: bytes) -> Ends:
    """Count the brackets of sound text that starts at an event; in broken text the answer may be wrong."""
    if b"\\" in text:
        text = _ESCAPED.sub(b"__", text)
    signs = np.frombuffer(text, dtype=np.uint8)
    outside = ~np.logical_xor.accumulate(signs == ord('"'))
    opens = (signs == ord("{")) | (signs == ord("["))
    closes = (signs == ord("}")) | (signs == ord("]"))
    places = np.flatnonzero((opens | closes) & outside)
    depth = np.cumsum(np.where(opens[places], 1, -1))
    over = np.flatnonzero(depth < 0)
    last = int(over[0]) if len(over) else len(places)
    whole = np.flatnonzero((depth[:last] == 0) & (signs[places[:last]] == ord("}")))
    return Ends(
        event=int(places[whole[-1]]) + 1 if len(whole) else 0,
        events=int(places[last]) if len(over) else None,
        open=bool(len(depth) and depth[-1] > 0),
    )


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


def _last_border(buffer: bytes) -> int:
    """Where the last object that is followed by another one ends (after its brace), 0 if none is."""
    for border in _BORDERS:
        end, width = len(buffer), _WINDOW
        while True:
            start = max(0, end - width)
            found = deque(border.finditer(buffer, start), maxlen=1)
            if found:
                return found[0].start() + 1
            if start == 0:
                break
            width *= 8
    return 0


def _unpacked(path: Path, problems: list[str]) -> Iterator[bytes]:
    """The text of a plain or gzip file, block by block; a broken end of a gzip file is a problem, not an error."""
    with open(path, "rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            while block := file.read(PIECE_BYTES):
                yield block
            return
        unpacker = zlib.decompressobj(wbits=31)
        while True:
            data = unpacker.unconsumed_tail or file.read(_PACKED_BYTES)
            if unpacker.eof:
                data = (unpacker.unused_data + data).lstrip(b"\0")  # tapes and disks pad with zeros
                if not data and not (data := file.read(_PACKED_BYTES).lstrip(b"\0")):
                    return
                if data[:2] != b"\x1f\x8b":
                    problems.append("behind the compressed text stands something else; it is left out")
                    return
                unpacker = zlib.decompressobj(wbits=31)
            if not data:
                yield unpacker.flush()
                problems.append("the compressed file ends too early; what follows is lost")
                return
            before = unpacker.copy()
            try:
                yield unpacker.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                yield _up_to_the_break(before, data)
                problems.append(
                    f"the compressed file is broken ({error}); what follows is lost, the text just before may be wrong"
                )
                return


_WORTH_A_THREAD = 1 << 19


def _ahead(blocks: Iterator[bytes], most: int = 8) -> Iterator[bytes]:
    """The same blocks, unpacked ahead of their use by a thread: zlib works without the interpreter's lock."""
    ready: Queue[bytes | BaseException | None] = Queue(most)
    stopped = Event()

    def give(item: bytes | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except Full:
                continue

    def work() -> None:
        try:
            for block in blocks:
                give(block)
                if stopped.is_set():
                    return
            give(None)
        except BaseException as error:  # handed over: it belongs to the reader
            give(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _up_to_the_break(unpacker: zlib._Decompress, data: bytes) -> bytes:
    """What can be unpacked of `data`, whose unpacking failed at once: byte by byte."""
    out = []
    try:
        for i in range(len(data)):
            out.append(unpacker.decompress(data[i : i + 1]))
    except zlib.error:
        pass
    return b"".join(out)
