"""Advice about what the host did while the device stood idle: its own work, and first launches that load something.

Neither is launch overhead: no graph and no fused kernel makes preprocessing shorter, and a module is loaded once.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...recorded import Advice, concerns
from ...run import HostFunctionRow, Run
from .words import HOST, Said, ms, suggest

LONG_NS = 1_000_000
"""Work of the host that fills so much of a gap on average is no overhead of launches."""
WIDTH = 60
"""Letters of a function's name; its end says most."""

_PREFETCH = (
    "do it ahead of time in another thread or process (workers of a DataLoader, a prefetched batch), once instead of "
    "in every step, or while the device still works on what was queued before"
)
_WARM_UP = "run the same work with the same shapes once or twice before, and record, time or serve after that"
_HOW = {
    "allocation": "allocate once before the loop, and leave memory to torch's caching allocator (no empty_cache)",
    "free": "keep the memory for the next step: no empty_cache in the loop, and torch's caching allocator; where it is "
    "the first call, it starts the driver: warm up before",
    "garbage collection": "gc.freeze() after loading and gc.disable() in the loop, or collect while the device works",
    "module load": _WARM_UP,
    "initialization": _WARM_UP,
    "compilation": _WARM_UP,
}


def short(function: str) -> str:
    """A function's name by its end: file, line and function."""
    return function if len(function) <= WIDTH else "…" + function[1 - WIDTH :]


def first_launches_ns(run: Run) -> int:
    """Idle time while the host was inside first launches that took far longer than later ones."""
    return sum(row.time_ns for row in run.host_functions if row.what == "first launch")


def long_rows(run: Run) -> list[HostFunctionRow]:
    """Rows of named functions, ranges and operators that fill `LONG_NS` of a gap on average."""
    return [
        row
        for row in run.host_functions
        if row.cause == "host_launch"
        and row.kind not in ("none", "device")
        and row.what != "first launch"
        and row.time_ns >= LONG_NS * max(1, row.gaps)
    ]


def host_work(run: Run) -> Iterator[Advice]:
    """What the host does while the device waits, function by function; first launches as one."""
    first = first_launches_ns(run)
    if first:
        count = sum(row.gaps for row in run.host_functions if row.what == "first launch")
        yield suggest(
            "host.warm-up",
            concerns.Idle("host_launch"),
            Said(
                "Warm up before recording: first launches load their kernels",
                f"the device stood idle for {ms(first)} while the host was inside {count:,} of the first launches "
                "that took far longer than launches do",
                f"{_WARM_UP} (CUDA_MODULE_LOADING=EAGER loads at the start instead)",
            ),
            first,
            HOST,
        )
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
                f"Take {short(function)} out of the device's way",
                f"the device stood idle for {ms(idle)} while the host was in {function}{part}",
                _HOW.get(inner.what, _PREFETCH),
            ),
            idle,
            HOST,
        )
