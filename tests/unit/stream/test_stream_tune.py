"""`stream tune` and `stream log`: the choices, what beats what, a run of two points, and the log's Markdown."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import msgspec
import pytest
from bench_made import bench

from frameroof.hardware import parse_node
from frameroof.lab.stream.parity import Quality
from frameroof.lab.stream.tune import TIMED, Axes, Point, grid, reason, recommended, report, tune
from frameroof.lab.stream.variants import Setup
from frameroof.report.stream_log import optimization_log
from frameroof.report.stream_tune import print_tuned
from frameroof.stream.quality import BlockError
from frameroof.study.stream import predict
from frameroof.study.stream_records import read_log_file


def point(window: int, seconds: float, relative: float, spread: float = 0.0) -> Point:
    times = tuple(seconds + spread * (i - (TIMED - 1) / 2) for i in range(TIMED))
    quality = Quality((BlockError(0, relative, 1 - relative, 30),), (BlockError(0, relative, 1, 30),))
    return Point(Setup(changes={"window": window}), "fold", times, quality)


def test_only_admissible_choices_are_measured() -> None:
    found = grid(Setup(), Axes([3, 6, 12], [0, 3], ["full"], ["ring", "fold"]))
    sizes = [(chosen.config().window, chosen.config().sink, variant) for chosen, variant in found]
    assert sizes == [(w, s, v) for w, s in ((3, 0), (6, 0), (6, 3), (12, 0), (12, 3)) for v in ("ring", "fold")]
    with pytest.raises(ValueError, match="No choice is admissible: window is 7 frames, not a multiple"):
        grid(Setup(), Axes([7], [3], ["full"], ["ring"]))
    with pytest.raises(ValueError, match="No precision is called 'fp3'; there are own, full, fp8"):
        grid(Setup(), Axes([6], [3], ["fp3"], ["ring"]))


def test_a_precision_is_set_beside_any_variant() -> None:
    (full, _), (eight, _) = grid(Setup(), Axes([6], [3], ["full", "int8-ffn"], ["ring"]))
    assert (full.variant("fp8").scheme, full.variant("fp8").exact) == ("", True)
    v = eight.variant("ring")
    assert (v.scheme, v.only, v.ops, v.exact) == ("int8", ("blocks.*.ffn.*",), "plain", False)
    model = eight.engine("ring").denoiser.model
    kinds = {type(model.blocks[0].ffn[0]).__name__, type(model.blocks[0].self_attn.q).__name__}
    assert kinds == {"QuantizedLinear", "Linear"}


def test_the_fastest_within_the_drift_is_recommended() -> None:
    exact, near, far, poor = point(12, 3, 0), point(9, 2, 0.04), point(6, 1, 0.2), point(9, 4, 0.1)
    points = [exact, near, far, poor]
    assert recommended(points, 0.05) is near
    assert recommended(points, 0) is exact
    assert recommended(points, 1) is far
    assert [any(p.beaten_by(other) for other in points) for p in points] == [False, False, False, True]
    assert recommended([near, far], 0.01) is None
    assert reason([near, far], None, 0.01) == "no choice drifts by at most 0.01; the least is 0.04"
    assert reason(points, near, 0.05) == (
        "2 of 4 choices drift by at most 0.05; none of them is faster beyond the spread; 33% less time than window 12, "
        "sink 3, fold, own; 1 faster ones drift more, the least of them window 6, sink 3, fold, own with 0.2"
    )


def test_of_two_that_the_spread_does_not_tell_apart_the_better_is_recommended() -> None:
    fast, exact = point(9, 2, 0.04), point(12, 2.2, 0, spread=0.2)
    assert recommended([fast, exact], 0.05) is exact
    assert recommended([fast, point(12, 2.2, 0, spread=0.01)], 0.05) is fast


def test_points_are_measured_and_shown(capsys) -> None:
    found = tune(Setup(), grid(Setup(), Axes([6, 12], [3], ["full", "fp8"], ["fold"])))
    points, checks = found
    smaller, _, own, eight = points
    assert own.quality.relative < 1e-5 < eight.quality.relative < smaller.quality.relative
    assert smaller.quality.taught_relative > 1e-3  # another window, though the past is the reference's
    assert (smaller.cache_bytes, own.cache_bytes) == (18432, 36864)  # 2 layers of 2 x 12 x 6 tokens x 32 in fp32
    assert {len(p.block_s) for p in points} == {TIMED}
    assert checks.floor == 0  # on a CPU with one thread nothing differs from run to run
    made = report(Setup(), parse_node("H100"), found, 1e-5)
    data = json.loads(msgspec.json.encode(made))
    assert [(p["window"], p["precision"]) for p in data["points"] if p["recommended"]] == [(12, "full")]
    assert data["points"][0]["configuration"]["model"] == "tiny"
    page = (Path(__file__).parents[3] / "docs" / "reference" / "stream-json.rst").read_text("utf-8")
    named = set(re.findall(r"``(\w+)``", page.split(".. _json-stream-tune:")[1]))
    assert set(data) | set(data["points"][0]) | set(data["points"][0]["quality"]) <= named
    (fixed,) = [p for p in data["points"] if p["own"]]
    assert (fixed["window"], fixed["precision"]) == (12, "full")
    saved = fixed["predicted_s"] - next(p for p in data["points"] if p["window"] == 6)["predicted_s"]
    products = 4 * 18 * (72 - 36) * 32  # FLOPs less: 18 queries, 36 keys of width 32; so few bytes stay in the cache
    assert saved == pytest.approx(5 * 2 * products / (494.7e12 / 3), rel=1e-3)  # 5 times 2 layers attend to them
    log = optimization_log([read_log_file(msgspec.json.encode(made), "tune.json")], predict("H100"))
    assert "Of a steady block, against window 12, sink 3, fold; torch" in log
    assert "| window 6, sink 3, fold, fp8 |" in log
    assert "Sweet spot: window 12, sink 3, fold: 1 of 4 choices drift by at most 1e-05" in log
    print_tuned(made)
    text = capsys.readouterr().out
    assert "recommended" in text
    assert "drifts by 0 from run to run" in text


def test_the_log_has_a_row_a_change_and_says_where() -> None:
    text = optimization_log([read_log_file(json.dumps(bench()).encode(), "a")], predict("H100"))
    assert (
        "| ring | baseline | block | 40.0 ms | 30.0 ms | 9.00 ms to 11.0 ms | 8.00 ms | -25% | 75% | equal | none | "
        "keep | faster |"
    ) in text
    assert (
        "| fp8 | ring | block | 30.0 ms | 60.0 ms | -30.0 ms to -20.0 ms | no peak | +100% | 150% | not meant | "
        "relative error 0.02 free, 0.01 taught, cosine 0.99900, SSIM 0.9500 | drop | slower \\| here |"
    ) in text
    assert "OMP_NUM_THREADS=1, 2026-11-21. The baseline drifts by 0.001 from run to run." in text
    assert "- graphs: not run; no CUDA." in text
    assert "10.0 times less than the baseline" in text
    assert "Measured on a CPU" in text
    assert "## Predicted: LongLive 1.3B on H100-SXM5-80GB" in text


def test_the_command_writes_the_log(tmp_path: Path, monkeypatch) -> None:
    from frameroof.cli import main

    (tmp_path / "stream.json").write_text(json.dumps(bench()))
    out = tmp_path / "log.md"
    monkeypatch.setattr(sys, "argv", ["frameroof", "stream", "log", str(tmp_path / "stream.json"), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert out.read_text().startswith("# Optimization log")
