"""How a piece of advice is put into words and numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...recorded import Advice, concerns
from ...run import Run
from ...units import format_seconds

HOST, DEVICE, MEMORY = "host", "device", "memory"

IDLE_CAUSES = {
    "host_launch": "the host was on its way to the next launch, or inside it",
    "synchronization": "the host had waited for the device",
    "copy": "the host was busy with a copy",
    "dependency": "the launch had returned, and the work waited in the device's queue",
    "graph": "between kernels of a graph replay",
    "profiler": "overhead of the profiler",
    "unknown": "the launch is not in the trace",
}
"""What each cause of idle time means (`find.idle`)."""


class Said(NamedTuple):
    """An advice in words: what to do, why (with numbers), how, and from which numbers its gain follows."""

    title: str
    evidence: str
    how: str
    arithmetic: str = ""


def suggest(name: str, about: concerns.Concern, said: Said, gain_ns: float, kind: str = DEVICE) -> Advice:
    """An advice with the id `name` whose bound is `gain_ns`, which is never less than nothing."""
    gain = max(0.0, gain_ns) / 1e9
    return Advice(said.title, said.evidence, gain, said.how, kind, name, about, said.arithmetic)


def ms(ns: float) -> str:
    """A time as the tables write it."""
    return format_seconds(ns / 1e9, 4)


def times(count: int, what: str) -> str:
    """ "1 call", "3 calls"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def is_training(run: Run) -> bool:
    """Whether a run has a backward pass: gradients, or steps of an optimizer."""
    return any(
        word in row.name for row in run.operators for word in ("ackward", "autograd::", "Optimizer", "optimizer")
    )


_DENOISES = re.compile(r"denois", re.I)
_LANGUAGE = re.compile(r"CausalLM|LanguageModel|LMHead", re.I)
_CACHES = re.compile(r"paged|kv_?cache|reshape_and_cache|batch_prefill|batch_decode", re.I)


def repeated(run: Run) -> str:
    """What a run does again and again, in the words of its kind."""
    if is_training(run):
        return "a training step"
    if any(_DENOISES.search(stage.name) for stage in run.stages):
        return "a denoising step"
    language = any(_LANGUAGE.search(f"{stage.name} {stage.source}") for stage in run.stages)
    if language or any(_CACHES.search(row.name) for row in run.operators):
        return "a decoded token"
    return "the part that repeats"
