"""Sizes on the command line: ``--batch 4``, ``--size height=1024``."""

from __future__ import annotations

from collections.abc import Sequence

from ..outside import MOST_QUOTED, clean, quoted


def parse_sizes(pairs: Sequence[str], **named: int | None) -> dict[str, int]:
    """Sizes from ``NAME=VALUE`` texts and from options of their own (None = not given).

    Raises `ValueError`, a sentence, for a text of another form and a size that is given twice.
    """
    sizes = {name: value for name, value in named.items() if value is not None}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"{quoted(pair)} is not a size; write NAME=NUMBER, such as height=1024") from None
        if not equals or not name:
            raise ValueError(f"{quoted(pair)} is not a size; write NAME=NUMBER, such as height=1024")
        if sizes.get(name, value) != value:
            both = " and ".join(clean(str(each), MOST_QUOTED) for each in (sizes[name], value))
            raise ValueError(f"{clean(name, MOST_QUOTED)} is given twice: {both}")
        sizes[name] = value
    return sizes
