"""`frameroof stream tune`: window, sinks, precision and variant against each other: latency of a block beside quality.

The reference is the baseline at the model's own window and sinks, in fp32, with the same weights and noise. With random
weights quality says how far the numbers move, not how a picture looks.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles

import torch

from ...dtypes import name_of
from ...hardware import Node
from ...profiler.environment import surroundings
from ...study import stream_records as records
from .bench import Lane
from .needed import Needed, predicted
from .parity import Checks, Quality
from .variants import Setup
from .where import Here, configuration, quality_of

TIMED = 8  # blocks with a full window
FLOORS = 2.0  # a drift below so many times the floor cannot be told from noise
Choice = tuple[Setup, str]


@dataclass(frozen=True)
class Axes:
    """What is set against each other."""

    windows: Sequence[int]
    sinks: Sequence[int]
    precisions: Sequence[str]
    variants: Sequence[str]


@dataclass(frozen=True)
class Point:
    """One choice: its steady blocks in seconds, what its cache takes, its quality."""

    setup: Setup
    variant: str
    block_s: tuple[float, ...]
    quality: Quality

    @property
    def window(self) -> int:
        return self.setup.config().window

    @property
    def sink(self) -> int:
        return self.setup.config().sink

    @property
    def cache_bytes(self) -> int:
        return self.setup.batch * self.setup.config().cache_bytes(self.setup.dtype.itemsize)

    @property
    def median_s(self) -> float:
        return median(self.block_s)

    @property
    def quartiles_s(self) -> tuple[float, float, float]:
        low, middle, high = quantiles(self.block_s, n=4, method="inclusive")
        return low, middle, high

    def beaten_by(self, other: Point) -> bool:
        """Whether another point is at least as good in both, and better in one."""
        ours, theirs = (self.median_s, self.quality.relative), (other.median_s, other.quality.relative)
        return ours != theirs and all(b <= a for a, b in zip(ours, theirs, strict=True))


def grid(setup: Setup, axes: Axes) -> list[Choice]:
    """Every admissible choice; ValueError where there is none."""
    found: list[Choice] = []
    refused = ""
    for window in axes.windows:
        for sink in axes.sinks:
            for precision in axes.precisions:
                chosen = replace(setup, precision=precision, changes={**setup.changes, "window": window, "sink": sink})
                try:
                    chosen.config()
                except ValueError as error:
                    refused = str(error)
                    continue
                found += [(chosen, variant) for variant in axes.variants]
    if not found:
        raise ValueError(f"No choice is admissible: {refused}")
    return found


def tune(
    setup: Setup, choices: Sequence[Choice], say: Callable[[str], None] = lambda _: None
) -> tuple[list[Point], Checks]:
    """Measure every choice; on a CPU block by block in turns, on a GPU one after the other."""
    say("the reference")
    checks = Checks(setup, setup.engine("baseline"))
    found: list[Point] = []
    alone = setup.device.startswith("cuda")
    for group in [[choice] for choice in choices] if alone else [list(choices)]:
        group[0][0].check_memory(len(group))
        lanes = [Lane(variant, chosen, say) for chosen, variant in group]
        quality = []
        for lane, (chosen, variant) in zip(lanes, group, strict=True):
            say(f"{text_of(chosen, variant)}: comparing with the reference")
            quality.append(checks.quality(lane.engine))
        for lane in lanes:
            lane.decodes = False  # quality is decoded, what is timed is not
            lane.ready(say)
        longest = max(lane.engine.c.window_blocks for lane in lanes)
        for number in range(longest + TIMED):
            say(f"block {number + 1} of {longest + TIMED}")
            for lane in (*lanes[number % len(lanes) :], *lanes[: number % len(lanes)]):
                lane.block(number, None)
        found += [
            Point(chosen, variant, tuple(row.generate_ns / 1e9 for row in lane.meter.rows[longest:]), each)
            for lane, (chosen, variant), each in zip(lanes, group, quality, strict=True)
        ]
        del lanes, lane
        gc.collect()
        if alone:
            torch.cuda.empty_cache()
    return found, checks


def text_of(setup: Setup, variant: str) -> str:
    c = setup.config(variant)
    return f"window {c.window}, sink {c.sink}, {variant}, {setup.precision}"


def recommended(points: Sequence[Point], most_error: float) -> Point | None:
    """Of the points whose free run drifts by at most `most_error` the fastest; None where none does.

    Of those that are not slower than it beyond the spread (their lower quartile lies at or below its median), the one
    that drifts least.
    """
    within = [point for point in points if point.quality.relative <= most_error]
    if not within:
        return None
    fastest = min(point.median_s for point in within)
    near = [point for point in within if point.quartiles_s[0] <= fastest]
    return min(near, key=lambda point: (point.quality.relative, point.median_s))


def reason(points: Sequence[Point], best: Point | None, most_error: float) -> str:
    """Why the recommended point is taken: what it is beside the model's own window, and what drifts too much."""
    if best is None:
        return f"no choice drifts by at most {most_error:g}; the least is {_least(points):.2g}"
    within = [p for p in points if p.quality.relative <= most_error]
    own = [p for p in points if (p.window, p.sink) == _own(p.setup) and exact(p)]
    count = f"{len(within)} of {len(points)} choices"
    text = f"{count} drift by at most {most_error:g}; none of them is faster beyond the spread"
    if own and (most := max(own, key=lambda p: p.median_s)) is not best:
        text += f"; {1 - best.median_s / most.median_s:.0%} less time than {text_of(most.setup, most.variant)}"
    if faster := [p for p in points if p not in within and p.quartiles_s[2] < best.median_s]:
        near = min(faster, key=lambda p: p.quality.relative)
        text += (
            f"; {len(faster)} faster ones drift more, the least of them {text_of(near.setup, near.variant)} "
            f"with {near.quality.relative:.2g}"
        )
    return text


def _least(points: Sequence[Point]) -> float:
    return min(point.quality.relative for point in points)


def _own(setup: Setup) -> tuple[int, int]:
    """The window and sink of the model itself."""
    c = replace(setup, changes={}).config()
    return c.window, c.sink


def exact(point: Point) -> bool:
    """Whether nothing of it is in 8 bits."""
    return point.setup.variant(point.variant).exact


def _limit(point: Point, node: Node) -> float | None:
    """A steady block's limit as this point computes it."""
    c = point.setup.config(point.variant)
    needed = Needed(c, node, name_of(point.setup.dtype), point.setup.batch)
    return predicted(needed, c, point.setup.variant(point.variant))["block"]


def report(setup: Setup, node: Node, found: tuple[Sequence[Point], Checks], most_error: float) -> records.Tuned:
    """The points as they are written (docs/reference/stream-json.rst), which nothing beats, and the one to take."""
    points, checks = found
    best, env, c = recommended(points, most_error), surroundings(), setup.config()
    here = Here(setup, node.name, env.versions or {})
    rows = []
    for point in sorted(points, key=lambda point: point.median_s):
        row = _row(point, node, here)
        row.in_noise = point.quality.relative <= FLOORS * checks.floor
        row.unbeaten = not any(point.beaten_by(other) for other in points)
        row.recommended = point is best
        rows.append(row)
    return records.Tuned(
        model=setup.model,
        hardware=node.name,
        dtype=str(setup.dtype).removeprefix("torch."),
        reference=records.Reference(window=c.window, sink=c.sink, variant="baseline", dtype="float32"),
        floor=checks.floor,
        most_error=most_error,
        reason=reason(points, best, most_error),
        points=rows,
        says=list(checks.says),
        environment=env,
    )


def _row(point: Point, node: Node, here: Here) -> records.Point:
    """A point by itself; what it is beside the others is told by `report`."""
    c = here.setup.config()
    return records.Point(
        window=point.window,
        sink=point.sink,
        variant=point.variant,
        precision=point.setup.precision,
        block_s=list(point.quartiles_s),
        samples_s=list(point.block_s),
        predicted_s=_limit(point, node),
        own=(point.window, point.sink) == (c.window, c.sink) and exact(point),
        cache_bytes=point.cache_bytes,
        quality=quality_of(point.quality),
        in_noise=False,
        unbeaten=False,
        recommended=False,
        configuration=configuration(point.setup, point.variant),
        hardware=here.hardware,
        versions=dict(here.versions),
    )
