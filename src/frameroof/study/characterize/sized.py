"""A source at sizes that a user asked for, in place of the models' own, and whether a machine's memory holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import polars as pl

from ...estimate.memory import memory_of
from ...units import format_bytes
from .predicted import Predicted, workload_of
from .source import Source

KEEP_THEIR_OWN = (
    "Section 5a, figure 14 and beyond-published have sizes of their own, figures 9 and 10 sides of their own, figure 6 "
    "and beyond-staggering batches of their own; layers and widths of table 1 are those at the published sizes."
)
"""Where sizes that were asked for do not reach."""


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
    made.assumptions = (*source.assumptions, f"Sizes asked for: {told}. {KEEP_THEIR_OWN}")
    return made, asked


def fitting(source: Predicted) -> tuple[Predicted, tuple[str, ...]]:
    """(the source with the models that its machine's memory holds, a sentence for each that it does not hold).

    A model is held if it fits with flash attention. What fits only so stays, and an assumption says what its baseline
    would need. `ValueError` with the numbers where no model is left.
    """
    refused: dict[str, str] = {}
    notes = []
    for name in source.models():
        if needs := unfit(source, name):
            refused[name] = f"{name}: {needs}: left out"
        elif needs := unfit(source, name, "baseline"):
            notes.append(f"{name}: {needs}; its times are as if it fitted.")
    return _without(source, refused, notes), tuple(refused.values())


def unfit(source: Predicted, name: str, attention: str = "flash") -> str | None:
    """What a model needs and what the machine has, where its memory does not hold it; None where it does."""
    found = memory_of(workload_of(name, attention, source.expected), source.node, source.sizes(name))
    if found.fits:
        return None
    needs, has = format_bytes(found.peak_bytes), format_bytes(found.available_bytes)
    return f"{attention} attention needs {needs}, and {source.machine} has {has}"


def _without(source: Predicted, refused: Mapping[str, str], notes: Sequence[str]) -> Predicted:
    left = [name for name in source.models() if name not in refused]
    if not left:
        raise ValueError("; ".join(text.removesuffix(": left out") for text in refused.values()))
    made = source.other(models=left) if refused else copy(source)
    made.assumptions = (*source.assumptions, *(f"{text}." for text in refused.values()), *notes)
    return made
