"""Expected seconds of one stage: of each of its rows, of the whole, and between which two it will most likely be.

A model of expected time (`expected.protocol`) says what one call takes on the device and on its host. Here calls are
added up over turns and repeats, nothing is let be faster than its limit, and the stage takes what the model says that
both take together, plus what passes between devices. Rows are given the stage's seconds in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..hardware import Node
from ..roofline import Limit, Roofline
from ..workload.records import COLLECTIVE, Op, Stage
from ..workload.table import Table, table_of
from .expected import Bounds, Expected, Formulas, Spent, Work, total_s
from .ladder import Asked
from .stages import Pass

Where = tuple[Roofline, Node]


class Limits(Protocol):
    """What is asked of a row's limits: its part of the region's, and of that with a cold cache; seconds."""

    @property
    def limit_s(self) -> float: ...

    @property
    def cold_s(self) -> float: ...


class Times(NamedTuple):
    """Of a stage, repeats included: seconds of each row, what they are made of, and the interval's ends."""

    rows: list[float]
    spent: Spent = Spent(0.0)
    low_s: float | None = None
    high_s: float | None = None


@dataclass(frozen=True)
class Asking:
    """One model of expected time, on a machine, beside the limit that was asked for."""

    expected: Expected
    where: Where
    asked: Asked

    @property
    def fused(self) -> bool:
        """Whether calls are parts of fused regions."""
        own = self.expected.fused
        return not self.asked.apart if own is None else own

    def times(self, run: Pass, stage: Stage, limits: Sequence[Limits]) -> Times:
        """Of a stage whose rows have these limits; `stage` is the same as the software runs it."""
        rows = self._rows(run, stage, limits)
        table = table_of(run.stage)
        if not self.asked.apart:
            _not_faster(rows, table, limits)
        between = [row.op.kind == COLLECTIVE for row in table.rows]
        sent_s = sum(seconds for seconds, link in zip(rows, between, strict=True) if link)
        host_s = self._host_s(run, stage)
        spent = Spent(sum(rows) - sent_s, host_s, sent_s)
        alone_s = spent.device_s
        whole_s = float(self.expected.whole_s(alone_s, host_s)) if alone_s else 0.0
        if whole_s != alone_s:
            longer = whole_s / alone_s
            rows = [seconds if link else seconds * longer for seconds, link in zip(rows, between, strict=True)]
            if longer < 1 and not self.asked.apart:
                _not_faster(rows, table, limits)
        return self._with_ends(rows, spent)

    def _with_ends(self, rows: list[float], spent: Spent) -> Times:
        factors = self.expected.spread(spent, self.where[1].device)
        whole_s = sum(rows)
        return Times(rows, spent) if factors is None else Times(rows, spent, *(whole_s * factor for factor in factors))

    def _rows(self, run: Pass, stage: Stage, limits: Sequence[Limits]) -> list[float]:
        """What is expected of each row on the device: a share of its limit with a cold cache, or by its sizes."""
        known: dict[Any, float] = {}
        due = []
        for row, limit in zip(table_of(stage).rows, limits, strict=True):
            if share := self.expected.share(row.op):
                due.append(limit.cold_s / share)
            elif row.op.unused and self.fused:
                due.append(0.0)
            else:
                key = (
                    row.alike,
                    row.op.kind,
                    row.op.name,
                    *row.op.dims.items(),
                    *row.op.attrs.items(),
                    len(row.op.reads),
                )
                if key not in known:
                    known[key] = self._seconds(run, row.op)
                due.append(known[key])
        return due

    def _seconds(self, run: Pass, op: Op) -> float:
        work = Work(Formulas(op, self.fused), run.env)
        return run.seconds(total_s(self.expected, work, bounds_of(work, self.where)))

    def _host_s(self, run: Pass, stage: Stage) -> float:
        """Of all launches: a device that does a share of the work launches as much as one that does all."""
        found, device = 0.0, self.where[1].device
        for op in stage.ops:
            if op.unused and self.fused:
                continue
            work = Work(Formulas(op, self.fused), run.env)
            each = self.expected.host_s(work, device)
            if each:
                found += each * float(run.total(work.count))
        return found


def _not_faster(due: list[float], table: Table, limits: Sequence[Limits]) -> None:
    """No row is expected to be faster than its limit.

    Where a cache makes a region compute bound that is memory bound without, other rows of it may carry the limit: then
    what is expected of the region beyond its limit is divided.
    """
    if not any(time < limit.limit_s for time, limit in zip(due, limits, strict=True)):
        return
    for group in table.regions.groups:
        if any(due[at] < limits[at].limit_s for at in group):
            whole = sum(due[at] for at in group)
            beyond = max(0.0, whole - sum(limits[at].limit_s for at in group))
            for at in group:
                due[at] = limits[at].limit_s + (beyond * due[at] / whole if whole else 0.0)


def collective(op: Op, env: Any, where: Where) -> Limit:
    """The limit of one call of a collective: what a ring passes through the link of each device."""
    from .communication import gathered_bytes, ring_bytes

    roofline, node = where
    passed = ring_bytes(op.name, gathered_bytes(op, env), node.count)
    return roofline.limit(bytes=passed, bandwidth=node.link.bandwidth)


def bounds_of(work: Work, where: Where) -> Bounds:
    """The roofline of one call with its parts, for a model of expected time that asks for them."""
    roofline, node = where
    if work.op.kind == COLLECTIVE:
        limit = collective(work.op, work.env, where)
        return Bounds(limit, 0.0, 0.0, node.device.units, node.link.kind, node.device, node.count)
    return Bounds.of(work, roofline)
