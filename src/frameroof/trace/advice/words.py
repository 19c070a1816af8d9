"""How a piece of advice is put into words and numbers."""

from __future__ import annotations

from ...run import Advice
from ...units import format_seconds

HOST, DEVICE, MEMORY = "host", "device", "memory"


def suggest(title: str, evidence: str, gain_ns: float, how: str, kind: str) -> Advice:
    """An advice whose bound is `gain_ns`, which is never less than nothing."""
    return Advice(title, evidence, max(0.0, gain_ns) / 1e9, how, kind)


def ms(ns: float) -> str:
    """A time for evidence."""
    return format_seconds(ns / 1e9, 3)


def times(count: int, what: str) -> str:
    """ "1 call", "3 calls"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
