"""The paper's sentences beside our numbers: a verdict is computed from the two, never written.

A number of ours agrees with the paper's if it lies within the paper's range widened by `TOLERANCE` at both ends; a
range of ours (several models) if all of it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from .source import Claim, Verdict

TOLERANCE = 0.1
ABSENT = "The source has none of the models that the claim is about."


def number(value: float, unit: str) -> str:
    """``41.3 %``, ``1.52x``: three digits and the unit; a share is given in percent."""
    if unit == "%":
        return f"{value * 100:.3g} %"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{text}{unit}" if unit in ("x", "") else f"{text} {unit}"


def span(values: Sequence[float], unit: str) -> str:
    """One number, or ``13 % to 25 %``."""
    low, high = min(values), max(values)
    return (
        number(low, unit) if number(low, unit) == number(high, unit) else f"{number(low, unit)} to {number(high, unit)}"
    )


def claim(  # seven arguments: the cells of a row
    text: str,
    where: str,
    paper: Sequence[float],
    ours: Sequence[float],
    unit: str = "",
    why: str = "",
    untested: str = ABSENT,
) -> Claim:
    """A claim of one number or a range. `ours` has the number of each model asked; none: not tested, and why."""
    tested = bool(ours)
    agrees = tested and within(paper, ours)
    return Claim(
        text=text,
        where=where,
        paper=span(paper, unit),
        paper_range=(min(paper), max(paper)),
        ours=span(ours, unit) if tested else "",
        ours_value=sum(ours) / len(ours) if tested else None,
        verdict="agrees" if agrees else "differs" if tested else "not tested",
        why=f"{distance(paper, ours)} {why}".strip() if tested else untested,
    )


def within(paper: Sequence[float], ours: Sequence[float]) -> bool:
    """Whether all of ours lies in the paper's range, widened by the tolerance."""
    low, high = min(paper), max(paper)
    return low - TOLERANCE * abs(low) <= min(ours) and max(ours) <= high + TOLERANCE * abs(high)


def distance(paper: Sequence[float], ours: Sequence[float]) -> str:
    """How far ours is from the paper's, in words."""
    if within(paper, ours):
        inside = min(paper) <= min(ours) and max(ours) <= max(paper)
        alike = "The same" if min(paper) == max(paper) else "Within the paper's range"
        return f"{alike}." if inside else "Within a tenth of the paper's."
    parts = []
    low, high = min(paper), max(paper)
    if len(set(paper)) == len(set(ours)) == 1 and low and ours[0] > 0:
        return f"Ours is {ours[0] / low:.2g} of the paper's."
    if min(ours) < low * (1 - TOLERANCE) and low:
        least = f"{min(ours) / low:.2g} of the paper's" if min(ours) > 0 else "below zero" if min(ours) < 0 else "zero"
        parts.append(f"our least is {least}")
    if max(ours) > high * (1 + TOLERANCE) and high:
        parts.append(f"our most is {max(ours) / high:.2g} of the paper's")
    text = " and ".join(parts) or "ours is outside of the paper's range"
    return text[0].upper() + text[1:] + "."


def statement(  # seven arguments: the cells of a row
    text: str, where: str, paper: str, ours: str, holds: bool | None, why: str = "", untested: str = ABSENT
) -> Claim:
    """A claim without a number of its own: `holds` says whether our numbers show it (None: not tested, and why)."""
    if holds is None:
        return Claim(text=text, where=where, paper=paper, ours="", verdict="not tested", why=untested)
    return Claim(text=text, where=where, paper=paper, ours=ours, verdict="agrees" if holds else "differs", why=why)


def by_model(values: Mapping[str, float | None], unit: str = "%") -> str:
    """``muse 73 %, parti 9 %``: the largest first; what is None is left out."""
    known = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {number(v, unit)}" for name, v in sorted(known.items(), key=lambda each: -each[1]))


def counted(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """The same, marked as counted from the modules at full size."""
    return tuple(msgspec.structs.replace(claim, counted=True) for claim in claims)


def contradiction(  # six arguments: the cells of a row
    text: str,
    where: str,
    readings: Sequence[tuple[str, float, float]],
    ours: float | None,
    unit: str = "",
    why: str = "",
) -> Claim:
    """A claim that the paper makes twice: `readings` are (its words, least, most) of each.

    It contradicts itself if two readings share no number; else it is judged as a claim of the narrowest reading. The
    answer says which reading our number supports.
    """
    apart = any(a[1] > b[2] or b[1] > a[2] for a in readings for b in readings)
    paper = "; ".join(words for words, _, _ in readings)
    mine = "" if ours is None else number(ours, unit)
    if ours is None:
        support = "Both are the paper's own; no number of ours is needed to see it."
    else:
        near = [words for words, low, high in readings if within((low, high), (ours,))]
        support = (
            f"Ours supports: {near[0]}."
            if near
            else "Ours supports neither; "
            + "; ".join(f"it is {ours / most:.2g} times “{words}”" for words, _, most in readings if most)
            + "."
        )
    verdict: Verdict = (
        "contradicts itself" if apart else "not tested" if ours is None else "agrees" if near else "differs"
    )
    lows, highs = [r[1] for r in readings], [r[2] for r in readings]
    return Claim(
        text=text,
        where=where,
        paper=paper,
        ours=mine,
        verdict=verdict,
        why=f"{support} {why}".strip(),
        paper_range=(min(lows), max(highs)) if math.isfinite(max(highs)) else None,
        ours_value=ours,
    )
