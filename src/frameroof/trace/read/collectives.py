"""What a collective was, as PyTorch writes it beside `record_param_comms` and its kernels since 2024.

Few events have this, so it is kept as text among the names of a trace, and `collective` reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...outside import whole

MOST = 2**52
"""The most elements that are believed."""


class Collective(msgspec.Struct, frozen=True, omit_defaults=True):
    """One collective; elements are of `dtype`, -1 where they were not recorded."""

    name: str
    """As the writer calls it: allreduce, _allgather_base, all_to_allv …"""
    sent: int = -1
    received: int = -1
    dtype: str = ""
    ranks: int = 0
    """Of its group; 0 unknown."""
    group: str = ""
    members: str = ""
    """The ranks of its group, with commas; may be shortened by the writer."""
    sent_by_rank: tuple[int, ...] = ()
    """Elements to each rank, where they are not the same for all."""
    received_by_rank: tuple[int, ...] = ()


def described(args: Mapping[str, Any]) -> str:
    """The text for the arguments of an event, which name a collective."""
    group, label = _text(args.get("Process Group Name")), _text(args.get("Process Group Description"))
    told = "" if label in ("", "undefined", group) else f" ({label})"
    found = Collective(
        name=_text(args.get("Collective name")),
        sent=_count(args.get("In msg nelems"), -1),
        received=_count(args.get("Out msg nelems"), -1),
        dtype=_text(args.get("dtype")),
        ranks=_count(args.get("Group size"), 0),
        group=group + told,
        members=_text(args.get("Process Group Ranks")).strip("[] ").replace(" ", ""),
        sent_by_rank=_splits(args.get("In split size")),
        received_by_rank=_splits(args.get("Out split size")),
    )
    return msgspec.json.encode(found).decode()


def collective(text: str) -> Collective | None:
    """What `described` wrote; None for any other text."""
    try:
        return msgspec.json.decode(text, type=Collective)
    except msgspec.DecodeError:
        return None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else "" if value is None else str(value)


def _count(value: Any, unknown: int) -> int:
    found = whole(value, 0, MOST)
    return unknown if found is None else found


def _splits(value: Any) -> tuple[int, ...]:
    parts = _text(value).strip("[] ").replace(" ", "").split(",")
    found = tuple(_count(part, -1) for part in parts if part)
    return found if -1 not in found else ()
