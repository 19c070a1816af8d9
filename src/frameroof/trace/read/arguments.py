"""The arguments of events, decoded where they are used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from .collectives import described
from .events import CATEGORIES, Args, Kind, NamelessArgs

_ARGS = msgspec.json.Decoder(Args | None)
_NAMELESS = msgspec.json.Decoder(NamelessArgs | None)
_FRAMES = frozenset(category for category, kind in CATEGORIES.items() if kind == Kind.PYTHON)


def decode_arguments(events: Iterable[Any]) -> None:
    """The arguments of all but Python frames, which are most of a file recorded with stacks and use none."""
    decode = _ARGS.decode
    for event in events:
        if event.cat not in _FRAMES and event.args:
            raw = event.args
            event.args = args = decode(raw) if event.cat else _NAMELESS.decode(raw)
            if args is not None and args.collective is not None:
                args.collective = described(msgspec.json.decode(raw))
