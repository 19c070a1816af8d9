"""Expected times over a grid of rows whose share of the limit depends on their sizes: each at every size.

Where a share is constant, the grid sums limits and divides (`grid`). Here a time is worked out once for each
combination of sizes that it depends on (`families`), and looked up for every configuration and turn of a loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware import Device
from ..roofline import Roofline
from ..workload.expr import Poly, expr
from ..workload.records import Stage
from .expected import Expected, Formulas, Spent, Work
from .families import Family, distinct, families_of

Floats = NDArray[np.float64]
Sizes = Mapping[str, NDArray[np.int64]]
Shared = tuple[Roofline, float]
"""The limits of a node's device, and its share of a stage."""
CELLS = 1 << 16  # turns of a loop times configurations that are evaluated at once
LOOKED_UP = 1 << 20  # and that are looked up at once: the more, the fewer times one combination is worked out


class BySize:
    """The rows of one stage, as the software runs it, that a model of expected time asks to see at their sizes."""

    def __init__(self, stage: Stage, expected: Expected, fused: bool) -> None:
        self.stage, self.expected = stage, expected
        fused = fused if expected.fused is None else expected.fused
        ops = [op for op in stage.ops if not (fused and op.unused) and expected.share(op) is None]
        made, key = stage.remembered, (BySize, fused, len(ops))
        if key not in made:
            rows = [Formulas(op, fused) for op in ops]
            made[key] = rows, families_of(rows)
        self.rows: list[Formulas] = made[key][0]
        self.families: list[Family] = made[key][1]

    def add(self, sizes: Sizes, machines: Sequence[Shared], out: Floats) -> Spent:
        """Add the rows' expected seconds at every size to `out` (machines by configurations), and say what of it is."""
        device, host = np.zeros_like(out), np.zeros_like(out)
        if self.rows:
            self._sum(sizes, machines, device, host)
            out += np.where(device > 0, self.expected.whole_s(device, host), 0.0)
        return Spent(device, host)

    def _sum(self, sizes: Sizes, machines: Sequence[Shared], device: Floats, host: Floats) -> None:
        """Add the seconds of every machine's device, and those of its host."""
        count = host.shape[1]
        launches = self._launches([roofline.device for roofline, _ in machines])
        repeat = np.broadcast_to(np.asarray(expr(self.stage.repeat)(sizes), dtype=float), (count,))
        if not self.stage.loop:
            cells = _Cells(self.stage.bind(sizes), repeat[None, :])
            self._add(self.families, cells, machines, device)
            _launch(launches, cells, host)
            return
        variable, text = self.stage.loop
        turns = np.broadcast_to(np.asarray(expr(text)(sizes)), (count,))
        last, step = int(turns.max()), max(1, LOOKED_UP // count)
        for start in range(0, last, step):
            turn = np.arange(start, min(start + step, last), dtype=np.int64)[:, None]
            inside = np.minimum(turn, np.maximum(turns - 1, 0))  # beyond its turns a configuration weighs nothing
            cells = _Cells(self.stage.bind({**sizes, variable: inside}), repeat * (turn < turns))
            still = [each for each in self.families if not each.names & cells.moving]
            self._add([each for each in self.families if each.names & cells.moving], cells, machines, device)
            self._add(still, cells.once(), machines, device)
            _launch(launches, cells, host)

    def _add(self, families: Sequence[Family], cells: _Cells, machines: Sequence[Shared], device: Floats) -> None:
        rooflines = [roofline for roofline, _ in machines]
        for family in families:
            first, which = distinct([cells.of(each).ravel() for each in family.variables], cells.weight.size)
            found = family.seconds(cells.points(family.names, first), len(first), rooflines, self.expected)
            for calls, at in family.counts.items():
                weight = cells.weight * cells.of(calls)
                for machine, (_, share) in enumerate(machines):
                    each = found[at, machine][which].reshape(weight.shape)
                    device[machine] += (each * weight).sum(axis=0) * share

    def _launches(self, devices: Sequence[Device]) -> dict[Poly, list[float]]:
        """Seconds that the host of each device takes for all rows that run so often, run once."""
        found: dict[Poly, list[float]] = {}
        for row in self.rows:
            work = Work(row)
            for at, device in enumerate(devices):
                if each := self.expected.host_s(work, device):
                    found.setdefault(row.op.count, [0.0] * len(devices))[at] += each
        return found


class _Cells:
    """Turns of a loop (rows) by configurations (columns): sizes, and how often each runs."""

    def __init__(self, bound: Mapping[str, Any], weight: Floats) -> None:
        # whole numbers would overflow
        self.env: dict[str, Floats] = {name: np.asarray(value, dtype=float) for name, value in bound.items()}
        self.weight = weight

    @property
    def moving(self) -> frozenset[str]:
        """Sizes that change from turn to turn."""
        return frozenset(name for name, value in self.env.items() if value.ndim == 2)

    def once(self) -> _Cells:
        """For what does not change from turn to turn: all turns as one."""
        fixed = {name: value for name, value in self.env.items() if value.ndim < 2}
        return _Cells(fixed, self.weight.sum(axis=0)[None, :])

    def of(self, poly: Poly) -> Floats:
        """The values of a polynomial."""
        return np.broadcast_to(np.asarray(poly(self.env), dtype=float), self.weight.shape)

    def points(self, names: frozenset[str], at: NDArray[np.int64]) -> dict[str, Floats]:
        """Sizes at some cells, counted row by row."""
        shape = self.weight.shape
        return {name: np.broadcast_to(self.env[name], shape).ravel()[at] for name in names}


def _launch(launches: Mapping[Poly, Sequence[float]], cells: _Cells, host: Floats) -> None:
    for calls, each in launches.items():
        host += np.asarray(each)[:, None] * (cells.of(calls) * cells.weight).sum(axis=0)
