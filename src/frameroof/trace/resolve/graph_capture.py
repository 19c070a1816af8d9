"""A graph replay seen through the trace of its capture: the kernels of a replay get the operators and modules that
launched them when the graph was recorded.

During capture nothing runs, but every launch is in the trace with its kernel's name (HIP) or stands under an operator
(CUDA). A replay runs the same kernels in the same order, so the two sequences are aligned by name and order; CUDA
traces that carry the node's number need no alignment at all within one trace, but the capture must still be aligned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import count

import numpy as np

from ..read.columns import Array, Problem, Trace
from ..read.events import Kind
from .classify import classify
from .link import link, module_paths
from .recorded_inputs import parse
from .work_table import WorkTable


@dataclass(frozen=True)
class Captured:
    """The launches between the begin and the end of a capture, in order."""

    trace: Trace
    kernel: list[str]  # "" where the file does not name it
    operator: list[str]
    call: list[int]  # host row of that operator
    arguments: list[int]
    module: list[str]


def captures(trace: Trace) -> list[tuple[int, int]]:
    """(host row of the call that begins, of the one that ends) each capture, in the order of time."""
    host = trace.host
    ends = {
        n: "EndCapture" in name for n, name in enumerate(trace.names) if "BeginCapture" in name or "EndCapture" in name
    }
    if len(set(ends.values())) < 2:
        return []
    rows = np.flatnonzero((host.kind == int(Kind.RUNTIME)) & np.isin(host.name, list(ends)))
    rows = rows[np.argsort(host.start[rows], kind="stable")]
    began: dict[int, list[int]] = {}
    found = []
    for row in rows.tolist():
        open_ = began.setdefault(int(host.thread[row]), [])
        if ends[int(host.name[row])]:
            found += [(begin, row) for begin in open_]
            open_.clear()
        else:
            open_.append(row)
    return sorted(found, key=lambda pair: int(host.start[pair[0]]))


def read_capture(trace: Trace) -> list[Captured]:
    """Every capture in a trace (there may be several graphs)."""
    host, names = trace.host, trace.names
    calls = np.flatnonzero(host.kind == int(Kind.RUNTIME))
    named = [names[n] for n in host.name[calls].tolist()]
    links = link(trace)
    paths = module_paths(trace, links)
    found = []
    for begin, end in captures(trace):
        until = host.start[end]
        rows = [
            int(row)
            for row, name in zip(calls.tolist(), named, strict=True)
            if "Launch" in name
            and "GraphLaunch" not in name
            and host.thread[row] == host.thread[begin]
            and host.start[begin] < host.start[row] < until
        ]
        operator = links.operator[rows].tolist()
        found.append(
            Captured(
                trace,
                [names[d] if d >= 0 else "" for d in host.detail[rows].tolist()],
                [names[host.name[o]] if o >= 0 else "" for o in operator],
                operator,
                [int(host.args[o]) if o >= 0 else -1 for o in operator],
                [paths.get(m, "") for m in links.module[rows].tolist()],
            )
        )
    return found


def with_capture(work_table: WorkTable, captures: list[Captured]) -> tuple[WorkTable, float]:
    """Give the rows of graph replays the operators and modules of their capture.

    Returns the rows and the share of replayed time that was matched. A replay is matched with the capture that
    agrees best; a kernel that agrees with no launch stays as it was.
    """
    operator, module = list(work_table.operator), list(work_table.module)
    arguments, classes = list(work_table.arguments), list(work_table.classes)
    call, numbers = work_table.call.copy(), count(len(work_table.trace.host))
    inputs = list(work_table.inputs)
    offsets = []
    for capture in captures:
        offsets.append(len(inputs))
        inputs += [parse(a) for a in capture.trace.arguments]
    matched = total = lost = 0
    for rows in _replays(work_table):
        total += int(work_table.duration[rows].sum())
        best, pairs = _best([work_table.kernel[r] for r in rows], captures)
        lost += len(captures[best].kernel) - len(rows) if len(pairs) == len(rows) else 0
        known: dict[int, int] = {}
        for at, launch in pairs:
            row, capture = int(rows[at]), captures[best]
            if capture.call[launch] >= 0:
                call[row] = known.setdefault(capture.call[launch], next(numbers))
            matched += int(work_table.duration[row])
            operator[row] = capture.operator[launch]
            module[row] = _below(module[row], capture.module[launch])
            given = capture.arguments[launch]
            arguments[row] = given + offsets[best] if given >= 0 else -1
            classes[row] = classify(operator[row], work_table.kernel[row], work_table.kind[row])
    share = matched / total if total else 0.0
    if total and share < 1:
        action = f"{1 - share:.1%} of the replayed time keeps the operator of its launch"
        work_table.trace.problems.append(Problem("graph replays that do not agree with their capture", 1, action))
    if lost:
        what, action = "captured launches without a kernel in their replay", "the profiler has lost these kernels"
        work_table.trace.problems.append(Problem(what, lost, action))
    changed = replace(
        work_table, operator=operator, call=call, module=module, arguments=arguments, classes=classes, inputs=inputs
    )
    return changed, share


def _replays(work_table: WorkTable) -> list[Array]:
    """The rows of each graph launch, in the order they ran."""
    rows = np.flatnonzero(work_table.graph & (work_table.launch >= 0))
    launches = work_table.launch[rows]
    return [rows[launches == launch] for launch in np.unique(launches)]


def _best(kernels: list[str], captures: list[Captured]) -> tuple[int, list[tuple[int, int]]]:
    """(the capture that shares most kernels with a replay, or the first; the pairs of `_align`)."""
    found = [_align(kernels, capture.kernel) for capture in captures]
    best = max(range(len(found)), key=lambda i: len(found[i]))
    return best, found[best]


def _align(replayed: list[str], captured: list[str]) -> list[tuple[int, int]]:
    """Pairs of positions with the same kernel, in order; equal sequences need no search."""
    wanted = [_plain(k) for k in replayed]
    given = [_plain(k) for k in captured]
    if wanted == given:
        return [(i, i) for i in range(len(wanted))]
    blocks = SequenceMatcher(None, wanted, given, autojunk=False).get_matching_blocks()
    return [(b.a + i, b.b + i) for b in blocks for i in range(b.size) if wanted[b.a + i]]


def _plain(kernel: str) -> str:
    """A kernel's name without what only one of the two writers adds."""
    return kernel.removesuffix(".kd").removeprefix("void ").split("(")[0].strip()


def _below(outer: str, inner: str) -> str:
    """The module path of the capture; the replay's own where the capture knows none."""
    return inner or outer
