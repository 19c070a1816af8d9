"""Graph nodes of an Nsight Systems export: from a replayed kernel back to the operator under which it was captured.

A kernel of a replay carries the number of its node; the file tells when and on which thread each node was created, and
of which other node it is a clone (the nodes of an instantiated graph are clones of the captured ones).
"""

from __future__ import annotations

import numpy as np

from ..columns import Array
from ..events import Kind
from .schema import NODES, process, thread
from .sqlite import Database

MOST_CLONES = 16


def captured_under(
    database: Database, work: dict[str, Array], host: dict[str, Array], threads: list[tuple[str, str]]
) -> tuple[Array, int]:
    """(the External id of each row of work, nodes whose creation the file does not hold).

    Operators are numbered anew where work refers to them: their own numbers repeat from process to process.
    """
    external = work["external"]
    nodes = np.flatnonzero(work["graph_node"] > 0)
    if not len(nodes):
        return external, 0
    created = _created(database)
    places, missing = {}, set()
    for row in nodes.tolist():
        node = int(work["process"][row]) & 0xFFFFFF, int(work["graph_node"][row])
        place = created.get(node)
        if place is None:
            missing.add(node)
        else:
            places[row] = place
    operators = np.flatnonzero(host["kind"] == int(Kind.OPERATOR))
    if places and len(operators):
        host["external"][operators] = np.arange(1, len(operators) + 1)
        under = _innermost(host, operators, threads, set(places.values()))
        for row, place in places.items():
            operator = under.get(place, -1)
            external[row] = host["external"][operator] if operator >= 0 else -1
    return external, len(missing)


Place = tuple[tuple[str, str], int]
"""(thread, time) of a creation."""


def _created(database: Database) -> dict[tuple[int, int], Place]:
    """(process, node) -> where the node that it is a clone of, if any, was created."""
    if not database.has(NODES, "start", "globalTid", "graphNodeId"):
        return {}
    rows = database.integers(NODES, ("start",), ("globalTid", "graphNodeId", "originalGraphNodeId"))
    own: dict[tuple[int, int], Place] = {}
    origin: dict[tuple[int, int], tuple[int, int]] = {}
    for start, where, node, original in zip(*(column.tolist() for column in rows.values()), strict=True):
        key = process(where), node
        own.setdefault(key, ((str(process(where)), str(thread(where))), start))
        if original > 0 and original != node:
            origin.setdefault(key, (key[0], original))
    found = {}
    for key in own:
        at = key
        for _ in range(MOST_CLONES):
            if origin.get(at) not in own:
                break
            at = origin[at]
        found[key] = own[at]
    return found


def _innermost(
    host: dict[str, Array], operators: Array, threads: list[tuple[str, str]], places: set[Place]
) -> dict[Place, int]:
    """Place -> the innermost operator around it. Operators stand in order of thread, start, longest first."""
    by_thread: dict[tuple[str, str], list[Place]] = {}
    for place in places:
        by_thread.setdefault(place[0], []).append(place)
    found: dict[Place, int] = {}
    for key, wanted in by_thread.items():
        if key not in threads:
            continue
        rows = operators[host["thread"][operators] == threads.index(key)].tolist()
        stack: list[int] = []
        at = 0
        for place in sorted(wanted, key=lambda p: p[1]):
            while at < len(rows) and host["start"][rows[at]] <= place[1]:
                stack.append(rows[at])
                at += 1
            while stack and host["end"][stack[-1]] <= place[1]:
                stack.pop()
            if stack:
                found[place] = stack[-1]
    return found
