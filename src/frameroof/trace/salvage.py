"""Broken trace text -> the events that are still in it.

What breaks Kineto files in the wild: names with unescaped quotes, backslashes or raw newlines, control characters,
numbers that JSON does not know, a file cut off in the middle. Every event starts with a brace and a known key, so the
text is cut there; each part is decoded alone, after the least repair that makes it decode; what stays is counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import msgspec

from .columns import Problem
from .schema import Args, ExactEvent, Header

_START = re.compile(rb'\{\s*"(?=(?:ph|name|cat|pid|tid|ts)"\s*:)')
_PH_START = re.compile(rb'\{\s*"(?=ph"\s*:)')
_TRAILER = re.compile(rb'\]\s*,\s*(?="[A-Za-z_]+"\s*:[^{}]*\}\s*$)')
_EVENT = msgspec.json.Decoder(ExactEvent)
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = re.compile(rb'("(?:name|cat|ph|Call stack|Module Hierarchy|kernel|Python module)"\s*:\s*")(.*?)(?="\s*,\s*"[A-Za-z_ ]+"\s*:|"\s*\})', re.S)
_BAD_NUMBER = re.compile(rb'(:\s*|[\[,]\s*)(-?(?:nan|inf|infinity))\b', re.I)
_LOOSE_QUOTE = re.compile(rb'(?<!\\)"')
_LOOSE_BACKSLASH = re.compile(rb'\\(?!["\\/bfnrtu])|\\u(?![0-9a-fA-F]{4})')
_CONTROL = re.compile(rb"[\x00-\x1f]")
LONGEST_PART = 1 << 20
"""An event longer than this is not repaired: it is no event but the ruins of one."""


class Salvager:
    """Reads broken pieces and remembers what was mended and what was lost."""

    def __init__(self) -> None:
        self.mended: Counter[str] = Counter()
        self.lost = 0
        self.lost_bytes = 0

    def events(self, piece: bytes) -> tuple[list[ExactEvent], Header | None]:
        """The events of a piece that is not sound, and what stands behind them if that can be read."""
        sound = self._one_by_one(piece)
        if sound is not None:
            return sound, None
        trailer = None
        found = _TRAILER.search(piece, max(0, len(piece) - 4096))
        if found:
            trailer = self.header(b"{" + piece[found.end() :])
            piece = piece[: found.start()]
        starts = [m.start() for m in (_PH_START if _PH_START.search(piece) else _START).finditer(piece)]
        out = []
        if starts and piece[: starts[0]].strip(b" \t\r\n,["):
            self._lose(piece[: starts[0]])
        for start, end in zip(starts, [*starts[1:], len(piece)], strict=True):
            event = self._event(piece[start:end])
            if event is not None:
                out.append(event)
        return out, trailer

    def _one_by_one(self, piece: bytes) -> list[ExactEvent] | None:
        """Where the text is sound JSON but some event has a value of the wrong type: each event alone."""
        try:
            raws = _RAW_LIST.decode(b"[" + piece.rstrip(b" \t\r\n,") + b"]")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        events = (self._event(bytes(raw)) for raw in raws)
        return [event for event in events if event is not None]

    def _event(self, text: bytes) -> ExactEvent | None:
        text = text.rstrip(b" \t\r\n,]")
        try:
            return _EVENT.decode(text)
        except msgspec.ValidationError:
            event = self._coerced(text)
            if event is not None:
                return event
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        if len(text) <= LONGEST_PART:
            for cause, repaired in repairs(text):
                try:
                    event = _EVENT.decode(repaired)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                self.mended[cause] += 1
                return event
        self._lose(text)
        return None

    def _coerced(self, text: bytes) -> ExactEvent | None:
        """An event some of whose values have a type that none should have: those values are dropped."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(data, dict):
            return None
        self.mended["values of a wrong type"] += 1
        event = ExactEvent()
        for name in ("ph", "cat", "name", "pid", "tid", "ts", "dur", "id"):
            value = data.get(name)
            if isinstance(value, str) or (name not in ("ph", "cat", "name") and _is_number(value)):
                setattr(event, name, str(value) if name in ("ts", "dur") else value)
        args = data.get("args")
        if isinstance(args, dict):
            event.args = _coerced_args(args)
        return event

    def header(self, text: bytes) -> Header:
        """Those fields of a broken head or tail that can be read."""
        fields: dict[str, Any] = {}
        for field in msgspec.structs.fields(Header):
            found = re.search(rb'"' + field.encode_name.encode() + rb'"\s*:\s*', text)
            if not found:
                continue
            try:
                value, _ = json.JSONDecoder(strict=False).raw_decode(text[found.end() :].decode("utf-8", "replace"))
                fields[field.name] = msgspec.convert(value, field.type)
            except (ValueError, RecursionError, msgspec.ValidationError):
                continue
        return Header(**fields)

    def _lose(self, text: bytes) -> None:
        if text.strip(b" \t\r\n,]}"):
            self.lost += 1
            self.lost_bytes += len(text)

    def problems(self) -> list[Problem]:
        """What was mended, what was lost."""
        found = [Problem(f"events with {cause}", count, "mended") for cause, count in self.mended.items()]
        if self.lost:
            found.append(Problem("events too broken to read", self.lost, f"left out ({self.lost_bytes} bytes of text)"))
        return found


def repairs(text: bytes) -> list[tuple[str, bytes]]:
    """(what is mended, the text so mended), the least first."""
    numbers = _BAD_NUMBER.sub(rb"\1null", text)
    quoted = _TEXT.sub(lambda m: m[1] + _escaped(m[2]), numbers)
    cut = quoted[: quoted.rfind(b"}") + 1]
    return [
        ("numbers that JSON does not know (NaN, Infinity)", numbers),
        ("unescaped characters in a name", quoted),
        ("text after their end", cut),
        ("a missing brace at their end", quoted + b"}"),
    ]


def _escaped(text: bytes) -> bytes:
    text = _LOOSE_BACKSLASH.sub(lambda m: b"\\\\" + m[0][1:], text)
    text = _LOOSE_QUOTE.sub(b'\\\\"', text)
    return _CONTROL.sub(lambda m: b"\\u%04x" % m[0][0], text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _coerced_args(args: dict[str, Any]) -> Args:
    out = Args()
    for field in msgspec.structs.fields(Args):
        value = args.get(field.encode_name)
        if value is None:
            continue
        if field.name in ("dims", "types", "concrete"):
            setattr(out, field.name, msgspec.Raw(json.dumps(value).encode()))
        elif field.name in ("kernel", "hierarchy", "collective", "stack"):
            setattr(out, field.name, value if isinstance(value, str) else None)
        elif isinstance(value, str) or _is_number(value):
            setattr(out, field.name, value)
    return out
