"""Advice that shortens idle time: launches that come late, waits, copies that hold the host."""

from __future__ import annotations

from collections.abc import Iterator

from ...hardware import Device
from ...recorded import Advice, concerns
from ...run import Run, SyncRow
from .host_work import long_rows, once_ns
from .words import HOST, Said, graph_of, ms, repeated, suggest, times


def launches(run: Run, device: Device | None) -> Iterator[Advice]:
    """The device waits because the host has not launched the next kernel yet."""
    s, launch = run.summary, run.launch
    whole = run.idle.get("host_launch", 0)
    once, long = once_ns(run), sum(row.time_ns for row in long_rows(run))
    late = whole - once - long
    if late > 0:
        replayed = (
            f"; {launch.graph_kernels:,} of the {s.kernels:,} ran in {times(launch.graph_launches, 'graph replay')}"
            if launch.graph_launches
            else ""
        )
        worst = max(run.stages, key=lambda stage: stage.idle_ns, default=None) if len(run.stages) > 1 else None
        where = f" (of all idle time, {ms(worst.idle_ns)} came before work of {worst.name})" if worst else ""
        yield suggest(
            "host.launches",
            concerns.Idle("host_launch"),
            Said(
                "Reduce launch overhead",
                f"the device stood idle for {ms(late)} of {ms(s.span_ns)} because the host had not launched the next "
                f"kernel yet{where}; {s.short_kernels:,} of {s.kernels:,} kernels are shorter than 10 us{replayed}",
                f"replay {repeated(run)} as a {graph_of(device)} (torch.compile mode='reduce-overhead', or "
                "torch.cuda.graph around static shapes); fuse small kernels with torch.compile; take Python work out "
                "of the loop" + ("" if run.measured.median_ns else "; the profiler slows the host: time it without"),
                _less(whole, once, long),
            ),
            late,
            HOST,
        )


def _less(whole: int, once: int, long: int) -> str:
    """How launch overhead follows from what the host did until its launches; empty where that is all of it."""
    less = {"that happen only once": once, "in functions that fill a gap by 1 ms and more": long}
    parts = [f"{ms(ns)} {what}" for what, ns in less.items() if ns]
    return f"{ms(whole)} of host_launch less {' and '.join(parts)}" if parts else ""


def profiling(run: Run) -> Iterator[Advice]:
    """The device waits because the profiler holds the host: no fault of the run; nothing where it was timed without."""
    own = run.idle.get("profiler", 0)
    if own and not run.measured.median_ns:
        yield suggest(
            "host.profiler",
            concerns.Idle("profiler"),
            Said(
                "Record with less profiling: the profiler held the host",
                f"the device stood idle for {ms(own)} of {ms(run.summary.span_ns)} while the profiler worked, "
                "and would not without it",
                "record fewer steps, after a warm-up of the profiler's schedule, without with_stack and profile_memory "
                "where they are not needed; read times of the whole run without the profiler",
            ),
            own,
            HOST,
        )


def waits(run: Run) -> Iterator[Advice]:
    """What the host need not wait for; its own work stays, so the run cannot fall below that."""
    places: dict[tuple[str, str], list[SyncRow]] = {}
    for sync in run.syncs:
        places.setdefault((sync.operator or sync.call, sync.line), []).append(sync)
    for (who, line), found in places.items():
        idle = sum(sync.idle_ns for sync in found)
        calls = " and ".join(f"{times(sync.count, 'call')} of {sync.call}" for sync in found)
        yield suggest(
            "host.wait",
            concerns.Wait(who, line),
            Said(
                f"Remove the wait for the device in {who}{f' at {line}' if line else ''}",
                f"{calls} held the host for {ms(sum(sync.host_ns for sync in found))}, "
                f"and the device stood idle for {ms(idle)} afterwards",
                "keep the value on the device (no .item(), .cpu(), bool(tensor) or nonzero in the loop), compute it "
                "once before the loop, or copy it with non_blocking=True from pinned memory",
            ),
            idle,
            HOST,
        )
    copied = run.idle.get("copy", 0)
    if copied:
        yield suggest(
            "host.copies",
            concerns.Idle("copy"),
            Said(
                "Copy without holding the host",
                f"the device stood idle for {ms(copied)} while the host staged a copy",
                "pin the host memory and copy with non_blocking=True, or move the copy out of the loop",
            ),
            copied,
            HOST,
        )
