"""Modules that run step by step, such as recurrent layers: their rules are found at few steps and held against many.

A forward of 512 steps is long, and finding a size's rule takes a dozen of them, of up to four times as many. The
operations of a loop are the same at every step, so that a few steps tell the rule; the default sizes, traced once, must
then have the FLOPs, bytes and calls that it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..workload.recipe import Size, Sizes
from .recorder import CannotCount
from .traced import Traced
from .verify import stage_totals, trace_totals

LONG = 2000
"""Operations of a forward from which on fewer steps are tried."""
FEW = 8
"""The fewest steps, at least two and less than three times as many where `ALIKE` asks for it."""
ALIKE = 16
"""Few and many steps differ by a multiple of this, so that they meet the same floors and steps."""


def fewer_steps(traced: Traced, base: Mapping[str, int]) -> dict[str, int]:
    """The sizes with less of those that a long forward is long by; the same where there are none."""
    found = dict(base)
    first = traced.at(base)
    if len(first.ops) < LONG:
        return found
    for name, value in sorted(base.items(), key=lambda item: -item[1]):
        few = FEW + (value - FEW) % ALIKE
        if 2 * few > value:
            continue
        try:
            tried = traced.at({**found, name: few})
        except CannotCount:
            continue
        if tried.params == first.params and 2 * len(tried.ops) < len(traced.at(found).ops):
            found[name] = few
    return found


def holds(traced: Traced, found: Sizes, base: Mapping[str, int]) -> Sizes | None:
    """The sizes, found at few steps, if the stage that was fitted at them is right at many, too; None if it is not."""
    if traced.stage is None or any(not _admits(size, base[name]) for name, size in found.sizes.items()):
        return None
    _, (stage, notes) = traced.stage
    if stage_totals(stage, found, base) != trace_totals(traced.at(base)):
        return None
    limits = {name: _reaching(size, base[name]) for name, size in stage.limits.items()}
    traced.stage = found, (replace(stage, limits=limits), notes)
    return found


def _admits(size: Size, value: int) -> bool:
    try:
        size.check("", value)
    except ValueError:
        return False
    return True


def _reaching(size: Size, value: int) -> Size:
    if size.verified is None:
        return size
    return replace(size, verified=(min(size.verified[0], value), max(size.verified[1], value)))
