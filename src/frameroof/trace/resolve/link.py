"""From work on a device back to the host: the call that launched it, the operator, the module and the annotation.

kernel -> launch: the correlation number; where a file has none, the External id that both carry, then the arrows.
launch -> operator, module, annotation: what encloses the launch on its own thread. Ranges that overlap at their ends do
not nest.
Work whose launch is missing from the file is linked to its operator by External id, but only where that number is
trusted: from late 2022 to February 2024 writers put the correlation number there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...annotations import module_of, path_of
from ..read.columns import Array, Problem, Trace, kinds
from ..read.events import Kind

_NEVER = 2**63
BLEED_NS = 5_000
"""By so much the ends of ranges are out of order without meaning anything: they are written by several clocks."""


@dataclass(frozen=True)
class Links:
    """For every host row and every work row, the host row that it belongs to; -1 where none is known."""

    parent: Array  # host row -> the operator, module or annotation that encloses it
    operator: Array  # host row -> innermost operator (itself, if it is one)
    module: Array  # host row -> innermost module call
    mark: Array  # host row -> innermost annotation
    launch: Array  # work row -> runtime call
    work_operator: Array  # work row -> innermost operator
    work_module: Array
    work_mark: Array

    def around(self, row: int) -> int:
        """The operator that encloses a host row; -1 for none."""
        above = int(self.parent[row])
        return int(self.operator[above]) if above >= 0 else -1


def link(trace: Trace, launch: Array | None = None) -> Links:
    """Link all work of a trace to the host rows it comes from; `launch` is what `find_launches` gave for it."""
    parent, operator, module, mark = _enclosing(trace)
    if launch is None:
        launch = find_launches(trace)
    found = launch >= 0
    safe = np.where(found, launch, 0)

    def through(column: Array) -> Array:
        return np.where(found, column[safe], -1) if len(column) else np.full(len(launch), -1)

    work_operator = through(operator)
    missing = work_operator < 0
    if missing.any():
        by_number = _by_external(trace)
        work_operator = np.where(missing, by_number, work_operator)
    of_operator = work_operator >= 0
    at = np.where(of_operator, work_operator, 0)

    def filled(column: Array) -> Array:
        direct = through(column)
        return np.where((direct < 0) & of_operator, column[at], direct) if len(column) else direct

    return Links(parent, operator, module, mark, launch, work_operator, filled(module), filled(mark))


def _enclosing(trace: Trace) -> tuple[Array, Array, Array, Array]:
    """(parent, innermost operator, module, annotation) of every host row, by containment on its thread."""
    host = trace.host
    rows = np.flatnonzero(kinds(host.kind, Kind.OPERATOR, Kind.RUNTIME, Kind.ANNOTATION, Kind.MODULE))
    kind, start = host.kind[rows], host.start[rows]
    calls = kind == int(Kind.RUNTIME)  # they enclose nothing
    if not trace.nanosecond:
        start = start - calls  # in files of whole microseconds a call may seem to start where its parent ends
    parent, crossed = _parents(host.thread[rows], start, host.end[rows], ~calls)
    far = [ns for ns in crossed if ns > BLEED_NS]
    if far:
        what = f"ranges that neither hold nor follow the one before them (by {max(far) / 1e3:.1f} us at most)"
        trace.problems.append(Problem(what, len(far), "put inside it where most of them is, else behind it"))
    found = [parent, *(_innermost(parent, kind == int(k)) for k in (Kind.OPERATOR, Kind.MODULE, Kind.ANNOTATION))]
    back = np.append(rows, -1).astype(np.int32)
    out = [np.full(len(host), -1, dtype=np.int32) for _ in found]
    for target, values in zip(out, found, strict=True):
        target[rows] = back[values]
    return out[0], out[1], out[2], out[3]


def _parents(thread: Array, start: Array, end: Array, encloses: Array) -> tuple[Array, list[int]]:
    """For rows in the order of `Host`, the innermost that encloses each, -1 for none: a stack for every thread.

    Of two ranges that cross, the later one is inside the earlier one if most of it is, and is closed with it; else it
    comes after. One that begins a little before the range around it is inside all the same. Returns by how much (ns)
    ranges cross, too.
    """
    found: list[int] = []
    crossed: list[int] = []
    starts, ends, opens = start.tolist(), end.tolist(), encloses.tolist()
    borders = [0, *(np.flatnonzero(np.diff(thread)) + 1).tolist(), len(thread)]
    for first, beyond in pairwise(borders):
        open_rows, open_ends = [-1], [_NEVER]
        of_thread = slice(first, beyond)
        for row, at, until, opening in zip(
            range(first, beyond), starts[of_thread], ends[of_thread], opens[of_thread], strict=True
        ):
            while open_ends[-1] <= at:
                open_rows.pop()
                open_ends.pop()
            if not opening:
                found.append(open_rows[-1])
                continue
            if until <= open_ends[-1]:
                found.append(open_rows[-1])
                open_rows.append(row)
                open_ends.append(until)
                continue
            place, inner = len(open_ends), -1
            while until > open_ends[place - 1]:  # they cross
                around = open_ends[place - 1]
                early = at - starts[open_rows[place - 1]]
                if early <= BLEED_NS < around - at:  # it is what is around, and began a little late
                    place -= 1
                    inner = open_rows[place]
                    continue
                crossed.append(min(around - at, until - around))
                if around - at >= until - around:  # most of it is inside: it is closed with what is around it
                    until = around if until - around > BLEED_NS else until
                    break
                place -= 1  # it is what comes after
            found.append(open_rows[place - 1])
            if inner >= 0:
                found[inner] = row
            open_rows.insert(place, row)
            open_ends.insert(place, until)
    return np.array(found, dtype=np.int64), crossed


def _innermost(parent: Array, wanted: Array) -> Array:
    """For each row the nearest `wanted` one on its way up, itself included; -1 for none."""
    at = np.where(wanted, np.arange(len(parent)), parent)
    while not (done := (at < 0) | wanted[at]).all():
        at = np.where(done, at, at[at])  # each round doubles the way
    return at


def find_launches(trace: Trace) -> Array:
    """Work row -> the runtime call that launched it; -1 where none is known."""
    host, work = trace.host, trace.work
    calls = np.flatnonzero(host.kind == int(Kind.RUNTIME))
    launch = _match(work.correlation, host.correlation[calls], calls)
    missing = (launch < 0) & (work.correlation <= 0)
    if missing.any():
        unique = _unique_only(host.external[calls], calls)
        by_number = _match(work.external, *unique)
        launch = np.where(missing, by_number, launch)
        missing = (launch < 0) & (work.correlation <= 0)
    if missing.any():
        by_arrow = _by_arrow(trace)
        if by_arrow:
            keys = zip(work.pid.tolist(), work.stream.tolist(), work.start.tolist(), strict=True)
            arrows = np.array([by_arrow.get((trace.pids[p], str(s), t), -1) for p, s, t in keys], dtype=np.int64)
            launch = np.where(missing, arrows, launch)
    return launch


def _match(wanted: Array, numbers: Array, rows: Array) -> Array:
    """For each number wanted, the (first) row that carries it; -1 for none. Numbers up to 0 match nothing."""
    out = np.full(len(wanted), -1, dtype=np.int64)
    keep = numbers > 0
    numbers, rows = numbers[keep], rows[keep]
    if not len(numbers) or not len(wanted):
        return out
    order = np.argsort(numbers, kind="stable")
    numbers, rows = numbers[order], rows[order]
    at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    hit = (numbers[at] == wanted) & (wanted > 0)
    out[hit] = rows[at[hit]]
    return out


def _unique_only(numbers: Array, rows: Array) -> tuple[Array, Array]:
    """Those numbers, with their rows, that stand only once."""
    values, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    single = counts == 1
    return values[single], rows[first[single]]


def _by_external(trace: Trace) -> Array:
    """Work row -> operator of the same External id; nothing where those numbers are correlation numbers."""
    host, work = trace.host, trace.work
    none = np.full(len(work), -1, dtype=np.int64)
    has = (work.external > 0) & (work.correlation > 0)
    if not len(work) or (has.any() and bool((work.external[has] == work.correlation[has]).all())):
        return none
    operators = np.flatnonzero(host.kind == int(Kind.OPERATOR))
    return _match(work.external, host.external[operators], operators)


def _by_arrow(trace: Trace) -> dict[tuple[str, str, int], int]:
    """(process, stream, start) of work -> the runtime call at the other end of its arrow."""
    host = trace.host
    calls = np.flatnonzero(host.kind == int(Kind.RUNTIME))
    places = {(*trace.threads[host.thread[row]], int(host.start[row])): int(row) for row in calls.tolist()}
    found = {}
    for start, end in trace.flows.arrows():
        row = places.get(start)
        if row is not None:
            found[end[0], end[1].rsplit(" ", 1)[-1], end[2]] = row
    return found


def module_paths(trace: Trace, links: Links) -> dict[int, str]:
    """Module row -> its path: the names that our profiler wrote (`mod::a.b`), or classes with their number
    joined by "/", outermost first, as far as the file holds them."""
    host = trace.host
    paths: dict[int, str] = {}
    module = host.kind == int(Kind.MODULE)
    for row in np.flatnonzero(module).tolist():
        above, inside = row, []
        while above >= 0 and above not in paths:  # mostly known: parents stand before children but for some nanoseconds
            if module[above]:
                inside.append(above)
            above = int(links.parent[above])
        for each in reversed(inside):
            name = trace.names[host.name[each]]
            path = path_of(name)
            own = module_of(name)
            paths[each] = path if path is not None else f"{paths[above]}/{own}" if above >= 0 else own
            above = each
    return paths
