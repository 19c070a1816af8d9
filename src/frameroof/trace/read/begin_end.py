"""Begin and end events (`ph` B and E) -> complete ones. Kineto never writes them; converters and other tools do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .columns import Problem
from .events import ExactEvent
from .timestamps import exact

_DEEPEST = 64
"""How many open events are looked through for the one that an end names."""


class BeginEndPairs:
    """Collects begin and end events of all threads."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], list[Any]] = {}
        self._joined = 0
        self._unmatched = 0

    def __bool__(self) -> bool:
        """Whether any was collected."""
        return bool(self._events)

    def add(self, event: Any) -> None:
        """Keep one event whose `ph` is B or E."""
        self._events.setdefault((str(event.pid), str(event.tid)), []).append(event)

    def finish(self) -> list[ExactEvent]:
        """One complete event per matching pair, in order of time within a thread.

        An end closes the innermost open event of its name, or the innermost one if it has no name.
        """
        complete: list[ExactEvent] = []
        for events in self._events.values():
            timed = [(ns, i, e) for i, e in enumerate(events) if (ns := exact(e.ts)) is not None]
            stack: list[tuple[int, Any]] = []
            for ns, _, event in sorted(timed, key=lambda t: t[:2]):
                if event.ph == "B":
                    stack.append((ns, event))
                elif stack:
                    start, begin = stack.pop(_matching(stack, event.name))
                    complete.append(_complete(start, begin, ns, event))
                else:
                    self._unmatched += 1
            self._unmatched += len(stack) + len(events) - len(timed)
        self._events.clear()
        self._joined += len(complete)
        return complete

    def problems(self) -> list[Problem]:
        """That there were pairs; begin events without an end, and the reverse."""
        found = []
        if self._joined:
            found.append(Problem("pairs of begin and end events (B, E)", self._joined, "joined to complete events"))
        if self._unmatched:
            found.append(Problem("begin or end events (B, E) without their partner", self._unmatched, "left out"))
        return found


def _matching(stack: list[tuple[int, Any]], name: str) -> int:
    """Which of the open events an end of this name closes, counted from the innermost (-1)."""
    if name:
        for depth in range(1, min(len(stack), _DEEPEST) + 1):
            if stack[-depth][1].name == name:
                return -depth
    return -1


def _complete(start_ns: int, begin: Any, end_ns: int, end: Any) -> ExactEvent:
    """The complete event from its two halves; its arguments may stand on either."""
    return ExactEvent(
        ph="X",
        cat=begin.cat or end.cat,
        name=begin.name or end.name,
        pid=begin.pid,
        tid=begin.tid,
        ts=Decimal(start_ns).scaleb(-3),
        dur=Decimal(end_ns - start_ns).scaleb(-3),
        args=begin.args or end.args,
    )
