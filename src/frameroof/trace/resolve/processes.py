"""Several processes in one file: the numbers of each are made its own before anything is linked by them.

Ranks merged to one file count their launches, operators and devices each from the start. Work says of its process only
what the file calls it ("[TP1] 0": rank 1, device 0; or 30000000: device 0 of the rank whose numbers begin there). Where
names tell nothing, a launch must have been before its work and carry the same operator; then the order of the file.
What stays open is linked to nothing, and said.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

import numpy as np

from ..read.columns import Array, Problem, Trace, distinct, kinds
from ..read.events import DeviceProperties, Kind

EARLY_NS = 100_000
"""As work may seem to start before its launch (`lost_events`)."""
SURE = 0.95
"""So much of what is known otherwise must agree with the order of the file before that is believed."""
_SHIFT = 40
"""Launches and operators are counted in fewer bits than this; above stands the process."""
_LABEL = re.compile(
    r"(?:\b|_)((?:rank|node|worker|local_?rank|global_?rank|dp|tp|pp|ep|cp|attn)[ _:#-]{0,2}\d+)(?!\d)", re.I
)
_LAST = re.compile(r"(.*?)-?\d+\D*")


def with_processes(trace: Trace) -> Trace:
    """The trace with numbers of launches, operators and devices that are unique over all processes of its file."""
    callers = _callers(trace)
    if not trace.pids or (len(callers) < 2 and len(trace.pids) < 2):
        return trace
    label = _by_name(trace, callers)
    if label is not None:
        names = sorted({label[pid] for pid in (*trace.pids, *callers)}, key=_natural)
        number = {pid: names.index(name) for pid, name in label.items() if name in names}
        work = np.array([number[pid] for pid in trace.pids], dtype=np.int64)[trace.work.pid]
    elif len(callers) < 2 or not (trace.work.correlation > 0).any() or not kinds(trace.host.kind, Kind.RUNTIME).any():
        return trace  # only launches and their numbers can tell
    else:
        names = callers
        number = {pid: i for i, pid in enumerate(callers)}
        work = _by_evidence(trace, number)
        if len(set(work.tolist())) < 2 and not (work < 0).any():  # the others call a runtime, but give it no work
            return trace
    return _numbered(trace, names, number, work)


def _callers(trace: Trace) -> list[str]:
    """The processes that call a device's runtime; where none is recorded, those that run operators."""
    for kind in (Kind.RUNTIME, Kind.OPERATOR):
        threads = distinct(trace.host.thread[kinds(trace.host.kind, kind)]).tolist()
        if threads:
            return sorted({trace.threads[thread][0] for thread in threads}, key=_natural)
    return []


def _natural(name: str) -> list[tuple[int, str]]:
    """Text in the order in which a person counts: rank 2 before rank 10."""
    parts = ((part, part.lstrip("0")) for part in re.split(r"(\d+)", name))  # of numbers, the longer is the larger
    return [(len(digits), digits) if part.isdecimal() else (-1, part) for part, digits in parts]


# ------------------------------------------------------------------------------------- by name


def _by_name(trace: Trace, callers: list[str]) -> dict[str, str] | None:
    """Each name of a process -> the process that it is part of; None where names do not tell several apart.

    Every process with work must have a caller, and the reverse, or the names mean something else.
    """
    everyone = sorted({*trace.pids, *(process for process, _ in trace.threads)}, key=_natural)
    for scheme in (_words, _around_number, _Offsets(trace)):
        label = {pid: scheme(pid) for pid in everyone}
        working, calling = {label[pid] for pid in trace.pids}, {label[pid] for pid in callers}
        if len(working | calling) > 1 and None not in working and (working <= calling or not calling):
            return {pid: name or "" for pid, name in label.items()}
    return None


def _words(pid: str) -> str | None:
    """ "[TP0-DP1] 100" -> "TP0 DP1"."""
    return " ".join(_LABEL.findall(pid)) or None


def _around_number(pid: str) -> str | None:
    """ "left host 100" -> "left host "."""
    found = _LAST.fullmatch(pid)
    return (found[1] or None) if found else None


class _Offsets:
    """The number from which a process counts: its work is at that number plus its device, its threads above it."""

    def __init__(self, trace: Trace) -> None:
        self.starts: list[int] = []
        pairs = set(zip(trace.work.pid.tolist(), trace.work.device.tolist(), strict=True))
        found = {_number(trace.pids[pid], device) for pid, device in pairs}
        if None not in found:
            self.starts = sorted(start for start in found if start is not None)

    def __call__(self, pid: str) -> str | None:
        number = _number(pid, 0)
        if number is None or not self.starts or number < self.starts[0]:
            return None
        return f"from {max(start for start in self.starts if start <= number)}"


def _number(pid: str, less: int) -> int | None:
    return int(pid) - less if re.fullmatch(r"-?\d{1,18}", pid) else None


# ------------------------------------------------------------------------------------- by evidence


def _by_evidence(trace: Trace, number: dict[str, int]) -> Array:
    """The process of each row of work: the only one that has a launch for it; -1 where several have, or none."""
    host, work = trace.host, trace.work
    rows = np.flatnonzero((host.kind == int(Kind.RUNTIME)) & (host.correlation > 0))
    process = np.array([number.get(p, -1) for p, _ in trace.threads], dtype=np.int64)
    calls: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    columns = (host.correlation[rows], process[host.thread[rows]], host.start[rows], host.external[rows])
    for key, of, start, external in zip(*(c.tolist() for c in columns), strict=True):
        calls[key].append((of, start, external))
    possible = [
        {
            of
            for of, at, other in calls.get(key, ())
            if at <= start + EARLY_NS and (other <= 0 or external <= 0 or other == external)
        }
        for key, start, external in zip(
            *(c.tolist() for c in (work.correlation, work.start, work.external)), strict=True
        )
    ]
    found = np.array([min(some) if len(some) == 1 else -1 for some in possible], dtype=np.int64)
    sure = found >= 0
    for pid in distinct(work.pid[sure]).tolist():  # all work of one name is of one process, if it is of those known
        here = work.pid == pid
        if len(known := distinct(found[here & sure])) == 1:
            found[here & ~sure] = known[0]
    after = np.where(work.after >= 0, process[work.after], -1)
    if _in_blocks(work.pid, after, found):
        may = np.array([a in some for a, some in zip(after.tolist(), possible, strict=True)], dtype=bool)
        found = np.where((found < 0) & may, after, found)
    return found


def _in_blocks(pid: Array, after: Array, found: Array) -> bool:
    """Whether the file holds one process after the other, so that work stands behind the host of its own."""
    known = (found >= 0) & (after >= 0)
    if known.any():
        return bool((after[known] == found[known]).mean() >= SURE)
    seen = [distinct(after[(pid == one) & (after >= 0)]).tolist() for one in distinct(pid).tolist()]
    return len(seen) > 1 and all(len(of) == 1 for of in seen) and len({of[0] for of in seen}) == len(seen)


# ------------------------------------------------------------------------------------- what follows


def _numbered(trace: Trace, names: list[str], number: dict[str, int], process: Array) -> Trace:
    """Numbers of every process moved apart from those of the others."""
    host, work = trace.host, trace.work
    of_host = np.array([number.get(pid, 0) for pid, _ in trace.threads], dtype=np.int64)[host.thread]
    unknown = process < 0
    moved = {
        name: (_apart(getattr(host, name), of_host), np.where(unknown, -1, _apart(getattr(work, name), process)))
        for name in ("correlation", "external")
    }
    devices, added = _devices(trace, process)
    action = "numbers of launches, operators and devices are taken as each one's own"
    if added:
        devices_named = ", ".join(f"device {old} of {names[of]} is {new}" for (of, old), new in list(added.items())[:8])
        action += f" ({devices_named})"
    trace.problems.append(Problem(f"processes in one file ({', '.join(names[:8])})", len(names), action))
    if unknown.any():
        what = "pieces of work that may be of several processes"
        trace.problems.append(Problem(what, int(unknown.sum()), "counted, but linked to no launch or operator"))
    if trace.header.distributed is not None:
        trace.header.distributed.rank = None  # that of the file whose head was kept
    listed = {d.id: d for d in trace.header.devices}
    fresh = [
        DeviceProperties(new, listed[old].name, listed[old].total_memory)
        for (_, old), new in added.items()
        if old in listed
    ]
    trace.header.devices = [*trace.header.devices, *fresh]
    return replace(
        trace,
        host=replace(host, **{name: both[0] for name, both in moved.items()}),
        work=replace(
            work,
            device=devices,
            stream=np.where(unknown, -1, work.stream),  # two processes may mean two streams by one number
            **{name: both[1] for name, both in moved.items()},
        ),
    )


def _apart(numbers: Array, process: Array) -> Array:
    return np.where((numbers > 0) & (process > 0), numbers + (process << _SHIFT), numbers)


def _devices(trace: Trace, process: Array) -> tuple[Array, dict[tuple[int, int], int]]:
    """(the device of each row, a number of its own for each that a process calls as another one does).

    The first process that has a number keeps it.
    """
    device = trace.work.device.copy()
    pairs = sorted(set(zip(process.tolist(), device.tolist(), strict=True)))
    taken, added = {number for _, number in pairs}, {}
    owner: dict[int, int] = {}
    for of, number in pairs:
        if of < 0 or owner.setdefault(number, of) == of:
            continue
        added[of, number] = new = next(n for n in range(len(taken) + 1) if n not in taken)
        taken.add(new)
        device[(process == of) & (trace.work.device == number)] = new
    return device, added
