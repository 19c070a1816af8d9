"""What a clock said without the profiler; times in integer nanoseconds, none below 0."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Amount = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""Nanoseconds, bytes, or a number of things."""


class Memory(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The most memory in use."""

    of: str | None = None
    """Whose: the device's allocator, or the process."""
    peak_bytes: Amount | None = None
    reserved_bytes: Amount | None = None
    """What the allocator held at most; None on a CPU."""
    before_bytes: Amount | None = None
    """In use when the clock started."""


class StageTime(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One stage over all repetitions."""

    name: str
    calls: Amount | None = None
    """In one repetition."""
    median_ns: Amount | None = None
    """Of the sum of its calls."""
    min_ns: Amount | None = None
    max_ns: Amount | None = None
    spread_ns: Amount | None = None
    """Width of the middle half."""
    peak_bytes: Amount | None = None
    """The most memory in use during it."""
    repeat: Amount | None = None
    """How often the model's pipeline runs it."""
    samples_ns: list[Amount] | None = None


class Measured(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Repetitions and what else was seen while they ran; empty for a trace that something else recorded."""

    warmup: Amount | None = None
    repeat: Amount | None = None
    cold_ns: Amount | UnsetType | None = UNSET
    """The first call; None where nothing ran before the repetitions."""
    compile_ns: Amount | None = None
    """Of that, what torch.compile took."""
    samples_ns: list[Amount] | None = None
    """Each repetition; empty where none was timed."""
    memory: Memory | None = None
    median_ns: Amount | None = None
    min_ns: Amount | None = None
    max_ns: Amount | None = None
    spread_ns: Amount | None = None
    """Width of the middle half."""
    device_samples_ns: list[Amount] | None = None
    """Each repetition between two events of the device."""
    stages: list[StageTime] | None = None
    profiled_ns: Amount | None = None
    """The recorded repetition, under the profiler."""
    modules: Amount | None = None
    """How many modules were named."""
    graph: bool | None = None
    """Whether a CUDA graph was replayed."""
    sizes: dict[str, int] | None = None
    ran: dict[str, int] | None = None
    """The sizes of what was run, where a part of `sizes` stands for the whole."""
    needed_bytes: Amount | None = None
    """Memory that was expected to be needed."""
    parameters: Amount | None = None
    load_per_core: float | None = None
    """Of the machine, while it was timed."""
    notes: list[str] | None = None
    device: str | None = None
    """cpu or cuda."""
    pipeline_ns: Amount | None = None
    """Stages times how often the pipeline runs them."""
    workload: str | None = None
    """Why there is no workload to match with."""
    extra: dict[str, str] = {}
    """What other writers added."""
