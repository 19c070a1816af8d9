"""The optimization log as Markdown, from the JSON of benches: one row a change, predicted gains apart from measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..study.latency_report import gains
from ..study.stream import StreamPrediction
from ..units import format_seconds

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
BENCH, GPU, TUNE = "frameroof.stream.bench/2", "frameroof.benchmarks.gpu/1", "frameroof.stream.tune/2"
COLUMNS = (
    "Change", "Against", "Of", "Before", "After", "Saved", "Predicted", "Alone", "Cumulative", "Parity", "Quality drop",
    "Keep", "Why",
)  # fmt: skip


def optimization_log(
    benches: Sequence[Mapping[str, Any]], prediction: StreamPrediction, names: Sequence[str] = ()
) -> str:
    """The whole document; ValueError where a file, called so in `names`, is no bench."""
    parts = [HEAD]
    for number, data in enumerate(benches):
        if data.get("schema") == TUNE:
            parts.append(_tuned(data))
            continue
        if data.get("schema") == GPU and data.get("section") == "stream":
            data = _of_gpu(data)
        elif data.get("schema") != BENCH:
            name = names[number] if names else "A file"
            raise ValueError(
                f"{name} is no JSON of this version of `frameroof stream bench` ({BENCH}), `stream tune` or "
                "benchmarks/gpu.py."
            )
        parts.append(_measured(data))
    return "\n".join([*parts, _predicted(prediction)])


def _of_gpu(data: Mapping[str, Any]) -> dict[str, Any]:
    """A file of `benchmarks/gpu.py stream` in the shape of a bench; rows that were not measured say why."""
    found = [row for row in data["rows"] if row["name"].startswith("stream/") and "change" in row]
    baseline: Mapping[str, Any] = next((row for row in found if row["name"] == "stream/baseline"), {})
    rows = [
        row["log"] if "log" in row else {"change": row["change"], "keep": None, "why": row.get("why", "not reached")}
        for row in found
        if row is not baseline
    ]
    return {
        "model": data["stream"]["model"],
        "hardware": data["device"],
        "dtype": data["stream"]["dtype"],
        "sizes": data["stream"],
        "environment": data["environment"],
        "rows": rows,
        "variants": [{"quality": baseline.get("quality", {"floor": None})}],
        "cache_operations": {},
    }


def _measured(data: Mapping[str, Any]) -> str:
    env, s = data["environment"], data["sizes"]
    on_cpu = not env.get("gpu")
    where = "a CPU, for which the engine is not made: it shows what is equal and what is copied, not how fast it is"
    where = where if on_cpu else "a GPU"
    rows = [_row(row) for row in data["rows"] if row["keep"] is not None]
    left = [f"- {row['change']}: not run; {row['why']}." for row in data["rows"] if row["keep"] is None]
    cache = [
        f"- {name}: {format_seconds(found['seconds'])} in cache operations a block"
        + (f", {found['times_less']:.1f} times less than the baseline." if name != "baseline" else ".")
        for name, found in data["cache_operations"].items()
    ]
    return "\n".join(
        [
            f"## Measured: {data['model']} on {data['hardware']}, {data['dtype']}",
            "",
            f"Measured on {where}, {data['sizes']['blocks']} blocks, window {s['window']}, sink {s['sink']}, "
            f"{s['layers']} layers of width {s['dim']}, {s['width']} x {s['height']}, batch {s['batch']}; "
            f"torch {env['versions']['torch']}, {_threads(env)}{env['date'][:10]}. "
            + _floor(data["variants"][0]["quality"]["floor"]),
            "",
            *_table(COLUMNS, rows),
            "",
            *left,
            "",
            *cache,
            "",
        ]
    )


def _sweet(points: Sequence[Mapping[str, Any]]) -> str:
    return next((_named(p) for p in points if p["recommended"]), "none")


def _tuned(data: Mapping[str, Any]) -> str:
    """Window, sinks and precision: each choice against the slowest at the model's own, in full precision."""
    env, points = data["environment"], data["points"]
    own = max((p for p in points if p["own"]), key=lambda p: p["block_s"][1], default=None)
    rows = [_choice(p, own, data["most_error"]) for p in points if p is not own]
    columns = ("Change", "Before", "After", "Middle half", "Predicted", "Alone", "Quality drop", "Keep", "Why")
    against = f", against {_named(own)}" if own else ""
    return "\n".join(
        [
            f"## Window, sinks and precision: {data['model']} on {data['hardware']}, {data['dtype']}",
            "",
            f"Of a steady block{against}; torch {env['versions']['torch']}, {_threads(env)}{env['date'][:10]}. "
            + _floor(data["floor"]),
            "",
            *_table(columns, rows),
            "",
            f"Sweet spot: {_sweet(points)}: {data['reason']}.",
            "",
        ]
    )


def _choice(p: Mapping[str, Any], own: Mapping[str, Any] | None, most_error: float) -> tuple[str, ...]:
    before = own["block_s"][1] if own else None
    limit, less = own["predicted_s"] if own else None, p["predicted_s"]
    predicted = (
        _s(limit - less) if limit is not None and less is not None else "no peak is known here for such products"
    )
    if p["recommended"]:
        keep, why = "keep", "recommended"
    elif p["quality"]["relative"] > most_error:
        keep, why = "drop", f"drifts by more than {most_error:g}"
    else:
        keep, why = "drop", "not faster than the recommended one, or drifts more"
    return (
        _named(p), _s(before) if before else "", _s(p["block_s"][1]),
        f"{_s(p['block_s'][0])} to {_s(p['block_s'][2])}",
        predicted if own else "",
        f"{p['block_s'][1] / before - 1:+.0%}" if before else "", _drop(p["quality"]), keep, why,
    )  # fmt: skip


def _named(p: Mapping[str, Any]) -> str:
    linears = {"full": "", "own": ""}.get(p["precision"], f", {p['precision']}")
    return f"window {p['window']}, sink {p['sink']}, {p['variant']}{linears}"


def _row(r: Mapping[str, Any]) -> tuple[str, ...]:
    quality = r["quality"]
    parity = "not meant" if r["parity"] is None else "equal" if r["parity"]["equal"] else "NOT EQUAL"
    drop = "none" if parity == "equal" else _drop(quality)
    predicted = r["predicted"]["saved_s"]
    return (
        r["change"], r["before"], r["of"], _s(r["before_s"]), _s(r["after_s"]),
        f"{_s(r['saved_s'][0])} to {_s(r['saved_s'][2])}",
        _s(predicted) if predicted is not None else r["predicted"]["what"],
        f"{r['after_s'] / r['before_s'] - 1:+.0%}" if min(r["before_s"], r["after_s"]) > 0 else "",
        f"{r['after_s'] / r['baseline_s']:.0%}" if min(r["baseline_s"], r["after_s"]) > 0 else "",
        parity, drop, "keep" if r["keep"] else "drop", r["why"],
    )  # fmt: skip


def _drop(q: Mapping[str, Any]) -> str:
    pictures = "" if q["ssim"] is None else f", SSIM {q['ssim']:.4f}"
    error = f"relative error {q['relative']:.2g} free, {q['taught_relative']:.2g} taught"
    return f"{error}, cosine {q['cosine']:.5f}{pictures}"


def _floor(floor: float | None) -> str:
    return f"The baseline drifts by {floor:.2g} from run to run." if floor is not None else ""


def _threads(env: Mapping[str, Any]) -> str:
    """What the environment says of threads; empty where it says nothing."""
    set_to = env.get("settings", {}).get("OMP_NUM_THREADS")
    return f"OMP_NUM_THREADS={set_to}, " if set_to else ""


def _predicted(p: StreamPrediction) -> str:
    rows = [
        (g.change, g.of, _s(g.before_s), _s(g.after_s), f"{1 - g.after_s / g.before_s:.1%}", g.quality)
        for g in gains(p)
    ]
    return "\n".join(
        [
            f"## Predicted: LongLive 1.3B on {p.node.name}",
            "",
            "Limits before and after, at 100 % of the dense peaks; nothing was run.",
            "",
            *_table(("Change", "Of", "Before", "After", "Less", "Quality drop"), rows),
            "",
        ]
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows),
    ]


def _s(seconds: float) -> str:
    return ("-" if seconds < 0 else "") + format_seconds(abs(seconds))
