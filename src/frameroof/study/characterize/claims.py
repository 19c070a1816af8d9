"""The paper's sentences beside our numbers: a verdict is computed from the two, never written.

A number of ours agrees with the paper's if it lies within the paper's range widened by `TOLERANCE` at both ends; a
range of ours (several models) if all of it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .source import Claim, Source, Verdict

TOLERANCE = 0.1
PAPER_MACHINE = "A100"


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


def claim(  # six arguments: the cells of a row
    text: str, where: str, paper: Sequence[float], ours: Sequence[float], unit: str = "", why: str = ""
) -> Claim:
    """A claim of one number or a range. `ours` has the number of each model asked (none: not tested)."""
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
        why=f"{distance(paper, ours)} {why}".strip() if tested else why or "The source has none of these models.",
    )


def within(paper: Sequence[float], ours: Sequence[float]) -> bool:
    """Whether all of ours lies in the paper's range, widened by the tolerance."""
    low, high = min(paper), max(paper)
    return low - TOLERANCE * abs(low) <= min(ours) and max(ours) <= high + TOLERANCE * abs(high)


def distance(paper: Sequence[float], ours: Sequence[float]) -> str:
    """How far ours is from the paper's, in words."""
    if within(paper, ours):
        return "Within 10 % of the paper's."
    parts = []
    low, high = min(paper), max(paper)
    if min(ours) < low * (1 - TOLERANCE) and low:
        least = f"{min(ours) / low:.2g} of the paper's" if min(ours) > 0 else "below zero"
        parts.append(f"our least is {least}")
    if max(ours) > high * (1 + TOLERANCE) and high:
        parts.append(f"our most is {max(ours) / high:.2g} of the paper's")
    text = " and ".join(parts) or "ours is outside of the paper's range"
    return text[0].upper() + text[1:] + "."


def statement(  # six arguments: the cells of a row
    text: str, where: str, paper: str, ours: str, holds: bool | None, why: str = ""
) -> Claim:
    """A claim without a number of its own: `holds` says whether our numbers show it (None: not tested)."""
    verdict: Verdict = "not tested" if holds is None else "agrees" if holds else "differs"
    return Claim(text=text, where=where, paper=paper, ours=ours, verdict=verdict, why=why)


def contradiction(
    text: str, where: str, readings: Sequence[tuple[str, float, float]], ours: float | None, unit: str = ""
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
            + "; ".join(f"it is {ours / most:.2g} of “{words}”" for words, _, most in readings if most)
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
        why=support,
        paper_range=(min(lows), max(highs)) if math.isfinite(max(highs)) else None,
        ours_value=ours,
    )


def measured_note(source: Source) -> tuple[str, ...]:
    """What to say of a comparison with the paper's A100 when the numbers are those of another machine."""
    if PAPER_MACHINE in source.machine and source.how == "predicted":
        return ()
    return (f"The paper measured A100 GPUs at full size; these numbers are {source.how} for {source.machine}.",)
