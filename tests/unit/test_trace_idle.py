"""Why the device stood still: gaps with causes worked out by hand, launch latency, waits by operator and line."""

from __future__ import annotations

import pytest
from trace_made import Made

from frameroof.run import Launch

FLOOR = 5000
"""The least launch latency of the made trace: every launch that finds the device idle takes as long."""


def every_cause():
    """Eleven gaps, at least one of each cause; the table in `test_every_cause` follows them one by one."""
    t = Made()
    t.frame("train.py(12): step", 0, 200_000)
    t.frame("<built-in method item>", 70_500, 10_000)
    t.call(0, 2000, 1)
    t.kernel(5_000, 10_000, 1)
    t.call(30_000, 1000, 2)
    t.kernel(35_000, 10_000, 2)
    t.call(36_000, 1000, 3)  # while the device still works
    t.kernel(48_000, 10_000, 3)
    t.call(60_000, 1000, 4)
    t.kernel(67_000, 3_000, 4)
    t.op("aten::item", 70_600, 9_600)
    t.op("aten::_local_scalar_dense", 70_700, 9_500)
    t.call(71_000, 2_000, 5, "cudaMemcpyAsync")
    t.kernel(76_000, 1_000, 5, "Memcpy DtoH (Device -> Pageable)", cat="gpu_memcpy", bytes=4)
    t.call(73_500, 6_500, name="cudaStreamSynchronize")
    t.call(90_000, 1000, 6)
    t.kernel(95_000, 5_000, 6)
    t.call(99_000, 13_000, 7, "cudaMemcpyAsync")
    t.kernel(108_000, 1_000, 7, "Memcpy HtoD (Pageable -> Device)", cat="gpu_memcpy", bytes=4000)
    t.call(115_000, 1000, 8)
    t.kernel(120_000, 1_000, 8)
    t.overhead(122_000, 4_000)
    t.call(128_000, 1000, 9)
    t.kernel(133_000, 1_000, 9)
    t.kernel(140_000, 1_000, 999)  # its launch is not in the file
    t.call(142_000, 2_000, 10, "cudaGraphLaunch")
    t.kernel(147_000, 1_000, 10)
    t.kernel(150_000, 1_000, 10)
    return t


def test_every_cause(tmp_path):
    run = every_cause().run(tmp_path)
    assert run.summary.span_ns == 146_000
    assert run.summary.busy_ns == 45_000
    assert run.idle == {
        #               gap 15-35   58-67   70-76   77-95   121-133      141-147
        "host_launch": 20_000 + 7_000 + 4_000 + 11_500 + 8_000 + 6_000,
        "synchronization": 6_500,  # 77-95: the host was inside cudaStreamSynchronize at 77, for 6.5 us in all
        #     71-73: inside the call   100-108: inside the call that launched it   109-120: the host was still copying
        "copy": 2_000 + 8_000 + 11_000,
        #              45-48   58-67: launched in time, late by 2
        "dependency": 3_000 + 2_000,
        "graph": 2_000,  # 148-150
        "profiler": 4_000,
        "unknown": 6_000,  # 134-140
    }
    assert sum(run.idle.values()) == run.summary.idle_ns == 101_000
    assert run.launch.floor_ns == FLOOR


def test_the_wait_is_named_by_operator_and_line(tmp_path):
    run = every_cause().run(tmp_path)
    waits = {(s.operator, s.call): s for s in run.syncs}
    item = waits["aten::item", "cudaStreamSynchronize"]
    assert (item.line, item.count, item.host_ns, item.idle_ns) == ("train.py(12): step", 1, 6_500, 6_500)
    assert sum(s.idle_ns for s in run.syncs) == run.idle["synchronization"]
    titles = [a.title for a in run.advice]
    assert "Remove the wait for the device in aten::item at train.py(12): step" in titles


def test_without_python_frames_the_wait_is_named_by_its_module(tmp_path):
    """As `frameroof profile` records: module paths from our own hooks, no stacks."""
    t = every_cause()
    t.events = [e for e in t.events if e["cat"] != "python_function"]
    t.note("mod::unet", 68_000, 20_000)
    t.note("mod::unet.gate", 70_000, 12_000)
    run = t.run(tmp_path)
    item = next(s for s in run.syncs if s.operator == "aten::item" and s.idle_ns)
    assert (item.line, item.idle_ns) == ("module unet.gate", 6_500)
    assert "Remove the wait for the device in aten::item at module unet.gate" in [a.title for a in run.advice]


def test_only_the_waiting_part_of_a_gap_is_put_down_to_the_wait(tmp_path):
    t = Made()
    t.call(0, 500, 1)
    t.kernel(5_000, 1_000, 1)
    t.call(1_000, 6_000, name="cudaDeviceSynchronize")
    t.call(8_000, 500, 2)
    t.kernel(30_000, 1_000, 2)  # 7 us until its launch could have arrived, 17 us more in the queue
    run = t.run(tmp_path)
    assert run.idle == {"synchronization": 6_000, "host_launch": 1_000, "dependency": 17_000}  # 6 us is all it waited
    assert [(s.operator, s.idle_ns) for s in run.syncs] == [("", 6_000)]


@pytest.mark.parametrize(
    ("call", "copy", "cause"),
    [
        ("cudaEventSynchronize", None, "synchronization"),
        ("hipStreamSynchronize", None, "synchronization"),
        ("cuCtxSynchronize", None, "synchronization"),
        ("cudaFree", None, "synchronization"),
        ("cudaFreeAsync", None, "host_launch"),
        ("cudaEventQuery", None, "host_launch"),
        ("cudaMemcpy", "Memcpy DtoH (Device -> Pageable)", "synchronization"),
        ("hipMemcpyWithStream", "Memcpy DtoH (Device -> Host)", "synchronization"),
        ("cudaMemcpy", "Memcpy HtoD (Pageable -> Device)", "copy"),
        ("hipMemcpyWithStream", "Memcpy HtoD (Host -> Device)", "copy"),
    ],
)
def test_calls_that_wait(tmp_path, call, copy, cause):
    """The call is open when the device runs dry at 20 us; the next launch comes 15 us later."""
    t = Made()
    t.call(0, 500, 1)
    t.kernel(5_000, 10_000, 1)
    t.call(2_000, 20_000, 2 if copy else 0, call)
    if copy:
        t.kernel(15_000, 5_000, 2, copy, cat="gpu_memcpy", bytes=64)
    else:
        t.kernel(15_000, 5_000, 1)
    t.call(30_000, 500, 3)
    t.kernel(35_000, 1_000, 3)
    run = t.run(tmp_path)
    assert run.idle == {cause: 15_000}
    assert bool(sum(s.idle_ns for s in run.syncs)) == (cause == "synchronization")


def test_waits_of_the_host_cost_nothing_while_the_device_works(tmp_path):
    """Four long kernels queued ahead and a wait for each: no gap that is the host's, no advice about waits."""
    t = Made()
    for i in range(4):
        t.call(1_000 + 600 * i, 500, i + 1)
        t.kernel(6_000 + 100_000 * i, 99_990, i + 1)
        t.call(4_000 + 100_000 * i, 99_000, name="cudaStreamSynchronize")
    run = t.run(tmp_path)
    assert run.idle == {"dependency": 30}
    assert not [a for a in run.advice if a.kind == "host"]


def test_what_the_host_must_do_anyway_is_no_gain(tmp_path):
    """One wait of 100 us at the end of 1 ms of launches that are late by themselves: it can bring 100 us at most."""
    t = Made()
    for i in range(20):
        t.call(50_000 * i, 500, i + 1)
        t.kernel(50_000 * i + 5_000, 1_000, i + 1)
    t.call(952_000, 100_000, name="cudaDeviceSynchronize")
    t.call(1_500_000, 500, 30)
    t.kernel(1_505_000, 1_000, 30)
    run = t.run(tmp_path)
    assert run.idle["synchronization"] == 100_000  # as long as it took, and not the 449 us more of the gap
    wait = next(a for a in run.advice if a.title.startswith("Remove the wait"))
    assert wait.max_gain_s == pytest.approx(100_000 / 1e9)


def test_buckets_depth_and_latency(tmp_path):
    t = Made()
    starts = [5_000, 6_500, 12_000, 60_000, 300_000]  # kernels of 1 us: gaps of 0.5, 4.5, 47 and 239 us
    for i, start in enumerate(starts):
        t.call(start - 5_000, 400, i + 1)
        t.kernel(start, 1_000, i + 1)
    launch: Launch = t.run(tmp_path).launch
    assert [(g.name, g.count, g.time_ns) for g in launch.gaps] == [
        ("up to 1 us", 1, 500), ("1 to 10 us", 1, 4_500), ("10 to 100 us", 1, 47_000), ("over 100 us", 1, 239_000),
    ]  # fmt: skip
    assert (launch.floor_ns, launch.median_ns, launch.p99_ns) == (5_000, 5_000, 5_000)
    # launched and unfinished at each call: 1; 2 (the first kernel still to come); 1 (7 us: one of two done at 7.5) ...
    assert launch.max_queue_depth == 2


def test_gaps_inside_hip_graphs_are_marked(tmp_path):
    t = Made(hip_runtime_version=71460850)
    t.call(0, 500, 1, "hipGraphLaunch")
    t.kernel(5_000, 1_000, 1)
    t.kernel(9_000, 1_000, 1)
    run = t.run(tmp_path)
    assert run.idle == {"graph": 3_000}
    assert not run.idle_reliable
    assert every_cause().run(tmp_path).idle_reliable


def test_time_outside_the_work_is_not_idle(tmp_path):
    t = Made()
    t.note("ProfilerStep#1", 1_000, 40_000)
    t.call(10_000, 500, 1)
    t.kernel(15_000, 1_000, 1)
    run = t.run(tmp_path)
    assert run.summary.idle_ns == 0
    assert run.outside == {"before_first": 14_000, "after_last": 25_000}
