"""A published time with what it ran, whether it is one of the shipped ones or one of a user's table: `Row`.

``published.json`` holds what was published, as it stands in its source; ``mapping.toml`` what each row ran and why that
is known, and which rows are left out, with the reason. Neither is changed to make a prediction fit.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ...outside import quoted

ROWS = Path(__file__).with_name("published.json")
MAPPING = Path(__file__).with_name("mapping.toml")
WHOLE = ("total", "step", "denoise")
"""Scopes of whole models: all of a run, one guided step of the denoiser, all its steps."""
FORWARD = "forward"
"""One forward of the denoiser, without guidance; any other scope is a stage by its name."""


class Published(msgspec.Struct, frozen=True):
    """A row as it was published; `value` in `unit`."""

    id: str
    model: str
    config: str
    quantity: str
    value: float
    unit: str
    hardware: str
    n_devices: int
    precision: str
    software: str | None
    scope: str | None
    source: str
    confidence: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Row:
    """A time that was published (seconds), and what is predicted beside it.

    `seconds` are those of `scope` for the whole batch. `devices` share one request; `software` "" is the default.
    """

    id: str
    model: str
    on: str
    seconds: float
    sizes: Mapping[str, int] = field(default_factory=dict)
    dtype: str | None = None
    software: str = ""
    scope: str = "total"
    devices: int = 1
    source: str = ""
    why: str = ""

    @property
    def family(self) -> str:
        """The first word of the model's name, as "wan" and "stable-diffusion"."""
        found = re.match(r"[a-z]+(-diffusion)?", self.model)
        return found[0] if found else self.model

    @property
    def machine(self) -> str:
        """As `--on` takes it."""
        return self.on if self.devices == 1 else f"{self.devices}x{self.on}"

    @property
    def command(self) -> str:
        """The command that predicts it."""
        own = ("batch", "steps", "height", "width", "frames")
        words = ["frameroof", "predict", self.model, "--on", self.machine]
        for name, value in self.asked.items():
            words += [f"--{name}", str(value)] if name in own else ["--size", f"{name}={value}"]
        if self.dtype:
            words += ["--dtype", self.dtype]
        if self.software:
            words += ["--software", self.software]
        return shlex.join(words)

    @property
    def asked(self) -> dict[str, int]:
        """The sizes that are predicted: one step without guidance where one forward was timed."""
        return {**self.sizes, **({"steps": 1, "guidance": 1} if self.scope == FORWARD else {})}


@cache
def published() -> dict[str, Published]:
    """Every published latency and throughput by its id."""
    found = msgspec.json.decode(ROWS.read_bytes(), type=dict[str, list[Published]])["rows"]
    return {row.id: row for row in found}


@cache
def left_out() -> dict[str, str]:
    """The reason by id of the rows that no prediction stands beside."""
    found: dict[str, str] = tomllib.loads(MAPPING.read_text("utf-8"))["left_out"]
    return found


@cache
def shipped_rows() -> tuple[Row, ...]:
    """The published rows of the package that a prediction stands beside, in the order of the mapping."""
    said: dict[str, dict[str, Any]] = tomllib.loads(MAPPING.read_text("utf-8"))["row"]
    found = []
    for id_, how in said.items():
        row = published()[id_]
        sizes = how.get("sizes", {})
        found.append(
            Row(
                id_,
                how["model"],
                how["on"],
                seconds_of(row, sizes.get("batch", 1)),
                sizes,
                how.get("dtype"),
                how.get("software", ""),
                how.get("scope", "total"),
                source=row.source,
                why=how["why"],
            )
        )
    return tuple(found)


def seconds_of(row: Published, batch: int = 1) -> float:
    """Seconds of what a row says in its own unit; `ValueError`, a sentence, where that is no time and no rate."""
    try:
        return in_seconds(row.value, row.unit, batch, row.n_devices)
    except ValueError as error:
        raise ValueError(f"{row.id}: {error}") from None


def rate(unit: str) -> bool:
    """Whether a unit is items in a second, of devices that each serve their own requests."""
    return bool(re.fullmatch(r"(samples|images|videos|queries|items)/s", unit.strip().lower()))


def in_seconds(value: float, unit: str, batch: int, devices: int) -> float:
    """Seconds of a value in its unit; of a rate those of one batch on one of its devices.

    Raises `ValueError`, a sentence, for a unit that is neither a time nor a rate of items.
    """
    lower = unit.strip().lower()
    if rate(lower):
        return batch * devices / value
    if re.search(r"\bms\b", lower):
        return value / 1e3
    if lower in ("s", "seconds") or re.match(r"s[/ ]", lower) or "(s)" in lower:
        return value
    if lower in ("min", "minutes"):
        return value * 60
    raise ValueError(f"{quoted(unit)} is no time and no rate of items")
