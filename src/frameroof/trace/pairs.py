"""Begin and end events (`ph` B and E) -> complete ones. Kineto never writes them; converters and other tools do."""

from __future__ import annotations

from typing import Any

from .columns import Problem
from .schema import Event
from .times import exact


class Pairs:
    """Collects begin and end events of all threads."""

    def __init__(self) -> None:
        self._events: dict[tuple[Any, Any], list[Any]] = {}
        self._unmatched = 0

    def add(self, event: Any) -> None:
        """Keep one event whose `ph` is B or E."""
        self._events.setdefault((str(event.pid), str(event.tid)), []).append(event)

    def finish(self) -> list[Event]:
        """One complete event per matching pair, in order of time within a thread; the innermost closes first."""
        complete: list[Event] = []
        for events in self._events.values():
            timed = [(exact(e.ts), i, e) for i, e in enumerate(events)]
            stack: list[tuple[int, Any]] = []
            for ns, _, event in sorted((t for t in timed if t[0] is not None), key=lambda t: (t[0], t[1])):
                assert ns is not None
                if event.ph == "B":
                    stack.append((ns, event))
                elif stack:
                    complete.append(_complete(*stack.pop(), ns, event))
                else:
                    self._unmatched += 1
            self._unmatched += len(stack) + sum(t[0] is None for t in timed)
        self._events.clear()
        return complete

    def problems(self) -> list[Problem]:
        """Begin events without an end, and the reverse."""
        what = "begin or end events (B, E) without their partner"
        return [Problem(what, self._unmatched, "left out")] if self._unmatched else []


def _complete(start_ns: int, begin: Any, end_ns: int, end: Any) -> Event:
    """The complete event from its two halves; its arguments may stand on either."""
    length = end_ns - start_ns
    return Event(
        ph="X",
        cat=begin.cat or end.cat,
        name=begin.name or end.name,
        pid=begin.pid,
        tid=begin.tid,
        ts=f"{start_ns // 1000}.{start_ns % 1000:03d}",
        dur=f"{length // 1000}.{length % 1000:03d}",
        args=begin.args or end.args,
    )
