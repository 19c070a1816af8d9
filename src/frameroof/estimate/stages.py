"""One stage at one set of sizes: how often it runs, the turns of its loop, and sums over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from typing import Any

from ..passes.guidance import items_of
from ..workload.expr import expr
from ..workload.records import Stage
from .expected import Formulas, Work

MOST_TURNS = 1_000_000
"""Turns of a stage's loop."""
MOST_ROWS = 10_000_000
"""Operations and names of a stage, times turns of its loop."""
MOST_CELLS = 200_000
"""Operations times turns that are computed at once, so that memory stays small."""


@dataclass(frozen=True)
class Pass:
    """One stage at one set of sizes: how often it repeats, the turns of its loop, and what its names stand for.

    `values` are the workload's sizes, `first` the loop's first turn here.
    """

    stage: Stage
    repeat: int
    turns: int
    values: Mapping[str, Any]
    first: int = 0

    @classmethod
    def of(cls, stage: Stage, values: Mapping[str, Any]) -> Pass:
        """At sizes that were checked (`Workload.sizes`).

        Raises `ValueError` for a stage that would run a negative number of times, or too often.
        """
        repeat = int(expr(stage.repeat)(values))
        if repeat < 0:
            raise ValueError(f"stage {stage.name} would run {repeat} times")
        turns = 1
        if stage.loop:
            turns = int(expr(stage.loop[1])(values))
            if not 0 <= turns <= MOST_TURNS:
                raise ValueError(f"stage {stage.name} would loop {turns:,} times; at most {MOST_TURNS:,}")
            if turns * (len(stage.ops) + len(stage.let)) > MOST_ROWS:
                raise ValueError(f"stage {stage.name} would loop {turns:,} times over {len(stage.ops):,} operations")
        return cls(stage, repeat, turns, values)

    @cached_property
    def env(self) -> Mapping[str, Any]:
        """What the names of the stage stand for: numbers, or arrays over the turns."""
        inside = self.values
        if self.stage.loop:
            import numpy as np

            turns = np.arange(self.first, self.first + self.turns, dtype=np.int64)
            inside = {**inside, self.stage.loop[0]: turns}
        return self.stage.bind(inside)

    @property
    def items(self) -> int:
        """Items of the batch, each of which a program may run on its own."""
        return int(items_of(self.stage, self.values))

    @property
    def runs(self) -> int:
        """How often it runs."""
        return self.repeat * self.turns

    def chunks(self) -> Iterator[Pass]:
        """Itself, turn after turn in parts that fit into memory."""
        step = max(1, MOST_CELLS // max(1, len(self.stage.ops)))
        if self.turns <= step:
            yield self
            return
        for first in range(0, self.turns, step):
            yield Pass(self.stage, self.repeat, min(step, self.turns - first), self.values, first)

    @cached_property
    def share(self) -> float:
        """What of it each device does."""
        return float(self.stage.share)

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """One for each operation on its own, at numbers or at arrays over the turns; none where it does not run."""
        return self.works(fused=False)

    def works(self, fused: bool) -> tuple[Work, ...]:
        """The same, as parts of their regions where `fused`."""
        if not self.runs:
            return ()
        made, key = self.stage.remembered, (Formulas, fused)
        if key not in made:
            made[key] = tuple(Formulas(op, fused) for op in self.stage.ops)
        return tuple(Work(each, self.env) for each in made[key])

    def over_turns(self, value: Any) -> Any:
        """A value as an array of one number for each turn."""
        import numpy as np

        return np.broadcast_to(np.asarray(value), (self.turns,))

    def total(self, value: Any, times: Any = 1) -> Any:
        """A value of so many calls in each turn, summed over turns and repeats: of numbers, or arrays over turns."""
        arrays = [each for each in (value, times) if getattr(each, "ndim", 0)]
        if not arrays:
            return value * times * self.turns * self.repeat
        if all(array.dtype.kind == "i" for array in arrays):  # Python integers do not overflow
            if len(arrays) == 2:
                return sum(map(mul, value.tolist(), times.tolist())) * self.repeat
            number = times if arrays[0] is value else value
            whole = sum(arrays[0].tolist()) * self.repeat
            return whole * number
        import numpy as np

        return float(np.add.reduce(value * times)) * self.repeat

    def totals(self, values: Iterable[Any], times: Iterable[Any]) -> list[Any]:
        """`total` of each of some counts."""
        if self.stage.loop:
            return list(map(self.total, values, times))
        runs = self.runs
        return [value * n * runs for value, n in zip(values, times, strict=True)]

    def all_seconds(self, values: Iterable[Any]) -> list[float]:
        """`seconds` of each."""
        runs, share = self.runs, self.share
        return [value * runs * share if type(value) is float else self.seconds(value) for value in values]

    def seconds(self, value: Any) -> float:
        """Seconds of all calls in a turn, summed over turns and repeats: those of one device, its share of them."""
        if type(value) is float:
            return value * self.runs * self.share
        return float(self.total(value)) * self.share
