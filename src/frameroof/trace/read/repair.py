"""Broken trace text -> the events that are still in it.

What breaks Kineto files in the wild: names with unescaped quotes, backslashes or raw newlines, control characters,
numbers that JSON does not know, a file cut off in the middle. Every event starts with a brace and a known key, so the
text is cut there; each part is decoded alone, after the least repair that makes it decode; what stays is counted.
Every step is linear in the text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

import msgspec

from . import near_json
from .arguments import decode_arguments
from .collectives import described
from .columns import Problem
from .events import ExactEvent, Header, NamelessArgs

BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on broken text; its ValidationError (sound text, a value of a wrong type) is a DecodeError."""
LONGEST_PART = 1 << 20
"""An event longer than this is not mended: it is no event but the ruins of one."""

_KEYS = rb"ph|cat|name|pid|tid|ts|dur|args|id|s|bp|tts|tdur|cname|sf|stack"
_START = re.compile(rb'(?:\A|[\[,}\n])[ \t\r]*(\{\s*"(?:' + _KEYS + rb')"\s*:)')
_TRAILER = re.compile(rb'\]\s*,\s*(?="[A-Za-z_][A-Za-z_ ]*"\s*:)')
_KNOWN_TRAILER = re.compile(
    rb'\]\s*,\s*(?="(?:schemaVersion|deviceProperties|distributedInfo|traceName|displayTimeUnit|baseTimeNanoseconds'
    rb'|trace_id|host_name|\w+_version|with_\w+|record_shapes|profile_memory)"\s*:)'
)
_ENDED = re.compile(rb"\}\s*(\])\s*\}?\s*\Z")
_TRAILER_BYTES = 1 << 20
_EVENT = msgspec.json.Decoder(ExactEvent)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_JSON = json.JSONDecoder(
    strict=False,
    parse_float=lambda digits: _decimal(digits),
    parse_int=lambda digits: int(digits) if len(digits) < 100 else None,
    parse_constant=str,  # NaN and infinity, which no column believes
)
_OPENING = re.compile(rb'"([^"\\\x00-\x1f]{1,80})"\s*:\s*"')
_END = rb"|\s*\}\s*(?:[,}\]]|\Z))"
_CLOSING = re.compile(rb'"(?=\s*,\s*"(?:' + _KEYS + rb')"\s*:' + _END)
_ANY_CLOSING = re.compile(rb'"(?=\s*,\s*"[^"\\\x00-\x1f]{1,80}"\s*:' + _END)
_SPECIAL = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|["\\\x00-\x1f]')
_NO_JSON = "characters or numbers that JSON does not allow"
_ARGS = msgspec.structs.fields(NamelessArgs)
_TEXTS = {field.name for field in _ARGS if field.type == (str | None)}
_PHASE = re.compile(r"[A-Za-z()]\Z")
BLANK = b" \t\r\n,"
"""What stands between events."""
_PH = b'"ph"'


def in_brackets(text: bytes) -> bytes:
    """Text of events as a list, without the blanks and commas before them; copied once, as it is a megabyte."""
    at = 0
    while text[at : at + 1] and text[at] in BLANK:
        at += 1
    return b"".join((b"[", memoryview(text)[at:], b"]"))


class Repairer:
    """Reads broken pieces and remembers what was mended and what was lost."""

    def __init__(self, keep: bool = False) -> None:
        self.texts: list[bytes] | None = [] if keep else None
        """Every event salvaged from broken pieces, as sound JSON text with all that it says; None: not kept."""
        self.mended: Counter[str] = Counter()
        self.lost = 0
        self.lost_bytes = 0
        self.foreign = 0

    def sound(self, text: bytes, decode: Callable[[bytes], list[Any]]) -> list[Any] | None:
        """The events of text that is sound JSON between its brackets, if need be each alone; None if it is not."""
        listed = in_brackets(text)
        try:
            return decode(listed)
        except BROKEN:
            pass
        near, count = near_json.mended(listed)
        if count:
            try:
                found = decode(near)
            except BROKEN:
                pass
            else:
                self.mended[_NO_JSON] += count
                return found
        try:
            raws = _RAW_LIST.decode(listed)
        except BROKEN:
            return None
        events = (self._event(bytes(raw)) for raw in raws)
        return [event for event in events if event is not None]

    def events(self, piece: bytes, last: bool) -> tuple[list[ExactEvent], bytes | None]:
        """The events of a piece that is not sound; in the last piece, the text behind the list of events if it ends."""
        tail = None
        if last:
            cut, start = self._trailer(piece)
            piece, tail = piece[:cut], None if start is None else piece[start:]
        return [event for part in self._parts(piece) if (event := self._event(part)) is not None], tail

    def _parts(self, piece: bytes) -> Iterator[bytes]:
        """The text from each start of an event to the next; what has no phase belongs to the event before it."""
        begin = 0
        for start, end in pairwise([*(m.start(1) for m in _START.finditer(piece)), len(piece)]):
            if begin < start and piece.find(_PH, start, end) >= 0:
                yield piece[begin:start]
                begin = start
        yield piece[begin:]

    def _event(self, text: bytes) -> ExactEvent | None:
        text = text.strip(BLANK)
        try:
            event = _EVENT.decode(text)
            decode_arguments([event])
            self._keep(text)
            return event
        except msgspec.ValidationError:
            cause = "values of a wrong type"
        except BROKEN:
            cause = _NO_JSON
        if text[:1] != b"{":
            self._lose(text)
            return None
        for what, mended in self._mended(text, cause):
            found = _lenient(mended)
            if found is not None:
                event, end, data = found
                self.mended[what] += 1
                if self.texts is not None:
                    self._keep(_json(data))
                self._lose(mended[end:].encode("utf-8", "replace"))
                return event
        self._lose(text)
        return None

    def _keep(self, text: bytes) -> None:
        if self.texts is not None and text:
            self.texts.append(text)

    def _mended(self, text: bytes, cause: str) -> Iterator[tuple[str, str]]:
        """(what is mended, the text so mended), the least first."""
        yield cause, text.decode("utf-8", "replace")
        if len(text) > LONGEST_PART:
            return
        quoted = b""
        for closing in (_CLOSING, _ANY_CLOSING):
            quoted = _quoted(text, closing)
            yield "unescaped quotes or backslashes in a name", quoted.decode("utf-8", "replace")
        if text.endswith(b"}"):  # else its last value may be cut off, and must not be believed
            yield "a missing brace at their end", quoted.decode("utf-8", "replace") + "}"

    def _trailer(self, piece: bytes) -> tuple[int, int | None]:
        """(where the list of events ends, where what stands behind it begins: None if it was cut off before)."""
        near = max(0, len(piece) - _TRAILER_BYTES)
        best = None
        for found in reversed([*_TRAILER.finditer(piece, near)][-256:]):
            try:
                msgspec.json.decode(b"{" + piece[found.end() :], type=dict[str, msgspec.Raw])
                best = found
            except BROKEN:
                continue
        if best is None:
            phase = max(0, piece.rfind(_PH))
            best = _KNOWN_TRAILER.search(piece, phase)
        if best:
            return best.start(), best.end()
        ended = _ENDED.search(piece, near)
        return (ended.start(1), ended.end(1)) if ended else (len(piece), None)

    def _lose(self, text: bytes) -> None:
        text = text.strip(BLANK + b"]}")
        if text:
            events = text.count(_PH)
            self.lost += events
            self.foreign += not events
            self.lost_bytes += len(text)

    def problems(self) -> list[Problem]:
        """What was mended, what was lost."""
        found = [Problem(f"events with {cause}", count, "mended") for cause, count in self.mended.items()]
        size = f"left out ({self.lost_bytes} bytes of text)"
        if self.lost:
            found.append(Problem("events too broken to read", self.lost, size))
        if self.foreign:
            found.append(Problem("entries of the list that are no events", self.foreign, size))
        return found


def lenient_header(text: bytes) -> Header:
    """Those fields of a broken head or tail that can be read."""
    fields: dict[str, Any] = {}
    string = text[: 8 * _TRAILER_BYTES].decode("utf-8", "replace")
    for field in msgspec.structs.fields(Header):
        found = re.search(f'"{field.encode_name}"\\s*:\\s*', string)
        if not found:
            continue
        try:
            value, _ = json.JSONDecoder(strict=False).raw_decode(string, found.end())
            fields[field.name] = msgspec.convert(value, field.type, strict=False)
        except (ValueError, RecursionError, OverflowError):  # msgspec's errors are ValueErrors
            continue
    return Header(**fields)


def _decimal(digits: str) -> Decimal | None:
    """A number digit by digit; None where its exponent is beyond what Decimal holds."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        return None


def _json(data: dict[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(data)
    except (UnicodeEncodeError, OverflowError, RecursionError):
        return json.dumps(data, default=float).encode()


def _lenient(text: str) -> tuple[ExactEvent, int, dict[str, Any]] | None:
    """(the event at the start of a text, where it ends, all that it says); a value of an impossible type is dropped."""
    try:
        data, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not _PHASE.match(str(data.get("ph"))):
        return None
    event = ExactEvent()
    for name in ("ph", "cat", "name"):
        if isinstance(value := data.get(name), str):
            setattr(event, name, _text(value))
    for name in ("pid", "tid", "id"):
        value = data.get(name)
        setattr(event, name, float(value) if isinstance(value, Decimal) else _scalar(value))
    for name in ("ts", "dur"):
        setattr(event, name, _scalar(data.get(name)))
    args = data.get("args")
    if isinstance(args, dict):
        event.args = _lenient_args(args)  # type: ignore[assignment]  # as `decode` leaves it
    return event, end, data


def _lenient_args(args: dict[str, Any]) -> NamelessArgs:
    out = NamelessArgs()
    for field in _ARGS:
        value = args.get(field.encode_name)
        if value is None:
            continue
        if field.type is msgspec.Raw:
            setattr(out, field.name, msgspec.Raw(json.dumps(value, default=float).encode()))
        elif field.name in _TEXTS:
            setattr(out, field.name, _text(value) if isinstance(value, str) else None)
        else:
            setattr(out, field.name, float(value) if isinstance(value, Decimal) else _scalar(value))
    if out.collective is not None:
        out.collective = described(args)
    return out


def _scalar(value: Any) -> Any:
    """A number or a text, as it is; None for anything else."""
    if isinstance(value, str):
        return _text(value)
    return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _text(value: str) -> str:
    """Without halves of surrogate pairs, which no file could hold."""
    return value.encode("utf-8", "replace").decode()


def _quoted(text: bytes, closing: re.Pattern[bytes]) -> bytes:
    """Each text value behind a key as JSON writes it; it ends at the first quote that `closing` finds."""
    out, position = [], 0
    while opening := _OPENING.search(text, position):
        end = closing.search(text, opening.end())
        if not end:
            break
        out += [text[position : opening.end()], _escaped(text[opening.end() : end.start()]), b'"']
        position = end.end()
    return b"".join(out) + text[position:]


def _escaped(text: bytes) -> bytes:
    r"""A broken text as JSON writes it; where one backslash is no escape (C:\User), none is."""
    marks = [m[0] for m in _SPECIAL.finditer(text)]
    raw = b"\\" in marks

    def escape(mark: re.Match[bytes]) -> bytes:
        sign = mark[0]
        if len(sign) > 1:
            return b"\\" + sign if raw and sign != b'\\"' and sign != b"\\\\" else sign
        return b"\\u%04x" % sign[0] if sign[0] < 32 else b"\\" + sign

    return _SPECIAL.sub(escape, text)
