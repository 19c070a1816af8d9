"""Several ranks of one job side by side: who waits for whom; several devices of one trace, each by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from ...run import DeviceRow, Run
from ..intervals import merged
from ..read.columns import Array, distinct
from ..read.events import Kind
from ..resolve.work_table import WorkTable
from .start_skew import Skew, start_skews
from .window import idle_inside


def by_device(work_table: WorkTable, piece: Array | None = None) -> list[DeviceRow]:
    """Each device's own busy and idle time, where a trace holds the work of several; else nothing.

    `piece` tells the work of a window, as in `window.idle_inside`; None: all of it.
    """
    if piece is None:
        piece = np.zeros(len(work_table), dtype=np.int64)
    inside = piece >= 0
    numbers = distinct(work_table.device[inside])
    if work_table.on_cpu or len(numbers) < 2:
        return []
    names = {d.id: d.name for d in work_table.trace.header.devices}
    kernel = np.array(work_table.kind) == int(Kind.KERNEL)
    busy = merged(work_table.start, work_table.end)
    rows = []
    for number in numbers.tolist():
        here = np.flatnonzero(work_table.device == number)
        idle = idle_inside(work_table.only(here), piece[here], busy)
        times = idle.busy_ns, idle.span_ns, idle.idle_ns
        rows.append(
            DeviceRow(number, names.get(number) or None, *times, int((kernel & inside)[here].sum()), idle.causes)
        )
    return rows


class Rank(msgspec.Struct):
    """One rank of a job; times in ns."""

    rank: int
    """As its file says; its place among the files given where that does not tell."""
    path: str
    busy_ns: int
    span_ns: int
    idle_ns: int
    kernels: int
    communication_ns: int
    exposed_ns: int
    overlapped_ns: int
    computation_ns: int
    """Busy time without exposed communication."""


class Overall(msgspec.Struct):
    """All ranks side by side."""

    ranks: list[Rank]
    span_ns: int
    """The longest."""
    busy_ns: int
    exposed_ns: int
    overlapped_ns: int
    slowest_rank: int | None
    """The one that computes longest; None without communication."""
    problems: list[str]
    imbalance: float
    """Its computation over the mean, less 1."""
    collectives: list[Skew] = msgspec.field(default_factory=list)
    """How far apart the ranks start them, where the files can be matched."""


def overall(runs: Sequence[Run]) -> Overall:
    """One row a rank and the extremes over them.

    A rank that communicates least waits least: it is the one that the others wait for (the straggler).
    """
    rows = [_rank(run, i) for i, run in enumerate(runs)]
    compute = [row.computation_ns for row in rows]
    named = Counter(run.source.rank for run in runs if run.source.rank is not None)
    waits = any(row.communication_ns for row in rows)
    unnamed = sum(run.source.rank is None for run in runs)
    skews, unsaid = start_skews(runs, [row.rank for row in rows]) if not _repeated(named) else ([], [])
    return Overall(
        ranks=rows,
        span_ns=max((row.span_ns for row in rows), default=0),
        busy_ns=sum(row.busy_ns for row in rows),
        exposed_ns=sum(row.exposed_ns for row in rows),
        overlapped_ns=sum(row.overlapped_ns for row in rows),
        slowest_rank=rows[compute.index(max(compute))].rank if rows and waits else None,
        problems=_repeated(named) + _unnamed(unnamed) + unsaid,
        collectives=skews,
        imbalance=max(compute) / (sum(compute) / len(compute)) - 1 if rows and sum(compute) else 0.0,
    )


def _unnamed(count: int) -> list[str]:
    which = "1 of the traces names" if count == 1 else f"{count} of the traces name"
    return [f"{which} no rank: the number shown is the place among the files given"] if count else []


def _repeated(named: Counter[int]) -> list[str]:
    return [
        f"{n} of the traces are of rank {rank}: they are not the ranks of one run"
        for rank, n in sorted(named.items())
        if n > 1
    ]


def _rank(run: Run, number: int) -> Rank:
    s, c = run.summary, run.communication
    exposed = c.get("exposed_ns", 0)
    return Rank(
        run.source.rank if run.source.rank is not None else number,
        run.source.path,
        *(s.busy_ns, s.span_ns, s.idle_ns, s.kernels),
        *(c.get("time_ns", 0), exposed, c.get("overlapped_ns", 0), s.busy_ns - exposed),
    )
