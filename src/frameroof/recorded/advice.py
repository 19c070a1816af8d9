"""Advice: one change worth making, with an id for programs and the part of a run that it concerns.

Titles and evidence are for people and change with every number in them. `id` says which change it is, `concerns` which
part of the run it would shorten: two runs are compared by these (`study/advice_outcomes.py`).
"""

from __future__ import annotations

import msgspec

from .concerns import Concern


class Advice(msgspec.Struct):
    """One change worth making; `max_gain_s` is a bound, not a promise."""

    title: str
    evidence: str
    max_gain_s: float
    how: str
    kind: str
    """host: shortens idle time; device: shortens busy time; memory: makes room, and may bring no time at all."""
    id: str = ""
    """Which change, in plain words of the field; empty in a run that was saved before advice had ids."""
    concerns: Concern | None = None
    """What it would shorten; None where `id` is empty."""
    arithmetic: str = ""
    """How the bound follows from the numbers of the evidence; empty where it is a number of the evidence itself."""
    cap: str = ""
    """What keeps the bound below that, such as the host's own time; empty where nothing does."""
