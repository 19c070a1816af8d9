"""Arrows ("flow events") from a launch to its work: the only link in files that hold no correlation numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .events import FLOWS
from .timestamps import exact

Place = tuple[str, str, int]
"""(pid, tid, start in ns) of the event that an arrow touches."""


class LaunchArrows:
    """Starts and ends of arrows by their number."""

    def __init__(self) -> None:
        self.starts: dict[Any, Place] = {}
        self.ends: dict[Any, Place] = {}
        self.doubtful: set[Any] = set()
        """Numbers that two arrows start with, as where two processes count their own."""

    def add(self, events: Sequence[Any]) -> None:
        """Keep the arrows among some events; one without a number or a believable time touches nothing."""
        for event in events:
            if event.ph in ("s", "f") and event.cat in FLOWS and event.id is not None:
                start = exact(event.ts)
                if start is not None:
                    place = str(event.pid), str(event.tid), start
                    if event.ph == "f":
                        self.ends[event.id] = place
                    elif self.starts.setdefault(event.id, place) != place:
                        self.doubtful.add(event.id)

    def absorb(self, other: LaunchArrows) -> None:
        """Keep the arrows of another part of the file too."""
        twice = self.starts.keys() & other.starts.keys()
        self.doubtful |= other.doubtful | {number for number in twice if self.starts[number] != other.starts[number]}
        self.starts |= other.starts
        self.ends |= other.ends

    def arrows(self) -> list[tuple[Place, Place]]:
        """(where an arrow starts, where it ends), for every arrow that has both and its number for itself."""
        told = self.starts.keys() & self.ends.keys() - self.doubtful
        return [(start, self.ends[number]) for number, start in self.starts.items() if number in told]
