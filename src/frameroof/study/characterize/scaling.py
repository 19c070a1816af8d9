"""Figure 10: time of attention and of convolution as the image grows, before and after flash attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...trace.resolve.classify import ATTENTION, CONVOLUTION
from .claims import by_model, statement
from .sequence import DISTRIBUTION_MODEL as MODEL
from .shares import KINDS, seconds_by_class
from .source import Claim, Experiment, Row, Source, about, columns

PAPER_MOST = 512


FIGURE_10_COLUMNS = columns(
    "model: name in the suite",
    "side_px [px]: height and width of the image",
    "attention: baseline or flash",
    "attention_s [s]: time of attention in one run",
    "convolution_s [s]: time of convolution in one run",
    "total_s [s]: time of the run",
    "ratio: attention over convolution; 1 is a crossover",
)


def figure_10(source: Source) -> Experiment:
    """Attention against convolution from the least to the largest image, baseline and flash (figure 10)."""
    rows: list[Row] = []
    refused: list[str] = []
    for side in source.sides(MODEL) if MODEL in source.models() else ():
        for kind in KINDS:
            try:
                times = seconds_by_class(source.work(MODEL, kind, {"height": side, "width": side}))
            except ValueError as error:  # too large for the memory of this machine
                refused.append(f"{side} px is left out: {error}.")
                continue
            rows.append(
                {
                    "model": MODEL,
                    "side_px": side,
                    "attention": kind,
                    "attention_s": times.get(ATTENTION, 0.0),
                    "convolution_s": times.get(CONVOLUTION, 0.0),
                    "total_s": sum(times.values()),
                    "ratio": times.get(ATTENTION, 0.0) / times[CONVOLUTION],
                }
            )
    return Experiment(
        id="figure-10",
        title="Attention and convolution as the image grows",
        columns=FIGURE_10_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_claims(rows)),
        **about(
            source,
            "Crossovers are interpolated between the listed sizes, linearly in the logarithms of side and ratio.",
            *refused,
        ),
    )


def crossovers(sides: Sequence[float], ratios: Sequence[float]) -> list[float]:
    """Sides at which the ratio passes 1, interpolated linearly in the logarithms of both."""
    found = []
    for (a, r), (b, s) in zip(zip(sides, ratios, strict=True), list(zip(sides, ratios, strict=True))[1:], strict=False):
        if r > 0 and s > 0 and (r < 1) != (s < 1):
            share = math.log(1 / r) / math.log(s / r)
            found.append(math.exp(math.log(a) + share * math.log(b / a)))
    return found


def growth(rows: Sequence[Row], column: str, most: int | None = None) -> float | None:
    """How many times larger a column is at the largest side (up to `most`) than at the smallest."""
    known = [row for row in rows if most is None or row["side_px"] <= most]
    return known[-1][column] / known[0][column] if len(known) > 1 and known[0][column] else None


def gain(rows: Sequence[Row], column: str, most: int | None = None) -> float | None:
    """By how much a column is larger at the largest side (up to `most`) than at the smallest."""
    known = [row for row in rows if most is None or row["side_px"] <= most]
    return known[-1][column] - known[0][column] if len(known) > 1 else None


BEFORE = "Before flash attention, attention scales faster than convolution"
AFTER = "After flash attention, convolution scales faster than attention"
READINGS = ("as a factor", "in seconds added")


def _claims(rows: Sequence[Row]) -> list[Claim]:
    return [
        _claim([row for row in rows if row["attention"] == kind], faster, f"{text}, {reading}", reading == READINGS[1])
        for kind, faster, text in (("baseline", ATTENTION, BEFORE), ("flash", CONVOLUTION, AFTER))
        for reading in READINGS
    ]


def _claim(mine: Sequence[Row], faster: str, text: str, added: bool) -> Claim:
    """The paper does not say how it compares: a growth is a factor, or (figure 10's axis) seconds."""
    where, paper = "V-B, figure 10", f"{faster} faster"
    unit, grown = ("s", gain) if added else ("x", growth)
    near, far = ({c: grown(mine, f"{c}_s", most) for c in (ATTENTION, CONVOLUTION)} for most in (PAPER_MOST, None))
    if None in (*near.values(), *far.values()):
        return statement(text, where, paper, "", None, untested="It takes Stable Diffusion at two image sizes.")
    few = [row["side_px"] for row in mine]
    first = max(near, key=lambda c: near[c] or 0.0)
    at = crossovers(few, [row["ratio"] for row in mine])
    return statement(
        text,
        where,
        paper,
        f"{few[0]} to {max(s for s in few if s <= PAPER_MOST)} px: {by_model(near, unit)}",
        first == faster,
        (f"To {few[-1]} px: {by_model(far, unit)}. " if few[-1] > PAPER_MOST else "")
        + (f"They take equal time at {', '.join(f'{v:.0f} px' for v in at)}. " if at else "They do not cross. ")
        + "Flash attention saves bytes, not FLOPs: these still grow with the fourth power of the side, those of "
        "convolution with its square, so that attention wins again at large sizes.",
    )
