"""The optimization log as Markdown, from the JSON of benches: one row a change, predicted gains apart from measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..recorded import Environment
from ..study.latency_report import gains
from ..study.stream import StreamPrediction
from ..study.stream_records import Bench, CacheTime, GpuSizes, GpuStream, Outcome, Point, Quality, Row, Sizes, Tuned
from ..units import format_seconds
from .markdown import escaped, table

HEAD = """# Optimization log

Made by `frameroof stream log` from the JSON of `frameroof stream bench`, `stream tune` and `benchmarks/gpu.py stream`;
nothing here is typed by hand.
Each row is one change against the variant named beside it. *Alone* is what it does to that variant's latency,
*cumulative* the latency after it over the baseline's. Before and after are medians; saved is the middle half of before
less after, block by block: where it holds 0, or where fewer than eight pairs do not all agree, the spread is larger
than the difference. *Predicted* is what the limits say it saves, made from counts before anything was measured;
launches are in no limit, and at small sizes they are most of the time. Quality is the worst block beside the baseline
in fp32 with the same weights and noise, in latents, for with random weights pictures mean nothing: in a free run, where
errors add up, and taught, where each block is given the reference's past.
"""
COLUMNS = (
    "Change", "Against", "Of", "Before", "After", "Saved", "Predicted", "Alone", "Cumulative", "Parity", "Quality drop",
    "Keep", "Why",
)  # fmt: skip


def optimization_log(files: Sequence[Bench | Tuned | GpuStream], prediction: StreamPrediction) -> str:
    """The whole document, a section for each file in the order given."""
    parts = [HEAD]
    for data in files:
        if isinstance(data, Tuned):
            parts.append(_tuned(data))
        else:
            parts.append(_section(_of_gpu(data) if isinstance(data, GpuStream) else _of_bench(data)))
    return "\n".join([*parts, _predicted(prediction)])


@dataclass(frozen=True)
class _Measured:
    """What a section of measured rows is made of."""

    model: str
    hardware: str
    dtype: str
    sizes: Sizes | GpuSizes
    environment: Environment
    rows: Sequence[Row]
    floor: float | None
    cache: Mapping[str, CacheTime]


def _of_bench(data: Bench) -> _Measured:
    floor = data.variants[0].quality.floor
    about = data.model, data.hardware, data.dtype, data.sizes, data.environment
    return _Measured(*about, data.rows, floor, data.cache_operations)


def _of_gpu(data: GpuStream) -> _Measured:
    """A file of `benchmarks/gpu.py stream`; rows that were not measured say why."""
    found = [row for row in data.rows if row.name.startswith("stream/") and row.change is not None]
    floors = [row.quality.floor for row in found if row.name == "stream/baseline" and row.quality is not None]
    rows = [
        row.log or Row(change=row.change or "", keep=None, why=row.why or "not reached")
        for row in found
        if row.name != "stream/baseline"
    ]
    about = data.stream.model, data.device, data.stream.dtype, data.stream, data.environment
    return _Measured(*about, rows, floors[0] if floors else None, {})


def _section(data: _Measured) -> str:
    env, s = data.environment, data.sizes
    where = "a CPU, for which the engine is not made: it shows what is equal and what is copied, not how fast it is"
    where = "a GPU" if env.gpu else where
    rows = [_row(row, row.outcome) for row in data.rows if row.outcome is not None]
    left = [f"- {escaped(row.change)}: not run; {escaped(row.why)}." for row in data.rows if row.keep is None]
    cache = [
        f"- {escaped(name)}: {format_seconds(found.seconds)} in cache operations a block"
        + (
            f", {found.times_less:.1f} times less than the baseline."
            if name != "baseline" and found.times_less
            else "."
        )
        for name, found in data.cache.items()
    ]
    return "\n".join(
        [
            f"## Measured: {escaped(_where(data))}",
            "",
            f"Measured on {where}, {s.blocks} blocks, window {s.window}, sink {s.sink}, "
            f"{s.layers} layers of width {s.dim}, {s.width} x {s.height}, batch {s.batch}; "
            f"{_software(env)}. {_floor(data.floor)}",
            "",
            *_table(COLUMNS, rows),
            "",
            *left,
            "",
            *cache,
            "",
        ]
    )


def _where(data: _Measured | Tuned) -> str:
    return f"{data.model} on {data.hardware}, {data.dtype}"


def _sweet(points: Sequence[Point]) -> str:
    return next((_named(p) for p in points if p.recommended), "none")


def _tuned(data: Tuned) -> str:
    """Window, sinks and precision: each choice against the slowest at the model's own, in full precision."""
    points = data.points
    own = max((p for p in points if p.own), key=lambda p: p.block_s[1], default=None)
    rows = [_choice(p, own, data.most_error) for p in points if p is not own]
    columns = ("Change", "Before", "After", "Middle half", "Predicted", "Alone", "Quality drop", "Keep", "Why")
    against = f", against {escaped(_named(own))}" if own else ""
    return "\n".join(
        [
            f"## Window, sinks and precision: {escaped(_where(data))}",
            "",
            f"Of a steady block{against}; {_software(data.environment)}. " + _floor(data.floor),
            "",
            *_table(columns, rows),
            "",
            f"Sweet spot: {escaped(_sweet(points))}: {escaped(data.reason)}.",
            "",
        ]
    )


def _choice(p: Point, own: Point | None, most_error: float) -> tuple[str, ...]:
    before = own.block_s[1] if own else None
    limit, less = own.predicted_s if own else None, p.predicted_s
    predicted = (
        _s(limit - less) if limit is not None and less is not None else "no peak is known here for such products"
    )
    if p.recommended:
        keep, why = "keep", "recommended"
    elif p.quality.relative > most_error:
        keep, why = "drop", f"drifts by more than {most_error:g}"
    else:
        keep, why = "drop", "not faster than the recommended one, or drifts more"
    return (
        _named(p), _s(before) if before else "", _s(p.block_s[1]),
        f"{_s(p.block_s[0])} to {_s(p.block_s[2])}",
        predicted if own else "",
        f"{p.block_s[1] / before - 1:+.0%}" if before else "", _drop(p.quality), keep, why,
    )  # fmt: skip


def _named(p: Point) -> str:
    linears = {"full": "", "own": ""}.get(p.precision, f", {p.precision}")
    return f"window {p.window}, sink {p.sink}, {p.variant}{linears}"


def _row(r: Row, o: Outcome) -> tuple[str, ...]:
    parity = "not meant" if o.parity is None else "equal" if o.parity.equal else "NOT EQUAL"
    predicted = o.predicted.saved_s
    return (
        r.change, o.before, o.of, _s(o.before_s), _s(o.after_s),
        f"{_s(o.saved_s[0])} to {_s(o.saved_s[2])}",
        _s(predicted) if predicted is not None else o.predicted.what,
        f"{o.after_s / o.before_s - 1:+.0%}" if min(o.before_s, o.after_s) > 0 else "",
        f"{o.after_s / o.baseline_s:.0%}" if min(o.baseline_s, o.after_s) > 0 else "",
        parity, "none" if parity == "equal" else _drop(o.quality), "keep" if r.keep else "drop", r.why,
    )  # fmt: skip


def _drop(q: Quality) -> str:
    pictures = "" if q.ssim is None else f", SSIM {q.ssim:.4f}"
    taught = "" if q.taught_relative is None else f", {q.taught_relative:.2g} taught"
    return f"relative error {q.relative:.2g} free{taught}, cosine {q.cosine:.5f}{pictures}"


def _floor(floor: float | None) -> str:
    return f"The baseline drifts by {floor:.2g} from run to run." if floor is not None else ""


def _software(env: Environment) -> str:
    """torch, its threads and the day, as far as the environment tells them."""
    torch, threads = (env.versions or {}).get("torch"), (env.settings or {}).get("OMP_NUM_THREADS")
    return ", ".join(
        part
        for part in (
            torch and f"torch {escaped(torch)}",
            threads and f"OMP_NUM_THREADS={escaped(threads)}",
            env.date and escaped(env.date[:10]),
        )
        if part
    )


def _predicted(p: StreamPrediction) -> str:
    rows = [
        (g.change, g.of, _s(g.before_s), _s(g.after_s), f"{1 - g.after_s / g.before_s:.1%}", g.quality)
        for g in gains(p)
    ]
    return "\n".join(
        [
            f"## Predicted: LongLive 1.3B on {escaped(p.node.name)}",
            "",
            "Limits before and after, at 100 % of the dense peaks; nothing was run.",
            "",
            *_table(("Change", "Of", "Before", "After", "Less", "Quality drop"), rows),
            "",
        ]
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return table(columns, ([escaped(cell) for cell in row] for row in rows))


def _s(seconds: float) -> str:
    return ("-" if seconds < 0 else "") + format_seconds(abs(seconds))
