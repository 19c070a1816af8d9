"""Decoded events -> columns: the only loop over all events, kept to what a column needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from .columns import Arguments, Array, Host, Problem, Trace, Work
from .flows import Flows
from .pairs import Pairs
from .schema import CATEGORIES, WORK_KINDS, Args, Header, Kind
from .times import nanoseconds

_NO_ARGS = Args()
_MODULE = "nn.Module: "
MODULE_ANNOTATION = "mod::"
"""How `frameroof.profile` names the call of a module: `mod::` and its path in the model."""


class Gatherer:
    """Takes decoded events in any order and number, gives one `Trace`."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.threads: dict[tuple[str, str], int] = {}
        self.arguments: dict[Arguments, int] = {}
        self.host: list[dict[str, Array]] = []
        self.work: list[dict[str, Array]] = []
        self.ignored: Counter[str] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()
        self.flows = Flows()
        self.correlated = False
        """Whether work with correlation numbers was seen: then the arrows say nothing new and are left alone."""
        self.pairs = Pairs()
        self.events = 0
        self.fractions = False

    def add(self, events: Sequence[Any]) -> None:
        """Take some events (`Event` or `ExactEvent`)."""
        self.events += len(events)
        host: list[Any] = []
        host_kind: list[int] = []
        work: list[Any] = []
        work_kind: list[int] = []
        known = CATEGORIES.get
        if not self.correlated:
            self.flows.add(events)
        for event in events:
            phase = event.ph
            if phase == "X":
                kind = known(event.cat)
                if kind is None:
                    self.ignored[event.cat] += 1
                elif kind < Kind.KERNEL:
                    if kind == Kind.OPERATOR and event.name.startswith("ProfilerStep#"):
                        kind = Kind.ANNOTATION  # which it became in 2022
                    host.append(event)
                    host_kind.append(kind)
                else:
                    work.append(event)
                    work_kind.append(kind)
            elif phase in ("B", "E"):
                self.pairs.add(event)
        if host:
            self.host.append(self._host_columns(host, host_kind))
        if work:
            self.work.append(self._work_columns(work, work_kind))
            self.correlated = self.correlated or bool((self.work[-1]["correlation"] > 0).any())

    def _common(self, events: list[Any], kinds: list[int]) -> dict[str, Array]:
        names = self.names
        start, good_start = nanoseconds([e.ts for e in events])
        length, good_length = nanoseconds([e.dur for e in events])
        if not self.fractions:
            self.fractions = bool((start % 1000).any())
        good = good_start & good_length
        if not good.all():
            self.lost["events whose time is no believable number", "left out"] += int((~good).sum())
        negative = length < 0
        if negative.any():
            self.lost["events of negative length", "counted as of no length"] += int(negative.sum())
            length = np.maximum(length, 0)
        return {
            "kind": np.array(kinds, dtype=np.uint8),
            "name": np.array([names.setdefault(e.name, len(names)) for e in events], dtype=np.int32),
            "start": start,
            "end": start + length,
            "good": good,
        }

    def _host_columns(self, events: list[Any], kinds: list[int]) -> dict[str, Array]:
        columns = self._common(events, kinds)
        args = [e.args or _NO_ARGS for e in events]
        threads, names = self.threads, self.names
        columns["thread"] = np.array(
            [threads.setdefault((str(e.pid), str(e.tid)), len(threads)) for e in events], dtype=np.int32
        )
        columns["correlation"] = _integers([a.correlation for a in args])
        columns["external"] = _integers(
            [a.external_id if a.external_id is not None else a.external_id_2021 for a in args]
        )
        columns["args"] = np.array([self._arguments(a) if bytes(a.dims) else -1 for a in args], dtype=np.int32)
        details = [a.kernel or a.hierarchy or a.collective for a in args]
        columns["detail"] = np.array(
            [names.setdefault(d, len(names)) if d else -1 for d in details], dtype=np.int32
        )
        modules = [
            i
            for i, e in enumerate(events)
            if e.name.startswith(_MODULE if kinds[i] == Kind.PYTHON else MODULE_ANNOTATION)
        ]
        columns["kind"][[i for i in modules if kinds[i] in (Kind.PYTHON, Kind.ANNOTATION)]] = Kind.MODULE
        return columns

    def _work_columns(self, events: list[Any], kinds: list[int]) -> dict[str, Array]:
        columns = self._common(events, kinds)
        args = [e.args or _NO_ARGS for e in events]
        names = self.names
        pids, tids = [e.pid for e in events], [_stream(e.tid) for e in events]
        columns["device"] = _integers([p if a.device is None else a.device for a, p in zip(args, pids, strict=True)])
        columns["stream"] = _integers([t if a.stream is None else a.stream for a, t in zip(args, tids, strict=True)])
        columns["correlation"] = _integers([a.correlation for a in args])
        columns["external"] = _integers(
            [a.external_id if a.external_id is not None else a.external_id_2021 for a in args]
        )
        columns["bytes"] = _integers([a.bytes for a in args])
        columns["graph_node"] = _integers([a.graph_node for a in args])
        columns["detail"] = np.array(
            [names.setdefault(a.collective, len(names)) if a.collective else -1 for a in args], dtype=np.int32
        )
        return columns

    def _arguments(self, args: Args) -> int:
        key = Arguments(bytes(args.dims), bytes(args.types), bytes(args.concrete))
        return self.arguments.setdefault(key, len(self.arguments))

    def finish(self, path: str, header: Header, problems: list[Problem]) -> Trace:
        """Everything taken so far as one `Trace`."""
        paired = self.pairs.finish()
        self.add(paired)
        self.events -= len(paired)
        problems += self.pairs.problems()
        problems += [Problem(what, count, action) for (what, action), count in self.lost.items()]
        host = _joined(self.host, Host)
        work = _joined(self.work, Work)
        works = np.isin(work["kind"], [int(k) for k in WORK_KINDS])
        spans = work["kind"] == int(Kind.DEVICE_ANNOTATION)
        return Trace(
            path=path,
            header=header,
            names=list(self.names),
            threads=list(self.threads),
            arguments=list(self.arguments),
            host=Host(**_sorted(host, -host["end"], host["start"], host["thread"])),
            work=Work(**_sorted({k: v[works] for k, v in work.items()}, -work["end"][works], work["start"][works])),
            device_spans=Work(**{k: v[spans] for k, v in work.items()}),
            events=self.events,
            ignored=dict(self.ignored),
            problems=problems,
            flows=self.flows,
            nanosecond=self.fractions,
        )


def _joined(parts: list[dict[str, Array]], record: type[Host] | type[Work]) -> dict[str, Array]:
    """The columns of all pieces one after the other, without the rows that have no believable time."""
    names = [f.name for f in fields(record)]
    if not parts:
        return {name: np.zeros(0, dtype=np.int64) for name in names}
    good = np.concatenate([p["good"] for p in parts])
    joined = {name: np.concatenate([p[name] for p in parts]) for name in names}
    parts.clear()
    return joined if good.all() else {name: column[good] for name, column in joined.items()}


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
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return -1
    return (number + 2**63) % 2**64 - 2**63


def _stream(tid: Any) -> Any:
    """The stream of a `tid`, which was written "stream 7" until 2022."""
    return tid.rsplit(" ", 1)[-1] if isinstance(tid, str) else tid
