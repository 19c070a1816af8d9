"""Events that the reader does not know: counted, named by their writer, and refused where they are a device's work.

A report of the host alone, made from a file whose device's work was not understood, would be false: such a file is
refused with a sentence that names its format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from .ascend import as_known, is_ascend
from .columns import Problem
from .file import TraceError
from .launch_arrows import LaunchArrows
from .timestamps import exact

HARMLESS = frozenset({"Trace", "frameroof"})
"""The profiler's own span, and the tracks that frameroof adds: nothing that ran."""
_OF_DEVICE = re.compile(
    r"kernel|gpu|npu|hpu|xpu|tpu|mtia|gaudi|habana|ascend|neuron|device|cuda|hip\b|memcpy|memset|stream|xla ops", re.I
)
_FORMATS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "XLA (JAX or TensorFlow)",
        re.compile(r"^/(?:device|host):|XLA (?:Ops|Modules)|TensorFlow Ops", re.M),
        "frameroof reads traces of PyTorch's profiler and of Nsight Systems; XProf reads this one",
    ),
    (
        "nsys2json",
        re.compile(r"^(?:Device|GPU) \d+\n(?:.*\n)*?category (?:cuda|nvtx|nvtx-kernel)$", re.M),
        "give the SQLite export of Nsight Systems that it was made from",
    ),
    (
        "the profiler of PyTorch before 1.8.1 (torch.autograd.profiler)",
        re.compile(r"^(?:CPU|CUDA) functions$", re.M),
        "its device times are those of operators, one inside the other; record with torch.profiler",
    ),
    (
        "rocprof",
        re.compile(r"CPU HIP API|CPU HSA API|^\d* ?GPU\d+$|KERNEL_DISPATCH|HIP_API", re.M),
        "record with torch.profiler",
    ),
    ("Habana (Gaudi)", re.compile(r"gaudi|habana|synapse|\bHPU\b", re.I), "record with torch.profiler and its hpu_op"),
    ("AWS Neuron", re.compile(r"neuron(?:core|device)?", re.I), "record with torch.profiler"),
)
"""(writer, what the names of its processes, threads and categories are like, what to do)."""
_RECORD = "record with torch.profiler"
_OF_HOST_ALONE = (
    ("ONNX Runtime", re.compile(r"^category (?:Node|Session)$", re.M)),
    ("TensorFlow's timeline", re.compile(r"^category Op$", re.M)),
    ("VizTracer, which times the host alone", re.compile(r"^category (?:fee|FEE)$", re.M)),
    ("a browser", re.compile(r"^category (?:blink|v8|cc|toplevel|devtools\.timeline|loading|navigation)\b", re.M)),
)
"""Writers whose categories mean something else in a file that holds others, too."""


class Unread:
    """Collects events of unknown categories, and what the file calls its processes and threads."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lengths: Counter[str] = Counter()
        """Of each category, in ns."""
        self.nameless: list[Any] = []
        """Events without any category."""
        self.processes: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.threads: set[str] = set()
        self.places: set[tuple[str, str]] = set()
        """(category, process) of events that are not read."""
        self.of_device = False
        """Whether one names a stream or a device."""

    def add(self, event: Any) -> None:
        """Take an event whose category is unknown."""
        if event.cat in HARMLESS:
            self.counts[event.cat] += 1
        elif event.cat:
            self._count(event)
        else:
            self.nameless.append(event)

    def _count(self, event: Any) -> None:
        self.counts[event.cat] += 1
        self.lengths[event.cat] += exact(event.dur) or 0
        self.places.add((event.cat, as_text(event.pid)))
        args = event.args or None
        self.of_device = self.of_device or (args is not None and (args.stream is not None or args.device is not None))

    def name(self, event: Any) -> None:
        """Take an event of phase M: what a process or thread is called."""
        told = event.args or None
        if told is not None:
            if event.name == "process_name":
                self.processes[as_text(event.pid)] = _text(told.title)
            elif event.name == "process_labels":
                self.labels[as_text(event.pid)] = _text(told.labels)
            elif event.name == "thread_name" and len(self.threads) < 10_000:
                self.threads.add(_text(told.title))

    def absorb(self, other: Unread) -> None:
        """Take all that was collected elsewhere."""
        self.counts += other.counts
        self.lengths += other.lengths
        self.nameless += other.nameless
        self.processes |= other.processes
        self.labels |= other.labels
        self.threads |= other.threads
        self.places |= other.places
        self.of_device = self.of_device or other.of_device

    def as_known(self, flows: LaunchArrows) -> list[Any]:
        """Events without a category as those they are, where their writer is known; the others are counted."""
        found: list[Any] = []
        rest = self.nameless
        if rest and is_ascend(self.processes):
            found, rest = as_known(rest, self.processes, self.labels, flows)
        self.nameless = []
        for event in rest:
            self._count(event)
        return found

    def problems(self) -> list[Problem]:
        """Which categories were left out, how many events, and how long."""
        return [
            Problem(f"events of {_named(category)}", count, f"left out ({self.lengths[category] / 1e6:.3f} ms of them)")
            for category, count in self.counts.most_common()
            if category not in HARMLESS
        ]

    def said(self) -> str:
        """Every name in the file that may tell its writer, one a line."""
        pids = {pid for _, pid in self.places}
        names = [self.processes.get(pid, pid) for pid in sorted(pids)]
        categories = [f"category {category}" for category in sorted(self.counts) if category not in HARMLESS]
        return "\n".join([*pids, *names, *sorted(self.threads), *(self.labels.get(p, "") for p in pids), *categories])


def refuse_unread(path: str, unread: Unread, work: bool, host: bool) -> None:
    """Raise `TraceError`, which names the format, where a device's events were not read and no other work was, or
    where nothing was read: `work` and `host` say whether any event of a device or of the host was."""
    categories = [category for category in unread.counts if category not in HARMLESS]
    if work or not categories:
        return
    said = unread.said()
    for writer, pattern, remedy in _FORMATS:
        if pattern.search(said):
            raise TraceError(f"{path} was written by {writer}, which frameroof does not read; {remedy}")
    count, length = sum(unread.counts[c] for c in categories), sum(unread.lengths.values())
    if not host and not (unread.of_device or _OF_DEVICE.search(said)):
        for writer, pattern in _OF_HOST_ALONE:
            if pattern.search(said):
                raise TraceError(f"{path} was written by {writer}, which frameroof does not read; {_RECORD}")
        raise TraceError(
            f"{path} holds no event that frameroof knows, but {count} of {_listed(categories)} "
            f"({length / 1e6:.3f} ms); {_RECORD}"
        )
    if unread.of_device or _OF_DEVICE.search(said):
        raise TraceError(
            f"{path} holds no work of a device that frameroof knows, but {count} events of {_listed(categories)} "
            f"({length / 1e6:.3f} ms), which may be that; record with torch.profiler"
        )


def as_text(value: Any) -> str:
    """A process or thread as text; "" for a number of thousands of digits, which Python refuses to write."""
    try:
        return str(value)
    except ValueError:
        return ""


def _named(category: str) -> str:
    return f"the category {category!r}" if category else "no category"


def _listed(categories: Iterable[str]) -> str:
    return ", ".join(_named(category) for category in list(categories)[:5])


def _text(raw: Any) -> str:
    try:
        value = msgspec.json.decode(raw) if raw else ""
    except msgspec.DecodeError:
        return ""
    return value if isinstance(value, str) else str(value)
