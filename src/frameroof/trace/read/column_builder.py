"""Decoded events -> columns: the only loop over all events, kept to what a column needs."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import itemgetter
from typing import Any

import numpy as np

from ...annotations import FRAME, MODULE, STAGE, STEP
from ...outside import whole
from .begin_end import BeginEndPairs
from .columns import Arguments, Array, Host, Problem, Trace, Work
from .events import CATEGORIES, WORK_KINDS, Args, Header, Kind
from .launch_arrows import LaunchArrows
from .timestamps import nanoseconds, summable
from .unread import Unread, as_text, refuse_unread

_NO_ARGS = Args()
_NO_INPUTS = _NO_ARGS.dims
_KIND = {category: int(kind) for category, kind in CATEGORIES.items()}
_OPERATOR, _PYTHON, _ANNOTATION, _KERNEL = map(int, (Kind.OPERATOR, Kind.PYTHON, Kind.ANNOTATION, Kind.KERNEL))

_LEVEL_ZERO = {
    "zeCommandListAppendMemoryCopy": Kind.MEMCPY,
    "zeCommandListAppendMemoryFill": Kind.MEMSET,
    "zeCommandListAppendImageCopy": Kind.MEMCPY,
}

Part = tuple[int, dict[str, Array]]
"""The number of a piece of the file, and the columns of its events."""


class ColumnBuilder:
    """Takes decoded events in any order and number, gives one `Trace`."""

    def __init__(self) -> None:
        self.names: defaultdict[str, int] = defaultdict()
        self.names.default_factory = self.names.__len__  # a new name gets the next number
        self.threads: dict[tuple[str, str], int] = {}
        self.pids: dict[str, int] = {}
        self.arguments: dict[tuple[bytes, bytes, bytes, bytes], int] = {}
        self.host: list[Part] = []
        self.work: list[Part] = []
        self.unread = Unread()
        self.lost: Counter[tuple[str, str]] = Counter()
        self.flows = LaunchArrows()
        self.correlated = False
        """Whether work with correlation numbers was seen: then the arrows say nothing new and are left alone."""
        self.arrows = False
        """Whether the file holds any, between whatever."""
        self.pairs = BeginEndPairs()
        self.events = 0
        self.fractions = False
        self.texts = 0
        """Events whose times are written as text."""

    def add(self, events: Sequence[Any], at: int = 0) -> None:
        """Take some events (`Event` or `ExactEvent`); `at` is the number of their piece of the file."""
        self.events += len(events)
        python: list[Any] = []
        host: list[Any] = []
        host_kind: list[int] = []
        work: list[Any] = []
        work_kind: list[int] = []
        behind: list[int] = []
        arrows: list[Any] = []
        known = _KIND.get
        for event in events:
            phase = event.ph
            if phase == "X":
                kind = known(event.cat, -1)
                if kind == _PYTHON:
                    python.append(event)
                elif kind >= _KERNEL:
                    work.append(event)
                    work_kind.append(kind)
                    behind.append(len(host))
                elif kind >= 0:
                    host.append(event)
                    host_kind.append(kind)
                else:
                    self.unread.add(event)
            elif phase in ("s", "f"):
                arrows.append(event)
            elif phase in ("B", "E", "M"):
                (self.unread.name if phase == "M" else self.pairs.add)(event)
        self.arrows = self.arrows or bool(arrows)
        if not self.correlated:
            self.flows.add(arrows)
        if python:
            self.host.append((at, self._python_columns(python)))
        if host:
            self.host.append((at, self._host_columns(host, host_kind)))
        if work:
            thread = np.append(-1, self.host[-1][1]["thread"]) if host else np.full(1, -1, dtype=np.int32)
            self.work.append((at, {**self._work_columns(work, work_kind), "after": thread[behind]}))
            self.correlated = self.correlated or bool((self.work[-1][1]["correlation"] > 0).any())

    def seal(self) -> None:
        """Nothing more will be added: it can be sent to another process."""
        self.names.default_factory = None

    def absorb(self, other: ColumnBuilder) -> None:
        """Take all that another builder took, as if its pieces had been added here."""
        name = _renumbered(self.names, other.names)
        thread = _renumbered(self.threads, other.threads)
        pid = _renumbered(self.pids, other.pids)
        argument = _renumbered(self.arguments, other.arguments)
        for _, columns in (*other.host, *other.work):
            for column in ("name", "detail"):
                columns[column] = name[columns[column]]
        for _, columns in other.host:
            columns["thread"] = thread[columns["thread"]]
            columns["args"] = argument[columns["args"]]
        for _, columns in other.work:
            columns["pid"] = pid[columns["pid"]]
            columns["after"] = thread[columns["after"]]
        self.host += other.host
        self.work += other.work
        self.unread.absorb(other.unread)
        self.lost += other.lost
        self.flows.absorb(other.flows)
        self.arrows = self.arrows or other.arrows
        self.events += other.events
        self.texts += other.texts
        self.fractions = self.fractions or other.fractions

    def _common(self, events: list[Any], kinds: list[int]) -> dict[str, Array]:
        starts, lengths = [e.ts for e in events], [e.dur for e in events]
        start, good_start = nanoseconds(starts)
        length, good_length = nanoseconds(lengths, optional=True)
        if not self.fractions:
            self.fractions = bool((start % 1000).any())
        good = good_start & good_length
        if str in map(type, starts) or str in map(type, lengths):
            texts = (type(s) is str or type(t) is str for s, t in zip(starts, lengths, strict=True))
            self.texts += int((np.fromiter(texts, dtype=bool) & good).sum())
        if not good.all():
            self.lost["events whose time is no believable number", "left out"] += int((~good).sum())
        negative = length < 0
        if negative.any():
            self.lost["events of negative length", "counted as of no length"] += int(negative.sum())
            length = np.maximum(length, 0)
        return {
            "kind": np.array(kinds, dtype=np.uint8),
            "name": self._named([e.name for e in events]),
            "start": start,
            "end": start + length,
            "good": good,
        }

    def _named(self, names: Iterable[str]) -> Array:
        return np.fromiter(map(self.names.__getitem__, names), dtype=np.int32)

    def _optional_names(self, names: list[str | None]) -> Array:
        """As `_named`; -1 where there is none."""
        number = self.names
        return np.array([number[name] if name else -1 for name in names], dtype=np.int32)

    def _threads(self, events: list[Any]) -> Array:
        processes = {e.pid for e in events}
        if len(processes) == 1:  # as nearly always: then the thread alone tells
            (process,) = processes
            threads = [e.tid for e in events]
            place = {thread: self._place(process, thread) for thread in set(threads)}
            return np.fromiter(map(place.__getitem__, threads), dtype=np.int32, count=len(events))
        return np.array([self._place(e.pid, e.tid) for e in events], dtype=np.int32)

    def _place(self, process: Any, thread: Any) -> int:
        return self.threads.setdefault((as_text(process), as_text(thread)), len(self.threads))

    def _python_columns(self, events: list[Any]) -> dict[str, Array]:
        """Python frames: most of a file recorded with stacks, and nothing to them but name, thread and time."""
        columns = self._common(events, [_PYTHON] * len(events))
        columns["thread"] = self._threads(events)
        for name in ("correlation", "external"):
            columns[name] = np.full(len(events), -1, dtype=np.int64)
        for name in ("args", "detail"):
            columns[name] = np.full(len(events), -1, dtype=np.int32)
        return columns

    def _host_columns(self, events: list[Any], kinds: list[int]) -> dict[str, Array]:
        columns = self._common(events, kinds)
        args = [e.args or _NO_ARGS for e in events]
        columns["thread"] = self._threads(events)
        columns["correlation"] = _integers([a.correlation for a in args])
        columns["external"] = _integers(
            [a.external_id if a.external_id is not None else a.external_id_2021 for a in args]
        )
        columns["args"] = np.array([-1 if a.dims is _NO_INPUTS else self._arguments(a) for a in args], dtype=np.int32)
        columns["detail"] = self._optional_names([a.kernel or a.hierarchy or a.collective for a in args])
        return columns

    def _work_columns(self, events: list[Any], kinds: list[int]) -> dict[str, Array]:
        columns = self._common(events, kinds)
        args = [e.args or _NO_ARGS for e in events]
        pids, tids = [e.pid for e in events], [_stream(e.tid) for e in events]
        columns["device"] = _integers([p if a.device is None else a.device for a, p in zip(args, pids, strict=True)])
        columns["stream"] = _integers([t if a.stream is None else a.stream for a, t in zip(args, tids, strict=True)])
        columns["correlation"] = _integers([a.correlation for a in args])
        columns["external"] = _integers(
            [a.external_id if a.external_id is not None else a.external_id_2021 for a in args]
        )
        columns["bytes"] = _integers([a.bytes for a in args])
        columns["graph_node"] = _integers([a.graph_node for a in args])
        columns["detail"] = self._optional_names([a.collective for a in args])
        known = {pid: self.pids.setdefault(as_text(pid), len(self.pids)) for pid in set(pids)}
        columns["pid"] = np.fromiter(map(known.__getitem__, pids), dtype=np.int32, count=len(pids))
        return columns

    def _arguments(self, args: Args) -> int:
        strides = bytes(args.strides)
        expanded = b"[0" in strides or b", 0" in strides or b",0" in strides
        key = bytes(args.dims), bytes(args.types), bytes(args.concrete), strides if expanded else b""
        return self.arguments.setdefault(key, len(self.arguments))

    def finish(self, path: str, header: Header, problems: list[Problem]) -> Trace:
        """Everything taken so far as one `Trace`."""
        paired = self.pairs.finish()
        self.add(paired, sys.maxsize)
        found = self.unread.as_known(self.flows)
        self.add(found, sys.maxsize)
        self.events -= len(paired) + len(found)
        refuse_unread(path, self.unread, bool(self.work), bool(self.host))
        problems += self.unread.problems()
        problems += self.pairs.problems()
        problems += [Problem(what, count, action) for (what, action), count in self.lost.items()]
        if self.texts:
            problems.append(Problem("events whose times are written as text", self.texts, "read as numbers"))
        if not self.host and not self.work:
            problems.append(Problem("the file holds no timed event", 1, "there is nothing to analyze"))
        host, work = _joined(self.host, Host), _joined(self.work, Work)
        self._sort_out(host["kind"], host["name"])
        self._copies(work["kind"], work["name"])
        host, work = _summable(host, problems), _summable(work, problems)
        works = np.isin(work["kind"], [int(k) for k in WORK_KINDS])
        spans = work["kind"] == int(Kind.DEVICE_ANNOTATION)
        return Trace(
            path=path,
            header=header,
            names=list(self.names),
            threads=list(self.threads),
            arguments=[Arguments(*texts) for texts in self.arguments],
            pids=list(self.pids),
            host=Host(**_sorted(host, -host["end"], host["start"], host["thread"])),
            work=Work(**_sorted({k: v[works] for k, v in work.items()}, -work["end"][works], work["start"][works])),
            device_spans=Work(**{k: v[spans] for k, v in work.items()}),
            events=self.events,
            ignored=dict(self.unread.counts),
            problems=problems,
            flows=self.flows,
            arrows=self.arrows,
            nanosecond=self.fractions,
        )

    def _copies(self, kind: Array, name: Array) -> None:
        """Level Zero's copies and fills, which some writers list among the kernels."""
        for start, new in _LEVEL_ZERO.items():
            known = [i for i, n in enumerate(self.names) if n.startswith(start)]
            if known:
                kind[(kind == _KERNEL) & np.isin(name, known)] = int(new)

    def _sort_out(self, kind: Array, name: Array) -> None:
        """What the category does not tell but the name does: calls of modules, and the steps of 2021."""
        for old, start, new in (
            (_PYTHON, FRAME, Kind.MODULE),
            (_ANNOTATION, MODULE, Kind.MODULE),
            (_OPERATOR, MODULE, Kind.MODULE),  # a fast range of torch is written as an operator
            (_OPERATOR, STAGE, Kind.ANNOTATION),
            (_OPERATOR, STEP, Kind.ANNOTATION),  # which it became in 2022
        ):
            starts = np.fromiter((n.startswith(start) for n in self.names), dtype=bool, count=len(self.names))
            if starts.any():
                kind[(kind == old) & starts[name]] = int(new)


def _renumbered(known: dict[Any, int], others: Iterable[Any]) -> Array:
    """Another builder's numbers -> ours, with new ones for what is not known yet; -1 stays -1."""
    return np.array([*(known.setdefault(key, len(known)) for key in others), -1], dtype=np.int32)


def _joined(parts: list[Part], record: type[Host] | type[Work]) -> dict[str, Array]:
    """The columns of all pieces in the file's order, without the rows that have no believable time."""
    names = [f.name for f in fields(record)]
    if not parts:
        return {name: np.zeros(0, dtype=np.int64) for name in names}
    in_order = [columns for _, columns in sorted(parts, key=itemgetter(0))]
    good = np.concatenate([columns["good"] for columns in in_order])
    joined = {name: np.concatenate([columns[name] for columns in in_order]) for name in names}
    parts.clear()
    return joined if good.all() else {name: column[good] for name, column in joined.items()}


def _summable(columns: dict[str, Array], problems: list[Problem]) -> dict[str, Array]:
    """Without the events that are so long that no sum would fit."""
    good = summable(columns["start"], columns["end"])
    if good.all():
        return columns
    problems.append(Problem("events so long that nobody can have waited", int((~good).sum()), "left out"))
    return {name: column[good] for name, column in columns.items()}


def _sorted(columns: dict[str, Array], *keys: Array) -> dict[str, Array]:
    order = np.lexsort(keys)
    return {name: column[order] for name, column in columns.items()}


def _integers(values: list[Any]) -> Array:
    """Numbers of the file as int64; -1 where there is none; 64-bit unsigned ones wrap as they do in C."""
    try:
        return np.array([-1 if v is None else v for v in values], dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return np.array([_integer(v) for v in values], dtype=np.int64)


def _integer(value: Any) -> int:
    number = whole(value, -(2**63), 2**64 - 1)
    return -1 if number is None else (number + 2**63) % 2**64 - 2**63


def _stream(tid: Any) -> Any:
    """The stream of a `tid`, which was written "stream 7" until 2022."""
    return tid.rsplit(" ", 1)[-1] if isinstance(tid, str) else tid
