"""Calls in which the host waits for the device: the operator and line of each, and the idle time that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...annotations import module_of
from ..read.columns import Array, distinct
from ..read.events import Kind
from ..resolve.work_table import WorkTable
from .host_parts import waits
from .idle import Idle

MOST_LOOKED_UP = 2000
"""So many calls are traced back to their line; the others of a busy loop share lines anyway."""


@dataclass
class Sync:
    """All waits from one place."""

    call: str
    operator: str  # outermost operator around it, "" for a direct call
    line: str  # "file.py(12): function"; where the trace holds no Python frames "module a.b", or "" outside of modules
    count: int = 0
    host_ns: int = 0
    """Time the host spent inside."""
    idle_ns: int = 0
    """Time the device stood still because of it: of each wait, at most as long as it took."""


def find_syncs(work_table: WorkTable, idle: Idle) -> list[Sync]:
    """Waits of the host grouped by place, those with the most idle time first."""
    host, names = work_table.trace.host, work_table.trace.names
    rows = waits(work_table)
    caused = _idle_after(work_table, idle, rows)
    found: dict[tuple[str, str, str], Sync] = {}
    python = _Frames(work_table)
    for i, row in enumerate(rows.tolist()):
        operator = _outermost_operator(work_table, row)
        line = python.line(row) if i < MOST_LOOKED_UP else ""
        if not len(python.rows):
            line = _module(work_table, row)
        key = names[host.name[row]], operator, line
        sync = found.setdefault(key, Sync(*key))
        sync.count += 1
        sync.host_ns += int(host.end[row] - host.start[row])
        sync.idle_ns += int(caused[i])
    return sorted(found.values(), key=lambda s: (-s.idle_ns, -s.host_ns))


def _idle_after(work_table: WorkTable, idle: Idle, rows: Array) -> Array:
    """The waiting part of the gaps that began while the host was inside each call, and at most as long as that took:
    without the wait the host would have been ahead by no more."""
    host = work_table.trace.host
    caused = np.zeros(len(rows), dtype=np.int64)
    gaps = np.flatnonzero(idle.gap_wait > 0)
    if not len(gaps) or not len(rows):
        return caused
    launch = work_table.launch[np.stack([idle.gap_row[gaps], idle.gap_row[gaps] - 1])]
    launched = np.where(launch >= 0, host.thread[launch], -1)  # by which thread what ends each gap, and what is before
    for thread in distinct(host.thread[rows]).tolist():
        mine = gaps[(launched == thread).any(axis=0)]
        own = np.flatnonzero(host.thread[rows] == thread)  # in order of start
        at = own[np.searchsorted(host.start[rows[own]], idle.gap_start[mine], side="right") - 1]
        inside = (host.start[rows[at]] <= idle.gap_start[mine]) & (idle.gap_start[mine] < host.end[rows[at]])
        np.add.at(caused, at[inside], idle.gap_wait[mine[inside]])
    longest: Array = np.minimum(caused, host.end[rows] - host.start[rows])
    return longest


def _outermost_operator(work_table: WorkTable, row: int) -> str:
    host, links = work_table.trace.host, work_table.links
    at, name = int(links.operator[row]), ""
    while at >= 0:
        if host.kind[at] == int(Kind.OPERATOR):
            name = work_table.trace.names[host.name[at]]
        elif host.kind[at] == int(Kind.MODULE):
            break
        at = int(links.parent[at])
    return name


def _module(work_table: WorkTable, row: int) -> str:
    """The module that a host row ran in, in words; "" outside of all."""
    at = int(work_table.links.module[row])
    name = work_table.trace.names[work_table.trace.host.name[at]] if at >= 0 else ""
    return f"module {module_of(name)}" if name else ""


class _Frames:
    """Looks up the Python line at a moment of a thread."""

    def __init__(self, work_table: WorkTable) -> None:
        host = work_table.trace.host
        self.trace = work_table.trace
        self.rows = np.flatnonzero(host.kind == int(Kind.PYTHON))
        self.thread = host.thread[self.rows]
        self.start = host.start[self.rows]
        self.end = host.end[self.rows]

    def line(self, row: int) -> str:
        """The innermost frame of user code around a host row."""
        host = self.trace.host
        lo, hi = np.searchsorted(self.thread, (host.thread[row], host.thread[row] + 1))
        last = lo + int(np.searchsorted(self.start[lo:hi], host.start[row], side="right"))
        around: list[int] = []
        step = 4096
        for high in range(last, lo, -step):  # innermost frames start last: most often the first block suffices
            low = max(lo, high - step)
            around = (np.flatnonzero(self.end[low:high] > host.start[row]) + low).tolist() + around
            found = next((n for n in map(self._name, reversed(around)) if _is_users(n)), "")
            if found:
                return found
        return next((n for n in map(self._name, reversed(around)) if not n.startswith("<built-in")), "")

    def _name(self, index: int) -> str:
        name: str = self.trace.names[self.trace.host.name[self.rows[index]]]
        return name


def _is_users(name: str) -> bool:
    """Whether a frame is neither built in nor inside torch itself."""
    return not name.startswith("<built-in") and "torch/" not in name and "(" in name
