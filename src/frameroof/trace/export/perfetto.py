"""The trace with our stages, attention and idle gaps as tracks of their own, for ui.perfetto.dev or chrome://tracing.

The original text is copied piece by piece, not decoded; our events stand before it in the list, which has no order.
A piece that is no JSON is written from the events that could be salvaged from it, so that the result always opens.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ...outside import clean
from ...written import encoded, writing_whole
from ..find.idle import Idle
from ..find.stages import Stage
from ..read import near_json
from ..read.file import BOM, TraceFile, is_sqlite, open_trace
from ..read.pieces import PieceReader
from ..read.repair import BLANK, BROKEN, Repairer, lenient_header
from ..resolve.attention_call import AttentionCall
from ..resolve.work_table import WorkTable

CATEGORY = "frameroof"
"""Category of our events: none that a reader takes for work."""
PROCESS = 1_900_000_001
"""Our number of a process; the largest that Linux gives is 4,194,304."""
PACKING = 4
"""Level of gzip: 6 takes twice the time for files 6 % smaller."""


@dataclass(frozen=True)
class Slice:
    """One bar of a track; times in ns as the trace counts them."""

    name: str
    start: int
    end: int
    args: dict[str, Any] = field(default_factory=dict)


def export(  # six: what is shown, where to, and whether over something
    work_table: WorkTable,
    attention: Sequence[AttentionCall],
    stages: Sequence[Stage],
    idle: Idle,
    target: str | os.PathLike[str],
    force: bool = False,
) -> Path:
    """Write the trace of `work_table` with our tracks to `target` (.json.gz, or .json unpacked); its path."""
    source = _original(work_table, Path(target))
    tracks = {
        "frameroof: stages": _stages(work_table, stages),
        "frameroof: attention": _attention(work_table, attention),
        "frameroof: idle (cause)": _idle(work_table, idle),
    }
    with writing_whole(target, force) as file, _packed(file, Path(target)) as out:
        _copy(source, list(_events(tracks)), out)
    return Path(target)


def _original(work_table: WorkTable, target: Path) -> TraceFile:
    """The file that `work_table` was read from, opened again."""
    path = Path(work_table.trace.path)
    source = open_trace(path)
    if is_sqlite(path):
        raise ValueError(f"{path} is an Nsight export; tracks are added to Kineto traces (.json, .json.gz) only")
    if CATEGORY in work_table.trace.ignored:
        raise ValueError(f"{path} holds frameroof's tracks already; take the original trace")
    if target.exists() and target.samefile(path):
        raise ValueError(f"{target} is the trace itself; write the tracks to another file")
    return source


@contextmanager
def _packed(file: BinaryIO, target: Path) -> Iterator[BinaryIO]:
    if target.suffix != ".gz":
        yield file
        return
    with gzip.GzipFile("", "wb", PACKING, file, mtime=0) as out:
        yield out  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------- tracks


def _stages(work_table: WorkTable, stages: Sequence[Stage]) -> Iterator[Slice]:
    """Each call of a stage, first to last work; what is in no stage in runs without other work between."""
    for stage in stages:
        calls = stage.calls if stage.source else _runs(stage.rows)
        for number, rows in enumerate(calls, 1):
            args = {"call": number, "of": len(calls), "kernels": len(rows), "named by": stage.source}
            yield _over(work_table, stage.name, rows, args)


def _runs(rows: Sequence[int]) -> list[list[int]]:
    """Rows that follow each other directly, together."""
    found: list[list[int]] = []
    for row in rows:
        if found and row == found[-1][-1] + 1:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _attention(work_table: WorkTable, calls: Sequence[AttentionCall]) -> Iterator[Slice]:
    for call in calls:
        size = f" {call.query_len} x {call.key_len}" if call.query_len else " packed" if call.packed else ""
        names = ("batch", "heads", "query_len", "key_len", "head_dim")
        args: dict[str, Any] = dict(zip(names, call.geometry, strict=True)) if call.query_len else {}
        if call.packed:
            said = ("sequences", "queries", "keys", "pairs")
            args |= {name: known for name in said if (known := getattr(call.packed, name)) is not None}
        args |= {"causal": call.causal, "module": call.module, "kernels": len(call.rows), "kernel_ns": call.duration}
        how = "fused" if call.fused else "eager"
        yield _over(work_table, f"{call.kind} attention{size} ({how})", call.rows, args)


def _idle(work_table: WorkTable, idle: Idle) -> Iterator[Slice]:
    gaps = zip(idle.gap_start.tolist(), idle.gap_end.tolist(), idle.gap_cause, idle.gap_row.tolist(), strict=True)
    for start, end, cause, row in gaps:
        if end > start:
            yield Slice(cause, start, end, {"until": work_table.kernel[row], "idle_ns": end - start})


def _over(work_table: WorkTable, name: str, rows: Sequence[int], args: dict[str, Any]) -> Slice:
    return Slice(name, int(work_table.start[rows].min()), int(work_table.end[rows].max()), args)


def _events(tracks: Mapping[str, Iterable[Slice]]) -> Iterator[bytes]:
    """Our events as JSON text; bars that overlap stand on lanes of their own, since a thread cannot hold them."""
    yield _named("process_name", 0, "frameroof")
    yield _event({"ph": "M", "name": "process_sort_index", "pid": PROCESS, "tid": 0, "args": {"sort_index": -1}})
    thread = 0
    for title, slices in tracks.items():
        for number, lane in enumerate(_lanes(slices), 1):
            thread += 1
            yield _named("thread_name", thread, title if number == 1 else f"{title} {number}")
            order = {"sort_index": thread}
            yield _event({"ph": "M", "name": "thread_sort_index", "pid": PROCESS, "tid": thread, "args": order})
            for bar in lane:
                head = {"ph": "X", "cat": CATEGORY, "name": clean(bar.name), "pid": PROCESS, "tid": thread}
                times = {"ts": _microseconds(bar.start), "dur": _microseconds(bar.end - bar.start)}
                yield _event({**head, **times, "args": bar.args})


def _lanes(slices: Iterable[Slice]) -> list[list[Slice]]:
    lanes: list[list[Slice]] = []
    for bar in sorted(slices, key=lambda s: (s.start, -s.end)):
        free = next((lane for lane in lanes if lane[-1].end <= bar.start), None)
        if free is None:
            lanes.append([bar])
        else:
            free.append(bar)
    return lanes


def _named(what: str, thread: int, name: str) -> bytes:
    return _event({"ph": "M", "name": what, "pid": PROCESS, "tid": thread, "args": {"name": name}})


def _event(event: dict[str, Any]) -> bytes:
    return encoded(event)


def _microseconds(ns: int) -> msgspec.Raw:
    """As the file writes times, every digit kept."""
    sign = "-" if ns < 0 else ""
    return msgspec.Raw(f"{sign}{abs(ns) // 1000}.{abs(ns) % 1000:03d}".encode())


# ---------------------------------------------------------------------------------------------- the copy


def _copy(source: TraceFile, ours: list[bytes], out: BinaryIO) -> None:
    """The head of the file, our events, then all of the original: as it is where it is sound, else what is left."""
    copier = None
    for piece, last in source.pieces():
        if copier is None:
            out.write(_head(source.header))
            copier = _Copier(source, out)
            copier.write(b",\n".join(ours))
        copier.take(piece, last)
    if copier:
        copier.close()


def _head(header: bytes) -> bytes:
    header = header.removeprefix(BOM)
    if header == b"[" or _is_json(header + b"]}"):
        return header
    fields = _fields(msgspec.to_builtins(lenient_header(header)))
    return b"{" + (fields + b"," if fields else b"") + b'"traceEvents":['


class _Copier(PieceReader):
    """Passes on the text of the events, sound or salvaged."""

    def __init__(self, source: TraceFile, out: BinaryIO) -> None:
        super().__init__(source)
        self.out = out
        self.begun = False

    def write(self, events: bytes) -> None:
        """Some events as JSON text, without the brackets of their list."""
        if events:
            self.out.write(b",\n" + events if self.begun else events)
            self.begun = True

    def sound(self, text: bytes) -> bool:
        """Copy text that is JSON as it is, or is so when what is no JSON has left it."""
        text = text.strip(BLANK)
        if not _is_json(b"[" + text + b"]"):
            text = near_json.mended(b"[" + text + b"]")[0][1:-1].strip(BLANK)
            if not _is_json(b"[" + text + b"]"):
                return False
        self.write(_as_utf8(text))
        return True

    def broken(self, piece: bytes, last: bool) -> bytes | None:
        """Copy the events that can be salvaged."""
        repairer = Repairer(keep=True)
        _, tail = repairer.events(piece, last)
        self.write(_as_utf8(b",\n".join(repairer.texts or ())))
        return tail

    def close(self) -> None:
        """Write what stood behind the events."""
        text = b"{" + (self.tail or b"}").strip().lstrip(BLANK)
        try:
            fields: dict[str, Any] = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except BROKEN:
            fields = msgspec.to_builtins(lenient_header(text))
        more = fields.pop("traceEvents", None)
        if more is not None:
            self.sound(bytes(more)[1:-1])
        self.out.write(b"\n]")
        if not self.listed:
            closing = _as_utf8(_fields(fields))
            self.out.write((b"," + closing if closing else b"") + b"}")


def _is_json(text: bytes) -> bool:
    """Checked, not decoded."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except BROKEN:
        return False
    return True


def _as_utf8(text: bytes) -> bytes:
    return text if text.isascii() else text.decode("utf-8", "replace").encode()


def _fields(fields: dict[str, Any]) -> bytes:
    """`"name":value,…` of those that say something."""
    return encoded({name: value for name, value in fields.items() if value not in (None, [])})[1:-1]
