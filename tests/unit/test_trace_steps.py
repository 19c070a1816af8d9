"""Windows and steps of a trace, counted by hand: which work is in them, what adds up, what is said first."""

from __future__ import annotations

import json
import re

import pytest
from cli_said import said
from nsys_made import Export
from trace_made import REAL, Made, analyze, real

US = 1000


def stepped(lengths=(100, 100, 100), gap=10, kernels=4, late=0, takes=None):
    """Steps of so many us, each with `kernels` operators spread over it; every kernel takes half of its share of the
    step (or as long as it `takes`) and starts 5 us (and `late`) after its launch."""
    t, at, corr = Made(), 1000, 1
    for number, length in enumerate(lengths, 3):
        t.note(f"ProfilerStep#{number}", at * US, length * US)
        share = length // kernels
        for i in range(kernels):
            begun = at + 1 + i * share
            t.op("aten::mm", begun * US, 2 * US)
            t.call(begun * US + 500, US, corr)
            t.kernel((begun + 5 + late) * US, takes or share * US // 2, corr)
            corr += 1
        at += length + gap
    return t


def test_the_busy_times_of_all_steps_add_up(tmp_path):
    t = stepped()
    path = t.write(tmp_path)
    whole = analyze(path)
    assert [(s.number, s.wall_ns, s.kernels) for s in whole.steps] == [(n, 100 * US, 4) for n in (3, 4, 5)]
    # 12 kernels of 12.5 us; gaps of 12.5 us inside a step, 22.5 us between two
    assert [(s.busy_ns, s.idle_ns, s.before_ns) for s in whole.steps] == [
        (50 * US, 37_500, 0),
        (50 * US, 37_500, 22_500),
        (50 * US, 37_500, 22_500),
    ]
    assert sum(s.busy_ns for s in whole.steps) == whole.summary.busy_ns == 150 * US
    assert sum(s.idle_ns + s.before_ns for s in whole.steps) == whole.summary.idle_ns
    one = analyze(path, step="4")
    assert (one.summary.busy_ns, one.summary.idle_ns, one.summary.span_ns) == (50 * US, 37_500, 87_500)
    assert sum(one.idle.values()) == one.summary.idle_ns
    assert one.outside == {"before_first": 6 * US, "after_last": 6_500}
    assert (one.window.asked, one.window.names, one.window.host_ns) == ("--step 4", ["ProfilerStep#4"], 100 * US)
    assert [s.number for s in one.steps] == [4]
    both = analyze(path, step="4..5")
    assert (both.summary.kernels, both.summary.idle_ns) == (8, 2 * 37_500 + 22_500)
    assert analyze(path, step="..4").summary.kernels == 8
    assert analyze(path, step="last").window.names == ["ProfilerStep#5"]


def test_work_belongs_to_the_step_that_launched_it(tmp_path):
    """Work that runs 60 us late lies in the next step's time, and is this one's all the same."""
    run = analyze(stepped(late=60).write(tmp_path), step="3")
    assert (run.summary.kernels, run.summary.busy_ns) == (4, 50 * US)
    assert run.window.past_ns == (1 + 75 + 5 + 60) * US + 12_500 - 100 * US
    assert run.outside["after_last"] == 0


def test_other_work_between_is_neither_busy_nor_idle(tmp_path):
    t = Made()
    t.note("ProfilerStep#1", 0, 100 * US)
    t.note("ProfilerStep#2", 100 * US, 100 * US)
    t.call(1 * US, US, 1)
    t.kernel(10 * US, 20 * US, 1)
    t.call(101 * US, US, 2, "cudaMemcpyAsync")
    t.kernel(110 * US, 10 * US, 2, "Memcpy HtoD (Pinned -> Device)", stream=9, cat="gpu_memcpy", bytes=8)
    t.call(50 * US, US, 3)
    t.kernel(115 * US, 45 * US, 3)  # of the first step, behind the copy of the second
    t.call(150 * US, US, 4)
    t.kernel(170 * US, 10 * US, 4)
    path = t.write(tmp_path)
    whole = analyze(path)
    assert [(s.busy_ns, s.idle_ns, s.before_ns) for s in whole.steps] == [
        (20 * US + 40 * US, 0, 0),  # 10-30 and 120-160; the gap 30-110 ends with the second step's copy
        (10 * US + 10 * US, 10 * US, 80 * US),  # 110-120 and 170-180; 160-170
    ]
    assert sum(s.busy_ns for s in whole.steps) == whole.summary.busy_ns
    second = analyze(path, step="2")
    assert (second.summary.busy_ns, second.summary.idle_ns, second.window.other_ns) == (20 * US, 10 * US, 40 * US)


def test_launches_of_other_threads_count_but_not_of_those_with_a_range_of_their_own(tmp_path):
    t = Made()
    for tid, at in ((1, 0), (2, 50)):
        t.note("request", at * US, 100 * US, tid=tid)
        t.call((at + 60) * US, US, tid, tid=tid)
        t.kernel((at + 65) * US, 10 * US, tid, name=f"of_{tid}")
    t.call(30 * US, US, 3, tid=3)  # autograd's thread
    t.kernel(40 * US, 10 * US, 3, name="of_3")
    path = t.write(tmp_path)
    first = analyze(path, between="request#1")
    assert sorted(k.name for k in first.kernels) == ["of_1", "of_3"]
    assert [k.name for k in analyze(path, between="request#2").kernels] == ["of_2"]
    assert analyze(path, between="request").summary.kernels == 3


def test_idle_time_between_occurrences_is_not_inside(tmp_path):
    t = Made()
    for i in range(3):
        at = i * 1000
        t.note("decode", at * US, 100 * US)
        t.note("decode", (at + 5) * US, 50 * US)  # one inside the other is no second
        for j in range(2):
            t.call((at + 10 + 20 * j) * US, US, 1 + 2 * i + j)
            t.kernel((at + 20 + 20 * j) * US, 10 * US, 1 + 2 * i + j)
    run = analyze(t.write(tmp_path), between="decode")
    assert (run.summary.busy_ns, run.summary.idle_ns, run.window.count) == (60 * US, 30 * US, 3)
    assert sum(run.idle.values()) == 30 * US
    assert [(s.busy_ns, s.idle_ns) for s in run.steps] == [(20 * US, 10 * US)] * 3
    assert run.outside == {"before_first": 60 * US, "after_last": 150 * US}


def test_waits_and_the_hosts_calls_are_those_of_the_window(tmp_path):
    t = stepped()
    t.call(1050 * US, 2 * US, name="cudaStreamSynchronize")
    t.call(1160 * US, 2 * US, name="cudaDeviceSynchronize")
    run = analyze(t.write(tmp_path), step="4")
    assert [s.call for s in run.syncs] == ["cudaDeviceSynchronize"]


def test_without_launches_the_time_on_the_device_tells(tmp_path):
    t = Made()
    t.note("ProfilerStep#1", 0, 100 * US)
    t.note("ProfilerStep#2", 100 * US, 100 * US)
    for at in (10, 50, 120):
        t.kernel(at * US, 10 * US)
    assert [s.kernels for s in t.run(tmp_path).steps] == [2, 1]


def test_ranges_over_the_device_are_taken_where_the_host_has_none(tmp_path):
    t = Made()
    for stream in (7, 8):
        t._add("gpu_user_annotation", "unet", 9 * US, 32 * US, stream, pid=0)
    for at in (10, 30, 60):
        t.kernel(at * US, 10 * US)
    assert t.run(tmp_path, between="unet").summary.kernels == 2


def test_ranges_of_nvtx_are_windows(tmp_path):
    export = Export(tmp_path / "run.sqlite")
    for i in range(2):
        at = 100 * i * US
        export.range(at, at + 90 * US, "forward")
        export.call(at + 10 * US, at + 11 * US, "cudaLaunchKernel_v7000", i + 1)
        export.kernel(at + 20 * US, at + 30 * US, "mm", i + 1)
    export.close()
    run = analyze(tmp_path / "run.sqlite", between="forward#2")
    assert (run.summary.kernels, run.summary.busy_ns, run.window.host_ns) == (1, 10 * US, 90 * US)
    assert analyze(tmp_path / "run.sqlite", step="1").window.names == ["forward#1"]


def test_two_processes_have_each_their_step(tmp_path):
    """Rank 1 is 50 us late: its first step lies in the time of rank 0's second one."""
    t = Made()
    for pid, shift in ((100, 0), (200, 50)):
        for n in (1, 2):
            at = (n - 1) * 60 + shift
            t._add("user_annotation", f"ProfilerStep#{n}", at * US, 60 * US, 1, pid=pid)
            t._add("cuda_runtime", "cudaLaunchKernel", (at + 5) * US, US, 1, pid=pid, correlation=pid + n)
            t.kernel((at + 10) * US, 10 * US, pid + n, name=f"of_{pid}_{n}", device=pid // 100 - 1)
    run = analyze(t.write(tmp_path), step="1")
    assert sorted(k.name for k in run.kernels) == ["of_100_1", "of_200_1"]
    assert [d.kernels for d in run.devices] == [1, 1]


def test_the_operators_of_a_processor_are_cut_too(tmp_path):
    t = Made()
    for n in (1, 2):
        t.note(f"ProfilerStep#{n}", n * 100 * US, 100 * US)
        t.op("aten::mm", (n * 100 + 10) * US, 30 * US)
        t.op("aten::add", (n * 100 + 50) * US, 10 * US)
    run = t.run(tmp_path, step="2")
    assert (run.summary.on_cpu, run.summary.busy_ns, run.summary.idle_ns) == (True, 40 * US, 10 * US)
    assert [s.kernels for s in t.run(tmp_path).steps] == [2, 2]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"step": "9"}, "no step 9: the steps of the trace are 3, 4, 5 (ProfilerStep)"),
        ({"step": "6..9"}, "no step 6..9"),
        ({"step": "first"}, "--step is a number, last, or A..B"),
        ({"between": "nowhere"}, "no annotation 'nowhere' in the trace; it has 'ProfilerStep#3', 'ProfilerStep#4'"),
        ({"between": "ProfilerStep*#7"}, "was entered 3 times"),
        ({"step": "3", "between": "x"}, "give one of the two"),
    ],
)
def test_a_window_that_matches_nothing_says_what_there_is(tmp_path, asked, words):
    path = stepped().write(tmp_path)
    with pytest.raises(ValueError, match=re.escape(words)):
        analyze(path, **asked)


def test_a_window_without_work_is_a_sentence(tmp_path):
    t = stepped()
    t.note("nothing", 100_000_000, US)
    with pytest.raises(ValueError, match="no work of a device was launched in 'nothing'"):
        t.run(tmp_path, between="nothing")


def test_names_may_leave_out_our_prefixes_and_hold_a_star(tmp_path):
    t = stepped()
    t.note("stage::denoise", 1000 * US, 105 * US)
    t.note("execute_7_[a]", 1110 * US, 100 * US)
    path = t.write(tmp_path)
    assert analyze(path, between="denoise").summary.kernels == 4
    assert analyze(path, between="execute_*_[a]").summary.kernels == 4
    assert analyze(path, between="ProfilerStep*").summary.kernels == 12


def test_what_repeats_is_a_step_where_there_is_no_profilers(tmp_path):
    t = Made()
    for i in range(3):
        at = 1000 + 200 * i
        t.note(f"execute_{i}({7 * i})", at * US, 150 * US)
        t.call((at + 10) * US, US, i + 1)
        t.kernel((at + 20) * US, 100 * US, i + 1)
    run = t.run(tmp_path)
    assert run.step_summary.named_by == "annotation execute_#(#)"
    assert [(s.number, s.busy_ns) for s in run.steps] == [(n, 100 * US) for n in (1, 2, 3)]
    assert t.run(tmp_path, step="2").summary.kernels == 1


def test_calls_of_the_denoiser_are_steps_beside_a_lone_profilers(tmp_path):
    t = Made()
    t.note("ProfilerStep#3", 0, 1000 * US)
    for i in range(4):
        at = 100 + 200 * i
        t.module("UNet2DConditionModel_0", at * US, 150 * US)
        t.call((at + 10) * US, US, i + 1)
        t.kernel((at + 20) * US, 100 * US, i + 1)
    path = t.write(tmp_path)
    assert [s.name for s in analyze(path).steps] == [f"denoise#{n}" for n in (1, 2, 3, 4)]
    assert analyze(path, step="3").summary.kernels == 4
    assert analyze(path, between="denoise#2").summary.kernels == 1


def test_warm_up_is_said_first(tmp_path):
    run = stepped((900, 400, 100, 104, 96, 100), takes=12 * US).run(tmp_path)
    assert [s.kind for s in run.steps] == ["warm-up", "warm-up", "", "", "", ""]
    (words,) = run.step_summary.said
    assert words.startswith("ProfilerStep#3 to ProfilerStep#4 are warm-up: at least 400.0 µs each, the median of the 4")
    assert "Record after the first 2 steps" in words
    assert "--step 5..8" in words
    assert (run.step_summary.wall.median_ns, run.step_summary.steady) == (100 * US, 4)


def test_more_work_is_no_warm_up(tmp_path):
    """A prefill before tokens takes long because its kernels do."""
    run = stepped((900, 100, 100, 100)).run(tmp_path)
    assert not any(s.kind for s in run.steps)
    assert run.steps[0].why == "400.0 µs more linear (aten::mm)"


@pytest.mark.parametrize("lengths", [(100, 100, 104), (300, 100, 300, 100, 300, 100), (100, 100, 400)])
def test_steps_that_only_vary_are_no_warm_up(tmp_path, lengths):
    assert not any(s.kind for s in stepped(lengths).run(tmp_path).steps)


def test_a_step_that_the_recording_cuts_off_is_partial(tmp_path):
    t = stepped((100, 100, 100, 100))
    cut = [e for e in t.events if e["ts"] < 1380]  # in the last step, after two of its four kernels
    for event in cut:
        if event["name"] == "ProfilerStep#6":
            event["dur"] = 50
    t.events = cut
    run = t.run(tmp_path)
    assert [s.kind for s in run.steps] == ["", "", "", "partial"]
    assert "the recording ends in it, and it has 2 kernels where others have 4" in run.step_summary.said[0]
    assert run.step_summary.busy.min_ns == 50 * US


def test_a_slow_step_says_why(tmp_path):
    t = stepped((100, 100, 100, 100, 100))
    long = next(e for e in t.events if e["cat"] == "kernel" and e["args"]["correlation"] == 12)
    long["dur"] += 80
    t.events = [e for e in t.events if e["ts"] <= long["ts"]] + [
        {**e, "ts": e["ts"] + 80} for e in t.events if e["ts"] > long["ts"]
    ]
    run = t.run(tmp_path)
    slow = run.steps[2]
    assert (slow.number, slow.why) == (5, "80.00 µs more linear (aten::mm)")
    assert run.step_summary.slowest == 5


def test_a_step_that_waited_says_for_what(tmp_path):
    t = stepped((100, 100, 100, 100, 100), kernels=2)
    late = next(e for e in t.events if e["cat"] == "cuda_runtime" and e["args"]["correlation"] == 6)
    shifted = [e for e in t.events if e["ts"] >= late["ts"] - 1]
    for event in shifted:
        event["ts"] += 200
    step = next(e for e in t.events if e["name"] == "ProfilerStep#5")
    step["dur"] += 200
    why = t.run(tmp_path).steps[2].why
    assert why == "200.0 µs more idle (host_launch)"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["a100_nccl_train.json.gz", "v100_resnet50_2021_oldschema.json.gz"])
def test_steps_of_real_traces_add_up_to_all_of_it(name):
    run = real(name)
    assert run.step_summary.outside_ns == 0
    assert sum(s.busy_ns for s in run.steps) == run.summary.busy_ns
    assert sum(s.idle_ns + s.before_ns for s in run.steps) == run.summary.idle_ns
    last = analyze(REAL / name, step="last")
    assert (last.summary.busy_ns, last.summary.idle_ns) == (run.steps[-1].busy_ns, run.steps[-1].idle_ns)
    assert sum(c.time_ns for c in last.classes) == run.steps[-1].time_ns


def test_every_report_is_cut(tmp_path):
    path = str(stepped((100, 100, 300)).write(tmp_path))
    said_json = json.loads(said("analyze", path, "--step", "4", "--json").stdout)
    assert said_json["window"]["names"] == ["ProfilerStep#4"]
    assert "Window --step 4: 1 range of 100.0 µs" in said("analyze", path, "--step", "4").stdout
    beside = json.loads(said("gap", path, "--on", "h100", "--between", "ProfilerStep#4", "--json").stdout)
    assert beside["time_ns"] == 50 * US
    same = json.loads(said("compare", path, path, "--step", "4", "--json").stdout)
    assert same["changes"][0]["before"] == same["changes"][0]["after"]
    target = tmp_path / "tracks.json"
    said("analyze", path, "--step", "4", "--perfetto", str(target))
    idle = [e for e in json.loads(target.read_text("utf-8"))["traceEvents"] if "idle_ns" in e.get("args", {})]
    assert sum(e["args"]["idle_ns"] for e in idle) == 37_500


def test_a_saved_run_cannot_be_cut(tmp_path):
    path = str(stepped().write(tmp_path))
    said("analyze", path, "--out", str(tmp_path / "run"))
    result = said("gap", str(tmp_path / "run"), "--step", "3")
    assert result.returncode == 2
    assert "is a saved run" in result.stderr


def test_the_tables_of_steps_are_flat(tmp_path):
    frames = pytest.importorskip("frameroof.report.frames").frames(stepped().run(tmp_path))
    assert frames["steps"]["busy_ns"].to_list() == [50 * US] * 3
    assert frames["step_classes"].rows() == [(n, "linear", 50 * US) for n in (3, 4, 5)]
    assert frames["step_idle"]["time_ns"].sum() == 3 * 37_500
