"""What the host takes to launch a kernel, by the class of its machine."""

from __future__ import annotations

import msgspec


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Microseconds of the host for each launch: eager, and compiled; and for a collective, likewise."""

    eager_us: float
    compiled_us: float
    collective_us: float
    compiled_collective_us: float
    source: str
    date: str
