"""Predicted beside published: each row's limit, expected time and interval, and how far off groups of rows are."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ... import catalogue
from ...estimate import StageEstimate
from ...hardware import parse_node
from ..predict import Prediction, predict
from .rows import Row

SCHEMA = "frameroof.validate/1"
NEAR = 0.2
"""What counts as near: within 20 %."""
END_TO_END, HOST_BOUND, COMPONENTS = "end to end", "host-bound", "components"
"""Kinds of rows: whole runs, those that wait for their host, and single parts of a run."""


@dataclass(frozen=True)
class Scored:
    """A row with its prediction; seconds. Without one, `why` says what is in the way."""

    row: Row
    limit_s: float = 0.0
    expected_s: float = 0.0
    low_s: float | None = None
    high_s: float | None = None
    device: str = ""
    kind: str = END_TO_END
    why: str = ""

    @property
    def error(self) -> float:
        """Expected over published, less 1."""
        return self.expected_s / self.row.seconds - 1

    @property
    def covered(self) -> bool | None:
        """Whether the published time lies in the interval; None without one."""
        if self.low_s is None or self.high_s is None:
            return None
        return self.low_s <= self.row.seconds <= self.high_s

    @property
    def impossible(self) -> bool:
        """Whether it was faster than its limit."""
        return self.row.seconds < self.limit_s

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON form."""
        row = self.row
        known = not self.why
        return {
            "id": row.id,
            "model": row.model,
            "on": row.on,
            "published_s": row.seconds,
            "limit_s": self.limit_s if known else None,
            "expected_s": self.expected_s if known else None,
            "low_s": self.low_s,
            "high_s": self.high_s,
            "error": self.error if known else None,
            "kind": self.kind if known else None,
            "scope": row.scope,
            "command": row.command,
            "software": row.software or "compiled",
            "source": row.source,
            "left_out": self.why or None,
        }


@dataclass(frozen=True)
class Group:
    """How far off some rows are: shares of the published time; `coverage` of the intervals, None without any."""

    rows: int
    median: float
    p90: float
    bias: float
    within_20: float
    coverage: float | None

    @classmethod
    def of(cls, scored: Sequence[Scored]) -> Group:
        """Of at least one row."""
        errors = [one.error for one in scored]
        far = sorted(abs(error) for error in errors)
        covered = [one.covered for one in scored if one.covered is not None]
        return cls(
            len(far),
            statistics.median(far),
            far[min(len(far) - 1, int(0.9 * len(far)))],
            statistics.median(errors),
            sum(each <= NEAR for each in far) / len(far),
            sum(covered) / len(covered) if covered else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in ("rows", "median", "p90", "bias", "within_20", "coverage")}


def score(row: Row) -> Scored:
    """One row predicted; what it asks that is not there is said in `Scored.why`."""
    if row.left_out:
        return Scored(row, why=row.left_out)
    try:
        workload = catalogue.load(row.model)
        sizes = dict(row.sizes)
        if row.scope == "forward":
            sizes |= {name: 1 for name in ("steps", "guidance") if name in workload.params}
        found = predict(workload, row.on, sizes=sizes, dtype=row.dtype, software=row.software)
        parts = _parts(found, row.scope)
    except ValueError as error:
        return Scored(row, why=str(error))
    each = _steps(found) if row.scope == "step" else 1
    low_s, high_s = (_sum(parts, name) for name in ("low_s", "high_s"))
    waits = sum(part.spent.host_s for part in parts) > sum(part.spent.device_s for part in parts)
    whole = row.scope in SCOPES_OF_DENOISER
    return Scored(
        row,
        sum(part.limit_s for part in parts) / each,
        sum(part.expected_s for part in parts) / each,
        None if low_s is None else low_s / each,
        None if high_s is None else high_s / each,
        found.estimate.node.device.name,
        COMPONENTS if not whole else HOST_BOUND if waits else END_TO_END,
    )


SCOPES_OF_DENOISER = ("total", "step", "denoise", "forward")
"""Scopes that are most of a run."""


def _parts(found: Prediction, scope: str) -> list[StageEstimate]:
    stages = found.estimate.stages
    if scope == "total":
        return list(stages)
    wanted = scope in SCOPES_OF_DENOISER
    parts = [s for s in stages if (s.name.startswith("denoise") if wanted else s.name == scope)]
    if not parts:
        raise ValueError(f"{found.estimate.workload.name} has no {scope}; it has {', '.join(s.name for s in stages)}")
    return parts


def _steps(found: Prediction) -> int:
    sizes = found.estimate.sizes
    return sum(value for name, value in sizes.items() if name == "steps" or name.startswith("steps_")) or 1


def _sum(parts: Sequence[StageEstimate], name: str) -> float | None:
    values = [getattr(part, name) for part in parts if part.repeat]
    return None if None in values else sum(values)


def chosen(rows: Iterable[Row], on: str | None = None, model: str | None = None) -> Iterator[Row]:
    """Those on a machine and of a model, by any of their names. `ValueError`, a sentence, for an unknown one."""
    device = parse_node(on).device.name if on else None
    name = catalogue.load(model).name if model else None
    for row in rows:
        if name and _named(row.model) != name:
            continue
        if device and _device(row.on) != device:
            continue
        yield row


def _named(model: str) -> str:
    try:
        return catalogue.load(model).name
    except ValueError:
        return model


def _device(on: str) -> str:
    try:
        return parse_node(on).device.name
    except ValueError:
        return on


def groups(scored: Sequence[Scored]) -> dict[str, Group]:
    """All rows, by kind, and end-to-end ones by device, family and software."""
    known = [one for one in scored if not one.why]
    sorts: dict[str, list[Scored]] = {"all": known} if known else {}
    for one in known:
        sorts.setdefault(one.kind, []).append(one)
    for one in (one for one in known if one.kind == END_TO_END):
        for name in (f"device {one.device}", f"family {one.row.family}", f"software {one.row.software or 'compiled'}"):
            sorts.setdefault(name, []).append(one)
    return {name: Group.of(members) for name, members in sorts.items()}


def to_dict(scored: Sequence[Scored]) -> dict[str, Any]:
    """The documented JSON form (docs/reference/json.rst)."""
    return {
        "schema": SCHEMA,
        "rows": [one.to_dict() for one in scored],
        "groups": {name: group.to_dict() for name, group in groups(scored).items()},
        "impossible": [one.row.id for one in scored if not one.why and one.impossible],
    }
