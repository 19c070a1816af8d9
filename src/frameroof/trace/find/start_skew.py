"""How far apart the ranks of a job start each collective, and how long it takes once the last one has started.

Calls are matched by what they are (kind, group, type, size) and by their order on each rank. A collective that needs
all ranks cannot end before the last one has started it: where it does, the clocks of the files differ, and nothing is
said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from ...run import CollectiveRow, Run
from ..read.columns import Array, percentiles
from .collectives import rates

TOGETHER = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "barrier")
"""Collectives that no rank can leave before all have come."""
EARLY = 0.05
"""Where more than this share of calls ended too early, the clocks differ."""


class Skew(msgspec.Struct):
    """All calls of one kind of collective over the ranks that were given; times in ns, rates in bytes per second."""

    name: str
    group: str
    dtype: str
    bytes: int | None
    count: int
    """Calls of each rank."""
    ranks: list[int]
    """Those given that take part."""
    median_skew_ns: int
    """From the first rank's start to the last one's."""
    max_skew_ns: int
    waiting_ns: int
    """Over all calls and ranks: from its start to the last one's."""
    median_latency_ns: int
    """From the last rank's start to the last one's end."""
    bus_bytes_per_s: float | None
    """Of the calls, counted from the last start."""
    share_of_link: float | None
    last_rank: int
    """The one that starts last most often."""
    last_share: float
    """In which share of the calls."""


def start_skews(runs: Sequence[Run], numbers: Sequence[int]) -> tuple[list[Skew], list[str]]:
    """(collectives that several of the runs took part in, longest waiting first; sentences on what could not be told).

    `numbers` are the ranks of the runs.
    """
    found: dict[tuple[object, ...], list[tuple[int, CollectiveRow]]] = {}
    for run, number in zip(runs, numbers, strict=True):
        for row in run.collectives:
            if _takes_part(row, number, len(runs)):
                key = row.name, row.group, row.members, row.ranks, row.dtype, row.bytes
                found.setdefault(key, []).append((number, row))
    shared = [rows for rows in found.values() if len({number for number, _ in rows}) == len(rows) > 1]
    matched = [rows for rows in shared if len({row.count for _, row in rows}) == 1]
    said = []
    if len(matched) < len(shared):
        said.append(f"{len(shared) - len(matched)} kinds of collectives do not have as many calls in all ranks")
    early, calls = (sum(each) for each in zip(*map(_early, matched), strict=True)) if matched else (0, 0)
    if early > EARLY * calls:
        said.append(
            f"{early} of {calls} collectives ended on one rank before another had started them, so that the clocks of "
            "the files differ and nothing is said of when ranks start"
        )
        return [], said
    return sorted(map(_skew, matched), key=lambda skew: -skew.waiting_ns), said


def _takes_part(row: CollectiveRow, number: int, runs: int) -> bool:
    """Whether a row can be matched: its group is told, or can only be that of all."""
    members = row.members.split(",") if row.members else []
    if members and all(member.isdigit() for member in members):
        return str(number) in members
    return row.ranks == runs


def _times(rows: Sequence[tuple[int, CollectiveRow]]) -> tuple[Array, Array]:
    """(start, end) of every call, one line a rank."""
    start = np.array([row.starts_ns for _, row in rows], dtype=np.int64)
    return start, start + np.array([row.calls_ns for _, row in rows], dtype=np.int64)


def _early(rows: Sequence[tuple[int, CollectiveRow]]) -> tuple[int, int]:
    """(calls that ended on one rank before another started them, calls)."""
    start, end = _times(rows)
    if rows[0][1].name not in TOGETHER:
        return 0, 0
    return int((end.min(axis=0) < start.max(axis=0)).sum()), start.shape[1]


def _skew(rows: Sequence[tuple[int, CollectiveRow]]) -> Skew:
    start, end = _times(rows)
    row, last = rows[0][1], start.max(axis=0)
    apart, latency = last - start.min(axis=0), end.max(axis=0) - last
    (place, often), *_ = Counter(start.argmax(axis=0).tolist()).most_common(1)
    bus = rates(row.name, row.bytes, row.ranks, row.count, int(latency.sum()))[1]
    return Skew(
        name=row.name,
        group=row.group,
        dtype=row.dtype,
        bytes=row.bytes,
        count=row.count,
        ranks=[number for number, _ in rows],
        median_skew_ns=int(percentiles(apart, 50)[0]),
        max_skew_ns=int(apart.max()),
        waiting_ns=int((last - start).sum()),
        median_latency_ns=int(percentiles(latency, 50)[0]),
        bus_bytes_per_s=bus,
        share_of_link=bus / row.link_bytes_per_s if bus and row.link_bytes_per_s else None,
        last_rank=rows[place][0],
        last_share=often / row.count,
    )
