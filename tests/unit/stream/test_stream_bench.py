"""`stream bench`: what is needed by hand, forwards named and taken apart, the log's verdicts, one bench run whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from frameroof.hardware import parse_node
from frameroof.lab.stream.batches import batches
from frameroof.lab.stream.bench import WATCHED, Lane, Measured, Plan, bench
from frameroof.lab.stream.breakdown import Breakdown, Forwards
from frameroof.lab.stream.log import row
from frameroof.lab.stream.needed import Needed, predicted
from frameroof.lab.stream.parity import EQUAL, Checks, Parity, Quality
from frameroof.lab.stream.report import report
from frameroof.lab.stream.variants import SLOW_TO_BUILD, VARIANTS, Setup, chosen
from frameroof.lab.stream.verdict import saved
from frameroof.lab.stream.where import Here
from frameroof.profiler import recorder
from frameroof.profiler.probe import probe
from frameroof.report.stream_bench import print_bench
from frameroof.stream.config import VARIANTS as CONFIGS
from frameroof.stream.config import preset
from frameroof.stream.metrics import BlockTimes, Meter
from frameroof.stream.quality import BlockError
from frameroof.study.stream import copied
from frameroof.study.stream_records import Row, read_log_file
from frameroof.trace.resolve.classify import CLASSES

MS = 1_000_000
NAMES = ("baseline", "ring", "fold")
H100 = parse_node("H100")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole bench of three variants, without a decoder."""
    out = tmp_path_factory.mktemp("bench")
    plan = Plan(setup=Setup(), variants=NAMES, blocks=8, out=out)
    with pytest.MonkeyPatch.context() as patch:  # the probe takes seconds, and tests of its own measure it
        patch.setattr(recorder, "_this_cpu", lambda: probe(0.001))
        return plan, list(bench(plan))


def test_the_variants_are_presets_that_change_each_other() -> None:
    assert {v.config for v in VARIANTS.values()} == set(CONFIGS)
    assert all(v.base in VARIANTS for name, v in VARIANTS.items() if name != "baseline")
    names, left = chosen(["all"], "cpu", "wan")
    assert names[0] == "baseline"
    assert set(names) | set(left) == set(VARIANTS)
    assert set(left) == {name for name in VARIANTS if "graph" in name or name in SLOW_TO_BUILD} | {"fp8-all"}
    assert chosen(["all"], "cpu", None)[1]["vae-block"] == "changes decoding, and no decoder is run"
    assert chosen(["ring", "baseline"], "cpu", None)[0] == ["baseline", "ring"]
    with pytest.raises(ValueError, match="captures CUDA graphs, and runs on a CUDA device only"):
        chosen(["graph"], "cpu", None)
    with pytest.raises(ValueError, match="No variant is called 'x'"):
        chosen(["x"], "cpu", None)


def test_a_plan_has_steady_blocks_and_switches() -> None:
    assert list(Plan(setup=Setup(), variants=NAMES, blocks=16).switches) == [6, 8, 10, 12, 14]
    with pytest.raises(ValueError, match="the window is full after 4, and 4 more are needed"):
        Plan(setup=Setup(), variants=NAMES, blocks=7)
    with pytest.raises(ValueError, match="begins with the baseline"):
        next(bench(Plan(setup=Setup(), variants=["ring"])))


def test_what_does_not_fit_is_refused_first() -> None:
    huge = Setup(model="longlive-1.3b", changes={"height": 9600, "width": 16640})
    c = huge.config()
    assert huge.least_bytes() == pytest.approx(4 * 1.418e9 + c.cache_bytes(4), rel=1e-3)
    with pytest.raises(ValueError, match=r"longlive-1.3b needs at least .* and .* of memory are free on cpu"):
        huge.check_memory()


def test_what_is_needed_is_what_the_hand_sums() -> None:
    """Tiny: 2 layers, width 32, MLP 64, 6 tokens a frame, blocks of 18, 8 text tokens, window 72, 54 recached."""

    def forward(new: int, kv: int) -> int:
        layer = 2 * new * (6 * 32 * 32 + 2 * 32 * 64) + 4 * new * kv * 32 + 4 * new * 8 * 32
        return 2 * layer + 2 * new * (16 * 32 + 32 * 16)  # patches in, patches out

    c = preset("tiny")
    needed = Needed(c, H100, "fp32", decoder="wan")
    found = needed.parts(6, 1)
    assert found["steps"].flops == forward(18, 72)
    assert found["block"].flops == 5 * forward(18, 72)
    assert found["switch"].flops == forward(54, 72)
    blocks = 5 * sum(forward(18, kv) for kv in (18, 36, 54, 72, 72, 72))
    assert found["end_to_end"].flops == blocks + forward(54, 72) + 6 * found["decode"].flops
    assert found["decode"].flops > 0
    short = Needed(c, H100, "fp32").parts(2, 0)
    assert "decode" not in short
    assert short["end_to_end"].flops == 5 * (forward(18, 18) + forward(18, 36))
    assert Needed(c, H100, "fp32", batch=3).step.flops == 3 * forward(18, 72)


def test_every_part_of_a_forward_has_the_limit_that_the_hand_gives() -> None:
    """One layer: attention 4 x queries x keys x width, linears 2 x tokens x weights; recaches of 3 and 6 frames."""
    limits = Needed(preset("tiny"), H100, "fp32").forwards()
    attention = {name: parts["self-attention"].flops for name, parts in limits.items()}
    for name, queries, keys in (
        ("step", 18, 72), ("step, 3 frames", 18, 18), ("context, 9 frames", 18, 54), ("recache", 54, 72),
        ("recache, 6 frames", 18, 36), ("folded step 1", 36, 72),
    ):  # fmt: skip
        assert attention[name] == 2 * 4 * queries * keys * 32, name
    assert limits["step"]["linears"].flops == 2 * 2 * 18 * (6 * 32 * 32 + 2 * 32 * 64)
    frame = 2 * 6 * 32 * 4  # keys and values of a frame, fp32
    assert limits["step"]["cache.clone"].bytes == 2 * 2 * 12 * frame
    assert limits["step 1"]["cache.roll"].bytes == 2 * 4 * 6 * frame
    assert "cache.roll" not in limits["step"]
    assert limits["step"]["cache.update"].bytes == 2 * 2 * 3 * frame
    again = {name: part.bytes for name, part in limits["recache"].items() if name.startswith("cache.")}
    layer = {"cache.clone": 12, "cache.insert": 9, "cache.concatenate": 12, "cache.update": 9}  # frames; 3 are sinks
    for name, frames in layer.items():
        assert again.pop(name) == 2 * 2 * frames * frame, name
    assert set(again) == {"cache.write"}  # the ring's own


def test_the_parts_of_a_decoded_block_are_all_of_it() -> None:
    """The Wan VAE at base 4: one attention a latent frame over 4 x 6 places, 16 wide; convolutions are the rest."""
    needed = Needed(preset("tiny"), H100, "fp32", decoder="wan")
    parts = needed.forwards()["decode"]
    assert set(parts) == {*CLASSES, "all"}
    assert parts["all"] == replace(needed.parts(6, 0)["decode"], name="all")
    for figure in ("flops", "bytes", "limit_s"):
        each = [getattr(parts[name], figure) for name in CLASSES]
        assert sum(each) == pytest.approx(getattr(parts["all"], figure))
    assert parts["attention"].flops == 3 * 4 * 24**2 * 16
    assert parts["attention"].flops + parts["convolution"].flops + parts["linear"].flops == parts["all"].flops


def test_what_a_change_should_save_is_predicted_from_counts() -> None:
    needed = Needed(preset("tiny"), H100, "fp32")
    found = {name: predicted(needed, preset("tiny", v.config), v) for name, v in VARIANTS.items()}
    each = copied(2 * 6 * 32 * 4, 12, 3, 3, 2)
    copies = 5 * 2 * (each["cache.clone"] + each["cache.insert"] + each["cache.concatenate"]) + 2 * each["cache.roll"]
    copies += 4 * each["cache.update"] + each["cache.update, first step"]
    saved = found["baseline"]["block"] - found["ring"]["block"]
    assert saved == pytest.approx(copies / 3.35e12)
    assert found["ring"]["block"] > found["tabulated"]["block"]  # modulation is computed no more
    step = found["tabulated"]["block"] / 5
    assert found["context-before"]["switch"] == pytest.approx(found["recache-needed"]["switch"] - step)
    assert found["fused"]["block"] > found["fp8-ffn"]["block"] > found["fp8"]["block"]
    assert found["graph"] == found["fold"]  # launches are in no limit
    cpu = replace(needed, node=parse_node("A100"))  # a machine without fp8
    assert predicted(cpu, preset("tiny", "fold"), VARIANTS["fp8"]) == {"block": None, "switch": None}


def test_a_run_is_measured_whole(run) -> None:
    plan, found = run
    assert [m.name for m in found] == list(NAMES)
    for m in found:
        assert m.parity == Parity(True, m.quality.relative, EQUAL, "tiny")
        assert m.quality.taught_relative < EQUAL
        assert [block.number for block in m.blocks if block.switched] == list(plan.switches) == [6]
        assert m.report.blocks == len(m.steady_ns(4)) == 3
        assert m.end_to_end_ns >= sum(block.generate_ns for block in m.blocks)
        assert {"cold", "warm-up"} == set(m.report.apart_s)
        assert (plan.out / m.name / "run.json").exists()


def test_every_kind_of_forward_is_watched_while_the_window_fills_and_after(run) -> None:
    """4 blocks fill it, a switch before all but the first; then 3 steady ones and 3 with a switch in turns.

    Under the clock the window of two more streams is filled.
    """
    _, found = run
    clocked = [{kind: len(times) for kind, times in m.forwards.items()} for m in found]
    counts = [{name: f.count for name, f in m.taken_apart.forwards.items()} for m in found]
    filling = {f"step, {frames} frames": 3 for frames in (3, 6, 9, 12)} | {
        f"step 1, {frames} frames": 1 for frames in (3, 6, 9, 12)
    }
    full = {"step 1": WATCHED, "step": 3 * WATCHED, "recache": WATCHED}
    plain = full | filling | {f"context, {n} frames": 1 for n in (3, 6, 9, 12)} | {"context": WATCHED}
    whole = {f"recache, {n} frames": 1 for n in (3, 6, 9)}  # sinks too
    assert counts[0] == counts[1] == plain | whole
    folded = {k: n for k, n in full.items() if k != "step 1"} | {"folded step 1": WATCHED}
    sink = {"context, 3 frames": 1}  # a block in the sink gets its own pass, under its own prompt
    assert counts[2] == folded | filling | sink | {f"recache, {n} frames": 1 for n in (6, 9)}
    for clock, recorded in zip(clocked, counts, strict=True):
        assert clock == {name: n * (3 if "," in name else 1) for name, n in recorded.items()}


def test_the_trace_tells_what_the_cache_and_the_layers_cost(run) -> None:
    _, (baseline, ring, fold) = run
    cache = [
        {part for part in m.taken_apart.per_block(WATCHED) if part.startswith("cache.")} for m in (baseline, ring, fold)
    ]
    copies = {f"cache.{what}" for what in ("clone", "roll", "insert", "concatenate", "update")}
    assert cache == [copies, {"cache.write"}, {"cache.write"}]
    step = ring.taken_apart.forwards["step"]
    assert "cache.roll" not in baseline.taken_apart.forwards["step"].parts_ns
    assert {"self-attention", "cross-attention", "linears"} < set(step.parts_ns)
    assert 0 < step.first_ns < step.parts_ns["self-attention"]  # two layers
    assert step.later_ns > 0
    assert step.gaps_ns > 0
    kernels = fold.taken_apart.kernels
    assert sum(k.calls for k in kernels if k.part == "linears" and "addmm" in k.name) == 17  # 8 a layer, and the head
    assert [k.ns for k in kernels] == sorted((k.ns for k in kernels), reverse=True)


def test_the_json_and_the_page_of_a_run(run, capsys) -> None:
    plan, found = run
    needed = Needed(plan.setup.config(), H100, "fp32")
    some = batches(plan.setup, ["fold"], [1, 2], needed, lambda text: None)
    made = report(plan, needed, found, {"graph": "needs CUDA"}, some)
    data = json.loads(msgspec.json.encode(made))
    parts = needed.parts(plan.blocks, 1)
    for name in ("steps", "block", "switch", "end_to_end"):
        assert data[name]["flops"] == parts[name].flops
        assert data[name]["measured_s"]
    mine = ("environment", "sizes", "block_parts_s", "apart_s", "cache_operations", "configuration", "versions")
    assert keys(data, mine) <= named("bench")
    assert data["decode"] == {"flops": None, "bytes": None, "limit_s": None, "measured_s": [], "flop_per_s": None}
    assert len(data["switch"]["latency_s"]) == 1
    assert [r["variant"] for r in data["rows"]] == ["ring", "fold", "graph"]
    assert {"change", "parity", "quality", "before_s", "after_s", "keep"} <= set(data["rows"][0])
    for each in (*data["variants"], *data["rows"], *data["batches"]):
        assert each["hardware"] == "H100-SXM5-80GB"
        assert each["versions"]["torch"]
        assert each["configuration"]["window"] == 12
    assert data["variants"][2]["configuration"]["context"] == "fold"
    assert data["cache_operations"]["baseline"]["times_less"] == 1
    again = read_log_file(msgspec.json.encode(made), "stream.json")
    assert json.loads(msgspec.json.encode(again)) == data  # it is read as it was written
    print_bench(again)
    text = capsys.readouterr().out
    for said in ("needs CUDA", "cache.concatenate", "times less than the baseline", "random", "aten::addmm",
                 "a switch depends on when until the window is full", "self-attention, first layer"):  # fmt: skip
        assert said in text


def test_a_batch_has_a_prompt_and_switches_for_each_sample() -> None:
    needed = Needed(preset("tiny"), H100, "fp32")
    one, three = batches(Setup(), ["ring"], [1, 3], needed, lambda text: None)
    assert three.setup.prompts == ["a cat runs", "a cat runs, 1", "a cat runs, 2"]
    assert [len(b.switch_all_s) for b in (one, three)] == [6, 3]
    assert [len(b.switch_one_s) for b in (one, three)] == [0, 3]
    assert (len(one.block_s), len(three.block_s)) == (6, 6)
    assert three.flops == 3 * one.flops == 3 * needed.parts(6, 0)["block"].flops
    found = three.record(Here(Setup(), "here", {}))
    assert found.fps == 3 * found.fps_a_stream
    assert found.kv_cache_bytes == 3 * 36864
    with pytest.raises(ValueError, match="batch is 0; a stream has at least 1 sample"):
        Setup(batch=0)


def test_first_frame_and_whole_leave_the_warm_up_out() -> None:
    """Each block is asked for, begun and done: after 2 and 5 the first, after 7 and 13 the second, switched one."""
    lane = Lane("ring", Setup(), lambda text: None)
    lane.ready(lambda text: None)
    lane.meter = Meter(lane.engine.c, clock=iter([10, 12, 17, 30, 37, 50]).__next__)
    lane._prepare_ns, lane._end_to_end_ns = 100, 1000
    lane.block(0, None)
    lane.block(1, "a fox")
    assert lane.meter.rows == [BlockTimes(0, 5, 0, False), BlockTimes(1, 13, 0, True, 7 + 13)]
    assert lane.meter.first_ns == 100 + 5
    assert lane._end_to_end_ns == 1000 + (2 + 5) + (7 + 13)


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
        quality=Quality((BlockError(0, 0.01, 1.0, 40), BlockError(1, 0.02, 0.999, 30))),
        report=meter.report(),
        blocks=meter.rows,
        end_to_end_ns=1,
        taken_apart=Breakdown({"step": Forwards(WATCHED, {"linears": int(linears_ms * MS)}, gaps_ns=5 * MS)}),
    )


def logged(other: Measured, base: Measured, device: str = "cuda") -> Row:
    return row(other, {base.name: base}, Setup(device=device), Needed(preset("tiny"), H100, "fp32"))


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
    found = logged(other, base)
    assert (found.keep, found.why) == (keep, why)
    assert found.before_s == 0.010
    assert found.predicted.saved_s > 0
    assert found.predicted.what == "limit against limit"


def test_a_slower_decoder_is_explained_by_its_own_parts() -> None:
    def decoding(name: str, ms: int) -> Measured:
        found = made(name, [10, 10, 10])
        found.blocks = [replace(block, decode_ns=ms * MS) for block in found.blocks]
        parts = {"convolution": (ms - 1) * MS, "copy": MS}
        return replace(found, taken_apart=Breakdown({"decode": Forwards(WATCHED, parts)}))

    found = logged(decoding("vae-block", 8), decoding("baseline", 5), "cpu")
    assert (found.of, found.before_s, found.after_s) == ("decode", 0.005, 0.008)
    assert (found.keep, found.why) == (False, "slower; most in convolution, +3.00 ms a block in the trace")


@pytest.mark.parametrize(
    ("after", "faster", "slower"),
    [
        ([9, 9, 9, 9, 9], True, False),
        ([9, 9, 9, 9, 11], False, False),  # the middle half would say faster
        ([11, 11, 11, 11, 9], False, False),
        ([9] * 7 + [11], True, False),
        ([9] * 6 + [11] * 2, True, False),
        ([9] * 5 + [11] * 3, False, False),
        ([11] * 6 + [9] * 2, False, True),
        ([10] * 8, False, False),
        ([9], True, False),
    ],
)
def test_few_pairs_must_all_agree(after: list[float], faster: bool, slower: bool) -> None:
    found = saved([10] * len(after), after)
    assert (found.faster, found.slower) == (faster, slower)


def test_graphs_can_save_the_gaps_and_no_more() -> None:
    base, graph = made("fold", [10, 10, 10]), made("graph", [5, 5, 5])
    found = row(graph, {"baseline": base, "fold": base}, Setup(device="cuda"), Needed(preset("tiny"), H100, "fp32"))
    assert found.predicted.saved_s == 0.005
    assert found.predicted.what == "at most the launch gaps in the trace"


def test_a_cpu_has_its_reasons() -> None:
    base, slow = made("baseline", [10, 10, 10]), made("int8", [40, 40, 40], linears_ms=20)
    why = logged(slow, base, "cpu").why
    assert why.startswith("slower; on a CPU the 8-bit products are exact sums in fp64")
    assert "slower; most in linears" in logged(slow, base).why


def test_a_slower_switch_is_not_explained_by_steady_blocks() -> None:
    def switched(name: str, last_ms: float) -> Measured:
        found = made(name, [10, 10, 10])
        found.report = replace(found.report, switch_s=(last_ms / 1e3,) * 3)
        return found

    slow, base = switched("recache-needed", 9), switched("baseline", 5)
    found = logged(slow, base, "cpu")
    assert (found.of, found.before_s, found.after_s) == ("switch", 0.005, 0.009)
    assert (found.keep, found.why) == (False, "slower; 3 switches were timed")
    found = logged(switched("recache-needed", -9), base, "cpu")  # far less than before, and no such thing
    assert found.keep
    assert found.why.startswith("not told: blocks differ by more than a switch costs")


def test_quantized_variants_drift_and_say_so() -> None:
    setup = Setup()
    checks = Checks(setup, setup.engine("baseline"))
    parity, away = checks.of("fp8-ffn", setup.engine("fp8-ffn"))
    assert parity is None
    assert 1e-4 < away.relative < 0.2
    assert 1e-4 < away.taught_relative < 0.2
    assert len(away.free) == len(away.taught) == 9
    assert checks.of("baseline", setup.engine("baseline"))[1].relative == checks.floor == 0  # run to run


def test_a_lower_dtype_is_held_against_fp32_with_its_own_weights() -> None:
    lower = replace(Setup(), dtype=torch.bfloat16)
    base = lower.engine("baseline")
    parity, away = Checks(lower, base).of("ring", lower.engine("ring"))
    assert parity == Parity(True, parity.relative, EQUAL, "tiny")  # checked in fp32 beside it
    assert parity.relative < EQUAL
    assert 1e-3 < away.relative < 0.05  # bf16 keeps 8 bits; other weights would be another film
    assert Checks(lower, base, own_dtype=True).of("baseline", lower.engine("baseline"))[1].relative == 0
