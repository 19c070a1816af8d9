"""The pieces of a trace file, one after another: which text of events is sound, which is broken, where they end."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .columns import Array
from .file import TraceFile
from .repair import BLANK

LONGEST_CARRY = 2 << 20
"""The longest event in which a border may have been mistaken."""
LONGEST_TAIL = 16 << 20
"""The most text behind the events that is kept."""
_ESCAPED = re.compile(rb"\\.", re.S)
_BEHIND = re.compile(rb'\s*(?:\}|,\s*["}]|[\[{]|\Z)')


class PieceReader:
    """Takes the pieces of a trace file; what to do with sound and with broken text is up to its children."""

    def __init__(self, source: TraceFile) -> None:
        self.source = source
        self.carry = b""
        """The start of an event whose end was mistaken for a border."""
        self.tail: bytes | None = None
        """What stands behind the list of events; None while that goes on."""
        self.dropped = 0
        """Bytes of it beyond what is kept."""

    @property
    def listed(self) -> bool:
        """Whether the file is a bare list of events, without the object around it."""
        return self.source.header == b"["

    def run(self) -> None:
        """Take every piece."""
        for piece, last in self.source.pieces():
            self.take(piece, last)

    def take(self, piece: bytes, last: bool) -> None:
        """Take one piece as `TraceFile.pieces` gives it."""
        if self.tail is not None:
            if len(self.tail) < LONGEST_TAIL:
                self.tail += piece
            else:
                self.dropped += len(piece)
            return
        piece, self.carry = self.carry + piece, b""
        if last:
            piece = piece.lstrip(BLANK)
        if not (self.last_at_once(piece) if last else self.sound(piece)):
            self._reconsider(piece.lstrip(BLANK), last)

    def sound(self, text: bytes) -> bool:
        """Use some text if it is whole events, sound between brackets; whether it is."""
        raise NotImplementedError

    def broken(self, piece: bytes, last: bool) -> bytes | None:
        """Use what is left of a broken piece; of the last one, the text behind the list of events if that ends."""
        raise NotImplementedError

    def last_at_once(self, piece: bytes) -> bool:
        """Use the last piece and all that follows its events, if that is easily done; whether it was."""
        return False

    def _reconsider(self, piece: bytes, last: bool) -> None:
        """A piece that is not sound at once: because it goes on behind the events, was cut wrongly, or is broken."""
        end = ends(piece)
        behind = piece[end.events + 1 :] if end.events is not None else b""
        if end.events is not None and _BEHIND.match(behind) and self.sound(piece[: end.events]):
            self.tail = behind
        elif last:
            if piece[end.event :].strip(BLANK) or not self.sound(piece[: end.event]):  # else cut off behind an event
                self.tail = self.broken(piece, last)
        elif end.open and len(piece) - end.event < LONGEST_CARRY and self.sound(piece[: end.event]):
            self.carry = piece[end.event :]
        else:
            self.broken(piece, last)


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
    places, depth = _brackets(text)
    over = np.flatnonzero(depth < 0)
    last = int(over[0]) if len(over) else len(places)
    signs = np.frombuffer(text, dtype=np.uint8)
    whole = np.flatnonzero((depth[:last] == 0) & (signs[places[:last]] == ord("}")))
    return Ends(
        event=int(places[whole[-1]]) + 1 if len(whole) else 0,
        events=int(places[last]) if len(over) else None,
        open=bool(len(depth) and depth[-1] > 0),
    )


def first_end(text: bytes) -> int | None:
    """Where the first object or list of sound text ends; None where none does."""
    places, depth = _brackets(text)
    over = np.flatnonzero(depth == 0)
    return int(places[over[0]]) + 1 if len(over) else None


def _brackets(text: bytes) -> tuple[Array, Array]:
    """(the places of brackets outside of strings, how many are open behind each)."""
    if b"\\" in text:
        text = _ESCAPED.sub(b"__", text)
    signs = np.frombuffer(text, dtype=np.uint8)
    outside = ~np.logical_xor.accumulate(signs == ord('"'))
    opens = (signs == ord("{")) | (signs == ord("["))
    closes = (signs == ord("}")) | (signs == ord("]"))
    places = np.flatnonzero((opens | closes) & outside)
    return places, np.cumsum(np.where(opens[places], 1, -1))
