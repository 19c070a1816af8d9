"""Published times, and the command that predicts each: the rows that come with the package, or those of a user's table.

``published.json`` holds rows as they were published; ``mapping.toml`` what each ran (model, sizes, machine, precision,
state of the software) and why that was said, or why a row is left out.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ...files import read_whole
from ...outside import clean, quoted

HERE = Path(__file__).parent
MOST_BYTES, MOST_ROWS = 16 << 20, 100_000
"""Of a user's table."""
SCOPES = ("total", "step", "forward", "denoise")
"""What a time is of: everything, one guided step, one forward of the denoiser, all its steps; or a stage by its
name."""
TEXT = ("id", "model", "on", "dtype", "software", "scope", "offload", "source")
"""Columns of a table that hold words; `seconds` is the time, `devices` how many there were, others are sizes."""
SAME = {"hardware": "on", "device": "on", "gpu": "on", "precision": "dtype", "n_devices": "devices", "value": "seconds"}
"""Other names of columns."""
PER_SECOND = re.compile(r"(samples|images|videos|queries|items)/s", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One published time: `seconds` of its `scope` for one run of the batch, and what ran. `left_out` says why not."""

    id: str
    model: str
    on: str
    seconds: float
    sizes: Mapping[str, int] = field(default_factory=dict)
    dtype: str | None = None
    software: str | None = None
    offload: str = ""
    scope: str = "total"
    source: str = ""
    left_out: str = ""

    @property
    def family(self) -> str:
        """The first word of the model's name: ``flux`` of flux.1-dev."""
        found = re.match(r"[a-z]+", self.model.lower())
        return found[0] if found else self.model

    @property
    def command(self) -> str:
        """What predicts it."""
        words = [f"frameroof predict {self.model} --on {_word(self.on)}"]
        words += [f"--size {name}={value}" for name, value in self.sizes.items()]
        said = (("dtype", self.dtype), ("software", self.software), ("offload", self.offload))
        return " ".join((*words, *(f"--{name} {_word(text)}" for name, text in said if text)))


def _word(text: str) -> str:
    return f'"{text}"' if " " in text else text


@cache
def shipped() -> tuple[Row, ...]:
    """The rows that come with the package, those that are left out with their reason, in the order of their ids."""
    published = {row["id"]: row for row in json.loads((HERE / "published.json").read_text("utf-8"))["rows"]}
    said = tomllib.loads((HERE / "mapping.toml").read_text("utf-8"))
    rows = []
    for name, row in published.items():
        reason = said["left_out"].get(name, "")
        told: dict[str, Any] = said["row"].get(name, {})
        own = {key: value for key, value in told.items() if key not in ("why", "model", "on")}
        model, on = told.get("model", row["model"]), told.get("on", row["hardware"])
        batch = own.get("sizes", {}).get("batch", 1)
        seconds = seconds_of(row["value"], row["unit"], batch, row["n_devices"])
        rows.append(Row(name, model, on, seconds, source=row["source"], left_out=reason, **own))
    return tuple(rows)


def seconds_of(value: float, unit: str, batch: int = 1, devices: int = 1) -> float:
    """Seconds of a run: of a time in its unit, or of a rate of devices that each serve their own requests."""
    if PER_SECOND.match(unit):
        return batch * devices / value
    return value / 1e3 if re.search(r"\bms\b", unit) else value


def read_table(path: str | os.PathLike[str]) -> tuple[Row, ...]:
    """The rows of a CSV file: columns ``model``, ``on``, ``seconds``, and any of `TEXT`, ``devices``, ``unit`` and
    sizes.

    Sizes are named as `frameroof models` lists them (``height``, ``steps`` …); an empty cell says nothing. Raises
    `ValueError`, a sentence that names the line, for a table that cannot be read.
    """
    where = clean(os.fspath(path), 1000)
    text = read_whole(path, MOST_BYTES).decode("utf-8-sig", errors="replace")
    found = csv.DictReader(io.StringIO(text))
    names = [_name(name) for name in found.fieldnames or ()]
    for needed in ("model", "on", "seconds"):
        if needed not in names:
            raise ValueError(f"{where} has no column {needed}; a table has model, on, seconds, and sizes by name")
    found.fieldnames = names
    rows = tuple(_rows(found, where))
    if not rows:
        raise ValueError(f"{where} has no rows")
    return rows


def _name(name: str) -> str:
    lower = name.strip().lower()
    return SAME.get(lower, lower)


def _rows(found: csv.DictReader[str], where: str) -> Iterator[Row]:
    for at, cells in enumerate(found, start=2):
        if at > MOST_ROWS:
            raise ValueError(f"{where} has more than {MOST_ROWS:,} rows")
        line = f"{where}, line {at}"
        said = {name: (value or "").strip() for name, value in cells.items() if isinstance(name, str)}
        words = {name: said[name] for name in TEXT if said.get(name)}
        for needed in ("model", "on"):
            if needed not in words:
                raise ValueError(f"{line} names no {needed}")
        seconds = _number(said.get("seconds", ""), f"{line}: seconds")
        if not seconds > 0:
            raise ValueError(f"{line}: seconds are above 0, not {seconds:g}")
        devices = int(_number(said.get("devices") or "1", f"{line}: devices"))
        sizes = {
            name: int(_number(value, f"{line}: {name}"))
            for name, value in said.items()
            if value and name not in (*TEXT, "seconds", "devices", "unit", "note", "config", "confidence", "quantity")
        }
        seconds = seconds_of(seconds, said.get("unit", "s"), sizes.get("batch", 1), devices)
        left = "several devices share one request" if devices > 1 and not PER_SECOND.match(said.get("unit", "")) else ""
        words.setdefault("id", f"line {at}")
        yield Row(seconds=seconds, sizes=sizes, left_out=left, **words)


def _number(text: str, what: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise ValueError(f"{what}: {quoted(text)} is no number") from None
    if not abs(found) < 1e12:
        raise ValueError(f"{what}: {quoted(text)} cannot be")
    return found
