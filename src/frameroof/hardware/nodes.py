"""From what a user types to a node: a device and how many of it, before or behind its name.

It exists apart from `load.py` because a count is read in many ways (8xH100, 8 H100, H100x8, H100:8) and a name may
begin or end with a number itself (4090, 7900xtx).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..outside import quoted
from .load import device, known
from .records import Device, Node

_BEHIND_RE = re.compile(r"(.*[^\s])\s*[x×*:]\s*(\d{1,6})", re.IGNORECASE)
"""A number of devices behind the name: H100x8, H100:8."""
_NODE_RE = re.compile(r"\(?([+-]?[\d.,_]+)\s*[x×*]\)?\s*(.*)", re.IGNORECASE)
_PLAIN_RE = re.compile(r"(\d{1,6})\s+(\D.*|\d{4}.*)")
"""A number and a name apart: 8 H100, 2 4090."""


def parse_node(text: str, own: Sequence[Device] = ()) -> Node:
    """A node from ``"8xH100"``, ``"8 x H100"``, ``"8 H100"``, ``"H100x8"`` or ``"H100"`` (one), names as in `device`.

    Raises `ValueError`, with a sentence that quotes `text`, for a count that is not a whole number
    from 1 to 100000 and for a device that is not known.
    """
    text = text.strip()
    if found := known(text, own):  # 7900xtx is no 7900 of anything
        return Node(found)
    match, behind, plain = _NODE_RE.fullmatch(text), _BEHIND_RE.fullmatch(text), _PLAIN_RE.fullmatch(text)
    if plain and match is None and known(plain[2], own):
        match = plain
    if behind and known(behind[1], own) and not (match and known(match[2], own)):
        return Node(device(behind[1], own), int(behind[2]))
    if match is None:
        return Node(device(text, own))
    count, name = match[1], match[2]
    if not re.fullmatch(r"[+-]?\d{1,12}", count):
        raise ValueError(f"{quoted(text)}: {quoted(count)} is no number of devices; write a whole number, as in 8xH100")
    if not name:
        raise ValueError(f"{quoted(text)} names no device; write one after the x, such as {count}xH100")
    try:
        return Node(device(name, own), int(count))
    except ValueError as error:
        raise ValueError(f"{quoted(text)}: {error}") from None
