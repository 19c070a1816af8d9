"""The account of a whole trace: the truths of 14 real files, sums that add up, stages."""

from __future__ import annotations

import pytest
from odd_made import ODD, RENAMED, SOUND, odd, overlong
from trace_made import FILES, REAL, SHARED, TRUTH, Made, real

from frameroof.hardware import device
from frameroof.run import Run, load_run, save_run
from frameroof.trace.to_run import analyze

MALFORMED = SHARED / "traces" / "malformed"
NAMES = sorted(TRUTH) or ["none"]
pytestmark = pytest.mark.filterwarnings("error")


def needs_traces(test):
    return pytest.mark.shared(pytest.mark.skipif(not TRUTH, reason="no ../shared/traces here")(test))


# ------------------------------------------------------------------------------------- real traces


@needs_traces
@pytest.mark.parametrize("name", NAMES)
def test_busy_idle_span_and_kernel_sums(name):
    truth, s = TRUTH[name]["truth"], real(name).summary
    if truth["busy_us"] is None:
        assert (s.on_cpu, s.device) == (True, "CPU")
        return
    measured = (s.busy_ns, s.idle_ns, s.span_ns, s.kernel_ns, s.memory_ns)
    wanted = (truth[f"{k}_us"] for k in ("busy", "idle", "span", "kernel_sum", "mem_sum"))
    assert measured == tuple(round(us * 1000) for us in wanted)
    assert (s.kernels, s.copies, s.streams) == (truth["n_kernel"], truth["n_mem"], truth["streams"])


@pytest.mark.parametrize("name", FILES)
def test_every_table_adds_up(name):
    run = real(name)
    s, total = run.summary, run.summary.kernel_ns + run.summary.memory_ns
    assert sum(run.idle.values()) == s.idle_ns == s.span_ns - s.busy_ns
    for table in (run.classes, run.operators, run.kernels, run.stages):
        assert sum(row.time_ns for row in table) == total
    assert sum(sum(stage.call_ns) for stage in run.stages) == total
    assert sum(sum(stage.classes.values()) for stage in run.stages) == total
    assert sum(c.share for c in run.classes) == pytest.approx(1)
    assert sum(g.time_ns for g in run.launch.gaps) == (0 if s.on_cpu else s.idle_ns)
    attention = sum(a.time_ns for a in run.attention)
    assert attention <= next((c.time_ns for c in run.classes if c.name == "attention"), 0)
    waits = sum(w.idle_ns for w in run.syncs)
    assert waits <= run.idle.get("synchronization", 0)
    assert all(0 <= a.max_gain_s * 1e9 <= s.span_ns for a in run.advice)
    assert max((d for d in (run.coverage.operator, run.coverage.module, run.coverage.stage)), default=0) <= 1


@needs_traces
def test_bert():
    """HTA reports 254 us busy here."""
    assert real("h100_bert_small.json.gz").summary.busy_ns == 309_437


@needs_traces
def test_sd35():
    run = real("mi300x_sd35_xdit.json.gz")
    s = run.summary
    assert (s.busy_ns, s.kernels, s.idle_ns) == (
        712_489_744,
        8042,
        459_138_912,
    )  # 2,183 cpu_ops have a stream: no kernels
    assert run.idle["host_launch"] >= 0.85 * s.idle_ns
    assert run.advice[0].title == "Reduce launch overhead"
    assert run.advice[0].max_gain_s == run.idle["host_launch"] / 1e9
    denoise = next(stage for stage in run.stages if stage.name == "denoise")
    assert (denoise.source, denoise.count) == ("SD3Transformer2DModel", 4)
    assert denoise.time_ns == pytest.approx(627_600_000, rel=1e-3)
    joint = run.attention[0]
    assert (joint.batch, joint.heads, joint.query_len, joint.key_len, joint.head_dim) == (2, 38, 4429, 4429, 64)
    assert (joint.count, joint.fused) == (4 * 38, True)
    t5 = next(
        a for a in run.attention if a.heads == 64
    )  # two prompts of 24 layers, the first layer makes its bias inside
    assert (t5.count, t5.query_len, t5.fused) == (48, 256, False)
    assert min(run.coverage.operator, run.coverage.module, run.coverage.shapes, run.coverage.flops) > 0.998


@needs_traces
def test_timesformer():
    run = real("h100_timesformer.json.gz")
    total = sum(a.time_ns for a in run.attention)
    assert total / 1e6 == pytest.approx(129.3, abs=0.05)
    assert total / run.summary.busy_ns == pytest.approx(0.816, abs=0.0005)
    spatial, temporal = run.attention
    assert (spatial.kind, spatial.query_len, spatial.batch * spatial.heads, spatial.head_dim) == (
        "spatial",
        3137,
        96,
        64,
    )
    assert spatial.time_ns / 1e6 == pytest.approx(68.69 + 22.82 + 20.39 + 15.50, abs=0.02)
    assert (temporal.kind, temporal.query_len, temporal.batch * temporal.heads) == ("temporal", 8, 37632)
    assert temporal.time_ns / 1e6 == pytest.approx(1.94, abs=0.005)
    assert run.advice[0].title == "Use fused attention"
    assert not [a for a in run.advice if a.kind == "host"]  # the device is busy 99 % of the time


@needs_traces
def test_b200_overlaps_on_one_stream():
    run = real("b200_eager.json.gz")
    assert run.summary.busy_ns == 11_596_482
    assert run.summary.kernel_ns + run.summary.memory_ns == 11_665_760
    linear = next(c for c in run.classes if c.name == "linear")
    assert linear.flops_ns < linear.time_ns  # the experts' products stand in one operator that no rule counts
    assert run.coverage.flops < 0.25


@needs_traces
def test_a_duration_of_1600_ms_is_cut_and_reported():
    run = analyze(MALFORMED / "one_kernel_1.6s_overflow_TL669.json")
    assert run.summary.busy_ns == pytest.approx(310_000, rel=0.06)
    assert [(p.what, p.count) for p in run.problems] == [("kernels of absurd duration", 1)]


@needs_traces
@pytest.mark.parametrize(
    "name",
    ["cpu_ops_as_BE_pairs", "no_flow_events", "string_ts_dur", "toplevel_list", "unescaped_quotes_pre_kineto1459"],
)
def test_odd_files_give_the_account_of_the_sound_one(name):
    run, sound = analyze(MALFORMED / f"{name}.json"), real("h100_bert_small.json.gz")
    assert run.idle == sound.idle
    assert [(c.name, c.time_ns) for c in run.classes] == [(c.name, c.time_ns) for c in sound.classes]
    assert [(o.name, o.time_ns, o.flops) for o in run.operators] == [
        (o.name, o.time_ns, o.flops) for o in sound.operators
    ]


@needs_traces
def test_missing_arrows_are_said_and_missed_by_nobody():
    what = "the file holds no arrows from launches to their work"
    assert [p.what for p in analyze(MALFORMED / "no_flow_events.json").problems] == [what]
    assert real("h100_bert_small.json.gz").problems == []


@pytest.mark.parametrize("name", FILES)
def test_a_run_is_saved_and_read_back(tmp_path, name):
    run = real(name)
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run") == run
    with pytest.raises(ValueError, match="--force"):
        run.save(tmp_path / "run")
    assert Run.load(run.save(tmp_path / "run", force=True)) == run


# ------------------------------------------------------------------------------------- made traces


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_gives_the_account_of_the_sound_one(tmp_path, name):
    run, sound = analyze(odd(tmp_path, name), on=device("H100")), real(SOUND.name)
    assert run.idle == sound.idle
    assert [(c.name, c.time_ns) for c in run.classes] == [(c.name, c.time_ns) for c in sound.classes]
    named = [(o.name.replace(RENAMED, "aten::silu"), o.time_ns, o.flops) for o in run.operators]
    assert sorted(named, key=str) == sorted(((o.name, o.time_ns, o.flops) for o in sound.operators), key=str)
    assert run.attention == sound.attention
    assert [(s.operator, s.line, s.idle_ns) for s in run.syncs] == [
        (s.operator, s.line, s.idle_ns) for s in sound.syncs
    ]


def test_a_softmax_of_1600_ms_is_cut_where_the_next_work_of_its_stream_begins(tmp_path):
    """60 us of it were real, and 800 ns idle after it are its own now."""
    run, sound = analyze(overlong(tmp_path)), real(SOUND.name)
    assert run.summary.busy_ns == sound.summary.busy_ns + 800
    assert [(p.what, p.count) for p in run.problems] == [("kernels of absurd duration", 1)]


def test_a_legal_overlap_is_a_union_and_an_absurd_one_is_cut(tmp_path):
    t = Made()
    t.kernel(0, 10_000, 1)
    t.kernel(7_000, 10_000, 2)  # programmatic dependent launch
    t.kernel(20_000, 900_000_000, 3)
    t.kernel(25_000, 5_000, 4)
    t.kernel(40_000, 1_000, 5, stream=8)
    run = t.run(tmp_path)
    assert run.summary.busy_ns == 17_000 + 10_000 + 1_000
    assert [p.count for p in run.problems] == [1]


def test_a_long_kernel_whose_successor_outlasts_it_stays(tmp_path):
    t = Made()
    t.kernel(0, 2_000_000, 1)
    t.kernel(100_000, 2_900_000, 2)
    run = t.run(tmp_path)
    assert (run.summary.busy_ns, run.summary.kernel_ns, run.problems) == (3_000_000, 4_900_000, [])


def test_a_long_kernel_beside_short_ones_of_another_stream_stays(tmp_path):
    t = Made()
    t.kernel(0, 5_000_000, 1)
    t.kernel(1_000, 1_000, 2, stream=8)
    assert t.run(tmp_path).summary.busy_ns == 5_000_000


def test_stages_by_module_and_by_annotation(tmp_path):
    def made(note):
        t = Made()
        at = 10_000
        for name, calls in (("CLIPTextModel_0", 1), ("UNet2DConditionModel_0", 3), ("Decoder_0", 1), ("MyHead_4", 1)):
            for _ in range(calls):
                t.module(name, at, 40_000)
                if note:
                    t.note(f"stage::{note}", at - 500, 41_000)
                t.one("aten::mm", at + 10_000, 2_000, dims=[[4, 4], [4, 4]])
                t.one("aten::add", at + 20_000, 1_000, dims=[[4, 4], [4, 4]])
                at += 50_000
        t.one("aten::mul", at, 500)
        t.kernel(at + 10_000, 250, 9999)
        return t.run(tmp_path)

    assert [(s.name, s.count, s.time_ns) for s in made("").stages] == [
        ("text encode", 1, 3_000), ("denoise", 3, 9_000), ("vae decode", 1, 3_000), ("MyHead", 1, 3_000),
        ("(outside modules)", 1, 500), ("(unlinked)", 1, 250),
    ]  # fmt: skip
    assert made("").coverage.stage == pytest.approx(18_000 / 18_750)
    assert [(s.name, s.count) for s in made("chunk").stages] == [
        ("chunk", 6),
        ("(outside modules)", 1),
        ("(unlinked)", 1),
    ]


@pytest.mark.parametrize("wrapper", ["OptimizedModule_0", "DistributedDataParallel_0", "FullyShardedDataParallel_0"])
def test_a_wrapped_model_is_known_by_what_is_inside(tmp_path, wrapper):
    """torch.compile, DDP and FSDP put a module of their own around the model."""
    t = Made()
    t.module(wrapper, 0, 100_000)
    t.module("OptimizedModule_1", 200_000, 50_000)
    t.one("aten::mul", 220_000, 500)  # of this one nothing but the wrapper is in the file
    t.module("OptimizedModule_2", 1_000, 98_000)
    t.module("FluxTransformer2DModel_0", 2_000, 96_000)
    t.one("aten::mm", 50_000, 2_000, dims=[[4, 4], [4, 4]])
    assert [(s.name, s.source, s.time_ns) for s in t.run(tmp_path).stages] == [
        ("denoise", "FluxTransformer2DModel", 2_000),
        ("OptimizedModule", "OptimizedModule", 500),
    ]


def test_without_any_module_there_is_one_stage_and_it_says_why(tmp_path):
    t = Made()
    t.one("aten::mul", 10_000, 500)
    run = t.run(tmp_path)
    assert [(s.name, s.source) for s in run.stages] == [("(no modules recorded)", "")]
    assert run.coverage.stage == 0


def test_each_device_waits_for_itself(tmp_path):
    """Device 0 works from 10 to 20 and 90 to 100 us; device 1 in between, so that together they are never idle. The
    second launch on device 0 comes 5 us before its kernel."""
    t = Made()
    for corr, (start, length, number) in enumerate([(10, 10, 0), (20, 70, 1), (90, 10, 0)], 1):
        t.call(1_000 * (start - 5), 500, corr)
        t.kernel(1_000 * start, 1_000 * length, corr, device=number)
    run = t.run(tmp_path)
    assert (run.summary.idle_ns, run.summary.devices) == (0, 2)
    first, second = run.devices
    assert (first.busy_ns, first.span_ns, first.idle_ns, first.kernels) == (20_000, 90_000, 70_000, 2)
    assert first.idle == {"host_launch": 70_000}
    assert (second.busy_ns, second.idle_ns, second.idle) == (70_000, 0, {})


def test_several_ranks(tmp_path):
    from frameroof.trace.find.ranks import overall

    runs = []
    for rank, compute in enumerate((20_000, 30_000)):
        t = Made(distributedInfo={"rank": rank, "world_size": 2, "backend": "nccl"})
        t.kernel(0, compute, 1, "gemm")
        t.kernel(compute, 40_000 - compute, 2, "ncclDevKernel_AllReduce")
        runs.append(t.run(tmp_path))
    found = overall(runs)
    assert [(r.rank, r.computation_ns, r.exposed_ns) for r in found.ranks] == [
        (0, 20_000, 20_000),
        (1, 30_000, 10_000),
    ]
    assert (found.slowest_rank, found.span_ns, found.busy_ns) == (1, 40_000, 80_000)
    assert found.imbalance == pytest.approx(0.2)


def test_an_empty_trace_is_an_account_of_nothing(tmp_path):
    run = Made().run(tmp_path)
    assert (run.summary.busy_ns, run.summary.kernels, run.idle, run.advice) == (0, 0, {}, [])


def test_the_real_traces_are_there_or_it_is_said():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: the truths of the real traces were not checked")
    assert len(TRUTH) == 14
    assert all((REAL / name).is_file() for name in TRUTH)


@pytest.mark.parametrize("name", FILES)
def test_a_step_is_the_sum_of_its_classes(name):
    for stage in real(name).stages:
        assert [sum(call) for call in zip(*stage.call_classes.values(), strict=True)] == stage.call_ns
        assert {name: sum(times) for name, times in stage.call_classes.items()} == stage.classes


@needs_traces
def test_copies_of_the_factors_stand_beside_eager_attention():
    """TimeSformer: 72 copy kernels within its products, 5.278 ms in all."""
    run = real("h100_timesformer.json.gz")
    copies = sum(a.copy_ns for a in run.attention)
    assert copies == pytest.approx(5_278_000, abs=1_000)
    assert copies <= sum(c.time_ns for c in run.classes if c.name == "copy")
    assert sum(a.time_ns for a in run.attention) == pytest.approx(129_335_000, abs=10_000)
    for row in run.attention:
        assert row.saved_at_most_ns <= row.time_ns + row.copy_ns
