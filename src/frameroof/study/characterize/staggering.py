"""Section V-A's proposal, by simulation: denoising steps of concurrent requests staggered, so that peaks do not meet.

A step is a row of segments, one an operation in the order of the run: how long it takes alone, which shares of compute
and of memory bandwidth it uses meanwhile, and what memory its similarity matrix holds. Requests share one device as
fluids: while their demands add up to more than 1 of either, all of them slow down by that factor. Nothing is lost to
switching, and no two kernels get in each other's way in caches: an upper bound of what staggering can bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from .claims import number, statement
from .order import run_order
from .predicted import Predicted, stage_of
from .source import Attention, Claim, Experiment, Row, Source, about, columns

MODEL, STAGE = "stable-diffusion", "denoise"
REQUESTS, STEPS, SLICES = (2, 4, 8), 3, 200


@dataclass(frozen=True)
class Segment:
    """One operation alone: seconds, shares of compute and bandwidth used (0 to 1), bytes of similarity matrix held."""

    seconds: float
    compute: float
    bandwidth: float
    held: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What several requests together gave: seconds until the last is done, bandwidth asked for and used, bytes held.

    `bandwidth_peak` is the sum of demands before anything slows down: above 1 is more than the device has.
    `bandwidth_mean` is the share in use: what all requests move, over what the device could have moved meanwhile.
    """

    seconds: float
    bandwidth_peak: float
    bandwidth_mean: float
    held_peak: float
    over_share: float
    """Share of the time in which more bandwidth or compute is asked for than there is."""
    series: tuple[tuple[float, float, float, float], ...] = ()
    """What was asked for while nothing changed: begin and end in seconds, bandwidth demand, bytes held."""


def simulate(step: Sequence[Segment], requests: int, steps: int, staggered: bool) -> Outcome:
    """`requests` runs of `steps` steps on one device; staggered, the i-th begins i / requests of a step (alone) later.

    Raises `ValueError` without segments, requests or steps.
    """
    if not step or requests < 1 or steps < 1:
        raise ValueError("a simulation needs a step with segments, at least 1 request and at least 1 step")
    alone = sum(s.seconds for s in step)
    waits = [alone * i / requests if staggered else 0.0 for i in range(requests)]
    segments, left, now = [-1] * requests, list(waits), 0.0
    total = len(step) * steps
    peak = held_peak = moved = over = 0.0
    series: list[tuple[float, float, float, float]] = []
    while any(at < total for at in segments):
        running = [i for i in range(requests) if 0 <= segments[i] < total]
        current = [step[segments[i] % len(step)] for i in running]
        bandwidth, compute = sum(s.bandwidth for s in current), sum(s.compute for s in current)
        slow = max(1.0, bandwidth, compute)
        waiting = [i for i in range(requests) if segments[i] < 0]
        ahead = min([left[i] * slow for i in running] + [left[i] for i in waiting])
        held = sum(s.held for s in current)
        series.append((now, now + ahead, bandwidth, held))
        now += ahead
        moved += bandwidth / slow * ahead
        over += ahead if slow > 1 else 0.0
        peak, held_peak = max(peak, bandwidth), max(held_peak, held)
        for i in (*running, *waiting):
            left[i] -= ahead / slow if segments[i] >= 0 else ahead
            if left[i] <= 1e-15 + 1e-12 * alone:
                segments[i] += 1
                left[i] = step[segments[i] % len(step)].seconds if segments[i] < total else 0.0
    return Outcome(now, peak, moved / now, held_peak, over / now, tuple(series))


def slices(outcome: Outcome, count: int) -> list[tuple[float, float, float]]:
    """The run in equal slices of time: middle of the slice, mean bandwidth demand, most bytes held."""
    width = outcome.seconds / count
    demand, held = [0.0] * count, [0.0] * count
    for begin, end, bandwidth, kept in outcome.series:
        for at in range(int(begin / width), min(int(end / width), count - 1) + 1):
            inside = min(end, (at + 1) * width) - max(begin, at * width)
            if inside > 0:
                demand[at] += bandwidth * inside / width
                held[at] = max(held[at], kept)
    return [((at + 0.5) * width, demand[at], held[at]) for at in range(count)]


def picture(source: Source) -> dict[str, int]:
    """Height and width of Stable Diffusion's picture: its own, or those asked for."""
    return {side: source.sizes(MODEL)[side] for side in ("height", "width")}


def step_of(source: Predicted, attention: Attention, batch: int = 1) -> list[Segment]:
    """One denoising step of Stable Diffusion as segments, in the order of the run."""
    run = stage_of(MODEL, attention, STAGE, {"batch": batch, "steps": 1, **picture(source)}, source.expected)
    order = run_order(run.stage.ops)
    times = np.bincount(order, minlength=len(run.work))
    made: dict[int, Segment] = {}
    for row, work in enumerate(run.work):
        seconds = float(source.call_s(work))
        compute, memory = (float(np.max(part)) for part in source.expected.parts_s(work, source.bounds(work)))
        calls = int(work.count) / int(times[row])
        held = float(work.scores) * 2 if work.piece else 0.0
        made[row] = Segment(seconds * calls, min(compute / seconds, 1.0), min(memory / seconds, 1.0), held)
    return [made[row] for row in order]


CASES: tuple[Attention, Attention] = ("baseline", "flash")
BEYOND_STAGGERING_COLUMNS = columns(
    "attention: baseline or flash",
    "requests: images made at once on one device",
    "staggered: each begins 1 / requests of a step later",
    f"seconds [s]: until all have made {STEPS} steps",
    "speedup [x]: over one request after the other",
    "bandwidth_peak: largest sum of demands, 1 is what the device gives",
    "bandwidth_mean: mean share of the bandwidth in use",
    "held_peak_bytes [byte]: most similarity matrices held at once; 0 with flash attention",
    "held_share: share of a step alone in which such a matrix is held",
    "over_share: share of the time in which more is asked for than there is",
)
SERIES_COLUMNS = columns(
    "attention: baseline or flash",
    "requests: images made at once on one device",
    "staggered: each begins 1 / requests of a step later",
    "time_s [s]: since the first began: the middle of a slice",
    "bandwidth_demand: mean sum of demands in the slice, 1 is what the device gives",
    "held_bytes [byte]: most similarity matrices held at once in the slice",
)
NOTE = (
    "Simulated: one step of Stable Diffusion 1.5 at {height} x {width}, each request with guidance; requests share "
    "compute and bandwidth as fluids, without any loss to sharing."
)
ONLY = (
    "The simulation needs every operation of a step in order with its shares of compute and bandwidth alone, which "
    "only a prediction has: --predict shows it."
)


def beyond_staggering(source: Source) -> Experiment:
    """Peak memory and bandwidth demand of concurrent requests, in step and staggered (section V-A's proposal)."""
    rows: list[Row] = []
    if isinstance(source, Predicted):
        for kind, requests, staggered in product(CASES, REQUESTS, (False, True)):
            step = step_of(source, kind)
            got = simulate(step, requests, STEPS, staggered)
            rows.append(
                {
                    "attention": kind,
                    "requests": requests,
                    "staggered": staggered,
                    "seconds": got.seconds,
                    "speedup": sum(s.seconds for s in step) * STEPS * requests / got.seconds,
                    "bandwidth_peak": got.bandwidth_peak,
                    "bandwidth_mean": got.bandwidth_mean,
                    "held_peak_bytes": got.held_peak,
                    "held_share": sum(s.seconds for s in step if s.held) / sum(s.seconds for s in step),
                    "over_share": got.over_share,
                }
            )
    return Experiment(
        id="beyond-staggering",
        title="Denoising steps of concurrent requests, in step and staggered",
        columns=BEYOND_STAGGERING_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_claims(rows)) if rows else (),
        missing="" if rows else ONLY,
        **about(source, *((NOTE.format(**picture(source)),) if rows else ())),
    )


def _claims(rows: Sequence[Row]) -> list[Claim]:
    by = {(r["attention"], r["requests"], r["staggered"]): r for r in rows}
    most, out = REQUESTS[-1], []
    for kind in CASES:
        together, apart = by[kind, most, False], by[kind, most, True]
        gain = together["seconds"] / apart["seconds"]
        out.append(
            statement(
                f"Staggered denoising steps of concurrent requests use more of the bandwidth ({kind} attention)",
                "V-A",
                "proposed, no number given",
                f"{most} requests: mean use of bandwidth {number(apart['bandwidth_mean'], '%')} staggered, "
                f"{number(together['bandwidth_mean'], '%')} in step; done {number(gain, 'x')} as fast",
                apart["bandwidth_mean"] > together["bandwidth_mean"],
                f"{_peaks(together, apart)} The staggered run's end, with fewer requests left, is part of its time.",
            )
        )
    return out


def _peaks(together: Row, apart: Row) -> str:
    """What staggering does to the most memory held at once, and why no more."""
    most, less = together["held_peak_bytes"], apart["held_peak_bytes"]
    if not most:
        return "No similarity matrix is held."
    said = f"Peak of similarity matrices: {most / 1e9:.3g} GB in step, {less / 1e9:.3g} GB staggered"
    if less < most:
        return f"{said}."
    share = number(together["held_share"], "%")
    return f"{said}: one is held for {share} of a step, so requests begun apart meet in it too."


def beyond_staggering_series(source: Source) -> Experiment:
    """The same over time: bandwidth demand and similarity matrices held, in slices of the run."""
    rows: list[Row] = []
    requests = REQUESTS[1]
    if isinstance(source, Predicted):
        for kind, staggered in product(CASES, (False, True)):
            series = slices(simulate(step_of(source, kind), requests, STEPS, staggered), SLICES)
            rows += [
                {
                    "attention": kind,
                    "requests": requests,
                    "staggered": staggered,
                    "time_s": time,
                    "bandwidth_demand": demand,
                    "held_bytes": held,
                }
                for time, demand, held in series
            ]
    return Experiment(
        id="beyond-staggering-series",
        title="Bandwidth demand and memory of concurrent requests over time",
        columns=SERIES_COLUMNS,
        rows=tuple(rows),
        missing="" if rows else ONLY,
        **about(source, *((NOTE.format(**picture(source)),) if rows else ())),
    )
