"""What is predicted beside a published time, and how far off it is: `Scored`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ... import catalogue
from ...estimate import Expected
from ...estimate.expected import chosen
from ...estimate.expected.general import curves_of
from ...hardware import Device, parse_node
from ...workload.records import Workload
from ..predict import Prediction, predict
from .rows import FORWARD, WHOLE, Row

DENOISER = "denoise"
SUMS = ("limit_s", "expected_s", "low_s", "high_s")


@dataclass(frozen=True)
class Scored:
    """A row beside its prediction, seconds; or why there is none (`left_out`).

    `tables` says whether the device's curves are its own, `host_bound` whether its host takes longer than the device.
    """

    row: Row
    limit_s: float | None = None
    expected_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    tables: bool = False
    host_bound: bool = False
    left_out: str = ""

    @property
    def error(self) -> float | None:
        """Expected over published, less 1: above 0 is too slow."""
        return None if self.expected_s is None else self.expected_s / self.row.seconds - 1

    @property
    def covered(self) -> bool:
        """Whether the published time lies within the interval."""
        ends = self.low_s, self.high_s
        return ends[0] is not None and ends[1] is not None and ends[0] <= self.row.seconds <= ends[1]

    @property
    def impossible(self) -> bool:
        """Whether the published time is shorter than the limit of what is said to have run."""
        return self.limit_s is not None and self.row.seconds < self.limit_s

    @property
    def component(self) -> bool:
        """Whether a part of a model was timed alone."""
        return self.row.scope not in WHOLE

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON form."""
        row = self.row
        return {
            "id": row.id,
            "model": row.model,
            "hardware": row.machine,
            "scope": row.scope,
            "published_s": row.seconds,
            **{name: getattr(self, name) for name in (*SUMS, "error")},
            "command": row.command,
            "software": row.software or "compiled",
            "impossible": self.impossible,
            "source": row.source,
            "left_out": self.left_out or None,
        }


@lru_cache(maxsize=64)
def _model(software: str) -> Expected:
    """One model of expected time a state of the software: it remembers what calls take."""
    return chosen(None, None, software or None)


@lru_cache(maxsize=256)
def has_tables(device: Device) -> bool:
    """Whether a device's own matrix products were measured."""
    return not curves_of(device).derived_from


def score(row: Row, model: Expected | None = None) -> Scored:
    """A row beside its prediction; one that cannot be predicted is left out, with the sentence that says why.

    `model` is another model of expected time than that of the row's software.
    """
    try:
        workload, said = _workload(row.model), parse_node(row.on)
        row = replace(row, model=workload.name, on=said.device.name, sizes=_sizes(row, workload))
        if said.count > 1 and row.devices in (1, said.count):  # "8xH100", whatever the column of devices
            row = replace(row, devices=said.count)
        node = parse_node(row.machine)
        asked = {name: size for name, size in row.asked.items() if name in row.sizes or name in workload.params}
        found = predict(workload, node, sizes=asked, dtype=row.dtype, efficiency=model or _model(row.software))
        parts, turns = _parts(found, row.scope)
    except ValueError as error:
        return Scored(row, left_out=str(error))
    limit_s, expected_s, low_s, high_s = (_sum(parts, name) / turns for name in SUMS)
    host_s, device_s = (sum(getattr(each.spent, name) for each in parts) for name in ("host_s", "device_s"))
    return Scored(row, limit_s, expected_s, low_s, high_s, has_tables(node.device), host_s > device_s)


def score_all(rows: Iterable[Row]) -> list[Scored]:
    """Every row beside its prediction, by model and device, so that each model is read once."""
    return [score(row) for row in sorted(rows, key=lambda row: (row.model, row.dtype or "", row.machine))]


@lru_cache(maxsize=2)
def _workload(name: str) -> Workload:
    return catalogue.load(name)


def _sizes(row: Row, workload: Workload) -> dict[str, int]:
    """The sizes of a row as its model has them.

    One of what a model has no number of (one frame of an image) says nothing; steps of a model with two experts are
    divided between them as in its defaults: each step takes the same, whichever it is of.
    """
    sizes = {name: size for name, size in row.sizes.items() if name in workload.params or size != 1}
    experts = [name for name in ("steps_high", "steps_low") if name in workload.params]
    if len(experts) == 2 and "steps" in sizes and not set(experts) & set(sizes):
        high, low = (workload.params[name].default for name in experts)
        steps = sizes.pop("steps")
        first = min(max(round(steps * high / (high + low)), 1), steps - 1)
        sizes |= {"steps_high": first, "steps_low": steps - first}
    return sizes


def _sum(parts: list[Any], name: str) -> float:
    return float(sum(getattr(part, name) or 0.0 for part in parts))


def _parts(found: Prediction, scope: str) -> tuple[list[Any], int]:
    """The stages that a scope is the time of, and by how many steps it is divided. `ValueError` for no stage."""
    stages = found.estimate.stages
    if scope == "total":
        return list(stages), 1
    if scope in (DENOISER, "step", FORWARD):
        parts = [stage for stage in stages if stage.name.startswith(DENOISER)]
        sizes = found.estimate.sizes
        steps = sizes.get("steps") or sizes.get("steps_high", 0) + sizes.get("steps_low", 0)
    else:
        parts, steps = [stage for stage in stages if stage.name == scope], 1
    if not parts:
        names = ", ".join(stage.name for stage in stages)
        raise ValueError(f"{found.estimate.workload.name} has no stage {scope!r}; its stages are {names}")
    return parts, (steps or 1) if scope == "step" else 1
