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
from .recorded import FirstLines as FirstLines
from .recorded.communication import CollectiveRow as CollectiveRow
from .recorded.rows import AttentionRow as AttentionRow
from .recorded.rows import DeviceRow as DeviceRow
from .recorded.rows import GroupRow as GroupRow
from .recorded.rows import HostFunctionRow as HostFunctionRow
from .recorded.rows import ModuleRow as ModuleRow
from .recorded.rows import OperatorRow as OperatorRow
from .recorded.rows import Packed as Packed
from .recorded.rows import ProblemRow as ProblemRow
from .recorded.rows import SequenceRow as SequenceRow
from .recorded.rows import ShapeRow as ShapeRow
from .recorded.rows import StageRow as StageRow
from .recorded.rows import SyncRow as SyncRow
from .recorded.steps import StepRow as StepRow
from .recorded.steps import StepSummary as StepSummary
from .recorded.steps import Window as Window
from .recorded.whole import Chains as Chains
from .recorded.whole import Coverage as Coverage
from .recorded.whole import Launch as Launch
from .recorded.whole import TextKV as TextKV
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
    host_functions: list[HostFunctionRow] = msgspec.field(default_factory=list)
    """Idle time by what the host did in it."""
    chains: Chains = msgspec.field(default_factory=Chains)
    text_kv: TextKV = msgspec.field(default_factory=TextKV)
    first_lines: FirstLines = msgspec.field(default_factory=FirstLines)
    steps: list[StepRow] = msgspec.field(default_factory=list)
    """Where there are at least two; of a window, those that it holds work of."""
    step_summary: StepSummary | None = None
    collectives: list[CollectiveRow] = msgspec.field(default_factory=list)
    window: Window | None = None
    """The stretch that all of this is about; None: the whole trace."""
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
