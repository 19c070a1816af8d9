"""What `frameroof stream predict` prints: limits and expected times beside what was reported elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from ..study.latency_report import FLASHDREAMS, REPORTED, SETTING, gains, published, remarks
from ..study.stream import Part, StreamPrediction
from ..units import format_bytes, format_flops, format_seconds
from .console import console, table

PARTS = {
    "step": "one denoising step",
    "block": "one block, context pass included",
    "recache": "prompt switch (latency)",
    "decode": "decoding one block",
    "end_to_end": "end to end",
}


def print_stream_prediction(p: StreamPrediction) -> None:
    """Print limits and expected times beside the latency report's, and what does not agree in that."""
    page, s = console(), p.sizes
    page.print(f"LongLive 1.3B as a stream on {p.node.name}", style="bold")
    page.print(
        f"window {s.window}  sink {s.sink}  block 3  steps {s.steps}  batch {s.batch}  height {s.height}  "
        f"width {s.width}  blocks {s.blocks}  keys and values {format_bytes(p.cache_bytes)}"
    )
    named = [(text, p.parts[key], "switch" if key == "recache" else key) for key, text in PARTS.items()]
    page.print(_table("part of a stream", named))
    page.print(_table("one layer of a step", [(part.name, part, part.name) for part in p.layer]))
    page.print(_table("what the baseline copies", [(part.name, part, part.name) for part in p.copies]))
    block = p.parts["block"]
    frames = 12 / block.expected_s
    page.print(
        f"rate      {frames:,.1f} frames a second expected without decoding "
        f"({12 / block.limit_s:,.1f} at the limit), {12 / (block.expected_s + p.parts['decode'].expected_s):,.1f} with "
        "decoding after it"
    )
    page.print(
        f"baseline  {format_seconds(p.baseline_block_s())} a block at the limit with its copies; they are "
        f"{1 - block.limit_s / p.baseline_block_s():.0%} of it"
    )
    when = ", ".join(
        f"block {number}: {frames} frames" + (f", {format_seconds(part.limit_s)}" if frames else "")
        for number, frames, part in p.when
    )
    page.print(f"switch    at the limit before {when} and later")
    page.print()
    page.print("What a change could bring, limit against limit", style="bold")
    rows = [
        (g.change, g.of, format_seconds(g.before_s), format_seconds(g.after_s), f"{1 - g.after_s / g.before_s:.1%}",
         g.quality)
        for g in gains(p)
    ]  # fmt: skip
    page.print(table(("change", "of", "before", "after", "less", "quality"), rows, left=2, text=("quality",)))
    page.print(f"Published: the steps of a block, without a context pass ({FLASHDREAMS})", style="bold")
    page.print(_published())
    page.print(f"Reported: {SETTING}. What does not agree in it:", style="bold")
    for text in remarks():
        page.print(f"- {text}")
    page.print()
    for text in (*p.assumptions, *p.expected.assumptions()):
        page.print(text, style="dim")


def _published() -> object:
    rows = [
        (f"{p.who}, on {p.on}", str(p.window), format_flops(p.flops), format_seconds(p.limit_s),
         format_seconds(p.expected_s), format_seconds(p.published_s), f"{p.published_s / p.limit_s:.1f}",
         f"{format_flops(p.flop_per_s)}/s")
        for p in published()
    ]  # fmt: skip
    columns = ("who", "window", "FLOPs", "limit", "expected", "published", "times the limit", "rate")
    return table(columns, rows)


def _table(title: str, rows: Sequence[tuple[str, Part, str]]) -> object:
    columns = (title, "FLOPs", "bytes", "compute", "limit", "expected", "reported", "times the limit")
    return table(columns, [_row(*row) for row in rows])


def _row(text: str, part: Part, key: str) -> tuple[str, ...]:
    seen = REPORTED.get(key)
    times = ""
    if seen and part.limit_s:
        least, most = seen.least_s / part.limit_s, seen.most_s / part.limit_s
        times = f"{least:.1f}" if f"{least:.1f}" == f"{most:.1f}" else f"{least:.1f} to {most:.1f}"
    return (
        text,
        format_flops(part.flops) if part.flops else "",
        format_bytes(part.bytes),
        format_seconds(part.compute_s) if part.compute_s else "",
        format_seconds(part.limit_s),
        format_seconds(part.expected_s),
        seen.text() if seen else "",
        times,
    )
