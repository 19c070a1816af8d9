"""What comes from outside, text first: everything that a file, a trace or a user names is made fit to be shown here.

`files` opens and reads; this file judges what was read. It imports the standard library alone.
"""

from __future__ import annotations

import re

MOST_NAME = 10_000  # characters of one name, such as a kernel's; templates of C++ reach 5,000

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
