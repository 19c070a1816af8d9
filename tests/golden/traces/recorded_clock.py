"""Because a made trace needs a host that launches ahead of its device: a clock of each, in whole nanoseconds.

`make_traces.py` tells what runs and how long; this file says when, by four rules: an operator holds its thread for
`HOST`, its launch stands `BEFORE` after its start, work starts `LATENCY` after its launch or `GAP` after the work
before it on its stream, whichever is later, and a wait ends when its device is done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "unit"))

from trace_made import Made

HOST, BEFORE, CALL, LATENCY, GAP = 6_000, 2_000, 1_500, 4_500, 800
BF16, FP16, FP8, LONG = "c10::BFloat16", "c10::Half", "c10::Float8_e4m3fnuz", "long int"
Dims = Sequence[Any]


class Recorder(Made):
    """A made trace whose times follow from what was called, in order."""

    def __init__(self, launch: str = "cudaLaunchKernel", dtype: str = BF16, **header: Any) -> None:
        super().__init__(**header)
        self.launch, self.dtype = launch, dtype
        self.now, self.number = 1_000, 0
        self.free: dict[tuple[int, int], int] = {}

    def operate(
        self, operator: str, dims: Dims = (), work: Sequence[tuple[str, int]] = (), concrete: Any = None, **at: Any
    ) -> None:
        """One operator and the (kernel, nanoseconds) that it launches; `at`: device, stream, types and what else the
        kernel carries."""
        types = at.pop("types", None) or [self.dtype if d else "" for d in dims]
        start, external = self.now, self._next()
        length = HOST + (len(work) - 1) * (CALL + 500) if work else HOST
        self.op(operator, start, length, dims or None, types, concrete, ext=external)
        for i, (name, spent) in enumerate(work):
            self.submit(name, spent, start + BEFORE + i * (CALL + 500), **{"External id": external}, **at)
        self.now = start + length + 500

    def submit(self, name: str, length: int, when: int, call: str = "", **at: Any) -> None:
        """One launch on the host at `when` and its work, which waits for its stream."""
        device, stream, number = at.pop("device", 0), at.pop("stream", 7), self._next()
        start = max(when + LATENCY, self.free.get((device, stream), 0) + GAP)
        self.call(when, CALL, number, call or self.launch)
        self.kernel(start, length, number, name, stream, device, **at)
        self.free[device, stream] = start + length

    def wait(self, call: str = "cudaStreamSynchronize") -> None:
        """The host waits until everything that it launched is done."""
        end = max(self.now + CALL, max(self.free.values()) + 1_000)
        self.call(self.now, end - self.now, self._next(), call)
        self.now = end + 500

    def think(self, length: int) -> None:
        """The host does something that no operator shows."""
        self.now += length

    @contextmanager
    def inside(self, name: str, how: str = "module") -> Iterator[None]:
        """A module ("module"), a Python frame ("frame") or an annotation ("note") around what is called within."""
        start, at = self.now, len(self.events)
        self.now += 200
        yield
        getattr(self, how)(name, start, self.now - start)
        self.events.insert(at, self.events.pop())
        self.now += 200

    def text(self, arrows: bool = False) -> str:
        """The file: one event a line, so that a change shows where it is."""
        lines = [json.dumps(e, separators=(",", ":")) for e in [*self.events, *(self.arrows() if arrows else ())]]
        head = json.dumps({"schemaVersion": 1, **self.header}, separators=(",", ":"))
        return head[:-1] + ',"traceEvents":[\n' + ",\n".join(lines) + "\n]}\n"

    def _next(self) -> int:
        self.number += 1
        return self.number
