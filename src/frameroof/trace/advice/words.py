"""How a piece of advice is put into words and numbers."""

from __future__ import annotations

from typing import NamedTuple

from ...recorded import Advice, concerns
from ...units import format_seconds

HOST, DEVICE, MEMORY = "host", "device", "memory"


class Said(NamedTuple):
    """An advice in words: what to do, why (with numbers), and how."""

    title: str
    evidence: str
    how: str


def suggest(name: str, about: concerns.Concern, said: Said, gain_ns: float, kind: str = DEVICE) -> Advice:
    """An advice with the id `name` whose bound is `gain_ns`, which is never less than nothing."""
    return Advice(said.title, said.evidence, max(0.0, gain_ns) / 1e9, said.how, kind, name, about)


def ms(ns: float) -> str:
    """A time for evidence."""
    return format_seconds(ns / 1e9, 3)


def times(count: int, what: str) -> str:
    """ "1 call", "3 calls"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
