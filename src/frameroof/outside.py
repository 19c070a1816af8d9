"""What comes from outside is made fit here: text that can be shown, numbers in range, records of the form asked for.

`files` opens and reads; this file judges what was read, with one rule each for text (`clean`), numbers (`number`,
`whole`) and structured text (`from_json`, `from_toml`). Errors are sentences for the user (`ValueError`) that name the
field. The `MOST_...` constants are the limits that messages speak of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

MOST_NAME = 10_000
"""Characters of one name, such as a kernel's; templates of C++ reach 5,000."""
MOST_QUOTED = 80
"""Characters of what the user gave, where a message quotes it."""
MOST_LEVELS = 64
"""Lists and tables inside each other in a file."""
MOST_WHOLE = 2**62
"""A whole number of a file: two of them can be added in 64 bits."""
MOST_NUMBER = 1e30
"""Any other number of a file: products of a few of them are finite."""
MOST_DIGITS = 400
"""Characters of a number that is written as text."""
MOST_DOTS = 200
"""Dots in one line of TOML, where every dot may open a table."""

T = TypeVar("T")

# ---------------------------------------------------------------------------------------- text

# An escape sequence that ends: strings to a terminal (OSC, DCS, SOS, PM, APC), control sequences (CSI), and the short
# ones; each with ESC or its one C1 character (ECMA-48). Possessive, so that no text takes more than linear time.
_SEQUENCE = (
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|\x1b[ -/]*+[0-OQ-WYZ\\`-~]"
)
_BREAK = r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+"  # tabs and line ends
_SURROGATE = r"[\ud800-\udfff]"  # half of a pair, which no encoding writes
# C0, DEL, C1; marks, embeddings, overrides and isolates of direction; the byte order mark
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
_UNFIT = re.compile(f"({_SEQUENCE})|({_BREAK})|({_SURROGATE})|{_CONTROL}")
_INSTEAD = {None: "", 1: "", 2: " ", 3: "\ufffd"}


def clean(text: str, most: int = MOST_NAME) -> str:
    """`text` fit for a terminal, a title and any table: no control characters, at most `most` characters.

    Escape sequences, control characters (C0, DEL, C1) and what turns the direction of writing (bidirectional marks,
    overrides and isolates) go; tabs and line ends become one space; half a surrogate pair becomes U+FFFD. What is
    longer than `most` ends in an ellipsis. Clean text comes back as it is; the result, cleaned again, too.
    """
    if not text.isprintable():  # one pass in C; false for some harmless characters too, such as a no-break space
        text = _UNFIT.sub(lambda found: _INSTEAD[found.lastindex], text)
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def quoted(text: object, most: int = MOST_QUOTED) -> str:
    """What the user gave, in quotes for a message: clean, and short."""
    return repr(clean(str(text), most))


# ------------------------------------------------------------------------------------- numbers


def number(value: object, least: float = -MOST_NUMBER, most: float = MOST_NUMBER) -> float | None:
    """A number from a number or its text; None where it is none, not finite, or not from `least` to `most`."""
    try:
        found = float(value) if isinstance(value, int | float | str | Decimal) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if least <= found <= most else None


def whole(value: object, least: int = -MOST_WHOLE, most: int = MOST_WHOLE, scale: int = 1) -> int | None:
    """`value` (a number or its decimal text) times `scale` as a whole number, rounded half to even, digit by digit.

    None where it is no number, not finite, or `value` is not from `least` to `most`. No text and no exponent, however
    long, takes time.
    """
    if type(value) is int:
        return value * scale if least <= value <= most else None
    if not isinstance(value, int | float | str | Decimal) or (isinstance(value, str) and len(value) > MOST_DIGITS):
        return None
    try:
        found = value if isinstance(value, Decimal) else Decimal(value)
    except (InvalidOperation, ValueError):
        return None
    if not found.is_finite() or found.adjusted() > len(str(MOST_WHOLE)):
        return None
    if found.adjusted() < -30:  # so near to zero that nothing but zero comes of it
        return 0 if least <= 0 <= most else None
    return int((found * scale).to_integral_value()) if least <= found <= most else None


# ---------------------------------------------------------------------------- structured text

_LONG = b"0" * 18  # fewer digits are in range, whatever the number
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MUCH = 1 << 24
_HALF = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def paired(text: bytes) -> bytes:
    """JSON text in which every half of a surrogate pair, which Python's strings hold and no file can, is U+FFFD."""
    if b"\\" not in text or (b"\\ud" not in text and b"\\uD" not in text):  # one byte is found ten times as fast
        return text
    return _HALF.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)


def from_json(data: bytes, form: type[T], what: str) -> T:
    """A record of type `form` from JSON; its text is clean, its numbers in range, its lists and tables not too deep.

    Raises `ValueError` (`what`, then what is wrong and at which field) otherwise.
    """
    return _record(lambda: _from_json(data, form), what)


def _from_json(data: bytes, form: type[T]) -> T:
    import msgspec  # here and below, not above: what only cleans text runs where it is missing

    text = paired(data)
    if _plain(text):  # nothing in it can be unfit: decoded at once
        return msgspec.json.decode(text, type=form)
    return msgspec.convert(tidy(msgspec.json.decode(text)), form, str_keys=True)


def record(value: Any, form: type[T], what: str) -> T:
    """A record of type `form` from what `from_json` gave as plain tables and lists; errors as there."""
    import msgspec

    return _record(lambda: msgspec.convert(value, form, str_keys=True), what)


def from_toml(data: bytes, form: type[T], what: str) -> T:
    """A record of type `form` from TOML, as `from_json`."""
    return _record(lambda: _from_toml(data, form), what)


def _from_toml(data: bytes, form: type[T]) -> T:
    import tomllib

    import msgspec

    if any(line.count(b".") > MOST_DOTS for line in data.splitlines()):
        raise RecursionError
    return msgspec.convert(tidy(tomllib.loads(data.decode("utf-8"))), form)


def _record(decode: Callable[[], T], what: str) -> T:
    try:
        return decode()
    except RecursionError:
        raise ValueError(f"{what}: it is nested too deeply; at most {MOST_LEVELS} levels are read") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: it is no text in UTF-8 (byte {error.start:,})") from None
    except (ValueError, OverflowError) as error:  # msgspec's and tomllib's errors are ValueErrors
        raise ValueError(f"{what}: {clean(str(error), 500)}") from None


def _plain(text: bytes) -> bool:
    """Whether JSON text can hold nothing that `tidy` would change or refuse, seen without decoding it."""
    if b"\\" in text or b"\x7f" in text or not text.isascii() or len(text) > _MUCH:
        return False
    digits = text.translate(_DIGITS)
    if any(sign in digits for sign in (_LONG, b"0e00", b"0e+00")):
        return False
    brackets = text.translate(None, delete=_NO_BRACKETS)
    for _ in range(MOST_LEVELS):  # each pass takes the innermost away
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


class _Unfit(ValueError):
    """A value that cannot be taken, and where it stands."""

    def __init__(self, what: str, at: str = "") -> None:
        super().__init__(f"{what} - at `${at}`")
        self.what, self.at = what, at


def tidy(value: Any, level: int = 0) -> Any:
    """Decoded JSON or TOML with clean text; `ValueError` that names the field for a number out of range.

    `RecursionError` for more than `MOST_LEVELS` levels.
    """
    kind = type(value)
    if kind is str:
        return clean(value)
    if kind is int:
        if not -MOST_WHOLE <= value <= MOST_WHOLE:
            raise _Unfit("a whole number beyond 2^62")
    elif kind is float:
        if not -MOST_NUMBER <= value <= MOST_NUMBER:  # False where it is NaN
            raise _Unfit(f"{value:g}, which is not finite or beyond {MOST_NUMBER:g}")
    elif kind is dict or kind is list:
        if level >= MOST_LEVELS:
            raise RecursionError
        return _tidy_table(value, level + 1) if kind is dict else _tidy_list(value, level + 1)
    return value


def _tidy_table(table: dict[str, Any], level: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in table.items():
        try:
            found[clean(name)] = tidy(each, level)
        except _Unfit as error:
            raise _Unfit(error.what, f".{clean(name, MOST_QUOTED)}{error.at}") from None
    return found


def _tidy_list(values: list[Any], level: int) -> list[Any]:
    found: list[Any] = []
    try:
        for each in values:
            found.append(tidy(each, level))
    except _Unfit as error:
        raise _Unfit(error.what, f"[{len(found)}]{error.at}") from None
    return found
