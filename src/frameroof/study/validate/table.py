"""Published times of a user's own: a CSV with a row a time, read by the names of its columns."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from ...files import read_whole
from ...outside import quoted
from .rows import FORWARD, Row, in_seconds, rate

NEEDED = ("model", "hardware", "seconds")
SAME_AS = {
    "on": "hardware", "device": "hardware", "gpu": "hardware", "n_devices": "devices", "published_s": "seconds",
    "value": "seconds", "latency_s": "seconds",
    "precision": "dtype", "num_frames": "frames", "num_steps": "steps", "batch_size": "batch",
}  # fmt: skip
"""Other names that people give to columns."""
TEXTS = ("id", "model", "hardware", "dtype", "software", "scope", "source", "unit")
SIZES = re.compile(r"batch|height|width|frames|guidance|blocks|window|\w*steps\w*|\w*tokens")
"""Columns that are sizes of a model; others than these and `TEXTS` say something to people alone."""
SCOPES = {
    "": "total", "e2e": "total", "pipeline": "total", "total": "total", "end to end": "total",
    "step": "step", "s/step": "step", "denoise step": "step", "denoise step (incl. cfg)": "step",
    "denoise": "denoise", "denoise loop": "denoise", "forward": FORWARD,
}  # fmt: skip
NONE = ("", "-", "none", "null", "nan", "n/a")


def read_table(path: str | os.PathLike[str]) -> tuple[list[Row], dict[str, str]]:
    """The rows of a CSV, and why others are left out, by their id (that of the file, or the line).

    Columns: model, hardware and seconds; and where they are not the default devices, dtype, software, scope (total,
    step, denoise, forward or a stage), unit (of `seconds`: s, ms, samples/s …), id, source, and every size of a model
    by its name (height, frames …). Raises `ValueError`, a sentence, for a file that is no such table.
    """
    try:
        text = read_whole(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None
    try:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = [_column(name) for name in next(lines, [])]
        _check(path, names)
        made: list[Row] = []
        left: dict[str, str] = {}
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            said = {name: value.strip() for name, value in zip(names, cells, strict=False) if name}
            id_ = said.get("id") or f"line {lines.line_num}"
            if id_ in left or any(row.id == id_ for row in made):
                id_ = f"{id_} (line {lines.line_num})"
            try:
                if len(cells) > len(names):
                    raise ValueError(f"it has {len(cells)} cells under {len(names)} columns")
                made.append(_row(id_, said))
            except ValueError as error:
                left[id_] = str(error)
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV: {error}") from None
    return made, left


def _column(name: str) -> str:
    """A column's name as it is looked up."""
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return SAME_AS.get(plain, plain)


def _check(path: str | os.PathLike[str], names: list[str]) -> None:
    """`ValueError`, a sentence, for columns that are missing or there twice."""
    if missing := [name for name in NEEDED if name not in names]:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; a table of published times has {', '.join(NEEDED)}, and the "
            "sizes, devices, dtype, software and scope that are not the default"
        )
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ValueError(f"{path} has the column {', '.join(twice)} twice")


def _row(id_: str, said: Mapping[str, str]) -> Row:
    """A row; `ValueError`, a sentence, for a cell that says nothing that it could."""
    texts = {name: "" if said.get(name, "").lower() in NONE else said[name] for name in TEXTS if name != "id"}
    for name in ("model", "hardware"):
        if not texts.get(name):
            raise ValueError(f"it says no {name}")
    sizes = {
        name: _whole(name, value) for name, value in said.items() if SIZES.fullmatch(name) and value.lower() not in NONE
    }
    many = said.get("devices", "").lower()
    devices = 1 if many in NONE else _whole("devices", many)
    scope = texts.get("scope", "")
    rest: dict[str, Any] = {"software": texts.get("software", ""), "source": texts.get("source", "")}
    return Row(
        id_,
        texts["model"],
        texts["hardware"],
        in_seconds(_seconds(said.get("seconds", "")), texts.get("unit") or "s", sizes.get("batch", 1), devices),
        sizes,
        texts.get("dtype") or None,
        scope=SCOPES.get(scope.lower(), scope),
        devices=1 if rate(texts.get("unit", "")) else devices,
        **rest,
    )


def _whole(name: str, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value == int(value) and value >= 1):
        raise ValueError(f"{name} is a whole number from 1, not {quoted(text)}")
    return int(value)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"seconds are a number above 0, not {quoted(text)}")
    return value
