"""`trace_view.json` of Ascend NPUs (torch_npu, msprof): tasks have no category, only the process "Ascend Hardware".

Sources: Ascend's documentation of `trace_view` and of msprof's timelines. The process "Python" holds operators
(cpu_op), "CANN" the calls of the runtime, "Ascend Hardware" the tasks, one thread a stream. Arrows `async_npu` lead
from where an operator handed over a task to that task, `connection_id` from the launch in CANN. "Communication" and
"Overlap Analysis" say once more what the tasks do. Waits and records of events are no work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .events import Args, ExactEvent, NamelessArgs
from .launch_arrows import LaunchArrows
from .timestamps import exact

HARDWARE, RUNTIME = "Ascend Hardware", "CANN"
_COPY = re.compile(r"memcpy|sdma|pcie_dma", re.I)
_FILL = re.compile(r"memset", re.I)
_NO_WORK = re.compile(r"event|notify|place_?holder|capture|write_?value|wait_value|model_(?:execute|maintaince)", re.I)
_SHIFT = 1 << 38
"""The numbers of launches in CANN stand above those of arrows."""


def is_ascend(processes: Mapping[str, str]) -> bool:
    """Whether the names of a file's processes are those that Ascend's profiler writes."""
    return any(name.startswith(HARDWARE) for name in processes.values())


def as_known(
    events: list[Any], processes: Mapping[str, str], labels: Mapping[str, str], flows: LaunchArrows
) -> tuple[list[ExactEvent], list[Any]]:
    """(tasks and calls as kernels, copies and runtime calls that are linked by number; what is none of these)."""
    devices = {pid: i for i, pid in enumerate(sorted(p for p, n in processes.items() if n.startswith(HARDWARE)))}
    for pid in devices:
        if told := re.search(r"\d+", labels.get(pid, "")):
            devices[pid] = int(told[0])
    calling = {pid for pid, name in processes.items() if name.startswith(RUNTIME)}
    arrows = {end: (number + 1, start) for number, (start, end) in enumerate(flows.arrows())}
    found: list[ExactEvent] = []
    rest: list[Any] = []
    for event in events:
        pid = str(event.pid)
        args = event.args or NamelessArgs()
        if pid in calling:
            found.append(_call(event, _connection(args)))
        elif pid in devices and (kind := _kind(event, args)):
            arrow = arrows.get((pid, str(event.tid), exact(event.ts) or 0))
            number = arrow[0] if arrow else _connection(args)
            if arrow:
                found.append(_handed_over(arrow[1], number))
            stream = args.stream_id if args.stream_id is not None else event.tid
            known = Args(correlation=number, device=devices[pid], stream=stream)
            found.append(_event(kind, event.name, pid, event.tid, event, known))
        elif pid not in devices:
            rest.append(event)
    return found, rest


def _kind(event: Any, args: NamelessArgs) -> str:
    """The category of a task; "" for what is no work."""
    task = bytes(args.task).decode("utf-8", "replace")
    said = f"{event.name} {task}"
    if _COPY.search(said):
        return "gpu_memcpy"
    if _FILL.search(said):
        return "gpu_memset"
    return "" if _NO_WORK.search(task or event.name) else "kernel"


def _connection(args: NamelessArgs) -> int | None:
    """A number for what a launch and its tasks share; none where the file has none."""
    number = args.connection
    return int(number) + 1 + _SHIFT if isinstance(number, int | float | str) and str(number).isdecimal() else None


def _handed_over(start: tuple[str, str, int], number: int | None) -> ExactEvent:
    """The moment in which an operator handed over a task, as a call of the runtime on the operator's thread."""
    pid, tid, ns = start
    when = ExactEvent(ts=Decimal(ns).scaleb(-3), dur=Decimal(0))
    return _event("cuda_runtime", "Enqueue", pid, tid, when, Args(correlation=number))


def _call(event: Any, number: int | None) -> ExactEvent:
    return _event("cuda_runtime", event.name, event.pid, event.tid, event, Args(correlation=number))


def _event(category: str, name: str, pid: Any, tid: Any, times: Any, args: Args) -> ExactEvent:  # six: as an event has
    event = ExactEvent("X", category, name, pid, tid, times.ts, times.dur)
    event.args = args  # type: ignore[assignment]  # as `decode_arguments` leaves them
    return event
