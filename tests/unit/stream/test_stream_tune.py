"""`stream tune` and `stream log`: the choices, what beats what, a run of two points, and the log's Markdown."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from frameroof.hardware import parse_node
from frameroof.lab.stream.parity import Drift
from frameroof.lab.stream.tune import TIMED, Point, grid, recommended, report, tune
from frameroof.lab.stream.variants import Setup
from frameroof.report.stream_log import optimisation_log
from frameroof.report.streamed import print_tuned
from frameroof.study.stream import predict


def point(window: int, seconds: float, relative: float) -> Point:
    return Point(window, 3, "fold", (seconds,) * TIMED, 1, Drift(relative, 1 - relative, 30))


def test_only_admissible_choices_are_measured() -> None:
    found = grid(Setup(), [3, 6, 12], [0, 3], ["ring", "fold"])
    sizes = [(chosen.config().window, chosen.config().sink, variant) for chosen, variant in found]
    assert sizes == [(w, s, v) for w, s in ((3, 0), (6, 0), (6, 3), (12, 0), (12, 3)) for v in ("ring", "fold")]
    with pytest.raises(ValueError, match="No choice is admissible: window is 7 frames, not a multiple"):
        grid(Setup(), [7], [3], ["ring"])


def test_the_fastest_within_the_drift_is_recommended() -> None:
    exact, near, far, poor = point(12, 3, 0), point(9, 2, 0.04), point(6, 1, 0.2), point(9, 4, 0.1)
    points = [exact, near, far, poor]
    assert recommended(points, 0.05) is near
    assert recommended(points, 0) is exact
    assert recommended(points, 1) is far
    assert [any(p.beaten_by(other) for other in points) for p in points] == [False, False, False, True]
    with pytest.raises(ValueError, match=r"No choice drifts by at most 0.01; the least is 0.04"):
        recommended([near, far], 0.01)


def test_two_points_are_measured_and_shown(capsys) -> None:
    points = tune(Setup(), grid(Setup(), [6, 12], [3], ["fold"]))
    smaller, own = points
    assert own.drift.relative < 1e-5 < smaller.drift.relative
    assert (smaller.cache_bytes, own.cache_bytes) == (18432, 36864)  # 2 layers of 2 x 12 x 6 tokens x 32 in fp32
    assert {len(p.block_s) for p in points} == {TIMED}
    data = json.loads(json.dumps(report(Setup(), parse_node("H100"), points, 1e-5)))
    assert [p["recommended"] for p in data["points"] if p["window"] == 12] == [True]
    page = (Path(__file__).parents[3] / "docs" / "reference" / "stream-json.rst").read_text("utf-8")
    named = set(re.findall(r"``(\w+)``", page.split(".. _json-stream-tune:")[1]))
    assert set(data) | set(data["points"][0]) <= named
    print_tuned(data)
    assert "recommended" in capsys.readouterr().out


BENCH = {
    "schema": "frameroof.stream.bench/1",
    "model": "tiny",
    "hardware": "this CPU",
    "dtype": "float32",
    "sizes": {"window": 12, "sink": 3, "blocks": 16, "layers": 2, "dim": 32, "width": 48, "height": 32},
    "environment": {"date": "2026-11-21T09:00:00Z", "versions": {"torch": "2.13"}},
    "rows": [
        {"change": "ring", "before": "baseline", "of": "block", "parity": {"equal": True}, "keep": True,
         "why": "faster",
         "quality": {"relative": 0.0, "cosine": 1.0}, "before_s": 0.04, "after_s": 0.03, "baseline_s": 0.04,
         "saved_s": [0.009, 0.01, 0.011]},
        {"change": "fp8", "before": "ring", "of": "block", "parity": None, "keep": False, "why": "slower | here",
         "quality": {"relative": 0.02, "cosine": 0.999}, "before_s": 0.03, "after_s": 0.06, "baseline_s": 0.04,
         "saved_s": [-0.03, -0.03, -0.02]},
        {"change": "graphs", "keep": None, "why": "no CUDA"},
    ],
    "cache_operations": {"baseline": {"seconds": 1e-3, "times_less": 1.0},
                         "ring": {"seconds": 1e-4, "times_less": 10.0}},
}  # fmt: skip


def test_the_log_has_a_row_a_change_and_says_where() -> None:
    text = optimisation_log([BENCH], predict("H100"))
    assert (
        "| ring | baseline | block | 40.0 ms | 30.0 ms | 9.00 ms to 11.0 ms | 75% | equal | none | keep | faster |"
        in text
    )
    assert (
        "| fp8 | ring | block | 30.0 ms | 60.0 ms | -30.0 ms to -20.0 ms | "
        "150% | not meant | relative error 0.02, cosine 0.99900 | drop | "
        "slower / here |"
    ) in text
    assert "- graphs: not run; no CUDA." in text
    assert "10.0 times less than the baseline" in text
    assert "Measured on a CPU" in text
    assert "## Predicted: LongLive 1.3B on H100-SXM5-80GB" in text
    with pytest.raises(ValueError, match=r"no stream\.json"):
        optimisation_log([{"schema": "frameroof.predict/1"}], predict("H100"))


def test_the_command_writes_the_log(tmp_path: Path, monkeypatch) -> None:
    from frameroof.cli import main

    (tmp_path / "stream.json").write_text(json.dumps(BENCH))
    out = tmp_path / "log.md"
    monkeypatch.setattr(sys, "argv", ["frameroof", "stream", "log", str(tmp_path / "stream.json"), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert out.read_text().startswith("# Optimisation log")
