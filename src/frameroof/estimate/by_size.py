"""Expected times over a grid of rows whose share of the limit depends on their sizes: each is evaluated at every size.

Where a share is constant, the grid sums limits and divides (`grid`); here a row costs a few array operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..roofline import Roofline
from ..workload.expr import expr
from ..workload.records import Stage
from .expected import Bounds, Expected, Formulas, Work, total_s

Floats = NDArray[np.float64]
Sizes = Mapping[str, NDArray[np.int64]]
Shared = tuple[Roofline, float]
"""The limits of a node's device, and its share of a stage."""
CELLS = 1 << 16  # turns of a loop times configurations that are evaluated at once


class BySize:
    """The rows of one stage, as the software runs it, that a model of expected time asks to see at their sizes."""

    def __init__(self, stage: Stage, expected: Expected, fused: bool) -> None:
        self.stage, self.expected = stage, expected
        fused = fused if expected.fused is None else expected.fused
        rows = (op for op in stage.ops if not (fused and op.unused))
        self.rows = [Formulas(op, fused) for op in rows if expected.share(op) is None]

    def add(self, sizes: Sizes, machines: Sequence[Shared], out: Floats) -> None:
        """Add the rows' expected seconds at every size to `out` (machines by configurations)."""
        if not self.rows:
            return
        device, host = np.zeros_like(out), np.zeros_like(out)
        self._sum(sizes, machines, device, host)
        out += self.expected.whole_s(device, host)

    def _sum(self, sizes: Sizes, machines: Sequence[Shared], device: Floats, host: Floats) -> None:
        """Add the seconds of every machine's device, and those of its host."""
        count = host.shape[1]
        repeat = np.broadcast_to(np.asarray(expr(self.stage.repeat)(sizes), dtype=float), (count,))
        if not self.stage.loop:
            self._add(self.stage.bind(sizes), repeat[None, :], machines, device, host)
            return
        variable, text = self.stage.loop
        turns = np.broadcast_to(np.asarray(expr(text)(sizes)), (count,))
        last, step = int(turns.max()), max(1, CELLS // count)
        for start in range(0, last, step):
            turn = np.arange(start, min(start + step, last), dtype=np.int64)[:, None]
            inside = np.minimum(turn, np.maximum(turns - 1, 0))  # beyond its turns a configuration weighs nothing
            bound = self.stage.bind({**sizes, variable: inside})
            self._add(bound, repeat * (turn < turns), machines, device, host)

    def _add(
        self, env: Mapping[str, Any], weight: Floats, machines: Sequence[Shared], device: Floats, host: Floats
    ) -> None:
        """`weight` is how often each turn (rows) of each configuration (columns) runs."""
        env = {name: np.asarray(value, dtype=float) for name, value in env.items()}  # whole numbers would overflow
        for row in self.rows:
            work = Work(row, env)
            for at, (roofline, share) in enumerate(machines):
                seconds = total_s(self.expected, work, Bounds.of(work, roofline))
                device[at] += (np.broadcast_to(seconds, weight.shape) * weight).sum(axis=0) * share
                launching_s = self.expected.host_s(work, roofline.device)
                if launching_s:
                    host[at] += (np.broadcast_to(launching_s * work.count, weight.shape) * weight).sum(axis=0)
