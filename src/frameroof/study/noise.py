"""How much a time of a run may be noise: what its own repetitions say, steps first, then calls of a stage.

A sum over n repetitions varies by the square root of n times the standard deviation of one; twice that is the noise
here (about 95 % of sums lie within it). Where nothing repeats, noise is not known.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from ..recorded import concerns
from ..recorded.concerns import Concern
from ..run import Run

LEAST = 3
"""Repetitions from which on there is a spread."""
SIGMAS = 2.0


def noise_ns(about: Concern, time_ns: float, run: Run) -> float | None:
    """The noise of the time in ns that an advice was about; None where nothing of the run repeats.

    The spread is that of the very time where it is known by step or call, else that of the whole step or call.
    """
    for repeated in _repetitions(about, run):
        mean = statistics.fmean(repeated) if len(repeated) >= LEAST else 0.0
        if mean > 0:
            return SIGMAS * statistics.stdev(repeated) / mean / math.sqrt(len(repeated)) * time_ns
    return None


def _repetitions(about: Concern, run: Run) -> Iterator[list[int]]:
    steady = [step for step in run.steps if not step.kind]
    stage = max((s for s in run.stages if len(s.call_ns) >= LEAST), key=lambda s: s.time_ns, default=None)
    match about:
        case concerns.Idle(cause=cause):
            yield [step.idle.get(cause, 0) for step in steady]
            yield [step.idle_ns for step in steady]
        case concerns.Wait():
            yield [step.idle_ns for step in steady]
        case concerns.Classes(names=names):
            yield [sum(step.classes.get(name, 0) for name in names) for step in steady]
            if stage:
                calls = [stage.call_classes[name] for name in names if name in stage.call_classes]
                yield [sum(each) for each in zip(*calls, strict=True)]
        case concerns.Stage(name=name):
            yield from (s.call_ns for s in run.stages if s.name == name)
    yield [step.busy_ns for step in steady]
    if stage:
        yield stage.call_ns
    yield run.measured.samples_ns or []
