"""A trace file -> `Trace`: decoded piece by piece, kept as columns; broken pieces are salvaged event by event."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .columns import Problem, Trace
from .gather import Gatherer
from .salvage import Salvager
from .schema import Event, ExactEvent, Header
from .source import LIMIT_BYTES, Source, open_source
from .times import needs_digits

_EVENTS = msgspec.json.Decoder(list[Event])
_EXACT = msgspec.json.Decoder(list[ExactEvent])


class _Whole(Header):
    """The last piece, as an object: its events and whatever stands after them."""

    traceEvents: list[Event] = []  # noqa: RUF012


_LAST = msgspec.json.Decoder(_Whole)
_HEADER = msgspec.json.Decoder(Header)

Progress = Callable[[int], None]


def read(
    path: str | os.PathLike[str], *, limit_bytes: int = LIMIT_BYTES, progress: Progress | None = None
) -> Trace:
    """Read a Kineto or Chrome trace (.json, .json.gz), whatever its age, device or damage.

    `limit_bytes` bounds the unpacked text; `progress` is called with the bytes of text seen so far.
    Raises `TraceError` (a sentence) where the file is no trace at all; damage is reported in `Trace.problems`.
    """
    source = open_source(path, limit_bytes)
    reader = _Reader(source)
    for piece, last in source.pieces():
        reader.take(piece, last)
        if progress:
            progress(source.text_bytes)
    return reader.finish()


class _Reader:
    """Decodes pieces and hands their events to the gatherer."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.gatherer = Gatherer()
        self.salvager = Salvager()
        self.trailer = Header()

    def take(self, piece: bytes, last: bool) -> None:
        """Decode one piece: strictly where it is sound, event by event where it is not."""
        if last:
            self._take_last(piece)
            return
        try:
            events: Sequence[Any] = _EVENTS.decode(b"[" + piece + b"]")
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._salvage(piece)
            return
        if _is_exact_needed(events):
            events = _EXACT.decode(b"[" + piece + b"]")
        self.gatherer.add(events)

    def _take_last(self, piece: bytes) -> None:
        if self.source.header == b"[" and piece.rstrip(b" \t\r\n,")[-1:] != b"]":
            piece += b"]"  # the array format of Chrome may end anywhere
        text = b'{"traceEvents":[' + piece + (b"}" if self.source.header == b"[" else b"")
        try:
            whole = _LAST.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._salvage(piece)
            return
        self.trailer = whole
        events: Sequence[Any] = whole.traceEvents
        if _is_exact_needed(events):
            raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])["traceEvents"]
            events = _EXACT.decode(raw)
        self.gatherer.add(events)

    def _salvage(self, piece: bytes) -> None:
        events, trailer = self.salvager.events(piece)
        if trailer is not None:
            self.trailer = trailer
        self.gatherer.add(events)

    def finish(self) -> Trace:
        """All pieces taken: one `Trace`."""
        problems = [Problem(text, 1, "read up to there") for text in self.source.problems]
        problems += self.salvager.problems()
        header = _merge(self._header(problems), self.trailer)
        return self.gatherer.finish(str(self.source.path), header, problems)

    def _header(self, problems: list[Problem]) -> Header:
        if self.source.header == b"[":
            return Header()
        try:
            return _HEADER.decode(self.source.header + b"]}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            header = self.salvager.header(self.source.header)
            problems.append(Problem(f"the head of the file is broken: {error}", 1, "read field by field"))
            return header


def _is_exact_needed(events: Sequence[Any]) -> bool:
    return needs_digits([e.ts for e in events])


def _merge(first: Header, second: Header) -> Header:
    """What the head of the file says, completed by what stands after the events."""
    return Header(
        **{
            name: getattr(first, name) or getattr(second, name)
            for name in Header.__struct_fields__
        }
    )
