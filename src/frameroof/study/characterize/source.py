"""What an experiment asks (`Source`) and what it answers (`Experiment`), the same for predicted and measured numbers.

Both kinds of source give the same polars frames. Times are integer nanoseconds, FLOPs are 2 per multiply-add,
bytes are what an operation reads and writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypedDict

import msgspec
import polars as pl

from ...hardware import Node
from ...trace.resolve.classify import CLASSES

How = Literal["predicted", "measured"]
Basis = Literal["predicted", "measured", "counted", "estimated", "published", "synthetic"]
"""What an experiment's rows are: most have their source's `How`."""
Attention = Literal["baseline", "flash"]
Verdict = Literal["agrees", "differs", "contradicts itself", "not tested"]
Row = dict[str, Any]
PAPER_MACHINE = "A100"

WORK: Mapping[str, Any] = {
    "stage": pl.String,
    "name": pl.String,
    "class": pl.String,
    "kind": pl.String,
    "count": pl.Int64,
    "time_ns": pl.Int64,
    "flops": pl.Int64,
    "bytes": pl.Int64,
}
"""Columns of `Source.work`: one row per stage, operation and class, repeats added up.

`name` is a module path or an operator, `class` one of `trace.resolve.classify.CLASSES`, `kind` the kind of an
attention (self, cross, temporal, spatial, temporal cross …) and "" for anything else; `count` is how often it ran; the
rest are sums.
"""

CALLS: Mapping[str, Any] = {
    "call": pl.Int64,
    "start_ns": pl.Int64,
    "stage": pl.String,
    "kind": pl.String,
    "batch": pl.Int64,
    "heads": pl.Int64,
    "query_len": pl.Int64,
    "key_len": pl.Int64,
    "head_dim": pl.Int64,
    "time_ns": pl.Int64,
    "flops": pl.Int64,
    "bytes": pl.Int64,
}
"""Columns of `Source.calls`: one row per call of attention, in the order of the run."""


class Source(Protocol):
    """Where an experiment's numbers come from. `sizes` {} means the source's own sizes for that model."""

    how: How
    machine: str
    """The machine the numbers are for, as a person would name it."""
    dtype: str
    """The type of number that the models compute in: bf16, fp32 …"""
    assumptions: tuple[str, ...]
    """Everything the source's numbers rest on, one sentence each."""
    caveat: str
    """Why its numbers may differ from the paper's whatever the models do, for the reasons of claims; "" for nothing."""

    @property
    def node(self) -> Node | None:
        """The machine's peaks, bandwidth and caches, None where they are not known."""
        ...

    def models(self) -> tuple[str, ...]:
        """Names (as in `suite.MODELS`) of the models that this source can answer for, in order."""
        ...

    def sizes(self, model: str) -> dict[str, int]:
        """The sizes that `{}` stands for: batch, height, width, frames, steps, prompt_tokens …"""
        ...

    def sides(self, model: str) -> tuple[int, ...]:
        """Image sides in pixels that sweeps (figures 9 and 10) may ask of this model, ascending."""
        ...

    def parameters(self, model: str) -> int:
        """Parameters of all parts, those that are shared counted once."""
        ...

    def work(self, model: str, attention: Attention, sizes: Mapping[str, int]) -> pl.DataFrame:
        """The whole run by stage, operation and class: columns of `WORK`."""
        ...

    def calls(self, model: str, attention: Attention, sizes: Mapping[str, int]) -> pl.DataFrame:
        """Every call of attention in the order of the run: columns of `CALLS`."""
        ...

    def extra(self, name: str) -> list[Row]:
        """Rows that only some sources have; [] where this one has none. The names and their keys:

        ``similarity`` (measured allocation of the similarity matrix): side_px, query_len, key_len, heads, batch,
        element_bytes, allocated_bytes (what one baseline attention call allocates at its peak, above its inputs) ·
        ``fsdp`` (real training steps): model, devices, compute_s, communication_s, step_s, backend ·
        ``layout`` (tensors of temporal and spatial attention): model, kind, tensor, shape, stride (lists of elements) ·
        ``counters`` (rows of `counters.read`, each with ``kind``, temporal or spatial) ·
        ``lean`` (predicted): model, time_ns, attention_ns of a baseline with 4 passes over the similarity matrix.
        """
        ...


class Column(msgspec.Struct, frozen=True):
    """A column of an experiment's rows: its name, its unit ("" for none) and what it means."""

    name: str
    unit: str
    meaning: str


def columns(*texts: str) -> tuple[Column, ...]:
    """Columns from ``"name [unit]: meaning"`` or ``"name: meaning"``.

    Raises `ValueError`, a sentence, for a text of another form.
    """
    out = []
    for text in texts:
        found = re.fullmatch(r"(\w+)(?: \[(.+?)\])?: (.+)", text)
        if not found:
            raise ValueError(f"{text!r} is not a column; write 'name [unit]: meaning'")
        out.append(Column(found[1], found[2] or "", found[3]))
    return tuple(out)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One claim of the paper beside our number. `text` is in our words; `verdict` is computed from numbers.

    `paper` and `ours` are written for people, with units; `paper_range` (least, most) and `ours_value` are the
    numbers that the verdict was made of, None where there is none.
    """

    text: str
    where: str
    paper: str
    ours: str
    verdict: Verdict
    why: str
    counted: bool = False
    """Whether ours was counted from the modules at full size, whatever the source."""
    paper_range: tuple[float, float] | None = None
    ours_value: float | None = None

    def to_dict(self) -> Row:
        """For JSON."""
        data: Row = msgspec.to_builtins(self)
        return data


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """One table or figure: rows of plain values under `columns`, the paper's claims about it, what was assumed."""

    id: str
    title: str
    how: Basis
    machine: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    assumptions: tuple[str, ...] = ()
    missing: str = ""
    """Why there are no rows, where there are none."""

    def frame(self) -> pl.DataFrame:
        """The rows as a data frame (for Parquet)."""
        names = [column.name for column in self.columns]
        return pl.DataFrame([{name: row.get(name) for name in names} for row in self.rows], infer_schema_length=None)

    def to_dict(self) -> Row:
        """For JSON: `id`, `title`, `how`, `machine`, `columns`, `rows`, `claims`, `assumptions`, `missing`."""
        data: Row = msgspec.to_builtins(self)
        return data


class About(TypedDict):
    """What an experiment says of where its numbers are from."""

    how: Basis
    machine: str
    assumptions: tuple[str, ...]


def about(source: Source, *notes: str) -> About:
    """Of an experiment whose rows are its source's numbers; `notes` are what it assumes beyond its source."""
    paper = f"The paper measured A100 GPUs at full size; these numbers are {source.how} for {source.machine}."
    apart = (paper,) if source.caveat or PAPER_MACHINE not in source.machine else ()
    return {"how": source.how, "machine": source.machine, "assumptions": (*source.assumptions, *apart, *notes)}


def work_frame(rows: list[Row]) -> pl.DataFrame:
    """A frame of `WORK` from rows; `ValueError` for a class that does not exist."""
    unknown = {row["class"] for row in rows} - set(CLASSES)
    if unknown:
        raise ValueError(f"unknown class {min(unknown)!r}; classes are {', '.join(CLASSES)}")
    return _frame(rows, WORK)


def calls_frame(rows: list[Row]) -> pl.DataFrame:
    """A frame of `CALLS` from rows, in their order."""
    return _frame(rows, CALLS)


def _frame(rows: list[Row], schema: Any) -> pl.DataFrame:
    try:
        return pl.DataFrame(rows, schema=schema)
    except (pl.exceptions.ComputeError, OverflowError):
        large = [name for row in rows for name, value in row.items() if type(value) is int and abs(value) >= 2**63]
        if not large:
            raise
        raise ValueError(f"the sizes grow beyond any use: {large[0]} has more than 64 bits") from None
