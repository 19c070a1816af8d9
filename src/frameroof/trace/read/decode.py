"""A trace file -> `Trace`: decoded piece by piece into columns; broken pieces are repaired event by event."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import msgspec

from .arguments import decode_arguments
from .column_builder import ColumnBuilder
from .columns import Problem, Trace
from .decode_process import DecodeProcess, Unsound, worthwhile
from .events import Event, ExactEvent, Header
from .file import BOM, LIMIT_BYTES, TraceError, TraceFile, is_sqlite, open_trace
from .nsys.refuse import refuse_report
from .pieces import PieceReader, first_end
from .repair import BLANK, BROKEN, Repairer, in_brackets, lenient_header
from .timestamps import needs_digits

_EVENTS = msgspec.json.Decoder(list[Event])
_EXACT = msgspec.json.Decoder(list[ExactEvent])
_EXACT_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_HEADER = msgspec.json.Decoder(Header)
_KEY = b'"traceEvents"'
_ANOTHER = re.compile(
    rb'\{\s*"(?:schemaVersion|deviceProperties|displayTimeUnit|traceEvents|traceName|baseTimeNanoseconds|distributedInfo)"'
    rb"\s*:"
)
"""How a whole trace begins, which no event does."""
_NOTHING = BLANK + b"\0" + BOM


class _Whole(Header):
    """The last piece, as an object: its events and whatever stands after them."""

    traceEvents: list[Event] = []  # noqa: RUF012


_LAST = msgspec.json.Decoder(_Whole)

Progress = Callable[[int], None]


def read(
    path: str | os.PathLike[str] | TraceFile,
    *,
    limit_bytes: int = LIMIT_BYTES,
    progress: Progress | None = None,
    helper: bool | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Trace:
    """Read a Kineto or Chrome trace (.json, .json.gz), whatever its age, device or damage.

    `limit_bytes` bounds the unpacked text (a `TraceFile` has its own limit, and may have begun); `progress` is called
    with the bytes of text seen so far; `helper` says whether a second process decodes too (None: where that is worth
    it). `meanwhile` is called once where it does, when it has enough to do.
    Raises `TraceError` (a sentence) where the file is no trace at all; damage is reported in `Trace.problems`.
    """
    file = path.path if isinstance(path, TraceFile) else path
    refuse_report(file)
    if is_sqlite(file):
        from .nsys.export import read_nsys  # SQLite is seldom needed

        return read_nsys(file, progress=progress)
    source = path if isinstance(path, TraceFile) else open_trace(path, limit_bytes)
    if worthwhile(source.path.stat().st_size) if helper is None else helper:
        try:
            return _read_beside(source, progress, meanwhile)
        except Unsound:
            source = open_trace(source.path, source.limit_bytes)
    reader = _Reader(source)
    for number, (piece, last) in enumerate(source.pieces()):
        reader.take(piece, last, number)
        if progress:
            progress(source.text_bytes)
    return reader.finish()


def _read_beside(source: TraceFile, progress: Progress | None, meanwhile: Callable[[], object] | None) -> Trace:
    """Read with a helper that takes every piece it is free for."""
    reader, helper = _Reader(source), DecodeProcess(_decode_into)
    try:
        for number, (piece, last) in enumerate(source.pieces()):
            whole = not (last or reader.carry or reader.tail is not None)
            if not (whole and helper.take(number, piece)):
                if meanwhile:
                    meanwhile()
                    meanwhile = None
                reader.take(piece, last, number)
            if progress:
                progress(source.text_bytes)
        while left := helper.give_back():
            if not _decode_into(left[1], reader.builder, left[0]):
                raise Unsound
        reader.builder.absorb(helper.result())
    finally:
        helper.stop()
    return reader.finish()


def _decode_into(piece: bytes, builder: ColumnBuilder, number: int) -> bool:
    """Take a piece of sound events; whether it was that, and without begin and end events to be paired elsewhere."""
    try:
        builder.add(_decode(in_brackets(piece)), number)
    except BROKEN:
        return False
    return not (builder.pairs or builder.unread.nameless)


class _Reader(PieceReader):
    """Decodes pieces and hands their events to the builder."""

    def __init__(self, source: TraceFile) -> None:
        super().__init__(source)
        self.builder = ColumnBuilder()
        self.number = 0
        """Of the piece that is taken now."""
        self.repairer = Repairer()
        self.trailer = Header()
        self.problems: list[Problem] = []

    def take(self, piece: bytes, last: bool, number: int = 0) -> None:
        """Take one piece, the `number`-th of the file."""
        self.number = number
        super().take(piece, last)

    def sound(self, text: bytes) -> bool:
        """Take the events if they are sound JSON; whether they are."""
        events = self.repairer.sound(text, _decode)
        if events is None:
            return False
        self.builder.add(events, self.number)
        return True

    def broken(self, piece: bytes, last: bool) -> bytes | None:
        """Take what can be salvaged, up to where another document begins."""
        another = _ANOTHER.search(piece)
        if another:
            events, _ = self.repairer.events(piece[: another.start()], False)
            self.builder.add(events, self.number)
            self.tail = b"}" + piece[another.start() :]
            return self.tail
        events, tail = self.repairer.events(piece, last)
        self.builder.add(events, self.number)
        return tail

    def last_at_once(self, piece: bytes) -> bool:
        """Take the last piece with what follows it, where all is sound and ordinary."""
        if _KEY in piece:
            return False
        text = b'{"traceEvents":[' + piece + (b"}" if self.listed else b"")
        try:
            whole = _LAST.decode(text)
            events: list[Any] = whole.traceEvents
            if needs_digits([e.ts for e in events]):
                events = _EXACT.decode(_EXACT_OBJECT.decode(text)["traceEvents"])
            decode_arguments(events)
        except BROKEN:
            return False
        self.trailer, self.tail = whole, b"}"
        self.builder.add(events, self.number)
        return True

    def _behind(self) -> None:
        """What stands behind the events."""
        tail = self.tail
        if tail is None:
            if not self.listed:  # the array format of Chrome may end anywhere
                self._note("the list of events has no end: the file was cut off", "read up to there")
            return
        tail = tail.strip()
        if self.listed:
            self._left_out(tail.lstrip(_NOTHING + b"}"))
            return
        text = b"{" + tail.lstrip(BLANK)
        end = first_end(text)
        self._left_out(text[end:].lstrip(_NOTHING) if end else b"")
        text = text[:end]
        if text == b"{}":
            return
        if _KEY in text:
            self._more_events(text)
        try:
            self.trailer = _HEADER.decode(text)
        except BROKEN as error:
            self.trailer = lenient_header(text)
            if b'"ph"' in text:  # the list was not over
                self.builder.add(self.repairer.events(text, True)[0], self.number)
            self._note(f"what stands behind the events is broken: {error}", "read field by field")

    def _left_out(self, rest: bytes) -> None:
        """What stands behind the end of the file's own document."""
        size = len(rest) + self.dropped
        if rest[:1] in (b"{", b"[") and b'"ph"' in rest:
            what = "another JSON document behind the first, which alone is read"
            self._note(what, f"left out ({size} bytes); give each document a file of its own")
        elif size:
            self._note("text behind the end of the file's JSON", f"left out ({size} bytes)")

    def _more_events(self, text: bytes) -> None:
        """`traceEvents` a second time."""
        try:
            more = _EXACT_OBJECT.decode(text).get("traceEvents")
        except BROKEN:
            return
        if more is not None and bytes(more).startswith(b"[") and self.sound(bytes(more)[1:-1]):
            self._note("the file holds `traceEvents` twice", "both are read")

    def _note(self, what: str, action: str) -> None:
        self.problems.append(Problem(what, 1, action))

    def finish(self) -> Trace:
        """All pieces taken: one `Trace`."""
        self._behind()
        header = _merge(self._header(), self.trailer)
        gone = self.repairer.lost + self.repairer.foreign
        if gone and not self.builder.events:
            raise TraceError(f"{self.source.path} holds a list, but nothing in it is an event, so it is no trace")
        problems = [Problem(text, 1, "read up to there") for text in self.source.problems]
        problems += self.repairer.problems() + self.problems
        return self.builder.finish(str(self.source.path), header, problems)

    def _header(self) -> Header:
        if self.listed:
            what = "events one a line" if self.source.lines else "a bare list of events"
            self._note(f"the file is {what}: it names no device, version or date", "read as such")
            return Header()
        try:
            return _HEADER.decode(self.source.header.removeprefix(BOM) + b"]}")
        except BROKEN as error:
            self._note(f"the head of the file is broken: {error}", "read field by field")
            return lenient_header(self.source.header)


def _decode(text: bytes) -> list[Any]:
    """Sound events, with their times digit by digit where a double would not hold them."""
    events: list[Any] = _EVENTS.decode(text)
    if needs_digits([e.ts for e in events]):
        events = _EXACT.decode(text)
    decode_arguments(events)
    return events


def _merge(first: Header, second: Header) -> Header:
    """What the head of the file says, completed by what stands after the events."""
    return Header(**{name: getattr(first, name) or getattr(second, name) for name in Header.__struct_fields__})
