"""Text that is JSON but for what careless writers put in: comments, a comma too many, `inf` and `nan`.

C++ prints a bandwidth over no time as `inf`; tools that write event after event leave the last comma. All this stands
outside of strings, so one pass over the text mends it without looking at single events.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    rb'"(?:[^"\\]|\\.)*+"'  # a string, which stays
    rb"|(?P<comment>/\*.*?\*/|//[^\r\n]*)"
    rb"|(?P<comma>,)(?=(?:\s|/\*.*?\*/|//[^\r\n]*|,)*+[}\]])"
    rb"|(?<![\w.])(?P<number>[-+]?(?:nan(?:\([a-z]*\))?|inf(?:inity)?|1\.#(?:inf|ind|qnan|snan)\w*))(?![\w.])",
    re.S | re.I,
)
_HINT = re.compile(rb"//|/\*|,\s*[}\],]|[:\[,\s][-+]?(?:nan|inf|1\.#)", re.I)
_NO_NUMBER = b'"NaN"'
"""What is no number stays none: no column believes this text."""


def mended(text: bytes) -> tuple[bytes, int]:
    """(the text without what JSON does not know, how many places were mended); unchanged where there is no such place.

    Text with unescaped quotes may come out as wrong as it was: decode it to know.
    """
    if not _HINT.search(text):
        return text, 0
    count = 0

    def token(found: re.Match[bytes]) -> bytes:
        nonlocal count
        kind = found.lastgroup
        if kind is None:
            return found[0]
        count += 1
        return _NO_NUMBER if kind == "number" else b" "

    return _TOKEN.sub(token, text), count
