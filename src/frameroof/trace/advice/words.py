"""How a piece of advice is put into words and numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...hardware import Device
from ...recorded import Advice, concerns
from ...run import AttentionRow, Run
from ...units import format_seconds

WIDTH = 60
"""Letters of a function's name; its end says most."""
HOST, DEVICE, MEMORY = "host", "device", "memory"

IDLE_CAUSES = {
    "host_launch": "the host was on its way to the next launch, or inside it",
    "synchronization": "the host had waited for the device",
    "copy": "the host was busy with a copy",
    "dependency": "the launch had returned, and the work waited in the device's queue",
    "graph": "nothing ran between two kernels of a graph replay",
    "profiler": "the profiler was busy with itself",
    "unknown": "of what is not known: the launch is not in the trace",
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


def times(count: int, what: str, many: str = "") -> str:
    """ "1 call", "3 calls"; `many` is a plural that an s does not make."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"


_GENERATED = re.compile(r".*/torchinductor_[^/]*/(?:\w+/)*(\w{,6})\w*(\.py\(\d+\): .*)", re.S)


def short(function: str) -> str:
    """A function's name by its end: file, line and function; of generated code the file's name says little."""
    generated = _GENERATED.fullmatch(function)
    if generated:
        function = f"torchinductor/{generated[1]}…{generated[2]}"
    return function if len(function) <= WIDTH else "…" + function[1 - WIDTH :]


def is_training(run: Run) -> bool:
    """Whether a run has a backward pass: gradients, or steps of an optimizer."""
    return any(
        word in row.name for row in run.operators for word in ("ackward", "autograd::", "Optimizer", "optimizer")
    )


_DENOISES = re.compile(r"denois", re.I)
_LANGUAGE = re.compile(r"CausalLM|LanguageModel|LMHead", re.I)
_CACHES = re.compile(r"paged|kv_?cache|reshape_and_cache|batch_prefill|batch_decode", re.I)

FEW_QUERIES = 8
"""Queries of a sequence, up to which it is decoded: one, or a few where tokens are drafted."""


def denoises(run: Run) -> bool:
    """Whether one of its stages is a denoiser."""
    return any(_DENOISES.search(stage.name) for stage in run.stages)


def repeated(run: Run) -> str:
    """What a run does again and again, in the words of its kind; of several stages the one that waits longest."""
    if is_training(run):
        return "a training step"
    waits = max(run.stages, key=lambda stage: stage.idle_ns, default=None)
    if denoises(run):
        elsewhere = waits and waits.idle_ns and waits.source and not _DENOISES.search(waits.name)
        return f"the {waits.name} stage" if waits and elsewhere else "a denoising step"
    language = any(_LANGUAGE.search(f"{stage.name} {stage.source}") for stage in run.stages)
    if language or any(_CACHES.search(row.name) for row in run.operators):
        decodes = not run.attention or any(_decodes(row) for row in run.attention)
        return "a decoded token" if decodes else "a forward pass"
    return "the part that repeats"


def _decodes(row: AttentionRow) -> bool:
    """Whether each sequence has so few queries that it is answered token by token; no where that is not known."""
    if row.packed:
        return row.packed.queries <= FEW_QUERIES * (row.packed.sequences or 0)
    return 0 < row.query_len <= FEW_QUERIES


def graph_of(device: Device | None) -> str:
    """What a graph of launches is called on a device."""
    if device is None:
        return "CUDA/HIP graph"
    return {"NVIDIA": "CUDA graph", "AMD": "HIP graph"}.get(device.vendor, "graph, where its runtime has them")
