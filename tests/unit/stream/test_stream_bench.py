"""`stream bench`: what is needed by hand, forwards named and taken apart, the log's verdicts, one bench run whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frameroof.hardware import parse_node
from frameroof.lab.stream import log
from frameroof.lab.stream.bench import WATCHED, Lane, Measured, Plan, bench
from frameroof.lab.stream.log import row
from frameroof.lab.stream.needed import parts
from frameroof.lab.stream.parity import EQUAL, Checks, Drift, Parity
from frameroof.lab.stream.variants import VARIANTS, Setup, chosen
from frameroof.lab.stream.watch import Forwards, kind_of, per_block
from frameroof.report.streamed import print_bench
from frameroof.stream.config import VARIANTS as CONFIGS
from frameroof.stream.config import preset
from frameroof.stream.denoiser import CONTEXT, Forward
from frameroof.stream.metrics import BlockTimes, Meter

MS = 1_000_000
NAMES = ("baseline", "ring", "fold")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole bench of three variants, without a decoder."""
    out = tmp_path_factory.mktemp("bench")
    plan = Plan(setup=Setup(), variants=NAMES, blocks=8, out=out)
    return plan, list(bench(plan))


def test_the_variants_are_presets_that_change_each_other() -> None:
    assert {v.config for v in VARIANTS.values()} == set(CONFIGS)
    assert all(v.base in VARIANTS for name, v in VARIANTS.items() if name != "baseline")
    names, left = chosen(["all"], "cpu")
    assert names[0] == "baseline"
    assert set(names) | set(left) == set(VARIANTS)
    assert {name for name in VARIANTS if VARIANTS[name].graphs} == set(left) - {"compiled"}
    assert chosen(["ring", "baseline"], "cpu")[0] == ["baseline", "ring"]
    with pytest.raises(ValueError, match="captures CUDA graphs, and runs on a CUDA device only"):
        chosen(["graph"], "cpu")
    with pytest.raises(ValueError, match="No variant is called 'x'"):
        chosen(["x"], "cpu")


def test_a_plan_has_steady_blocks_and_switches() -> None:
    assert list(Plan(setup=Setup(), variants=NAMES, blocks=16).switches) == [6, 10, 14]
    with pytest.raises(ValueError, match="the window is full after 4, and 4 more are needed"):
        Plan(setup=Setup(), variants=NAMES, blocks=7)
    with pytest.raises(ValueError, match="begins with the baseline"):
        next(bench(Plan(setup=Setup(), variants=["ring"])))


def test_what_does_not_fit_is_refused_first() -> None:
    huge = Setup(model="longlive-1.3b", changes={"height": 9600, "width": 16640})
    c = huge.config()
    assert huge.needed_bytes() == pytest.approx(4 * 1.418e9 + c.cache_bytes(4), rel=1e-3)
    with pytest.raises(ValueError, match=r"longlive-1.3b needs .* and .* of memory are free on cpu"):
        huge.check_memory()


def test_what_is_needed_is_what_the_hand_sums() -> None:
    """Tiny: 2 layers, width 32, MLP 64, 6 tokens a frame, blocks of 18, 8 text tokens, window 72, 54 recached."""

    def forward(new: int, kv: int) -> int:
        layer = 2 * new * (6 * 32 * 32 + 2 * 32 * 64) + 4 * new * kv * 32 + 4 * new * 8 * 32
        return 2 * layer + 2 * new * (16 * 32 + 32 * 16)  # patches in, patches out

    c, node = preset("tiny"), parse_node("H100")
    found = parts(c, node, "fp32", "wan", (6, 1))
    assert found["steps"].flops == forward(18, 72)
    assert found["block"].flops == 5 * forward(18, 72)
    assert found["switch"].flops == forward(54, 72)
    blocks = 5 * sum(forward(18, kv) for kv in (18, 36, 54, 72, 72, 72))
    assert found["end_to_end"].flops == blocks + forward(54, 72)
    assert "decode" not in found
    short = parts(c, node, "fp32", None, (2, 0))["end_to_end"].flops
    assert short == 5 * (forward(18, 18) + forward(18, 36))


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (Forward(24, (0,)), "step 1"),
        (Forward(24, (2,)), "step"),
        (Forward(24, (CONTEXT,)), "context"),
        (Forward(21, (CONTEXT, 0)), "folded step 1"),
        (Forward(15, (CONTEXT,) * 3, recache=True), "recache"),
    ],
)
def test_forwards_have_names(what: Forward, kind: str) -> None:
    assert kind_of(what) == kind


def test_a_run_is_measured_whole(run) -> None:
    plan, found = run
    assert [m.name for m in found] == list(NAMES)
    for m in found:
        assert m.parity == Parity(True, m.drift.relative, EQUAL, "tiny")
        assert [block.number for block in m.blocks if block.switched] == list(plan.switches) == [6]
        assert m.report.blocks == len(m.steady_ns(4)) == 3
        assert m.end_to_end_ns >= sum(block.generate_ns for block in m.blocks)
        assert {"cold", "warm-up"} == set(m.report.apart_s)
        assert (plan.out / m.name / "run.json").exists()
    counts = [{kind: len(times) for kind, times in m.forwards.items()} for m in found]
    plain = {"step 1": WATCHED, "step": 3 * WATCHED, "context": WATCHED}
    assert counts == [plain, plain, {"folded step 1": WATCHED, "step": 3 * WATCHED}]


def test_the_trace_tells_what_the_cache_costs(run) -> None:
    _, (baseline, ring, fold) = run
    for m, counts in ((baseline, (3, 9, 3)), (ring, (3, 9, 3)), (fold, (3, 9))):
        assert [forwards.count for forwards in m.parts.values()] == list(counts)
    cache = [
        {part for part in per_block(m.parts, WATCHED) if part.startswith("cache.")} for m in (baseline, ring, fold)
    ]
    copies = {f"cache.{what}" for what in ("clone", "roll", "insert", "concatenate", "update")}
    assert cache == [copies, {"cache.write"}, {"cache.write"}]
    assert "cache.roll" not in baseline.parts["step"].parts_ns
    assert {"self-attention", "cross-attention", "linears"} < set(ring.parts["step"].parts_ns)


def test_the_json_and_the_page_of_a_run(run, capsys) -> None:
    plan, found = run
    c, node = plan.setup.config(), parse_node("H100")
    needed = parts(c, node, "fp32", None, (plan.blocks, 1))
    data = json.loads(json.dumps(log.report(plan, node, needed, found, {"graph": "needs CUDA"})))
    for name in ("steps", "block", "switch", "end_to_end"):
        assert data[name]["flops"] == needed[name].flops
        assert data[name]["measured_s"]
    mine = ("environment", "sizes", "forwards_s", "forward_parts_s", "block_parts_s", "apart_s", "cache_operations")
    assert keys(data, mine) <= named("bench") | {"seconds", "times_less", "flops", "bytes", "limit_s"}
    assert data["decode"] == {"flops": None, "bytes": None, "limit_s": None, "measured_s": []}
    assert len(data["switch"]["latency_s"]) == 1
    assert [r["variant"] for r in data["rows"]] == ["ring", "fold", "graph"]
    assert {"change", "parity", "quality", "before_s", "after_s", "keep"} <= set(data["rows"][0])
    assert data["cache_operations"]["baseline"]["times_less"] == 1
    print_bench(data)
    text = capsys.readouterr().out
    for said in ("needs CUDA", "cache.concatenate", "times less than the baseline", "random"):
        assert said in text


def test_first_frame_and_whole_leave_the_warm_up_out() -> None:
    """A clock that counts its readings: preparing takes 1, a block's generation 1, with a switch 1 more until seen."""
    lane = Lane("ring", Setup(), lambda text: None)
    ticks = iter(range(1, 10_000))
    lane.ready(lambda text: None)
    lane.meter = Meter(lane.engine.c, clock=lambda: next(ticks))
    lane._prepare_ns = lane._end_to_end_ns = 1
    lane.block(0, None)
    lane.block(1, "a fox")
    assert lane.meter.rows == [BlockTimes(0, 1, 0, False), BlockTimes(1, 1, 0, True, 2)]
    assert lane.meter.first_ns == 1 + 1
    assert lane._end_to_end_ns == 1 + 2 + 2


def named(section: str) -> set[str]:
    """What the JSON's page names in one of its sections."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "stream-json.rst").read_text("utf-8")
    return set(re.findall(r"``([\w.-]+)``", page.split(f".. _json-stream-{section}:")[1].split(".. _json-")[0]))


def keys(data, without: tuple[str, ...]) -> set[str]:
    """Every key at every depth, but those below the names in `without`, which depend on the run."""
    if isinstance(data, list):
        return {key for item in data for key in keys(item, without)}
    if not isinstance(data, dict):
        return set()
    return set(data).union(*(keys(value, without) for key, value in data.items() if key not in without))


def made(name: str, blocks_ms: list[float], equal: bool = True, linears_ms: float = 1) -> Measured:
    meter = Meter(preset("tiny"))
    meter.rows = [BlockTimes(i, int(ms * MS), 0, False) for i, ms in enumerate([1, 1, 1, 1, *blocks_ms])]
    exact = VARIANTS[name].exact
    return Measured(
        name=name,
        parity=Parity(equal, 0.0 if equal else 0.3, EQUAL, "tiny") if exact else None,
        drift=Drift(0.02, 0.999, 30.0),
        report=meter.report(),
        blocks=meter.rows,
        end_to_end_ns=1,
        parts={"step": Forwards(WATCHED, {"linears": int(linears_ms * MS)})},
    )


@pytest.mark.parametrize(
    ("other", "keep", "why"),
    [
        (made("ring", [8, 8, 7]), True, "faster"),
        (made("ring", [9, 11, 10]), True, "no difference of the block beyond the spread, and equal numbers"),
        (made("ring", [12, 13, 12], linears_ms=3), False, "slower; most in linears, +2.00 ms a block in the trace"),
        (made("ring", [5, 5, 5], equal=False), False, "its numbers are not the baseline's: relative error 0.3"),
        (made("int8", [5, 5, 5]), True, "faster, at a relative error 0.02, cosine 0.999000"),
        (made("int8", [9, 11, 10]), False, "no gain beyond the spread, at a relative error 0.02, cosine 0.999000"),
    ],
)
def test_verdicts(other: Measured, keep: bool, why: str) -> None:
    base = made("baseline", [10, 10, 10])
    found = row(other, {"baseline": base}, 4, "cuda")
    assert (found["keep"], found["why"]) == (keep, why)
    assert found["before_s"] == 0.010


def test_a_cpu_has_its_reasons() -> None:
    base, slow = made("baseline", [10, 10, 10]), made("int8", [40, 40, 40], linears_ms=20)
    why = row(slow, {"baseline": base}, 4, "cpu")["why"]
    assert why.startswith("slower; on a CPU the 8-bit products are exact sums in fp64")
    assert "slower; most in linears" in row(slow, {"baseline": base}, 4, "cuda")["why"]


def test_a_slower_switch_is_not_explained_by_steady_blocks() -> None:
    def switched(name: str, last_ms: float) -> Measured:
        found = made(name, [10, 10, 10])
        found.report = replace(found.report, switch_s=(last_ms / 1e3,) * 3)
        return found

    slow, base = switched("recache-needed", 9), switched("baseline", 5)
    found = row(slow, {"baseline": base}, 4, "cpu")
    assert (found["of"], found["before_s"], found["after_s"]) == ("switch", 0.005, 0.009)
    assert (found["keep"], found["why"]) == (False, "slower; 3 switches were timed")


def test_quantised_variants_drift_and_say_so() -> None:
    setup = Setup()
    checks = Checks(setup, setup.engine("baseline"))
    parity, away = checks.of("fp8-ffn", setup.engine("fp8-ffn"))
    assert parity is None
    assert 1e-4 < away.relative < 0.2
    assert checks.of("baseline", setup.engine("baseline"))[1].relative == 0  # run to run
    lower = replace(setup, dtype=torch.bfloat16)
    parity, away = Checks(lower, lower.engine("baseline")).of("ring", lower.engine("ring"))
    assert parity == Parity(True, parity.relative, EQUAL, "tiny")  # checked in fp32 beside it
    assert parity.relative < EQUAL
