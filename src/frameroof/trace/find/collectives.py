"""Collectives: how large each was, how long it took, what it made of the link, and how much of it nothing else hid.

Sizes are those that PyTorch writes beside a kernel or its `record_param_comms`; else what its range `nccl:…` was given,
or, for another library, its operator. Where none of these is in the file, size and rates are unknown.
Rates follow nccl-tests (doc/PERFORMANCE.md): bytes of the larger side over time, and what of each byte an algorithm
must send, 2 (n - 1) / n in an all-reduce of n ranks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from ...annotations import COLLECTIVE
from ...dtypes import element_bytes
from ...hardware import Device
from ...hardware.records import link_of
from ...recorded.communication import CollectiveRow
from ..intervals import merged, overlap
from ..read.collectives import Collective, collective
from ..read.columns import Array, distinct
from ..resolve.classify import COMMUNICATION
from ..resolve.recorded_inputs import Inputs
from ..resolve.work_table import WorkTable

KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("all-reduce", re.compile(r"allreduce|crossdevicereduce")),
    ("reduce-scatter", re.compile(r"reducescatter")),
    ("all-gather", re.compile(r"allgather")),
    ("all-to-all", re.compile(r"alltoall")),
    ("send and receive", re.compile(r"sendrecv|sendreceive")),
    ("barrier", re.compile(r"barrier")),
    ("broadcast", re.compile(r"broadcast")),
    ("expert dispatch", re.compile(r"(deepep|internode|intranode|lowlatency|ep).*dispatch")),
    ("expert combine", re.compile(r"(deepep|internode|intranode|lowlatency|ep).*combine")),
    ("gather", re.compile(r"gather")),
    ("scatter", re.compile(r"scatter")),
    ("send", re.compile(r"send")),
    ("receive", re.compile(r"recv|receive")),
    ("reduce", re.compile(r"(?<!pre)reduce")),
)
"""By name, without signs: the first that fits."""

_GIVEN_WHOLE = ("all-reduce", "broadcast", "reduce", "reduce-scatter", "all-to-all", "send")
"""Whose input is all of it, however many take part."""


def kind_of(name: str) -> str:
    """The collective that a name of PyTorch, an operator or a kernel is of; "" for none that is known."""
    letters = re.sub(r"[^a-z0-9]", "", name.split("(")[0].lower())
    return next((kind for kind, pattern in KINDS if pattern.search(letters)), "")


def sent_of_each(kind: str, ranks: int) -> float | None:
    """How often each byte crosses the busiest link of one rank (nccl-tests); None for what moves nothing."""
    if kind == "all-reduce":
        return 2 * (ranks - 1) / ranks
    if kind in ("all-gather", "reduce-scatter", "all-to-all", "gather", "scatter"):
        return (ranks - 1) / ranks
    return 1.0 if kind in ("broadcast", "reduce", "send", "receive", "send and receive") else None


def message_bytes(kind: str, told: Collective) -> int | None:
    """Bytes of one call on one rank, as nccl-tests counts them; None where the file does not tell."""
    size, n = element_bytes(told.dtype), told.ranks
    sent, received = told.sent, told.received
    if not size or max(sent, received) <= 0:
        return None
    if kind == "all-gather":
        elements = received if received > 0 else sent * n
    elif kind == "reduce-scatter":
        elements = sent if sent > 0 else received * n
    elif kind == "gather":
        elements = max(received, sent * n)
    elif kind == "scatter":
        elements = max(sent, received * n)
    else:
        elements = max(sent, received)
    return elements * size or None


def find_collectives(work_table: WorkTable, on: Device | None, whole: WorkTable | None = None) -> list[CollectiveRow]:
    """One row for each kind, group, type and size, the longest first. Of a window `whole` has the work around it."""
    if work_table.host_only:
        return []
    rows = [i for i, name in enumerate(work_table.classes) if name == COMMUNICATION]
    if not rows:
        return []
    at = np.array(rows, dtype=np.int64)
    known = _recorded(work_table, at)
    exposed = work_table.duration[at] - hidden(work_table, at, whole or work_table)
    groups: dict[tuple[str, Collective, int | None], list[int]] = {}
    for place, row in enumerate(rows):
        kind, told, size = _named(work_table, row, known.get(int(work_table.detail[row])))
        groups.setdefault((kind, told, size), []).append(place)
    found = [_row(work_table, key, at[places], int(exposed[places].sum()), on) for key, places in groups.items()]
    return sorted(found, key=lambda row: -row.time_ns)


def hidden(work_table: WorkTable, rows: Array, whole: WorkTable) -> Array:
    """Of each of some rows of communication the time in which other work ran on its device."""
    other = np.array([name != COMMUNICATION for name in whole.classes], dtype=bool)
    out = np.zeros(len(rows), dtype=np.int64)
    for number in distinct(work_table.device[rows]):
        beside = other & (whole.device == number)
        here = work_table.device[rows] == number
        busy = merged(whole.start[beside], whole.end[beside])
        out[here] = overlap(work_table.start[rows[here]], work_table.end[rows[here]], *busy)
    return out


def _recorded(work_table: WorkTable, rows: Array) -> dict[int, Collective]:
    """Index of a name -> the collective that it describes."""
    names = work_table.trace.names
    texts = {int(i): collective(names[i]) for i in distinct(work_table.detail[rows]) if i >= 0}
    return {i: told for i, told in texts.items() if told is not None}


RECORD = "record_param_comms"
"""The operator in which PyTorch tells what a collective is."""


def _named(work_table: WorkTable, row: int, told: Collective | None) -> tuple[str, Collective, int | None]:
    """(which collective, what is known of it, its bytes) of a row."""
    if told is not None and told.name:
        kind = kind_of(told.name) or told.name
        return kind, told, message_bytes(kind, told)
    kernel, operator = work_table.kernel[row], work_table.operator[row]
    mark, given = _marked(work_table, row)
    kind = mark or kind_of(kernel) or kind_of(operator)
    if not mark and (kind_of(operator) == kind or operator == RECORD):
        given = work_table.input(row)
    if given is not None and kind in _GIVEN_WHOLE:
        size = _bytes_given(given, largest=not mark and operator != RECORD)
        return kind, Collective("", dtype=given.dtype or ""), size or None
    return kind or re.split(r"[(<]", kernel.removeprefix("void "))[0], Collective(""), None


def _bytes_given(given: Inputs, largest: bool) -> int:
    """Bytes of all tensors, or of the largest; 0 where a list is among them, whose type was not recorded."""
    if any(dims and not isinstance(dims[0], int) for dims in given.dims):
        return 0
    sizes = [math.prod(dims) * size for dims, size in given.tensors]
    return max(sizes, default=0) if largest else sum(sizes)


def _marked(work_table: WorkTable, row: int) -> tuple[str, Inputs | None]:
    """What PyTorch's own range around a launch says: which collective, and what it was given."""
    trace, mark = work_table.trace, int(work_table.mark_row[row])
    if mark < 0 or not (name := trace.names[trace.host.name[mark]]).startswith(COLLECTIVE):
        return "", None
    args = int(trace.host.args[mark])
    return kind_of(name.removeprefix(COLLECTIVE)), work_table.inputs[args] if args >= 0 else None


def _row(
    work_table: WorkTable, key: tuple[str, Collective, int | None], rows: Array, exposed: int, on: Device | None
) -> CollectiveRow:
    (kind, told, size), time = key, int(work_table.duration[rows].sum())
    row = CollectiveRow(
        name=kind,
        group=told.group,
        ranks=told.ranks or None,
        dtype=told.dtype,
        bytes=size,
        count=len(rows),
        time_ns=time,
        exposed_ns=exposed,
        uneven=_is_uneven(told.sent_by_rank) or _is_uneven(told.received_by_rank),
        members=told.members,
        starts_ns=(work_table.start[rows] + (work_table.trace.header.base_ns or 0)).tolist(),
        calls_ns=work_table.duration[rows].tolist(),
    )
    if not work_table.on_cpu:
        row.algorithm_bytes_per_s, row.bus_bytes_per_s = rates(kind, size, row.ranks, row.count, time)
    if on is not None and not work_table.on_cpu:
        _beside_link(row, on)
    return row


def rates(kind: str, size: int | None, ranks: int | None, count: int, time: int) -> tuple[float | None, float | None]:
    """(algorithm, bus) bytes per second of so many calls of `size` in `time` ns, by the rule of nccl-tests."""
    if not size or time <= 0 or ranks == 1 or sent_of_each(kind, 2) is None:
        return None, None
    algorithm = size * count / time * 1e9
    often = sent_of_each(kind, ranks) if ranks else None
    return algorithm, algorithm * often if often else None


def _beside_link(row: CollectiveRow, on: Device) -> None:
    try:
        link = link_of(on)
    except ValueError:  # it states none
        return
    row.link, row.link_bytes_per_s = "own" if link.kind == "nvlink" else link.kind, link.bandwidth
    if row.bus_bytes_per_s:
        row.share_of_link = row.bus_bytes_per_s / row.link_bytes_per_s


def _is_uneven(splits: Sequence[int]) -> bool:
    return len(set(splits)) > 1
