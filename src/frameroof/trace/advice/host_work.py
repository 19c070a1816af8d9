"""Advice about what the host did while the device stood idle: its own work, and what happens once.

Neither is launch overhead: no graph and no fused kernel makes preprocessing shorter, and a module is loaded, a graph
captured and a kernel compiled once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...recorded import Advice, concerns
from ...run import HostFunctionRow, Run
from ..find.host_functions import LOAD, purpose
from .words import HOST, Said, ms, short, suggest, times

LONG_NS = 1_000_000
"""Work of the host that fills so much of a gap on average is no overhead of launches."""

ONCE = {
    "first launch": "first launches load their kernels",
    "graph capture": "graphs are captured",
    "compilation": "kernels are compiled",
}
"""What a run does once, and a recording of it does not show how it goes on."""

_AHEAD = (
    "do it ahead of time in another thread or process, once instead of in every step, or while the device still works "
    "on what was queued before"
)
_WARM_UP = "run the same work with the same shapes once or twice before, and record, time or serve after that"
_HOW = {
    "launch": "a call that takes this long does more than launch: it waits for room in the queue, for memory or for a "
    "lock, or loads code; warm up, and look at the driver's calls in a system profiler (nsys, rocprofv3)",
    "allocation": "allocate once before the loop, and leave memory to torch's caching allocator (no empty_cache)",
    "free": "keep the memory for the next step: no empty_cache in the loop, and torch's caching allocator; where it is "
    "the first call, it starts the driver: warm up before",
    "garbage collection": "gc.freeze() after loading and gc.disable() in the loop, or collect while the device works",
    "module load": _WARM_UP,
    "initialization": _WARM_UP,
}
_HOW_NAMED = (
    (
        re.compile(r"DataLoader"),
        "give the DataLoader workers that prepare batches ahead: num_workers=4 or more, pin_memory=True, "
        "persistent_workers=True",
    ),
    (
        re.compile(r"^Optimizer\.|torch/optim/"),
        "update all parameters in a few kernels: the optimizer's fused=True or foreach=True, and "
        "zero_grad(set_to_none=True)",
    ),
)
_OPERATOR = (
    "an operator that holds the host this long does more than launch: find what it works on or waits for (tensors on "
    "the CPU, memory, a lock, a busy core); record with with_stack=True to see who calls it"
)


def _once(run: Run) -> dict[str, list[HostFunctionRow]]:
    """Rows of what happens once, by what it is."""
    return {
        what: rows
        for what in ONCE
        if (rows := [row for row in run.host_functions if row.what == what and row.cause == "host_launch"])
    }


def once_ns(run: Run) -> int:
    """Idle time while the host did what happens once."""
    return sum(row.time_ns for rows in _once(run).values() for row in rows)


def long_rows(run: Run) -> list[HostFunctionRow]:
    """Rows of named functions, ranges and operators that fill `LONG_NS` of a gap on average."""
    return [
        row
        for row in run.host_functions
        if row.cause == "host_launch"
        and row.kind not in ("none", "device")
        and row.what not in ONCE
        and row.time_ns >= LONG_NS * max(1, row.gaps)
    ]


def host_work(run: Run) -> Iterator[Advice]:
    """What the host does while the device waits, function by function; what happens once as one."""
    yield from _warm_up(run)
    places: dict[str, list[HostFunctionRow]] = {}
    for row in long_rows(run):
        places.setdefault(row.function, []).append(row)
    for function, rows in places.items():
        idle = sum(row.time_ns for row in rows)
        inner = max(rows, key=lambda row: row.time_ns)
        part = f", {ms(inner.time_ns)} of it in {inner.inside}" if inner.inside else ""
        yield suggest(
            "host.work",
            concerns.HostFunction(function),
            Said(
                f"Keep the device busy during {short(function)}",
                f"the device stood idle for {ms(idle)} while the host was in {function}{part}",
                _how(inner),
            ),
            idle,
            HOST,
        )


def _warm_up(run: Run) -> Iterator[Advice]:
    found = _once(run)
    if not found:
        return
    idle = {what: sum(row.time_ns for row in rows) for what, rows in found.items()}
    most = max(idle, key=lambda what: idle[what])
    parts = []
    for what, rows in found.items():
        launches = sum(
            row.gaps for row in rows if purpose(row.inside or row.function) != LOAD
        )  # it holds what it loads
        count = times(max(1, launches), "first launch", "first launches")
        name = f"{count} that took far longer than launches do" if what == "first launch" else what
        parts.append(f"{ms(idle[what])} in {name}")
    eager = " (CUDA_MODULE_LOADING=EAGER loads at the start instead)" if most == "first launch" else ""
    whole = sum(idle.values())
    said = ", ".join(parts) if len(parts) > 1 else parts[0].partition(" in ")[2]
    yield suggest(
        "host.warm-up",
        concerns.Idle("host_launch"),
        Said(
            f"Warm up before recording: {ONCE[most]}",
            f"the device stood idle for {ms(whole)} while the host did what happens only once: {said}",
            f"{_WARM_UP}{eager}",
        ),
        whole,
        HOST,
    )


def _how(row: HostFunctionRow) -> str:
    """What usually shortens what the host does in one place."""
    named = next((how for pattern, how in _HOW_NAMED if pattern.search(row.function)), "")
    operator = "::" in (row.inside or row.function) and row.kind != "python"
    return _HOW.get(row.what) or named or (_OPERATOR if operator else _AHEAD)
