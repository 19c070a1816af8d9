"""Figure 14: FLOPs of spatial and temporal attention against frames, and of what replaced them: full and windowed.

For F frames of N tokens, B videos, width C (heads x head dimension), both products, 2 FLOPs a multiply-add::

    spatial    4 B F N^2 C      every token to those of its frame
    temporal   4 B N F^2 C      every token to those at its place
    full       4 B (N F)^2 C    every token to every token, as today's video transformers
    windowed   4 B N F min(F, W) C
    causal     2 B N F (F + 1) C

Spatial and temporal cross at F = N: as many frames as a frame has tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from ... import rules
from .claims import claim, counted, statement
from .predicted import stage_of
from .source import Claim, Experiment, Row, Source, columns

FRAMES = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SIDES = (128, 224, 448, 768)  # pixels; TimeSformer's patches are 16 x 16 and its frames 224 px
PATCH, WIDTH, WINDOW = 16, 768, 16
MODEL = "make-a-video"


def attention_flops(kind: str, frames: int, tokens: int, width: int = WIDTH, window: int = WINDOW) -> int:
    """FLOPs of the two products of one layer, one video: see the top of this file. `ValueError` for another kind."""
    pairs = {
        "spatial": frames * tokens**2,
        "temporal": tokens * frames**2,
        "full": (tokens * frames) ** 2,
        "windowed": tokens * frames * min(frames, window),
        "causal": tokens * rules.causal_pairs(frames, frames, rules.UPPER_LEFT),
    }
    if kind not in pairs:
        raise ValueError(f"unknown kind {kind!r}; kinds are {', '.join(pairs)}")
    return int(rules.attention_flops(1, 1, pairs[kind], width, width))


@cache
def counted_flops(frames: int, side: int) -> dict[str, dict[str, int]]:
    """FLOPs of Make-A-Video's first U-Net, one forward, from its workload: by tokens of a frame, spatial and temporal.

    `side` is that of its 64-pixel stage. Levels are told apart by the tokens of a frame.
    """
    sizes = {"frames": frames, "height": side * 12, "width": side * 12, "guidance": 1, "steps": 1}
    run = stage_of(MODEL, "flash", "denoise", sizes)
    out: dict[str, dict[str, int]] = {}
    for work in run.work:
        if not work.fused_attention or work.op.attrs["role"] != "self":
            continue
        axis = str(work.op.attrs["axis"])
        tokens = str(work.dims["q"] if axis == "spatial" else work.dims["b"])
        level = out.setdefault(tokens, {"spatial": 0, "temporal": 0})
        level[axis] += int(work.flops * work.count)
    return out


FIGURE_14_COLUMNS = columns(
    "side_px [px]: height and width of a frame",
    "tokens [token]: of one frame",
    "frames: frames of the video",
    "spatial [FLOP]: each frame by itself",
    "temporal [FLOP]: each place over time",
    "full [FLOP]: all tokens of all frames together",
    f"windowed [FLOP]: temporal, {WINDOW} frames at most",
    "causal [FLOP]: temporal, past frames only",
    "crossover_frames [frame]: where temporal passes spatial, closed form: tokens of a frame",
    "counted_crossover [frame]: the same from Make-A-Video's counts at that many tokens; None: no such level",
)


def figure_14(_: Source) -> Experiment:
    """FLOPs of spatial, temporal, full, windowed and causal attention against frames; the crossover (figure 14)."""
    rows: list[Row] = []
    for side in SIDES:
        tokens = (side // PATCH) ** 2
        for frames in FRAMES:
            kinds = ("spatial", "temporal", "full", "windowed", "causal")
            rows.append(
                {
                    "side_px": side,
                    "tokens": tokens,
                    "frames": frames,
                    **{kind: attention_flops(kind, frames, tokens) for kind in kinds},
                    "crossover_frames": tokens,
                    "counted_crossover": counted_crossover(tokens),
                }
            )
    return Experiment(
        id="figure-14",
        title="FLOPs of temporal and spatial attention against frames",
        how="counted",
        machine="any machine",
        columns=FIGURE_14_COLUMNS,
        rows=tuple(rows),
        claims=counted(_claims(rows)),
        assumptions=(
            f"Closed forms: one layer of width {WIDTH}, patches of {PATCH} x {PATCH}, as TimeSformer, which the "
            "paper's benchmark is based on; the two products only, as the paper. Counts: Make-A-Video's first U-Net.",
        ),
    )


def _claims(rows: Sequence[Row]) -> list[Claim]:
    first = [row for row in rows if row["side_px"] == SIDES[1]]
    counted = [(t, counted_crossover(t)) for t in (1024, 256, 64)]
    exact = all(found is not None and math.isclose(found, t) for t, found in counted)
    crossings = [(row["side_px"], row["crossover_frames"]) for row in rows if row["frames"] == FRAMES[0]]
    return [
        claim(
            "FLOPs of temporal attention grow as the square of the frames",
            "VI-B, figure 14",
            (2.0,),
            [_exponent(first, "temporal")],
            "",
            "Exponent of the growth.",
        ),
        claim(
            "FLOPs of spatial attention grow linearly with the frames",
            "VI-B, figure 14",
            (1.0,),
            [_exponent(first, "spatial")],
            "",
            "Exponent of the growth. Full attention: "
            f"{_exponent(first, 'full'):.3g}; windowed: {_exponent(first[3:], 'windowed'):.3g} beyond its window.",
        ),
        statement(
            "A higher resolution moves the crossover to more frames",
            "VI-B, figure 14",
            "prolongs",
            ", ".join(f"{side} px: {at} frames" for side, at in crossings),
            [at for _, at in crossings] == sorted({at for _, at in crossings}),
            "Closed form: temporal passes spatial at as many frames as a frame has tokens. Counted in "
            "Make-A-Video: " + ", ".join(f"{t} tokens: {found:g} frames" for t, found in counted if found) + ".",
        ),
        statement(
            "The closed form of the crossover is what the model's counts give",
            "VI-B",
            "F = HW",
            "equal at every level" if exact else "not equal",
            exact,
            "Spatial FLOPs over temporal ones at two numbers of frames, from Make-A-Video's counts at each level.",
        ),
    ]


def counted_crossover(tokens: int) -> float | None:
    """Frames at which counted temporal FLOPs pass the spatial ones at the level with so many tokens a frame.

    Spatial is linear and temporal quadratic in the frames, which two counts confirm; None if no level has them.
    Raises `ValueError`, a sentence, where a counted attention does not grow as the closed form says.
    """
    few, many = 8, 16
    counts = [counted_flops(frames, 64).get(str(tokens)) for frames in (few, many)]
    if counts[0] is None or counts[1] is None:
        return None
    linear = counts[1]["spatial"] * few == counts[0]["spatial"] * many
    square = counts[1]["temporal"] * few**2 == counts[0]["temporal"] * many**2
    if not (linear and square):
        raise ValueError(f"attention over {tokens} tokens does not grow as the closed form says")
    return counts[0]["spatial"] / counts[0]["temporal"] * few


def _exponent(rows: Sequence[Row], column: str) -> float:
    first, last = rows[0], rows[-1]
    return math.log(last[column] / first[column]) / math.log(last["frames"] / first["frames"])
