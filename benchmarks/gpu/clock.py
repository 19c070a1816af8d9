"""Samples: CUDA events around one call, the L2 cache overwritten before it, cases in random order in every round.

What overwrites the cache also fills the device's queue, so that the host's launches do not show between two events.
On a CPU the host's clock takes the place of events, and nothing is overwritten.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .record import Log, Row, Session

WARM = 3  # calls before the clock: modules loaded, algorithms chosen
FLUSHED = 4  # times the L2 cache that is overwritten
Work = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One thing to time: `make` allocates its inputs and gives what is called."""

    name: str
    prediction: Row
    make: Callable[[], Work]
    about: Mapping[str, Any] = field(default_factory=dict)


def timed(log: Log, cases: Sequence[Case], group: int = 8, graphs: bool = False) -> None:
    """Predict all cases, then measure those that are left, a group at a time, and write after each group.

    `graphs`: replay each from a CUDA graph, so that what the host needs for its launches does not count.
    """
    for case in cases:
        if log.session.wanted(case.name):
            log.predict(case.name, case.prediction, **case.about)
    log.save()
    names = set(log.todo([case.name for case in cases]))
    left = [case for case in cases if case.name in names]
    for at in range(0, len(left), group):
        if log.session.late:
            return
        _group(log, left[at : at + group], graphs and log.session.cuda)
        log.save()


def _group(log: Log, cases: Sequence[Case], graphs: bool) -> None:
    works: dict[str, Work] = {}
    for case in cases:
        try:
            work = case.make()
            with torch.inference_mode():
                for _ in range(WARM):
                    work()
                settle(log.session)
                if graphs:
                    work = captured(work)
        except Exception as error:  # no such kernel here, no memory: said in the row
            log.refuse(case.name, error)
            continue
        works[case.name] = work
    for name, samples in sample(log.session, works).items():
        log.measure(name, samples)
    works.clear()
    if log.session.cuda:
        torch.cuda.empty_cache()


@torch.inference_mode()
def sample(session: Session, works: Mapping[str, Work]) -> dict[str, list[float]]:
    """Seconds of each work, `session.samples` of them; every round runs all in another order."""
    order = random.Random(session.seed)
    found: dict[str, list[float]] = {name: [] for name in works}
    flush = flusher(session)
    for _ in range(session.samples):
        marks = []
        for name in order.sample(list(works), len(works)):
            flush()
            start = mark(session)
            works[name]()
            marks.append((name, start, mark(session)))
        settle(session)
        for name, start, end in marks:
            found[name].append(between(start, end))
    return found


def captured(work: Work) -> Work:
    """The same as a graph, on a CUDA device, for work that has run before; its inputs live as long as it does."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()

    def replay(inputs: Work = work) -> None:
        graph.replay()

    return replay


def flusher(session: Session) -> Callable[[], None]:
    """What overwrites the L2 cache; nothing on a CPU or where it is not asked for."""
    if not (session.cuda and session.flush):
        return lambda: None
    size = getattr(torch.cuda.get_device_properties(session.device), "L2_cache_size", 64 << 20)
    buffer = torch.empty(FLUSHED * size, dtype=torch.uint8, device=session.device)
    return lambda: (buffer.fill_(1), None)[1]


def settle(session: Session) -> None:
    """Wait for the device."""
    if session.cuda:
        torch.cuda.synchronize(session.device)


def mark(session: Session) -> Any:
    """A point in the order of the device's work; on a CPU the time, in ns."""
    if not session.cuda:
        return time.perf_counter_ns()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(start: Any, end: Any) -> float:
    """Seconds between two marks that have passed."""
    return (end - start) / 1e9 if isinstance(start, int) else start.elapsed_time(end) / 1e3


def randn(session: Session, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Random inputs: zeros run faster than data."""
    return torch.randn(shape, device=session.device).to(dtype)
