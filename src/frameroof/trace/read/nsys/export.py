"""An SQLite export of Nsight Systems -> `Trace`: the same columns as a Kineto file, as far as it carries the facts.

Sources of the layout: `schema.py`. What differs from Kineto, and what is done about it:

- One file may hold several processes, and correlation numbers count per process: the number of the process goes into
  the upper 32 bits (that of the first is 0), and devices get the numbers of the machine where the file maps them.
- `--cuda-graph-trace=graph` (the default) records a replay as one row: one piece of work, and a problem that says so.
  With `=node` the kernels are there; each is linked to the operator under which its node was captured.
- Operators come from NVTX ranges that PyTorch emits; they carry dimensions, but neither types nor scalars.
- Start/end ranges may overlap anything; those that do stand on a thread of their own and enclose nothing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..columns import Arguments, Array, Host, Problem, Trace, Work
from ..events import WORK_KINDS, DeviceProperties, Header, Kind
from ..file import TraceError, is_sqlite
from ..timestamps import LIMIT_NS, summable
from . import schema as layout
from .graph_nodes import captured_under
from .nvtx import ranges
from .sqlite import NONE, Database

__all__ = ["is_sqlite", "read_nsys"]

Columns = dict[str, Array]


def read_nsys(path: str | os.PathLike[str], *, progress: Callable[[int], None] | None = None) -> Trace:
    """Read what `nsys export --type sqlite` wrote. `progress` is called with the bytes of the file done so far.

    Raises `TraceError` (a sentence) where the file is no such export, is locked or is broken.
    """
    try:
        database = Database(path)
        try:
            return _Reader(database, progress).read()
        finally:
            database.close()
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:  # the schema itself may be no text
        raise TraceError(f"{Path(path)}: the SQLite database is broken ({error})") from error


class _Reader:
    """Collects the tables of one export."""

    def __init__(self, database: Database, progress: Callable[[int], None] | None) -> None:
        self.database = database
        self.progress = progress
        self.strings = database.strings()
        self.names: dict[str, int] = {}
        self.threads: dict[tuple[str, str], int] = {}
        self.arguments: dict[Arguments, int] = {}
        self.work: list[Columns] = []
        self.host: list[Columns] = []
        self.problems: list[Problem] = []
        self.ignored: dict[str, int] = {}
        self.events = 0

    def read(self) -> Trace:
        """All tables as one trace."""
        if not any(self.database.has(table) for table in layout.EVENTS):
            raise TraceError(
                f"{self.database.path} holds neither CUDA nor NVTX events; record with nsys profile --trace=cuda,nvtx"
            )
        steps = (self._kernels, self._copies, self._fills, self._graphs, self._syncs, self._calls, self._overhead)
        size = self.database.path.stat().st_size
        for i, step in enumerate((*steps, self._ranges, self._unread)):
            step()
            if self.progress:
                self.progress(size * (i + 1) // (len(steps) + 2))
        host, work = _joined(self.host, Host), _joined(self.work, Work)
        self._processes(host, work)
        host = _ordered(host, -host["end"], host["start"], host["thread"])
        work = _ordered(work, -work["end"], work["start"])
        work["external"], unknown = captured_under(self.database, work, host, list(self.threads))
        if unknown:
            action = "linked to nothing but their launch: the capture was not recorded"
            self.problems.append(Problem("graph nodes whose creation is not in the file", unknown, action))
        working = np.isin(work["kind"], [int(k) for k in WORK_KINDS])
        return Trace(
            path=str(self.database.path),
            header=self._header(),
            names=list(self.names),
            threads=list(self.threads),
            arguments=list(self.arguments),
            pids=[],
            host=Host(**_only(host, Host)),
            work=Work(**{k: v[working] for k, v in _only(work, Work).items()}),
            device_spans=Work(**{k: v[~working] for k, v in _only(work, Work).items()}),
            events=self.events,
            ignored=self.ignored,
            problems=self.problems,
        )

    # ------------------------------------------------------------------------------------ work

    def _kernels(self) -> None:
        def name(*numbers: int) -> str:
            return next((self.strings[n] for n in numbers if n in self.strings), "(unnamed kernel)")

        self._work(layout.KERNELS, Kind.KERNEL, ("demangledName", "shortName", "mangledName"), name)

    def _copies(self) -> None:
        self._work(layout.COPIES, Kind.MEMCPY, ("copyKind", "srcKind", "dstKind"), layout.copy_name)

    def _fills(self) -> None:
        self._work(layout.FILLS, Kind.MEMSET, ("memKind",), layout.fill_name)

    def _graphs(self) -> None:
        count = self._work(layout.GRAPHS, Kind.KERNEL, (), lambda: layout.GRAPH_REPLAY)
        if count:
            action = "each counted as one piece of work, its kernels unseen; --cuda-graph-trace=node records them"
            self.problems.append(Problem("CUDA graph replays recorded as a whole", count, action))

    def _syncs(self) -> None:
        self._work(layout.SYNCS, Kind.SYNC, ("syncType",), layout.sync_name)

    def _work(self, table: str, kind: Kind, naming: tuple[str, ...], describe: Callable[..., str]) -> int:
        if not self.database.has(table):
            return 0
        shared = ("deviceId", "streamId", "correlationId", "globalPid", "bytes", "graphNodeId")
        rows = self.database.integers(table, ("start", "end"), (*shared, *naming))
        self.events += len(rows["start"])
        # 0 and 0, or NULL: CUPTI could not collect the times
        timed = (rows["end"] >= rows["start"]) & (rows["end"] > 0) & _believable(rows)
        self._lost(f"rows of {table} without believable times", int((~timed).sum()))
        rows = {name: column[timed] for name, column in rows.items()}
        count = int(timed.sum())
        none = np.full(count, -1, dtype=np.int64)
        self.work.append(
            {
                "kind": np.full(count, int(kind), dtype=np.uint8),
                "name": self._named([rows[n] for n in naming], describe, count),
                "device": rows["deviceId"],
                "stream": rows["streamId"],
                "start": rows["start"],
                "end": rows["end"],
                "correlation": rows["correlationId"],
                "external": none,
                "bytes": rows["bytes"],
                "graph_node": rows["graphNodeId"],
                "detail": none.astype(np.int32),
                "pid": none.astype(np.int32),
                "after": none.astype(np.int32),
                "process": _process(rows["globalPid"]),
            }
        )
        return count

    def _named(self, columns: list[Array], describe: Callable[..., str], count: int) -> Array:
        """Index of the name of each row; `describe` is asked once for each combination of values."""
        key = np.zeros(count, dtype=np.int64)
        for column in columns:
            values, at = np.unique(column, return_inverse=True)
            key = key * len(values) + at
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        found = [self.index(describe(*(int(column[i]) for column in columns))) for i in first.tolist()]
        return np.array(found, dtype=np.int32)[inverse]

    def index(self, name: str) -> int:
        """The number of a name."""
        return self.names.setdefault(name, len(self.names))

    # ------------------------------------------------------------------------------------ host

    def _calls(self) -> None:
        for table in layout.CALLS:
            self._host(table, Kind.RUNTIME, "(unnamed call)")

    def _overhead(self) -> None:
        for table in layout.OVERHEADS:
            self._host(table, Kind.OVERHEAD, "Nsight Systems")

    def _host(self, table: str, kind: Kind, unnamed: str) -> None:
        if not self.database.has(table):
            return
        rows = self.database.integers(table, ("start", "end"), ("globalTid", "correlationId", "nameId"))
        self.events += len(rows["start"])
        timed = (rows["end"] >= rows["start"]) & _believable(rows)
        self._lost(f"rows of {table} without believable times", int((~timed).sum()))
        rows = {name: column[timed] for name, column in rows.items()}
        count = int(timed.sum())
        none = np.full(count, -1, dtype=np.int64)
        self.host.append(
            {
                "kind": np.full(count, int(kind), dtype=np.uint8),
                "name": self._named([rows["nameId"]], lambda n: layout.call_name(self.strings.get(n, unnamed)), count),
                "thread": self.numbered(rows["globalTid"]),
                "start": rows["start"],
                "end": rows["end"],
                "correlation": rows["correlationId"] if kind == Kind.RUNTIME else none,
                "external": none,
                "args": none.astype(np.int32),
                "detail": none.astype(np.int32),
                "process": _process(rows["globalTid"]),
            }
        )

    def numbered(self, global_ids: Array, lane: str = "") -> Array:
        """Index of the thread of each row."""
        values, inverse = np.unique(global_ids, return_inverse=True)
        found = []
        for value in values.tolist():
            pid, tid = ("", "") if value == -1 else (layout.process(value), layout.thread(value))
            found.append(self.threads.setdefault((str(pid), f"{tid}{lane}"), len(self.threads)))
        return np.array(found, dtype=np.int32)[inverse]

    def _ranges(self) -> None:
        if not self.database.has(layout.RANGES):
            return
        ends = [c["end"].max() for c in (*self.work, *self.host) if len(c["end"])]
        found = ranges(self.database, self.strings, int(max(ends, default=0)))
        self.events += found.seen
        self.problems += found.problems
        self.ignored |= found.ignored
        if not len(found.start):
            return
        count = len(found.start)
        none = np.full(count, -1, dtype=np.int32)
        threads = self.numbered(found.thread)
        if found.aside.any():
            threads[found.aside] = self.numbered(found.thread[found.aside], " ranges")
        sizes = [Arguments(r.sizes.encode(), b"", b"") if r.sizes else None for r in found.read]
        given = [-1 if a is None else self.arguments.setdefault(a, len(self.arguments)) for a in sizes]
        self.host.append(
            {
                "kind": np.array([int(r.kind) for r in found.read], dtype=np.uint8),
                "name": np.array([self.index(r.name) for r in found.read], dtype=np.int32),
                "thread": threads,
                "start": found.start,
                "end": found.end,
                "correlation": none.astype(np.int64),
                "external": np.array([r.number for r in found.read], dtype=np.int64),
                "args": np.array(given, dtype=np.int32),
                "detail": none,
                "process": _process(found.thread),
            }
        )

    def _unread(self) -> None:
        read = {*layout.EVENTS, layout.NODES, *self.database.named.values()}
        for table in sorted(self.database.tables):
            if table not in read and layout.UNREAD.fullmatch(table):
                self.ignored[table] = self.database.count(table)
        missed = [table for table, count in self.ignored.items() if layout.OF_DEVICE.fullmatch(table) and count]
        if missed and not any(np.isin(c["kind"], [int(k) for k in WORK_KINDS]).any() for c in self.work):
            counts = ", ".join(f"{self.ignored[table]} rows of {table}" for table in missed[:4])
            raise TraceError(
                f"{self.database.path} holds the work of its devices in tables that frameroof does not know "
                f"({counts}); export the report again with a current Nsight Systems"
            )
        self.events += sum(count for table, count in self.ignored.items() if table in self.database.tables)

    def _lost(self, what: str, count: int) -> None:
        if count:
            self.problems.append(Problem(what, count, "left out"))

    # ------------------------------------------------------------------------------------ the whole

    def _processes(self, host: Columns, work: Columns) -> None:
        """Make correlation, device and stream numbers unique over all processes of the file."""
        known = np.unique(np.concatenate([host["process"], work["process"]]))
        known = known[known >= 0]
        calling = np.unique(host["process"][host["kind"] == int(Kind.RUNTIME)])
        unnamed = work["process"] < 0
        if len(calling) == 1:  # all work is that of the only process that calls the device
            work["process"][unnamed] = calling[0]
        elif len(calling) > 1 and unnamed.any():
            work["correlation"][unnamed] = -1
            what = "pieces of work whose process is not named, in a file of several processes"
            self.problems.append(Problem(what, int(unnamed.sum()), "counted, but linked to no launch"))
        for rows in (host, work):
            number = np.maximum(np.searchsorted(known, rows["process"]), 0)
            rows["correlation"] = np.where(rows["correlation"] > 0, rows["correlation"] + (number << 32), -1)
            rows["number"] = number
        self._devices(work)
        pairs = set(zip(work["device"].tolist(), work["process"].tolist(), strict=True))
        if len({device for device, _ in pairs}) < len(pairs):  # shared devices: equal numbers are different streams
            work["stream"] = work["stream"] + (work["number"] << 32)

    def _devices(self, work: Columns) -> None:
        """A process numbers the devices it sees; the machine's numbers, where the file tells them."""
        if not self.database.has("TARGET_INFO_CUDA_DEVICE", "gpuId", "cudaId", "pid"):
            return
        rows = self.database.integers("TARGET_INFO_CUDA_DEVICE", (), ("pid", "cudaId", "gpuId"))
        device = work["device"].copy()
        for pid, cuda, gpu in zip(*(rows[n].tolist() for n in ("pid", "cudaId", "gpuId")), strict=True):
            work["device"][(work["process"] & 0xFFFFFF == pid) & (device == cuda)] = gpu

    def _header(self) -> Header:
        database = self.database
        system = database.pairs("TARGET_INFO_SYSTEM_ENV", "name", "value")
        export = database.pairs("META_DATA_EXPORT", "name", "value")
        version = export.get("EXPORT_SCHEMA_VERSION")
        product = export.get("EXPORT_PRODUCT_VERSION")
        described = f"Nsight Systems {product or '(version unknown)'}" + (f", schema {version}" if version else "")
        start = None
        if database.has("TARGET_INFO_SESSION_START_TIME", "utcEpochNs"):
            found = database.integers("TARGET_INFO_SESSION_START_TIME", ("utcEpochNs",), ())["utcEpochNs"]
            start = next((value for value in found.tolist() if value > 0), None)
        return Header(
            devices=self._listed(),
            base_ns=start,
            schema_version=described,
            cuda_driver=system.get("CudaDriverVersion"),
            host_name=system.get("Hostname"),
        )

    def _listed(self) -> list[DeviceProperties]:
        for table, number in (("TARGET_INFO_GPU", "id"), ("TARGET_INFO_CUDA_GPU", "deviceId")):
            if self.database.has(table, "name", number):
                rows = self.database.integers(table, (), (number, "totalMemory"))
                names = self.database.texts(table, "name")
                each = zip(rows[number].tolist(), names, rows["totalMemory"].tolist(), strict=True)
                return [DeviceProperties(n, name or "", memory if memory > 0 else None) for n, name, memory in each]
        return []


def _process(global_ids: Array) -> Array:
    """What is common to a process's GlobalIds; -1 where there is none."""
    return np.where(global_ids == -1, -1, (global_ids >> 24) & ((1 << 40) - 1))


def _believable(rows: Columns) -> Array:
    good: Array = (rows["start"] != NONE) & (rows["start"] > -LIMIT_NS) & (rows["end"] < LIMIT_NS)
    good[good] = summable(rows["start"][good], rows["end"][good])
    return good


def _joined(parts: list[Columns], record: type[Host] | type[Work]) -> Columns:
    if parts:
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    names = [*record.__dataclass_fields__, "process"]
    return {name: np.zeros(0, dtype=np.int64) for name in names}


def _ordered(columns: Columns, *keys: Array) -> Columns:
    order = np.lexsort(keys)
    return {name: column[order] for name, column in columns.items()}


def _only(columns: Columns, record: type[Host] | type[Work]) -> Columns:
    return {name: columns[name] for name in record.__dataclass_fields__}
