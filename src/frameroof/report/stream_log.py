"""The optimisation log as Markdown, from the JSON of benches: one row a change, predicted gains apart from measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..study.latency_report import gains
from ..study.stream import StreamPrediction
from ..units import format_seconds

HEAD = """# Optimisation log

Made by `frameroof stream log` from the JSON of `frameroof stream bench`; nothing here is typed by hand.
Each row is one change against the variant named beside it. *Of the baseline* is cumulative: the latency after the
change over the baseline's. Quality is the worst block of a free run beside the baseline from the same noise, in
latents, for with random weights pictures mean nothing. Before and after are medians; saved is the middle half of
before less after, block by block: where it holds 0, the spread is larger than the difference.
"""


def optimisation_log(benches: Sequence[Mapping[str, Any]], prediction: StreamPrediction) -> str:
    """The whole document; ValueError where a file is no bench."""
    parts = [HEAD]
    for data in benches:
        if not str(data.get("schema", "")).startswith("frameroof.stream.bench/"):
            raise ValueError("A file is no stream.json of `frameroof stream bench`.")
        parts.append(_measured(data))
    return "\n".join([*parts, _predicted(prediction)])


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
            f"{s['layers']} layers of width {s['dim']}, {s['width']} x {s['height']}; "
            f"torch {env['versions']['torch']}, {env['date'][:10]}.",
            "",
            *_table(
                (
                    "Change",
                    "Against",
                    "Of",
                    "Before",
                    "After",
                    "Saved",
                    "Of the baseline",
                    "Parity",
                    "Quality drop",
                    "Keep",
                    "Why",
                ),
                rows,
            ),
            "",
            *left,
            "",
            *cache,
            "",
        ]
    )


def _row(r: Mapping[str, Any]) -> tuple[str, ...]:
    quality = r["quality"]
    parity = "not meant" if r["parity"] is None else "equal" if r["parity"]["equal"] else "NOT EQUAL"
    drop = "none" if parity == "equal" else f"relative error {quality['relative']:.2g}, cosine {quality['cosine']:.5f}"
    return (
        r["change"], r["before"], r["of"], _s(r["before_s"]), _s(r["after_s"]),
        f"{_s(r['saved_s'][0])} to {_s(r['saved_s'][2])}",
        f"{r['after_s'] / r['baseline_s']:.0%}", parity, drop, "keep" if r["keep"] else "drop", r["why"],
    )  # fmt: skip


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
