"""How the pipelines of a model run it: one record of ``pipelines.toml`` for each family, with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).with_name("pipelines.toml")


@dataclass(frozen=True)
class Pipeline:
    """What a pipeline does that a record of its modules does not show; "" where it does as recorded.

    `vae` is the type that the autoencoder runs in, by that of the rest.
    """

    models: tuple[str, ...] = ()
    guidance: str = ""
    vae: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    date: str = ""


@cache
def _all() -> tuple[Pipeline, ...]:
    rows: list[dict[str, Any]] = tomllib.loads(RECORDS.read_text("utf-8"))["pipeline"]
    return tuple(Pipeline(**{**row, "models": tuple(row["models"])}) for row in rows)


@lru_cache(maxsize=256)
def pipeline_of(model: str) -> Pipeline:
    """The record of a model of the catalogue; an empty one where there is none."""
    return next((each for each in _all() if any(fnmatchcase(model, name) for name in each.models)), Pipeline())
