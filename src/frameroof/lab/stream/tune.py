"""`frameroof stream tune`: window, sinks and variant against each other: latency of a block beside its drift.

The reference is the baseline at the model's own window and sinks, in full precision. Drift is of latents in a free run
from the same noise. With random weights it says how far the numbers move, not how a picture looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any

from frameroof.hardware import Node

from .bench import Lane
from .parity import TESTED, Drift, drift, latents
from .variants import Setup

SCHEMA = "frameroof.stream.tune/1"
TIMED = 6  # blocks with a full window


@dataclass(frozen=True)
class Point:
    """One choice: its steady blocks in seconds, what its cache takes, how far it drifts."""

    window: int
    sink: int
    variant: str
    block_s: tuple[float, ...]
    cache_bytes: int
    drift: Drift

    @property
    def median_s(self) -> float:
        return median(self.block_s)

    def beaten_by(self, other: Point) -> bool:
        """Whether another point is at least as good in both, and better in one."""
        ours, theirs = (self.median_s, self.drift.relative), (other.median_s, other.drift.relative)
        return ours != theirs and all(b <= a for a, b in zip(ours, theirs, strict=True))


def grid(
    setup: Setup, windows: Sequence[int], sinks: Sequence[int], variants: Sequence[str]
) -> list[tuple[Setup, str]]:
    """Every admissible choice; ValueError where there is none."""
    found: list[tuple[Setup, str]] = []
    refused = ""
    for window in windows:
        for sink in sinks:
            chosen = replace(setup, decoder=None, changes={**setup.changes, "window": window, "sink": sink})
            try:
                chosen.config()
            except ValueError as error:
                refused = str(error)
                continue
            found += [(chosen, variant) for variant in variants]
    if not found:
        raise ValueError(f"No choice is admissible: {refused}")
    return found


def tune(
    setup: Setup,
    choices: Sequence[tuple[Setup, str]],
    say: Callable[[str], None] = lambda _: None,
) -> list[Point]:
    """Measure every choice; on a CPU block by block in turns, on a GPU one after the other."""
    own = setup.config()
    switches = {own.window_blocks + 1: "a fox sleeps"}
    blocks = max(TESTED, own.window_blocks + 3)
    say("the reference")
    reference = latents(replace(setup, decoder=None).engine("baseline"), blocks, switches)
    found: list[Point] = []
    groups = [[choice] for choice in choices] if setup.device.startswith("cuda") else [list(choices)]
    for group in groups:
        group[0][0].check_memory(len(group))
        lanes = [Lane(variant, chosen, say) for chosen, variant in group]
        away = [drift(reference, latents(lane.engine, blocks, switches)) for lane in lanes]
        for lane in lanes:
            lane.ready(say)
        longest = max(lane.engine.c.window_blocks for lane in lanes)
        for number in range(longest + TIMED):
            say(f"block {number + 1} of {longest + TIMED}")
            for lane in (*lanes[number % len(lanes) :], *lanes[: number % len(lanes)]):
                lane.block(number, None)
        found += [
            Point(
                window=lane.engine.c.window,
                sink=lane.engine.c.sink,
                variant=lane.name,
                block_s=tuple(row.generate_ns / 1e9 for row in lane.meter.rows[longest:]),
                cache_bytes=lane.engine.c.cache_bytes(lane.engine.denoiser.dtype.itemsize),
                drift=each,
            )
            for lane, each in zip(lanes, away, strict=True)
        ]
    return found


def recommended(points: Sequence[Point], most_error: float) -> Point:
    """The fastest point whose drift is at most `most_error`; ValueError where none is."""
    within = [point for point in points if point.drift.relative <= most_error]
    if not within:
        least = min(point.drift.relative for point in points)
        raise ValueError(f"No choice drifts by at most {most_error:g}; the least is {least:.2g}.")
    return min(within, key=lambda point: point.median_s)


def report(setup: Setup, node: Node, points: Sequence[Point], most_error: float) -> Mapping[str, Any]:
    """The points as JSON (docs/reference/stream-json.rst), which of them nothing beats, and the one to take."""
    best = recommended(points, most_error)
    rows = []
    for point in sorted(points, key=lambda point: point.median_s):
        low, middle, high = quantiles(point.block_s, n=4, method="inclusive")
        rows.append(
            {
                "window": point.window,
                "sink": point.sink,
                "variant": point.variant,
                "block_s": [low, middle, high],
                "cache_bytes": point.cache_bytes,
                "relative": point.drift.relative,
                "cosine": point.drift.cosine,
                "unbeaten": not any(point.beaten_by(other) for other in points),
                "recommended": point is best,
            }
        )
    c = setup.config()
    return {
        "schema": SCHEMA,
        "model": setup.model,
        "hardware": node.name,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "reference": {"window": c.window, "sink": c.sink, "variant": "baseline"},
        "most_error": most_error,
        "points": rows,
    }
