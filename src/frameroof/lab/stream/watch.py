"""A stream's forwards and decoded blocks under a clock, each under its name: its kind, and how full the window is."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ...profiler import stage
from ...stream import Block, Session
from ...stream.denoiser import Forward

DECODE = "decode"


class Watch:
    """Times a session's forwards by name, and names them in a trace.

    In a block with a full window and a switch only the recache is named: its other forwards are as in any block, or
    not, as the variant has it.
    """

    def __init__(self, session: Session, settle: Callable[[], None]) -> None:
        self._session, self._settle = session, settle
        self.switched = False  # the block that is being made
        self.times_ns: dict[str, list[int]] = defaultdict(list)

    def block(self, switch: str | None = None, decode: bool = False) -> Block:
        """The next block of the session, watched."""
        self.switched = switch is not None
        if switch is not None:
            self._session.switch(switch)
        self._session.around_forward.append(self._forward)
        try:
            block = self._session.generate_block()
        finally:
            self._session.around_forward.remove(self._forward)
        if decode:
            with self._named(DECODE if self._full(block.number) else f"{DECODE}, filling"):
                self._session.decode(block)
        return block

    def _forward(self, what: Forward) -> AbstractContextManager[None]:
        return self._named(self.name(what))

    def name(self, what: Forward) -> str:
        """The name of a forward of the block that is being made; "" for none."""
        block = self._session.c.block
        if self._full(self._session.number):
            return what.kind if what.recache or not self.switched else ""
        return at_fill(what.kind, what.start + len(what.rows) * block)

    def _full(self, number: int) -> bool:
        return number >= self._session.c.window_blocks

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        if not name:
            yield
            return
        self._settle()
        start = time.perf_counter_ns()
        with stage(name):
            yield
            self._settle()
        self.times_ns[name].append(time.perf_counter_ns() - start)


def at_fill(kind: str, frames: int) -> str:
    """The name of a forward while the window fills: `frames` of it are attended."""
    return f"{kind}, {frames} frames"
