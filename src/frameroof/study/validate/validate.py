"""`validate`: published times beside predicted ones, in groups, with the rows that are left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ... import catalogue
from ...hardware import parse_node
from .groups import Group, groups
from .rows import Row, left_out, published, shipped_rows
from .score import Scored, score_all
from .table import read_table

SCHEMA = "frameroof.validate/1"


@dataclass(frozen=True)
class Validation:
    """Every row beside its prediction; `left_out` is the reason by id of those that have none."""

    scored: Sequence[Scored]
    groups: dict[str, Group]
    left_out: dict[str, str]

    @property
    def impossible(self) -> list[Scored]:
        """Rows published as faster than the limit of what they are said to have run."""
        return [each for each in self.scored if each.impossible]

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON form (docs/reference/json.rst)."""
        shown = {each.row.id for each in self.scored}
        rest = [
            {**dict.fromkeys(_empty()), "id": id_, **_said(id_), "impossible": False, "left_out": why}
            for id_, why in self.left_out.items()
            if id_ not in shown
        ]
        return {
            "schema": SCHEMA,
            "rows": [*(each.to_dict() for each in self.scored), *rest],
            "groups": {name: group.to_dict() for name, group in self.groups.items()},
        }


def validate(
    on: str | None = None, model: str | None = None, table: str | os.PathLike[str] | None = None
) -> Validation:
    """Predict every published row, or those of one device or model, or those of a user's table (CSV).

    Raises `ValueError`, a sentence, for an unknown device or model, a file that is no table, and where no row is left.
    """
    rows, left = read_table(table) if table is not None else (list(shipped_rows()), dict(left_out()))
    if model is not None:
        name = catalogue.canonical(model)
        rows = [row for row in rows if _same_model(row.model, name)]
    if on is not None:
        device = parse_node(on).device.name
        rows = [row for row in rows if _same_device(row.on, device)]
    if on is not None or model is not None:
        left = left if table is not None else {}  # what those of the package ran is not known well enough
    if not rows and not left:
        asked = " and ".join(text for text in (model, on) if text) or str(table)
        raise ValueError(f"there is no published time of {asked}; `frameroof validate` shows those there are")
    scored = score_all(rows)
    return Validation(
        scored, groups(scored), {**{each.row.id: each.left_out for each in scored if each.left_out}, **left}
    )


def _same_model(text: str, name: str) -> bool:
    try:
        return catalogue.canonical(text) == name
    except ValueError:
        return False


def _same_device(text: str, name: str) -> bool:
    try:
        return parse_node(text).device.name == name
    except ValueError:
        return False


def _empty() -> list[str]:
    return list(Scored(Row("", "", "", 1.0)).to_dict())


def _said(id_: str) -> dict[str, Any]:
    row = published().get(id_)
    if row is None:
        return {}
    return {"model": row.model, "hardware": row.hardware, "scope": row.scope, "source": row.source}
