"""The work table: a row for every piece of work, with its operator, inputs, module path and class, in flat columns."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ...annotations import COLLECTIVE
from ..read.columns import Array, Problem, Trace, Work, kinds
from ..read.events import Kind
from .classify import classify
from .clip_durations import clip_absurd
from .link import Links, link, module_paths
from .lost_events import without_lost
from .processes import with_processes
from .recorded_inputs import Inputs, parse

_LAUNCHES = re.compile("Launch|Memcpy|Memset")
"""Calls of a runtime that give a device work."""
HOST_TIMES = "the times are those of the host, and no rate or advice follows"


@dataclass
class WorkTable:
    """Every piece of work of a trace, in order of start, with where it came from.

    On a trace without a device the processor is the device: its rows are the operators that have no operator
    inside them, with their own time.
    """

    trace: Trace
    links: Links
    on_cpu: bool
    kind: list[int]
    kernel: list[str]
    operator: list[str]  # "" unknown
    operator_row: Array  # host row of the operator's call; -1 unknown
    call: Array  # number of the operator's call, equal for all work of one call; -1 unknown
    arguments: list[int]  # index into `inputs`, -1 none recorded
    module: list[str]  # path, "" unknown
    module_row: Array  # host row of the innermost module's call; -1 unknown
    mark_row: Array  # host row of the innermost annotation; -1 unknown
    launch: Array  # host row of the launch; -1 unknown
    device: Array
    stream: Array
    start: Array  # int64 ns
    end: Array  # int64 ns, absurd durations clipped
    duration: Array  # int64 ns; on the processor an operator's own time, otherwise end - start
    bytes: Array  # of copies and fills, -1 unknown
    detail: Array  # index into Trace.names: what its own event, or its operator's, says beside its name; -1 nothing
    classes: list[str]
    graph: Array  # bool: part of a graph replay
    inputs: list[Inputs | None]
    host_only: bool = False  # the file speaks of a device whose work it does not hold: times of the host alone

    def __len__(self) -> int:
        return len(self.kernel)

    def input(self, row: int) -> Inputs | None:
        """The recorded inputs of the operator of a row."""
        at = self.arguments[row]
        return self.inputs[at] if at >= 0 else None

    def only(self, rows: Array) -> WorkTable:
        """Some rows of the work, beside the whole trace."""
        at = rows.tolist()
        kept: dict[str, Any] = {}
        for name in (field.name for field in fields(self) if field.name not in _WHOLE):
            column = getattr(self, name)
            kept[name] = column[rows] if isinstance(column, np.ndarray) else [column[row] for row in at]
        return replace(self, **kept)


_WHOLE = ("trace", "links", "on_cpu", "inputs", "host_only")
"""The fields of `WorkTable` that are not one value a row."""


def make_work_table(trace: Trace) -> WorkTable:
    """Take out what cannot have been, link all work to the host, clip impossible durations, and classify it."""
    trace, launch = without_lost(with_processes(trace))
    links = link(trace, launch)
    if not len(trace.work) and bool(kinds(trace.host.kind, Kind.OPERATOR).any()):
        return _on_cpu(trace, links, host_only=_misses_device(trace))
    if not trace.arrows and bool((links.launch >= 0).any()):
        what = "the file holds no arrows from launches to their work"
        trace.problems.append(Problem(what, 1, "linked by correlation numbers, which say the same"))
    work, names = trace.work, trace.names
    called = links.work_operator
    of_call = trace.host.args[called] if len(trace.host) else np.full(len(work), -1, dtype=np.int32)
    arguments = np.where(called >= 0, of_call, -1)
    end = clip_absurd(trace, links.launch, arguments)
    rows = called.tolist()
    operator = (
        [names[n] for n in trace.host.name[links.work_operator].tolist()] if len(trace.host) else [""] * len(work)
    )
    operator = [name if row >= 0 else "" for name, row in zip(operator, rows, strict=True)]
    return _on_device(trace, links, work, end, operator, arguments.tolist())


def _on_device(
    trace: Trace, links: Links, work: Work, end: Array, operator: list[str], arguments: list[int]
) -> WorkTable:  # six: the columns that two sources fill differently
    kernel = [trace.names[n] for n in work.name.tolist()]
    kind = work.kind.tolist()
    paths = module_paths(trace, links)
    graph = _in_graph(trace, links)
    return WorkTable(
        trace=trace,
        links=links,
        on_cpu=False,
        kind=kind,
        kernel=kernel,
        operator=operator,
        operator_row=links.work_operator,
        call=np.where(graph, -1, links.work_operator),
        arguments=arguments,
        module=[paths.get(row, "") for row in links.work_module.tolist()],
        module_row=links.work_module,
        mark_row=links.work_mark,
        launch=links.launch,
        device=work.device,
        stream=work.stream,
        start=work.start,
        end=end,
        duration=end - work.start,
        bytes=work.bytes,
        detail=_details(trace, links),
        classes=[classify(o, k, n) for o, k, n in zip(operator, kernel, kind, strict=True)],
        graph=graph,
        inputs=[parse(a) for a in trace.arguments],
    )


def _details(trace: Trace, links: Links) -> Array:
    if not len(trace.host):
        return trace.work.detail
    operator = np.where(links.work_operator >= 0, trace.host.detail[links.work_operator], -1)
    return np.where(trace.work.detail >= 0, trace.work.detail, operator)


def _in_graph(trace: Trace, links: Links) -> Array:
    """Rows that a graph replay launched: their launch says so, or they carry the number of a graph node."""
    graph = trace.work.graph_node > 0
    launches = np.array([i for i, name in enumerate(trace.names) if "GraphLaunch" in name], dtype=np.int64)
    if len(launches) and len(trace.host):
        named = trace.host.name[links.launch]
        graph = graph | ((links.launch >= 0) & np.isin(named, launches))
    return graph


def _misses_device(trace: Trace) -> bool:
    """Whether a device may have done the work without its being in the file; a problem says so.

    Recording it fails where a GPU's counters may not be read, or was not asked for. A file that was cut off may have
    held it: kernels stand at the end. Where calls of the runtime were recorded and nothing was launched, nothing is
    missing.
    """
    called = {trace.names[n] for n in trace.host.name[kinds(trace.host.kind, Kind.RUNTIME)].tolist()}
    missed, action = True, HOST_TIMES
    if called or trace.header.devices:
        what = "a device is named, but none of its work is in the file"
        missed = not called or any(_LAUNCHES.search(name) for name in called)
        if not missed:
            action = "the times are those of the processor"
    elif any(name.startswith(COLLECTIVE) for name in trace.names):
        what = "NCCL is called, which needs GPUs, but no work of one is in the file"
    else:
        return any("cut off" in p.what or "too early" in p.what for p in trace.problems)
    trace.problems.append(Problem(what, 1, action))
    return missed


def _on_cpu(trace: Trace, links: Links, host_only: bool) -> WorkTable:
    """The operators of a trace without a device, each with its own time (what its inner operators leave)."""
    host, names = trace.host, trace.names
    rows = np.flatnonzero(host.kind == int(Kind.OPERATOR))
    own = (host.end - host.start).astype(np.int64)
    above = links.parent[rows]
    while True:  # the nearest enclosing operator: annotations and modules between take no time of their own
        skip = (above >= 0) & (host.kind[np.maximum(above, 0)] != int(Kind.OPERATOR))
        if not skip.any():
            break
        above = np.where(skip, links.parent[np.maximum(above, 0)], above)
    inner = above >= 0
    within = np.minimum(host.end[rows], host.end[np.maximum(above, 0)]) - host.start[rows]  # it may outlive the outer
    np.subtract.at(own, above[inner], within[inner])
    rows = rows[own[rows] > 0]
    rows = rows[np.argsort(host.start[rows], kind="stable")]
    paths = module_paths(trace, links)
    name = [names[n] for n in host.name[rows].tolist()]
    none = np.full(len(rows), -1, dtype=np.int64)
    return WorkTable(
        trace=trace,
        links=links,
        on_cpu=True,
        kind=[int(Kind.OPERATOR)] * len(rows),
        kernel=name,
        operator=name,
        operator_row=rows,
        call=rows.astype(np.int64),
        arguments=host.args[rows].tolist(),
        module=[paths.get(row, "") for row in links.module[rows].tolist()],
        module_row=links.module[rows],
        mark_row=links.mark[rows],
        launch=none,
        device=none,
        stream=host.thread[rows].astype(np.int64),
        start=host.start[rows],
        end=host.end[rows],
        duration=own[rows],
        bytes=none,
        detail=host.detail[rows],
        classes=[classify(n, "", int(Kind.OPERATOR)) for n in name],
        graph=np.zeros(len(rows), dtype=bool),
        inputs=[parse(a) for a in trace.arguments],
        host_only=host_only,
    )
