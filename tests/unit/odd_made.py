"""One sound trace that stands in the repository, written in the ways in which files in the wild are odd or broken."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trace_made import STORED

SOUND = STORED / "h100_eager_diffusion.json"
OPERATORS = 3 + 2 * (1 + 4 + 1 + 8 + 1 + 8 + 1 + 1 + 1) + 2
"""Operators in it: three of the encoder, 26 a step, two of the decoder."""
LAUNCHES, WAITS, SPANS = 65, 2, 1 + 2 * 5 + 1 + 1 + 2
"""Work and its launches; waits; calls of modules and Python frames: encoder, five a step, decoder, three functions."""
RENAMED = '{"device": "cpu"}(12): run'
"""What `aten::silu`, called twice, is called in the file with unescaped quotes."""


def _events(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> str:
    whole = json.loads(SOUND.read_text("utf-8"))
    return json.dumps({**whole, "traceEvents": change(whole["traceEvents"])})


def _pairs(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    halves = []
    for event in events:
        if event["cat"] != "cpu_op":
            halves.append(event)
            continue
        begin = {k: v for k, v in event.items() if k != "dur"} | {"ph": "B"}
        end = {k: event[k] for k in ("cat", "name", "pid", "tid")} | {"ph": "E", "ts": event["ts"] + event["dur"]}
        halves += [begin, end]
    return sorted(halves, key=lambda e: (e["ts"], e["ph"] != "E"))


def _text_times(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**e, "ts": str(e["ts"]), "dur": str(e["dur"])} if e["ph"] == "X" else e for e in events]


ODD: dict[str, tuple[Callable[[], str], set[tuple[str, int]]]] = {
    "begin and end": (
        lambda: _events(_pairs),
        {("pairs of begin and end events (B, E)", OPERATORS)},
    ),
    "no arrows": (lambda: _events(lambda events: [e for e in events if e["ph"] == "X"]), set()),
    "times as text": (
        lambda: _events(_text_times),
        {("events whose times are written as text", OPERATORS + 2 * LAUNCHES + WAITS + SPANS)},
    ),
    "bare list": (
        lambda: json.dumps(json.loads(SOUND.read_text("utf-8"))["traceEvents"]),
        {("the file is a bare list of events: it names no device, version or date", 1)},
    ),
    "unescaped quotes": (
        lambda: SOUND.read_text("utf-8").replace('"aten::silu"', f'"{RENAMED}"'),
        {("events with unescaped quotes or backslashes in a name", 2)},
    ),
}
"""Name -> (what makes its text, what reading it reports). Nothing is lost in any of them."""


def odd(folder: Path, name: str) -> Path:
    """The sound trace written as one of `ODD`."""
    path = folder / "odd.json"
    path.write_text(ODD[name][0](), "utf-8")
    return path


def cut_off(folder: Path, share: float) -> tuple[Path, int]:
    """The compressed sound trace, cut after a share of its bytes; how many events are whole in what is left."""
    packed = gzip.compress(SOUND.read_bytes(), mtime=0)
    path = folder / "cut.json.gz"
    path.write_bytes(packed[: int(len(packed) * share)])
    left = zlib.decompressobj(31).decompress(path.read_bytes()).decode()
    return path, left.count("\n") - 1  # one event a line, the first line holds the header


def overlong(folder: Path) -> Path:
    """The sound trace with one softmax of 1.6 s over everything that follows on its stream."""

    def longer(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        next(e for e in events if "SoftMax" in e["name"])["dur"] = 1_600_000
        return events

    path = folder / "overlong.json"
    path.write_text(_events(longer), "utf-8")
    return path
