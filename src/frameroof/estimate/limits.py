"""Limits and expected times of every operation, stage and the whole: the ladder of bounds over all runs.

*Limit* is a rung of the ladder (`ladder`) at 100 % of dense peaks; *expected* is what a model of expected time says. A
stage's times are those of one device, which does the share of it that a plan left it (`passes.parallel`); its counts
are of the whole. An operation's peak is that of the unit for its widest operand (`Op.unit`). Causal attention is
limited by the pairs that its mask leaves (`rules.causal_pairs`), while its FLOPs count the full rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import add
from typing import Any, NamedTuple

from ..hardware import Node
from ..passes.maths import set_maths
from ..passes.parallel import with_plan
from ..roofline import Bound, Roofline, bound_of
from ..workload.records import COLLECTIVE, Stage, Workload
from ..workload.table import Kernels, Row, Table, table_of
from .expected import Expected, check_device, chosen
from .ladder import Asked, Ladder, Level, Rates, Rung, amounts_of, ladder_of
from .results import Estimate, OpEstimate, StageEstimate
from .stages import Pass
from .times import Asking, Where, bounds_of, collective

ROUNDING = 1e-12
"""What two numbers may differ by that are the same."""


def estimate(
    workload: Workload,
    node: Node,
    sizes: Mapping[str, int] | None = None,
    expected: Expected | None = None,
    maths: str | None = None,
    *,
    bound: Rung = "fused",
    cold: bool = False,
) -> Estimate:
    """Limits and expected times of every operation, stage and the whole.

    `sizes` overrides the workload's default parameters; `maths` is what multiplies fp32 (`passes.set_maths`; None: as
    the workload has it). `bound` is the rung that is the limit (`ladder`), `cold` takes nothing off for the device's
    last-level cache. `expected` is the model of expected time (None: measured kernels, see `expected.kernels`); one
    that follows the bound expects fused regions with a cold cache, and with ``unfused`` each operation on its own.

    Raises `ValueError`, a sentence, for an inadmissible size, for work in a dtype that the device has no dense peak
    for, for a workload whose plan is for another number of devices (one without a plan is shared perfectly), for a
    bound that is none, and for a model of expected time that says nothing of the device.
    """
    asked, expected = Asked(bound, cold), expected or chosen()
    check_device(expected, node.device)
    workload = with_plan(set_maths(workload, maths), node.count)
    values = workload.sizes(sizes)
    where = (Roofline(node.device), node)
    as_run = expected.as_run(workload).stages
    asking = Asking(expected, where, asked)
    stages = tuple(
        estimate_stage(Pass.of(stage, values), asking, own) for stage, own in zip(workload.stages, as_run, strict=True)
    )
    assumptions = [*where[0].assumptions, *_about_cache(node, asked)]
    if workload.plan:
        assumptions.append(workload.plan)
    if any(op.op.attrs.get("causal") for stage in stages for op in stage.ops):
        assumptions.append(
            "causal attention: FLOPs count the full square, its limit what its mask leaves (of a square, the triangle)"
        )
    return Estimate(workload, node, values, expected, stages, tuple(assumptions), asked)


def _about_cache(node: Node, asked: Asked) -> list[str]:
    if asked.cold or node.device.cache_bytes:
        return []
    return [f"{node.device.name} states no last-level cache: nothing is taken off for it"]


class _Times(NamedTuple):
    """Seconds of one row over some turns, as `OpEstimate` has them, and its part of the limit with a cold cache."""

    compute_s: float
    memory_s: float
    limit_s: float
    cold_s: float


def estimate_stage(run: Pass, asking: Asking, as_run: Stage | None = None) -> StageEstimate:
    """The rows of one stage, over all its turns and repeats: counts of the whole, seconds of one device.

    `as_run` is the stage as the software runs it, in whose types times are expected (None: as it is). Raises
    `ValueError` for a negative size, and where the device has no peak for the work.
    """
    where, asked = asking.where, asking.asked
    if not run.runs:
        return StageEstimate(run.stage.name, 0, (), Ladder(), asked)
    table = table_of(run.stage)
    kernels = table.apart if asked.apart else table.regions
    rates = Rates(where[0], run.share, asked.cold, run.items)
    counts: list[list[Any]] = []
    parts: list[list[float]] = []
    rungs: list[list[float]] = []
    for part in run.chunks():
        values = _values(table, part)
        seconds, each = _seconds(part, table, values, (rates, where), asked)
        counts = _added(counts, _counts(part, table, values, asked))
        parts = _added(parts, seconds)
        rungs = _added(rungs, [part.all_seconds(each)])
    members = list(map(_Times, *parts))
    bounds = _bounds(kernels, members)
    spent, bound = [members[at] for at in kernels.places], [bounds[at] for at in kernels.places]
    times = asking.times(run, as_run or run.stage, spent)
    calls, flops, vector, bits = ([column[row.alike] for row in table.rows] for column in counts)
    rows = tuple(
        OpEstimate(
            row.op, calls[at], flops[at], vector[at], -(-bits[at] // 8), *spent[at][:3], times.rows[at], bound[at]
        )
        for at, row in enumerate(table.rows)
    )
    ladder = Ladder(*accumulate(rungs[0], max))  # at most the next by the formulas; here despite rounding
    return StageEstimate(run.stage.name, run.runs, rows, ladder, asked, times[1:])


def _added(columns: list[list[Any]], more: list[list[Any]]) -> list[list[Any]]:
    """Both, value by value."""
    return [list(map(add, one, other)) for one, other in zip(columns, more, strict=True)] if columns else more


def _bounds(kernels: Kernels, spent: Sequence[_Times]) -> list[Bound]:
    """Which of the two each member's region is bound by; of what the cache takes off down to its compute, compute."""
    found: list[Bound] = []
    start = 0
    for group in kernels.members:
        compute_s, memory_s, _, _ = spent[start]
        for other in spent[start + 1 : start + len(group)]:
            compute_s, memory_s = compute_s + other.compute_s, memory_s + other.memory_s
        start += len(group)
        found += [bound_of(compute_s, memory_s * (1 - ROUNDING))] * len(group)
    return found


def _values(table: Table, run: Pass) -> list[Any]:
    values = table.at(run.env)
    if any(map(_negative, values)):
        path = next(row.op.path for row in table.rows if any(_negative(values[at]) for at in row.places))
        raise ValueError(f"{path} has a negative size: the sizes are beyond what it was recorded for")
    return values


def _negative(value: Any) -> bool:
    """Whether some of it is, or would be in more than 64 bits: the integers of arrays wrap."""
    return value < 0 if type(value) is int else bool(value.min() < 0)


def _counts(run: Pass, table: Table, values: Sequence[Any], asked: Asked) -> list[list[Any]]:
    """Of all distinct rows: calls, FLOPs, other FLOPs, bits."""
    at = [row.at for row in table.distinct]
    times = [values[each.times] for each in at]
    moved = [values[each.every if asked.apart else each.moved] for each in at]
    return [
        run.totals([values[each.calls] for each in at], [1] * len(at)),
        run.totals([values[each.flops] for each in at], times),
        run.totals([values[each.vector] for each in at], times),
        run.totals(moved, times),
    ]


def _seconds(
    run: Pass, table: Table, values: Sequence[Any], rates: tuple[Rates, Where], asked: Asked
) -> tuple[list[list[float]], tuple[Any, ...]]:
    """Of each member of the distinct kernels (`Parts`), over the turns; and of each rung, of one pass in each turn."""
    rate, where = rates
    levels = {}
    for apart, kernels in ((False, table.regions), (True, table.apart)):
        found = amounts_of(table, values, rate, apart)
        for at, row in enumerate(table.distinct):
            if row.op.kind == COLLECTIVE:
                found.memory_s[at] = found.cold_s[at] = _sent_s(run, row, where)
        levels[apart] = Level(kernels, found, rate.off_s, numbers=not run.stage.loop)
    chosen = levels[asked.apart].parts()
    return list(map(run.all_seconds, chosen)), ladder_of(levels[False], levels[True], rate)


def _sent_s(run: Pass, row: Row, where: Where) -> Any:
    """Of one collective: what a ring passes through the link of each device, which no cache takes anything off."""
    return collective(row.op, run.env, where).memory_s * row.op.times(run.env)


__all__ = ["Asking", "Estimate", "OpEstimate", "StageEstimate", "bounds_of", "estimate", "estimate_stage"]
