"""At which sizes a workload was verified: from the smallest to the largest at which its module was traced.

Between them and beyond, a record says what its rule says. A rule that holds from 16 to 2048 may end at 4096, where a
module takes another way; so whoever asks beyond is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .expr import expr
from .records import Stage, Workload
from .size import Size

Range = tuple[int, int]


def verified(workload: Workload) -> dict[str, Range]:
    """For each parameter that stages take as it is, the range in which all of them were verified."""
    found: dict[str, Range] = {}
    for stage in workload.stages:
        for name, size in _known(stage):
            text = _said_by(stage, name)
            if text in workload.params and size.verified:
                low, high = found.get(text, size.verified)
                found[text] = max(low, size.verified[0]), min(high, size.verified[1])
    return found


def outside(workload: Workload, sizes: Mapping[str, int]) -> list[str]:
    """A sentence for each of `sizes`, all of the workload's, at which something was not verified."""
    said: dict[str, None] = {}
    for name, (low, high) in verified(workload).items():
        if not low <= sizes[name] <= high:
            said[f"{name} {sizes[name]} is outside of {low} to {high}, which was verified"] = None
    for stage in workload.stages:
        for name, size in _known(stage):
            low, high = size.verified or (0, 0)
            if _said_by(stage, name) in workload.params:
                continue
            for value in _values(stage, name, sizes):
                if not low <= value <= high:
                    said[f"stage {stage.name}: {name} {value} is outside of {low} to {high}, which was verified"] = None
    return list(said)


def _known(stage: Stage) -> Iterator[tuple[str, Size]]:
    return ((name, size) for name, size in stage.limits.items() if size.verified)


def _said_by(stage: Stage, name: str) -> str:
    """What a builder's size is in the workload's parameters."""
    return stage.let.get(f"{name}_", name)


def _values(stage: Stage, name: str, sizes: Mapping[str, int]) -> list[int]:
    """A builder's size; in a loop, at its first and its last turn."""
    if not stage.loop:
        return [int(stage.bind(sizes)[name])]
    last = int(expr(stage.loop[1])(sizes)) - 1
    return [int(stage.bind({**sizes, stage.loop[0]: turn})[name]) for turn in sorted({0, last}) if last >= 0]
