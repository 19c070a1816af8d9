"""What one count has traced of one builder: no size is traced twice while its sizes are found and its table is fitted.

Finding out how a builder depends on its sizes takes dozens of forwards; the record that follows asks for many of them
again, and for the very stage that was fitted to see whether the sizes hold together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..workload.recipe import Builder, Sizes
from ..workload.records import Stage
from .recorder import CannotCount, Trace

Recorded = tuple[Stage, list[str]]
"""A stage, and what its traces assumed."""
_ATTRIBUTE = "__frameroof_traced__"


@dataclass
class Traced:
    """The traces of a builder by its sizes, made by `make`, and the stage that was fitted last."""

    build: Builder
    dtype: str
    make: Callable[[Builder, Mapping[str, int], str], Trace]
    operations: int = 0  # of all traces
    found: dict[tuple[tuple[str, int], ...], Trace | CannotCount] = field(default_factory=dict)
    tables_held: dict[int, bool] = field(default_factory=dict)
    stage: tuple[Sizes, Recorded] | None = None

    def at(self, values: Mapping[str, int]) -> Trace:
        """The trace at these sizes; raises `CannotCount` again where the builder could not run."""
        key = tuple(sorted(values.items()))
        if key not in self.found:
            try:
                made = self.make(self.build, values, self.dtype)
            except CannotCount as error:
                self.found[key] = error
            else:
                self.found[key] = made
                self.tables_held[id(made)] = made.tables_held
                self.operations += len(made.ops)
        found = self.found[key]
        if isinstance(found, CannotCount):
            raise found
        return found

    def holds_tables(self, trace: Trace) -> bool:
        """Whether a trace held its constant tables by its own measure, whatever a record has made of it since."""
        return self.tables_held[id(trace)]


def give(build: Builder, traced: Traced) -> None:
    """Let whoever records `build` find its traces."""
    setattr(build, _ATTRIBUTE, traced)


def traced_of(build: Builder, dtype: str) -> Traced | None:
    """What was given with `build`, if it was traced in this type."""
    found: Traced | None = getattr(build, _ATTRIBUTE, None)
    return found if found is not None and found.dtype == dtype else None
