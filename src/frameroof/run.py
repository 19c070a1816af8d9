"""Run: what was measured, in one record that is saved as a folder and read by `gap`, `compare` and the reports.

`run.json` holds the record (times in integer nanoseconds); `work.parquet` one row per piece of work, when there is any.
The JSON of `frameroof analyze --json` is this record; `version` changes with its meaning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .dtypes import TORCH
from .files import read_whole
from .hardware import Device
from .outside import from_json, quoted, record
from .recorded import Advice as Advice
from .recorded import Environment, Measured, Origin, left_over
from .recorded.measured import Amount
from .rules import attention_flops, masked_pairs
from .written import as_json, make_folder, together, write_whole

VERSION = 1
MOST_BYTES = 1 << 25
"""Bytes of `run.json`."""


class Summary(msgspec.Struct):
    """The run as a whole; times of the device in ns."""

    device: str | None
    """The device's name as the file gives it."""
    hardware: str | None
    """The same device in `frameroof hardware`, if it is known."""
    busy_ns: int
    """Union of all work."""
    span_ns: int
    """First start to last end."""
    idle_ns: int
    """Span less busy."""
    kernel_ns: int
    """Sum over kernels."""
    memory_ns: int
    """Sum over copies and fills."""
    kernels: int
    copies: int
    events: int
    streams: int
    devices: int
    short_kernels: int
    """Kernels under 10 us."""
    flops: float | None
    bytes: float | None
    on_cpu: bool = False
    host_only: bool = False
    """Times of the host alone: the file speaks of a device, or was cut off, and holds none of its work."""


class OperatorRow(msgspec.Struct):
    """All work of one operator in one class."""

    class_: str = msgspec.field(name="class")
    name: str = ""
    time_ns: int = 0
    count: int = 0
    """Calls of the operator; pieces of work where the operator is unknown."""
    kernels: int = 0
    flops: float | None = None
    bytes: float | None = None
    flops_per_s: float | None = None
    bytes_per_s: float | None = None
    """None too where it would be above the memory's: a cache served it, or only a part of the inputs was read."""
    share_of_peak: float | None = None
    """Achieved FLOP/s over the device's dense peak at the operator's dtype; of causal attention those it computes."""
    dtype: str | None = None


class ShapeRow(msgspec.Struct):
    """All calls of one operator with the same inputs in one stage: what `gap` matches with a workload."""

    class_: str = msgspec.field(name="class")
    name: str = ""
    stage: str = ""
    module: str = ""
    """Deepest module path that all its calls share."""
    dims: list[list[Amount | list[Amount]]] = msgspec.field(default_factory=list)
    """Of each input: its dimensions, those of each of its tensors, or none."""
    dtype: str | None = None
    time_ns: int = 0
    count: int = 0
    flops: float | None = None
    bytes: float | None = None
    over_link: bool = False
    """Whether it is copies between host and device, which the link between them limits and not the memory."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an input that mixes numbers and lists."""
        if any(len(set(map(type, each))) > 1 for each in self.dims):
            raise ValueError("an input's dimensions are whole numbers, or a list of them for each tensor")


class GroupRow(msgspec.Struct):
    """Time of a class, a kernel or a module."""

    name: str
    time_ns: int
    count: int
    share: float
    flops: float | None = None
    bytes: float | None = None
    flops_ns: int = 0
    """Time of the part whose FLOPs are known: what `flops` is to be divided by."""


class ModuleRow(msgspec.Struct):
    """All work under one module path, the gaps before its kernels, and how long those are."""

    name: str
    time_ns: int
    count: int
    """Pieces of work."""
    share: float
    idle_ns: int
    """Idle time of the device that ended with work of this module."""
    mean_gap_ns: float
    """Idle time before a piece of work, on average: the time between the kernels of a layer."""


class AttentionRow(msgspec.Struct):
    """All attention calls of one geometry."""

    kind: str
    query_len: int
    key_len: int
    heads: int
    head_dim: int
    batch: int
    time_ns: int
    count: int
    fused: bool
    causal: bool | None
    flops: float
    bytes: float
    matrix_bytes: float
    """The similarity matrix of one call, written once."""
    saved_at_most_ns: int
    """What a fused kernel could save at most: everything, copies too, but its own limit; 0 where it is fused."""
    stage: str = ""
    module: str = ""
    """Deepest module path that all its calls share."""
    dtype: str | None = None
    copy_ns: int = 0
    """Beside `time_ns`: what its own operators copy and fill first, such as a product its factors."""
    align: str = ""
    """Of its causal mask: upper_left or lower_right (`rules.ALIGNMENTS`); "" where it has none or nothing tells."""

    @property
    def executed_flops(self) -> int:
        """FLOPs that fused kernels must execute for all calls: of the pairs that the causal mask leaves."""
        pairs = masked_pairs(self.query_len, self.key_len, self.causal, self.align)
        return int(attention_flops(self.batch * self.count, self.heads, pairs, self.head_dim, self.head_dim))


class StageRow(msgspec.Struct):
    """One stage of the pipeline and its calls."""

    name: str
    source: str
    time_ns: int
    busy_ns: int
    count: int
    call_ns: list[int]
    """Device time of each call, in order: the denoising steps, where it is the denoiser."""
    classes: dict[str, int]
    share: float
    idle_ns: int = 0
    """Idle time of the device that ended with work of this stage."""
    call_classes: dict[str, list[int]] = msgspec.field(default_factory=dict)
    """Class -> its time in each call, in order: what a denoising step is made of."""


class DeviceRow(msgspec.Struct):
    """One of several devices in one trace."""

    device: int
    """As the file numbers it."""
    name: str | None
    busy_ns: int
    span_ns: int
    idle_ns: int
    kernels: int
    idle: dict[str, int] = msgspec.field(default_factory=dict)
    """Its own idle time by cause."""


class Chains(msgspec.Struct):
    """Elementwise work, norms and copies in runs, each of which a compiler could make one kernel."""

    count: int = 0
    """Chains of at least two."""
    kernels: int = 0
    time_ns: int = 0
    bytes: float = 0.0
    """What one kernel a chain must still read and write."""
    bytes_per_s: float = 0.0
    """The best rate that one of these kernels reached (1 MiB or more); 0 unknown."""
    longest: str = ""
    """The operator that takes most of their time; empty in a run saved before this was looked at."""


class TextKV(msgspec.Struct):
    """Keys and values of cross attention that were computed again with the same sizes."""

    count: int = 0
    """Projections."""
    calls: int = 0
    time_ns: int = 0
    repeated_ns: int = 0
    """Time of all their calls but, on average, one of each."""
    stage: str = ""
    example: str = ""
    """The module path of one of them."""


class SequenceRow(msgspec.Struct):
    """One point of the sequence length over the run (Golden et al., figures 8 and 9)."""

    start_ns: int
    query_len: int
    key_len: int
    time_ns: int


class SyncRow(msgspec.Struct):
    """A place in which the host waits for the device."""

    call: str
    operator: str
    line: str
    count: int
    host_ns: int
    idle_ns: int


class Launch(msgspec.Struct):
    """How work reached the device."""

    floor_ns: int
    median_ns: int
    p90_ns: int
    p99_ns: int
    mean_queue_depth: float
    max_queue_depth: int
    graph_launches: int
    graph_kernels: int
    host_active_ns: int
    """The host's own time from the first launch to the last, without what it spent waiting: the run cannot take
    less, however fast the device."""
    gaps: list[GroupRow]


class Coverage(msgspec.Struct):
    """Shares of device time."""

    operator: float
    module: float
    stage: float
    shapes: float
    graph_capture: float | None = None
    workload: float | None = None
    flops: float | None = None
    """Of the time in attention, convolution and linear, the share whose FLOPs are known; None without any."""


class ProblemRow(msgspec.Struct):
    """What was broken, clipped or lost."""

    what: str
    count: int
    action: str


class Run(msgspec.Struct):
    """A measured run, analyzed."""

    source: Origin
    summary: Summary
    classes: list[GroupRow]
    operators: list[OperatorRow]
    shapes: list[ShapeRow]
    kernels: list[GroupRow]
    modules: list[ModuleRow]
    attention: list[AttentionRow]
    sequence: list[SequenceRow]
    stages: list[StageRow]
    idle: dict[str, int]
    outside: dict[str, int]
    idle_reliable: bool
    launch: Launch
    syncs: list[SyncRow]
    communication: dict[str, int]
    coverage: Coverage
    problems: list[ProblemRow]
    advice: list[Advice] = msgspec.field(default_factory=list)
    environment: Environment = msgspec.field(default_factory=Environment)
    measured: Measured = msgspec.field(default_factory=Measured)
    """What a clock said without the profiler: repetitions, median, spread, memory peak."""
    devices: list[DeviceRow] = msgspec.field(default_factory=list)
    """Each device by itself, where the trace holds several; `summary` and `idle` are of all together."""
    chains: Chains = msgspec.field(default_factory=Chains)
    text_kv: TextKV = msgspec.field(default_factory=TextKV)
    version: int = VERSION

    @property
    def whole_ns(self) -> int:
        """What gains are shares of: the span, or the median without the profiler where that is shorter."""
        return min(self.summary.span_ns, self.measured.median_ns or self.summary.span_ns)

    @property
    def maths(self) -> str:
        """What multiplied operands in fp32, as far as is known (`dtypes.unit_of`)."""
        return self.source.maths or TORCH

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data

    def save(self, folder: str | os.PathLike[str], force: bool = False) -> Path:
        """Write the run into `folder`, made if missing: `save_run`, with its errors."""
        return save_run(self, folder, force)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Run:
        """Read a run from its folder or its JSON: `load_run`, with its errors."""
        return load_run(path)


def probed_device(run: Run) -> Device | None:
    """The device that `profile` measured itself, where the run carries one (`environment.probe`)."""
    return run.environment.probe


def save_run(run: Run, folder: str | os.PathLike[str], force: bool = False) -> Path:
    """Write `run.json` into `folder` (made if missing) and return its path.

    Raises `ValueError`, a sentence, where one is there already (`force` overwrites it) or nothing can be written.
    """
    with together():
        return write_whole(make_folder(folder) / "run.json", as_json(run), force)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run from its folder or its `run.json`.

    Raises `ValueError`, a sentence, where that is none, cannot be read, or is of another version.
    """
    target = Path(path)
    file = target / "run.json" if target.is_dir() else target
    try:
        text = read_whole(file, MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{error}; a run is a folder made by analyze or profile") from error
    what = f"{file} is no run"
    data = from_json(text, dict[str, Any], what)
    version = data.get("version", 0)
    if version != VERSION:
        said = version if isinstance(version, int) else quoted(version)
        raise ValueError(f"{file} is a run of version {said}; this frameroof reads version {VERSION}")
    return _with_left_over(record(data, Run, what), data)


def _with_left_over(run: Run, data: Mapping[str, Any]) -> Run:
    """The run with what other writers added to its source, machine and measurements."""
    records: tuple[tuple[str, Origin | Environment | Measured], ...] = (
        ("source", run.source),
        ("environment", run.environment),
        ("measured", run.measured),
    )
    for name, part in records:
        more = left_over(type(part), data[name]) if name in data else {}
        if more:
            part.extra = (part.extra or {}) | more
    return run
