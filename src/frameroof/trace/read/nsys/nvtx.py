"""NVTX ranges of an Nsight Systems export: which of them nest, what their texts say, which were never ended."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..columns import Array, Problem
from ..timestamps import LIMIT_NS, summable
from .schema import RANGE_TYPES, RANGES, START_END, Range, read_range
from .sqlite import NONE, Database


@dataclass
class Ranges:
    """The ranges of a file, one entry each, in the order of the file."""

    seen: int = 0
    """Rows of the table, ranges or not."""
    start: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    end: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    thread: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Serialized GlobalId."""
    aside: Array = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Ranges that overlap others of their thread without nesting."""
    read: list[Range] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def ranges(database: Database, strings: dict[int, str], last: int) -> Ranges:
    """All ranges; one without an end is closed at the end of the trace (`last`, or the last range if that is later)."""
    found = Ranges(seen=database.count(RANGES))
    where = f"WHERE eventType IN ({', '.join(map(str, RANGE_TYPES))})" if database.has(RANGES, "eventType") else ""
    rows = database.integers(
        RANGES, ("start", "end", "eventType"), ("globalTid", "endGlobalTid", "domainId", "textId"), where
    )
    texts = database.texts(RANGES, "text", where)
    start, end = rows["start"], rows["end"]
    if found.seen > len(start):
        found.ignored["NVTX marks, names and domains"] = found.seen - len(start)
    unended = (end == NONE) | ((end <= 0) & (end < start))
    ended = end[~unended]
    last = max([last, *(int(times[times < LIMIT_NS].max(initial=0)) for times in (ended, start))])
    if unended.any():
        action = "ended with the trace"
        found.problems.append(Problem("NVTX ranges without an end", int(unended.sum()), action))
    end = np.where(unended, last, end)
    good = (end >= start) & (start > -LIMIT_NS) & (end < LIMIT_NS)
    good[good] = summable(start[good], end[good])
    if not good.all():
        found.problems.append(Problem("NVTX ranges without believable times", int((~good).sum()), "left out"))
    found.start, found.end, found.thread = start[good], end[good], rows["globalTid"][good]
    known: dict[str, Range] = {}
    for row in np.flatnonzero(good).tolist():
        given = texts[row]
        text = strings.get(int(rows["textId"][row]), "") if given is None else given
        text = text or "(unnamed range)"
        if text not in known:
            known[text] = read_range(text)
        found.read.append(known[text])
    loose = rows["eventType"][good] == START_END
    found.aside = _crossing(found, loose, rows["domainId"][good])
    if found.aside.any():
        action = "kept on a thread of their own; they enclose no work"
        what = "NVTX ranges that overlap others of their thread without nesting"
        found.problems.append(Problem(what, int(found.aside.sum()), action))
    return found


def _crossing(found: Ranges, loose: Array, domain: Array) -> Array:
    """Ranges to put aside so that the others of each thread nest: start/end ranges first, else the later one.

    Push/pop ranges of one domain nest by construction.
    """
    aside = np.zeros(len(loose), dtype=bool)
    if not loose.any() and len(np.unique(domain)) < 2:
        return aside
    order = np.lexsort((-found.end, found.start, found.thread))
    stack: list[tuple[int, int]] = []
    current = None
    for row in order.tolist():
        thread, start, end = int(found.thread[row]), int(found.start[row]), int(found.end[row])
        if thread != current:
            stack, current = [], thread
        while stack and stack[-1][0] <= start:
            stack.pop()
        while stack and stack[-1][0] < end:
            if loose[row] or not loose[stack[-1][1]]:
                aside[row] = True
                break
            aside[stack.pop()[1]] = True
        if not aside[row]:
            stack.append((end, row))
    return aside
