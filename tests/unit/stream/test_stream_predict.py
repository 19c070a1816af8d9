"""`stream predict`: counts against hand sums, what the baseline copies, remarks on the report, bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from frameroof.estimate import Utilization
from frameroof.hardware import parse_node
from frameroof.study.latency_report import REPORTED, as_dict, gains, published, remarks
from frameroof.study.stream import Sizes, lora_flops, predict

TOKENS, DIM, FFN, HEADS, TEXT = 3 * 1560, 1536, 8960, 12, 512
MEMORY, PEAK = 3.35e12, 989.4e12  # H100 SXM: bytes and dense bf16 FLOPs a second, NVIDIA's data sheet


@pytest.fixture(scope="module")
def h100():
    return predict("H100")


def layer_flops(tokens: int, kv: int) -> dict[str, float]:
    """Multiply-adds of one layer by hand, twice: projections, both attentions, MLP."""
    linears = 2 * tokens * (6 * DIM * DIM + 2 * DIM * FFN)
    return {"self-attention": 4 * tokens * kv * DIM, "cross-attention": 4 * tokens * TEXT * DIM, "linears": linears}


def test_a_layer_is_what_the_hand_sums(h100) -> None:
    found = {part.name: part.flops for part in h100.layer}
    for name, flops in layer_flops(TOKENS, 12 * 1560).items():
        assert found[name] == pytest.approx(flops, rel=1e-12)
    whole = sum(layer_flops(TOKENS, 12 * 1560).values())
    assert 30 * whole == pytest.approx(h100.parts["step"].flops, rel=1e-3)  # the rest: patches, time, head


def test_the_known_counts(h100) -> None:
    """As counted elsewhere, from the published dimensions alone."""
    tera = {name: part.flops / 1e12 for name, part in h100.parts.items()}
    assert tera["step"] == pytest.approx(28.30, abs=0.005)
    assert tera["block"] == pytest.approx(141.5, abs=0.05)
    assert tera["recache"] == pytest.approx(84.9, abs=0.05)
    assert tera["recache-window"] == pytest.approx(113.2, abs=0.05)
    assert tera["decode"] == pytest.approx(40.65, abs=0.005)
    assert h100.cache_bytes == 2 * 30 * 12 * 1560 * DIM * 2 == 3_450_470_400
    for window, flops in ((15, 32.34), (9, 24.3), (6, 20.2)):
        assert predict("H100", Sizes(window=window)).parts["step"].flops / 1e12 == pytest.approx(flops, abs=0.05)


def test_the_published_block_is_at_the_published_rate() -> None:
    """344 ms for four steps at 21 frames of keys is published as 470 TFLOP/s, 47.5 % of the H100's peak."""
    first = published()[0]
    assert (first.published_s, first.window, first.steps) == (0.344, 21, 4)
    assert first.flop_per_s == pytest.approx(470e12, rel=1e-3)
    assert first.flop_per_s / PEAK == pytest.approx(0.475, abs=5e-4)
    assert all(p.limit_s < p.published_s for p in published())


def test_the_whole_is_its_parts(h100) -> None:
    """Blocks while the window fills see less of it; each later one is a steady block."""
    longer = predict("H100", Sizes(blocks=90))
    ten = longer.parts["end_to_end"].flops - h100.parts["end_to_end"].flops
    assert ten == pytest.approx(10 * (h100.parts["block"].flops + h100.parts["decode"].flops), rel=1e-9)
    filling = sum(30 * 4 * TOKENS * (4 - block) * TOKENS * DIM * 5 for block in (1, 2, 3))
    assert h100.parts["denoise"].flops == pytest.approx(80 * h100.parts["block"].flops - filling, rel=1e-9)


def test_limits_are_no_lower_than_the_peaks_allow(h100) -> None:
    for part in (*h100.parts.values(), *h100.layer):
        assert part.limit_s >= part.flops / PEAK * 0.999
        assert part.expected_s >= part.limit_s * 0.999
    half, quarter = (predict("H100", expected=Utilization(share)).parts["step"] for share in (0.5, 0.25))
    assert quarter.expected_s == pytest.approx(2 * half.expected_s)
    assert half.expected_s >= half.limit_s / 0.5 * 0.999  # of a cold cache


def test_what_the_baseline_copies(h100) -> None:
    frame = 2 * 1560 * DIM * 2  # keys and values of a frame, bf16
    seconds = {part.name: part.limit_s for part in h100.copies}
    assert seconds["cache.clone"] == pytest.approx(2 * 12 * frame / MEMORY)
    assert seconds["cache.roll"] == pytest.approx(2 * 2 * 6 * frame / MEMORY)  # 12 less 3 sinks and the new 3
    assert seconds["cache.insert"] == pytest.approx(2 * 3 * frame / MEMORY)
    assert seconds["cache.update"] == pytest.approx(30 * seconds["cache.insert"])
    layer = seconds["cache.clone"] + seconds["cache.concatenate"] + seconds["cache.insert"]
    rolls = 60 * seconds["cache.roll"] + 30 * seconds["cache.insert"]
    once = 30 * (layer + seconds["cache.insert"])
    assert h100.copies_of(True) == pytest.approx(30 * layer + rolls)
    assert h100.baseline_block_s() == pytest.approx(h100.parts["block"].limit_s + h100.copies_of(True) + 4 * once)


def test_decoding_moves_less_than_diffusers_copies(h100) -> None:
    """Without its copies: at least the 24 GB in and out of convolutions, at most the 229 of every eager operation."""
    assert 24e9 < h100.parts["decode"].bytes < 229e9 / 2  # both figures: facts, section 4


def test_a_switch_costs_what_the_window_holds_by_then(h100) -> None:
    assert [(block, frames) for block, frames, _ in h100.when] == [(1, 0), (2, 3), (3, 6), (4, 9)]
    flops = [part.flops for _, _, part in h100.when]
    assert flops[0] == 0
    assert flops[3] == h100.parts["recache"].flops
    for frames, found in ((3, flops[1]), (6, flops[2])):
        by_hand = 30 * sum(layer_flops(frames * 1560, (frames + 3) * 1560).values())
        assert found == pytest.approx(by_hand, rel=1e-3)
    assert Sizes(sink=0).recached(1) == 3


def test_gains_go_down_and_fp8_halves_the_linears(h100) -> None:
    found = {gain.change: gain for gain in gains(h100)}
    assert all(gain.after_s < gain.before_s for gain in found.values())
    linears = 5 * 30 * next(part for part in h100.layer if part.name == "linears").limit_s
    saved = found["fp8 linears"].before_s - found["fp8 linears"].after_s
    assert saved == pytest.approx(linears / 2, rel=0.02)
    assert lora_flops(Sizes()) / 30 == pytest.approx(94.5e9, rel=1e-3)  # facts: 94.5 GFLOP a layer
    assert {gain.change for gain in gains(predict("A100"))} == set(found) - {
        "fp8 linears", "fp8 linears and attention"
    }  # fmt: skip


def test_the_report_is_held_against_the_peaks() -> None:
    text = "\n".join(remarks())
    for said in ("544 µs", "4 frames", "136 µs", "68%", "4.31 GB", "32.33 TFLOP", "0 before block 1, 3 before block 2"):
        assert said in text
    assert REPORTED["block"].most_s / 3 == pytest.approx(0.17297, rel=2e-3)  # its own frame latency


def test_the_json_has_what_is_promised(h100) -> None:
    data = json.loads(json.dumps(as_dict(h100)))
    for name in ("steps", "block", "switch", "decode", "end_to_end"):
        assert {"flops", "bytes", "limit_s", "expected_s"} <= set(data[name])
    assert data["switch"]["latency_s"]["limit"] == data["switch"]["limit_s"]
    assert data["steps"]["reported_s"] == [0.11, 0.12]
    assert {"change", "before_s", "after_s", "quality"} <= set(data["rows"][0])


def named(section: str) -> set[str]:
    """What the JSON's page names in one of its sections."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "stream-json.rst").read_text("utf-8")
    return set(re.findall(r"``([\w.-]+)``", page.split(f".. _json-stream-{section}:")[1].split(".. _json-")[0]))


def keys(data) -> set[str]:
    """Every key at every depth, but those of sizes."""
    if isinstance(data, list):
        return {key for item in data for key in keys(item)}
    if not isinstance(data, dict):
        return set()
    return set(data).union(*(keys(value) for key, value in data.items() if key != "sizes"))


def test_the_json_is_documented(h100) -> None:
    assert keys(as_dict(h100)) <= named("predict")


def test_the_command_loads_no_torch_and_prints() -> None:
    program = (
        "import sys; from frameroof.cli import main; sys.argv = ['frameroof', 'stream', 'predict', '--on', 'H200'];\n"
        "try: main()\nexcept SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("None False")
    assert "28.30 TFLOP" in done.stdout
    assert "141.5 TFLOP" in done.stdout


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"window": 0}, "window is 0 frames, smaller than a block"),
        ({"window": 10}, "window is 10 frames, not a multiple"),
        ({"window": 6, "sink": 6}, "must hold the sink"),
        ({"sink": -3}, "cannot be negative"),
        ({"blocks": 2}, "at least 3"),
        ({"height": 100}, "height=100 is not admissible"),
    ],
)
def test_bad_sizes_are_sentences(sizes, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        predict("H100", Sizes(**sizes))


def test_a_stream_takes_one_device() -> None:
    with pytest.raises(ValueError, match="one device"):
        predict(parse_node("8xH100"))
