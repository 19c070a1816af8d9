"""Events that cannot have been change no number of the good ones, and the report counts them."""

from __future__ import annotations

import json

import pytest
from trace_made import H100, SHARED, Made

from frameroof.trace.resolve.link import BLEED_NS
from frameroof.trace.to_run import analyze

CASES = SHARED / "cases" / "traces"
MM = [[512, 512], [512, 512]]
BASE = 2_000_000_000
"""Where the made recording begins, ns after the base of its file."""


def sound(extra=0):
    """Twenty products, one every 20 us: launched 2 us after the operator begins, at work 8 us later for 10 us."""
    t = Made(**H100)
    for i in range(20):
        at = BASE + 20_000 * i
        t.op("aten::mm", at, 12_000, MM, ext=1 + i)
        t.call(at + 2_000, 5_000, 1 + i)
        t.kernel(at + 10_000, 10_000, 1 + i, name=f"gemm{i % 3}", **{"External id": 1 + i})
    t.note("stage::all", BASE - 1_000, 402_000)
    t.call(BASE + 390_500, 11_000 + extra, name="cudaDeviceSynchronize")
    return t


def numbers(run):
    """Everything that the report says but where it comes from and what was wrong."""
    said = run.to_dict()
    said["summary"].pop("events")
    for name in ("source", "problems"):
        said.pop(name)
    return said


def lost(t, at, length=10_000, corr=0, **args):
    """A kernel that cannot have been, launched by an operator of its own if it is numbered."""
    t.kernel(at, length, corr, name="lost", **args)


def again(t, wanted):
    t.events += [dict(e) for e in t.events if wanted(e)]


FAR = 10**14
WRONG = {
    "kernels at 0": (lambda t: [lost(t, 0, 0, 7 + i) for i in range(10)], 10, "recorded at time 0"),
    "kernels at 0 of 4 us": (lambda t: [lost(t, 0, 4_000, 5 + i) for i in range(3)], 3, "recorded at time 0"),
    "kernels of no length": (lambda t: [lost(t, BASE + 9_000 + 20_000 * i, 0, 7 + i) for i in range(4)], 4, "a length"),
    "operators at 0 of 8 us": (lambda t: [t.op("aten::mm", 0, 8_000, MM, ext=90 + i) for i in range(4)], 4, "time 0"),
    "operators at 0": (lambda t: [t.op("aten::mm", 0, 0, MM, ext=90 + i) for i in range(4)], 4, "recorded at time 0"),
    "calls at 0": (lambda t: [t.call(0, 0, 900 + i) for i in range(4)], 4, "recorded at time 0"),
    "hours after its launch": (lambda t: lost(t, BASE + FAR, corr=3), 1, "hours away"),
    "an operator days later": (lambda t: t.op("aten::mm", BASE + FAR, 12_000, MM), 1, "hours away"),
    "an operator that never ends": (lambda t: t.op("aten::mm", BASE, FAR, MM), 1, "last for hours"),
    "before its launch": (lambda t: lost(t, BASE + 90_000, corr=20), 1, "before their own launch"),
    "a second after the host": (lambda t: lost(t, BASE + 5 * 10**9), 1, "far outside"),
    "seconds after the host, one after the other": (
        lambda t: [lost(t, BASE + 5 * 10**9 + 500_000_000 * i) for i in range(2)], 2, "far outside"
    ),
    "a second before the host": (lambda t: lost(t, BASE - 15 * 10**8), 1, "far outside"),
    "kernels written twice": (lambda t: again(t, lambda e: e["cat"] == "kernel"), 20, "written twice"),
    "all written twice": (lambda t: again(t, lambda e: True), 62, "written twice"),
    "a length of NaN": (lambda t: lost(t, BASE + 55_000, float("nan")), 1, "no believable number"),
    "a start of infinity": (lambda t: lost(t, float("inf"), 1_000), 1, "no believable number"),
    "the largest number there is": (lambda t: lost(t, 2.0**64, 1_000), 1, "no believable number"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_event_that_cannot_be_changes_no_number(tmp_path, name):
    add, count, why = WRONG[name]
    t, good = sound(), sound().run(tmp_path)
    add(t)
    run = t.run(tmp_path)
    assert [(p.count, why in p.what) for p in run.problems if "JSON" not in p.what] == [(count, True)]
    assert numbers(run) == numbers(good)


def test_a_clock_of_its_own_loses_nothing_but_the_causes(tmp_path):
    """All work 300 us before its launch: the device's clock, not its work, is wrong."""
    t = sound()
    for one in t.events:
        one["ts"] -= 300 * (one["cat"] == "kernel")
    run = t.run(tmp_path)
    assert run.summary.busy_ns == 200_000
    assert any("clock of the device" in p.what and p.count == 20 for p in run.problems)


def test_work_queued_for_seconds_is_no_lost_work(tmp_path):
    """The host gives 30 kernels of 200 ms in a millisecond and waits; the last one begins 5.8 s after it."""
    t = Made(**H100)
    for i in range(30):
        t.call(BASE + 30_000 * i, 5_000, 1 + i)
        t.kernel(BASE + 50_000 + 200_000_000 * i, 199_000_000, 1 + i)
    assert (t.run(tmp_path).summary.kernels, t.run(tmp_path).problems) == (30, [])


def test_two_parts_of_a_recording_hours_apart_are_both_counted(tmp_path):
    t = sound()
    later = sound()
    for one in later.events:
        one["ts"] += 4 * 3600e6
    t.events += later.events
    for i, one in enumerate(t.events):
        one.get("args", {})["correlation"] = 1000 + i // 3
    assert t.run(tmp_path).summary.kernels == 40


def test_equal_calls_of_a_coarse_clock_are_two_calls(tmp_path):
    """Whole microseconds: two views within one, and two launches of nothing."""
    t = Made(**H100)
    for ext in (1, 2):
        t.op("aten::view", 1_000_000, 0, [[4]], ext=ext)
        t.call(1_010_000, 0, ext, name="cudaEventRecord")
    t.kernel(1_020_000, 5_000)
    assert t.run(tmp_path).problems == []


def test_operators_without_a_number_that_are_equal_by_a_coarse_clock_are_two(tmp_path):
    """Two views of 2 us, written with whole microseconds: one may end and the other begin within the same one."""
    t = Made()
    for _ in range(2):
        t.op("aten::view", 1_000_000, 2_000, [[4]])
    t.kernel(1_020_000, 5_000)
    assert t.run(tmp_path).problems == []


def test_a_copy_of_no_length_is_a_copy(tmp_path):
    """Of a few bytes, by a clock of nanoseconds; only kernels cannot be so short."""
    t = sound()
    t.kernel(BASE + 39_500, 0, name="Memcpy HtoD (Pageable -> Device)", cat="gpu_memcpy")
    run = t.run(tmp_path)
    assert (run.summary.copies, run.problems) == (1, [])


# ------------------------------------------------------------------------------------- false durations


@pytest.mark.parametrize("length", [45_000, 120_000, 10**9])
def test_a_kernel_over_its_successors_is_cut_to_the_next_start(tmp_path, length):
    """Whatever it claims: its successor begins 20 us after it, and is over within that time."""
    t, good = sound(), sound().run(tmp_path)
    kernel = [one for one in t.events if one["cat"] == "kernel"][5]
    kernel["dur"] = length / 1000
    run = t.run(tmp_path)
    assert run.summary.busy_ns == good.summary.busy_ns + 10_000
    assert [(p.what, p.count) for p in run.problems] == [("kernels of absurd duration", 1)]


def test_the_last_kernel_is_over_when_the_host_has_waited_for_it(tmp_path):
    """It begins at 390 us; the wait ends at 401.5 us."""
    t = sound()
    [one for one in t.events if one["cat"] == "kernel"][-1]["dur"] = 7e6
    run = t.run(tmp_path)
    assert run.summary.busy_ns == 19 * 10_000 + 11_500
    assert [p.count for p in run.problems] == [1]
    assert "the host had waited for it" in run.problems[0].action


def test_kernels_of_no_length_have_no_rates(tmp_path):
    """All rounded to nothing, as by a coarse clock: no rate, no limit, no share is infinite."""
    t = sound()
    for one in t.events:
        one["dur"] *= one["cat"] != "kernel"
    run = t.run(tmp_path)
    assert (run.summary.kernels, run.summary.busy_ns) == (20, 0)
    json.dumps(run.to_dict(), allow_nan=False)


def test_a_kernel_of_no_length_is_lost_where_the_clock_would_have_seen_it(tmp_path):
    """Whole microseconds: its namesakes take 10 us; of `tiny` another takes one."""
    t = Made()
    for i, (name, length) in enumerate((("gemm", 10_000), ("gemm", 0), ("tiny", 1_000), ("tiny", 0), ("once", 0))):
        t.kernel(1_000_000 + 20_000 * i, length, name=name)
    run = t.run(tmp_path)
    assert (run.summary.kernels, run.summary.busy_ns) == (4, 11_000)
    assert [(p.count, "without a length" in p.what) for p in run.problems] == [(1, True)]


def test_what_is_left_of_a_false_duration_is_no_longer_than_its_namesakes(tmp_path):
    """Of 60 ms up to the next kernel nothing is known: the other kernels of its name take 10 us."""
    t = Made(**H100)
    for i in range(6):
        t.call(60_000_000 * i, 5_000, 1 + i)
        t.kernel(60_000_000 * i + 10_000, 500_000_000 if i == 1 else 10_000, 1 + i)
    run = t.run(tmp_path)
    assert run.summary.busy_ns == 60_000
    assert "1 of them, still too long" in run.problems[0].action


@pytest.mark.parametrize("overlap", [1_000, 3_700, 9_000])
def test_small_overlaps_of_one_stream_are_legal(tmp_path, overlap):
    """The successor, of 2 us, may be over before its forerunner by the clock."""
    t = Made()
    t.kernel(0, 100_000, 1)
    t.kernel(100_000 - overlap, 500, 2)
    t.kernel(110_000, 1_000, 3)
    assert (t.run(tmp_path).summary.kernel_ns, t.run(tmp_path).problems) == (101_500, [])


def test_kernels_that_end_one_after_the_other_may_overlap_for_long(tmp_path):
    """The successor is not over when its forerunner claims to be: nothing shows that the claim is false."""
    t = Made()
    t.kernel(0, 100_000)
    t.kernel(50_000, 100_000)
    assert (t.run(tmp_path).summary.kernel_ns, t.run(tmp_path).problems) == (200_000, [])


def test_work_of_an_unknown_stream_follows_nothing(tmp_path):
    t = Made()
    t.kernel(0, 100_000, stream=-1)
    t.kernel(20_000, 10_000, stream=-1)
    assert (t.run(tmp_path).summary.kernel_ns, t.run(tmp_path).problems) == (110_000, [])


@pytest.mark.parametrize(("name", "begun"), [("cudaStreamSynchronize", 10_000), ("cudaDeviceSynchronize", 500)])
def test_a_wait_for_other_work_ends_no_kernel(tmp_path, name, begun):
    """The host waits for one of two streams, or began to wait, on another thread, before the launch."""
    t = Made()
    t.call(0, 400, 1)
    t.call(1_000, 1_000, 2)
    t.call(begun, 60_000 - begun, name=name, tid=2)
    t.kernel(5_000, 50_000, 1, stream=7)
    t.kernel(6_000, 600_000, 2, stream=8)
    t.note("stage::all", 0, 650_000)
    assert (t.run(tmp_path).summary.kernel_ns, t.run(tmp_path).problems) == (650_000, [])


def test_branches_of_a_graph_may_overlap_on_one_stream(tmp_path):
    t = Made()
    t.call(0, 5_000, 1, name="cudaGraphLaunch")
    for i in range(3):
        t.kernel(10_000 + 1_000 * i, 60_000 - 9_000 * i, 1)
    assert (t.run(tmp_path).summary.kernel_ns, t.run(tmp_path).problems) == (153_000, [])


@pytest.mark.parametrize("every", [4, 7])
def test_false_durations_may_be_many_where_their_equals_took_less(tmp_path, every):
    """Of 40 equal products, one every 25 us for 9 us each, every fourth or seventh claims 80 us."""
    t = Made(**H100)
    for i in range(40):
        t.op("aten::mm", BASE + 25_000 * i, 8_000, MM)
        t.call(BASE + 25_000 * i + 500, 4_000, 1 + i)
        t.kernel(BASE + 25_000 * i + 9_000, 80_000 if i % every == 1 else 9_000, 1 + i)
    run = t.run(tmp_path)
    assert run.summary.busy_ns == 40 * 9_000
    assert [p.count for p in run.problems] == [len(range(1, 40, every))]


def test_a_stream_that_is_not_in_order_is_left_alone(tmp_path):
    """Twenty pairs that overlap by 30 us are no twenty false durations."""
    t = Made()
    for i in range(20):
        t.kernel(100_000 * i, 60_000)
        t.kernel(100_000 * i + 20_000, 10_000)
    assert (t.run(tmp_path).summary.kernel_ns, t.run(tmp_path).problems) == (20 * 70_000, [])


def test_the_last_kernel_cannot_outlast_the_recording_by_seconds(tmp_path):
    """No wait is in the file; the host is seen until 401 us, the kernel begins at 390 us."""
    t = sound()
    t.events = [one for one in t.events if one["name"] != "cudaDeviceSynchronize"]
    [one for one in t.events if one["cat"] == "kernel"][-1]["dur"] = 1e11
    assert t.run(tmp_path).summary.busy_ns == 19 * 10_000 + 11_000


def test_the_same_kernel_on_equal_inputs_tells_how_long_it_was(tmp_path):
    """Up to the next kernel it is 200 us; with a matrix of that size it takes 10 us."""
    t = Made(**H100)
    for i in range(6):
        t.op("aten::mm", 200_000 * i, 5_000, MM if i < 4 else [[4096, 4096], [4096, 4096]])
        t.call(200_000 * i + 1_000, 2_000, 1 + i)
        t.kernel(200_000 * i + 10_000, (10_000, 500_000, 9_000, 8_000, 150_000, 150_000)[i], 1 + i)
    assert t.run(tmp_path).summary.busy_ns == 10_000 + 10_000 + 9_000 + 8_000 + 300_000


# ------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize("overlap", [1, 500, 3_000])
@pytest.mark.parametrize("write", ["note", "module", "op"])
def test_ranges_that_overlap_at_their_ends_do_not_nest(tmp_path, overlap, write):
    t = Made(**H100)
    getattr(t, write)("stage::a" if write == "note" else "A_0", 0, 50_000 + overlap)
    getattr(t, write)("stage::b" if write == "note" else "B_0", 50_000, 50_000)
    for i in range(5):
        t.call(5_000 + 20_000 * i, 2_000, 1 + i)
        t.kernel(10_000 + 20_000 * i, 3_000 + i, 1 + i)
    run = t.run(tmp_path)
    rows = {"note": run.stages, "module": run.stages, "op": run.operators}[write]
    assert [row.time_ns for row in sorted(rows, key=lambda r: -r.time_ns)] == [9_003, 6_007]
    assert run.problems == []


@pytest.mark.parametrize("early", [1, 500, BLEED_NS])
@pytest.mark.parametrize("write", ["note", "module"])
def test_a_child_that_begins_before_its_parent_by_the_clock_is_inside(tmp_path, early, write):
    """With a child of its own; the third launch is in the parent alone."""
    t = Made(**H100)
    names = ("stage::outer", "middle", "inner") if write == "note" else ("Outer_0", "Middle_0", "Inner_0")
    for name, start, length in zip(
        names, (10_000, 10_000 - early, 10_000 - early), (90_000, 50_000, 30_000), strict=True
    ):
        getattr(t, write)(name, start, length)
    for at, corr in ((20_000, 1), (45_000, 2), (70_000, 3)):
        t.call(at, 2_000, corr)
        t.kernel(at + 5_000, 10_000, corr)
    run = t.run(tmp_path)
    assert run.problems == []
    if write == "note":
        assert [(s.name, s.time_ns) for s in run.stages] == [("outer", 30_000)]
    else:
        rows = {m.name: m.time_ns for m in run.modules}
        assert rows == {"Outer_0": 30_000, "Outer_0/Middle_0": 20_000, "Outer_0/Middle_0/Inner_0": 10_000}


@pytest.mark.parametrize(("beyond", "said"), [(1, 0), (BLEED_NS, 0), (30_000, 1)])
def test_a_child_that_outlives_its_parent_is_closed_with_it(tmp_path, beyond, said):
    """It is inside; the launch 20 us after the parent's end belongs to neither."""
    t = Made(**H100)
    t.note("stage::outer", 0, 100_000)
    t.op("aten::mm", 20_000, 80_000 + beyond, MM)
    for at, corr in ((60_000, 1), (120_000, 2)):
        t.call(at, 2_000, corr)
        t.kernel(at + 5_000, 10_000, corr)
    run = t.run(tmp_path)
    assert [(s.name, s.time_ns) for s in run.stages if s.name == "outer"] == [("outer", 10_000)]
    assert [(o.name, o.time_ns) for o in run.operators if o.name == "aten::mm"] == [("aten::mm", 10_000)]
    assert sum(p.count for p in run.problems) == said


def test_a_child_that_outlives_its_parent_does_not_make_the_processor_faster(tmp_path):
    t = Made()
    t.op("aten::outer", 0, 100_000)
    t.op("aten::inner", 40_000, 62_000)
    own = {o.name: o.time_ns for o in t.run(tmp_path).operators}
    assert own == {"aten::outer": 40_000, "aten::inner": 62_000}


# ------------------------------------------------------------------------------------- the public cases


@pytest.mark.shared
@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases here")
def test_cases_of_events_that_cannot_be():
    half = analyze(CASES / "half_of_the_kernels_at_zero.json")
    assert (half.summary.kernels, half.summary.busy_ns, half.summary.span_ns) == (10, 100_000, 190_000)
    assert [(p.count, "at time 0" in p.what) for p in half.problems] == [(10, True)]
    over = analyze(CASES / "one_kernel_over_eight_successors.json")
    assert (over.summary.kernels, over.summary.busy_ns) == (40, 4_000_000)
    assert [p.count for p in over.problems] == [1]
    ranges = analyze(CASES / "ranges_overlap_by_half_a_us.json")
    assert {s.name: s.time_ns for s in ranges.stages} == {"denoise": 60_000, "decode": 40_000}
