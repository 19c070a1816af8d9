"""The posts' numbers, read from the TOML files beside this one, and their rows.

A figure has a key; who computes gives one number for each key, under assumptions that are fields of a
dataclass. So "which assumption makes it the same" is asked by changing one field and computing again.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from .records import Row, Rule, Verdict, parse_rule

A = TypeVar("A", bound=Any)  # the dataclass of assumptions of one post
Values = Mapping[str, float]
Change = tuple[dict[str, Any], str]


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One published number: its key, name, unit, value and rounding, and what is to be said of it.

    `fix` is the one assumption that makes a different number the same, `why` its sentence. A
    `statement` holds or does not; `otherwise` is the verdict when its number is not ours.
    """

    key: str
    quantity: str
    unit: str
    published: float
    rule: str
    why: str = ""
    fix: dict[str, float] = {}
    statement: bool = False
    otherwise: Verdict = "does not hold"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures that stand together in the post, and where that is."""

    title: str
    where: str
    figures: tuple[Figure, ...]


class Post(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One document."""

    title: str
    source: str
    section: tuple[Section, ...]
    notes: tuple[str, ...] = ()


def read_post(name: str) -> Post:
    """The post of ``NAME.toml`` in this folder."""
    text = (Path(__file__).parent / f"{name}.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Post)


@dataclass(frozen=True)
class Case(Generic[A]):
    """Who computes, under which assumptions, and what is ours in full.

    `changes` are the assumptions that the user changed, each with what undoes it and its sentence.
    """

    compute: Callable[[A], Values]
    assumed: A
    corrected: Values
    changes: tuple[Change, ...] = ()


def rows_of(post: Post, case: Case[A]) -> tuple[Row, ...]:
    """A row for every figure of the post."""
    ours = case.compute(case.assumed)
    return tuple(_row(f, s, ours[f.key], case) for s in post.section for f in s.figures)


def _row(figure: Figure, section: Section, ours: float, case: Case[A]) -> Row:
    rule = parse_rule(figure.rule)
    corrected = case.corrected.get(figure.key)
    same = rule.matches(ours, figure.published)
    why, restored = (figure.why, None) if same else _explain(figure, rule, case)
    return Row(
        quantity=figure.quantity,
        unit=f"{figure.unit}, {rule}" if figure.unit else str(rule),
        published=figure.published,
        ours=ours,
        ratio=ours / figure.published if figure.published else None,
        corrected=corrected,
        verdict=_verdict(figure, rule, same, corrected),
        why=why,
        section=section.title,
        where=section.where,
        restored=restored,
    )


def _explain(figure: Figure, rule: Rule, case: Case[A]) -> tuple[str, float | None]:
    """The sentence of the first assumption that, put back, gives the published digits, and its value."""
    own = ((dict(figure.fix), figure.why),) if figure.fix else ()
    for fix, why in (*case.changes, *own):
        restored = case.compute(replace(case.assumed, **fix))[figure.key]
        if rule.matches(restored, figure.published):
            return why, restored
    return (figure.why if figure.statement else "No one assumption that is known makes it the same."), None


def _verdict(figure: Figure, rule: Rule, same: bool, corrected: float | None) -> Verdict:
    if not figure.statement:
        return "same" if same else "different"
    if not same:
        return figure.otherwise
    return "holds" if corrected is None or rule.matches(corrected, figure.published) else "partly"
