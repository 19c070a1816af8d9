"""What a page and the server say to each other: JSON in text messages, pictures in binary ones.

Described in docs/reference/stream-protocol.rst. A name's message carries it in ``type``, in small letters.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = 1
JPEG = 1  # what a binary message carries behind its head
HEAD = struct.Struct("<BBHII")  # version, kind, 0, block, frame

# Close codes: 1000 of a page that leaves for good; of the server these, or 1001 and 1012 when it ends.
REFUSED = 1008  # the message before says why
TOO_BIG = 1009
FAILED = 1011
FULL = 1013  # no session is free: come again later
ELSEWHERE = 4001  # the session was opened by another connection
VANISHED = 4002  # nothing was shown for too long


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower, forbid_unknown_fields=True):
    """What all messages are."""


# ---------------------------------------------------------------------------------- from the page


class Start(Message, frozen=True):
    """The first message: a new stream, or the session to come back to."""

    prompt: str | None = None
    session: str | None = None


class Switch(Message, frozen=True):
    """A new prompt from the next block on; `id` is the page's own number of it."""

    prompt: str
    id: int = 0


class Shown(Message, frozen=True):
    """This frame and those before it are on the screen, or needed no more."""

    frame: int


class Pause(Message, frozen=True):
    """Make and send no frames until further notice."""


class Play(Message, frozen=True):
    """Go on after a pause."""


Said = Start | Switch | Shown | Pause | Play


# -------------------------------------------------------------------------------- from the server


class Hello(Message, frozen=True):
    """The answer to `Start`."""

    version: int
    session: str
    resumed: bool
    prompt: str
    block: int  # the next one
    playing: bool
    facts: Mapping[str, Any]
    limits: Mapping[str, float]
    note: str = ""


class Switched(Message, frozen=True):
    """A prompt holds from this block on."""

    id: int
    prompt: str
    block: int


class Replaced(Message, frozen=True):
    """A later prompt came before this one could take effect."""

    id: int


class Stats(Message, frozen=True):
    """How the stream does. Seconds and frames; None where nothing was measured yet."""

    block: int  # blocks made
    made: int
    sent: int
    shown: int
    late: int
    skipped: int
    waiting: int
    in_flight: int
    stalls: int
    sessions: int
    block_s: float | None
    decode_s: float | None
    inter_frame_s: float | None
    fps_engine: float | None
    real_time_factor: float | None
    switch_s: float | None
    visible_s: float | None


class Error(Message, frozen=True):
    """A sentence: what was wrong. After a final one the connection is closed."""

    what: str
    final: bool = False


_decoder = msgspec.json.Decoder(Said)
_encoder = msgspec.json.Encoder()


def understood(text: str) -> Said:
    """A page's message; ValueError, a sentence, for anything else."""
    try:
        said: Said = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"The message was not understood: {str(error).rstrip('.')}.") from error
    return said


def text_of(message: Message) -> str:
    """A message of the server as JSON."""
    return _encoder.encode(message).decode()


def picture_of(block: int, frame: int, jpeg: bytes) -> bytes:
    """A frame as a binary message."""
    return HEAD.pack(VERSION, JPEG, 0, block % 2**32, frame % 2**32) + jpeg
