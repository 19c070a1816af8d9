"""A source at sizes that a user asked for, in place of the models' own, and whether a machine's memory holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import polars as pl

from ...estimate.memory import memory_of
from ...units import format_bytes
from .predicted import Predicted, workload_of
from .source import Source

KEEP_THEIR_OWN = "figure 6, section 5a, figure 14 and beyond-video, -cost, -staggering and -published"
"""Experiments that ask for sizes of their own."""


class _Sized:
    """Mixed into a source: answers for `{}` at the sizes asked for."""

    asked: Mapping[str, dict[str, int]]

    def sizes(self, model: str) -> dict[str, int]:
        own: dict[str, int] = super().sizes(model)  # type: ignore[misc]
        return own | self.asked.get(model, {})

    def work(self, model: str, attention: str, sizes: Mapping[str, int]) -> pl.DataFrame:
        found: pl.DataFrame = super().work(model, attention, {**self.asked.get(model, {}), **sizes})  # type: ignore[misc]
        return found

    def calls(self, model: str, attention: str, sizes: Mapping[str, int]) -> pl.DataFrame:
        found: pl.DataFrame = super().calls(model, attention, {**self.asked.get(model, {}), **sizes})  # type: ignore[misc]
        return found


def resize(
    source: Source, sizes: Mapping[str, int], check: Callable[[str, Mapping[str, int]], Any]
) -> tuple[Source, dict[str, dict[str, int]]]:
    """(the source at these sizes, what each model was given). A model that has no such size keeps its own.

    `check(model, sizes)` raises `ValueError` for sizes that a model cannot take; so does a size that no model has.
    """
    has = {name: tuple(workload_of(name, "flash").params) for name in source.models()}
    unknown = [size for size in sizes if not any(size in each for each in has.values())]
    if unknown:
        known = dict.fromkeys(size for each in has.values() for size in each)
        raise ValueError(f"none of these models has a size {unknown[0]!r}; they have: {', '.join(known)}")
    asked = {name: {size: value for size, value in sizes.items() if size in each} for name, each in has.items()}
    asked = {name: each for name, each in asked.items() if each}
    for name, each in asked.items():
        try:
            check(name, each)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not asked:
        return source, {}
    made: Any = copy(source)
    made.__class__ = type("Sized", (_Sized, type(source)), {})
    made.asked = asked
    told = "; ".join(f"{name} {', '.join(f'{n}={v}' for n, v in each.items())}" for name, each in asked.items())
    made.assumptions = (*source.assumptions, f"Sizes asked for: {told}. {KEEP_THEIR_OWN} have sizes of their own.")
    return made, asked


def memory_notes(source: Predicted) -> tuple[str, ...]:
    """A sentence for each model that the machine's memory does not hold; its times are as if it did."""
    notes = []
    for name in source.models():
        for attention in ("flash", "baseline"):
            found = memory_of(workload_of(name, attention), source.node, source.sizes(name))
            if not found.fits:
                notes.append(
                    f"{name} with {attention} attention needs {format_bytes(found.peak_bytes)}, and {source.machine} "
                    f"has {format_bytes(found.available_bytes)}: its times are as if it fitted."
                )
                break
    return tuple(notes)
