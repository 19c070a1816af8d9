"""Recording: repetitions, clocks and memory peaks, against a fake clock and arrays of known sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from profile_made import RECORDS, Net, names

import frameroof
from frameroof.profiler import Profile, probe
from frameroof.profiler.timing import Clock, measure, spread
from frameroof.profiler.trace import without_marks

pytestmark = RECORDS


class FakeClock:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.time = 0
        self.waits = 0

    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.wait, cuda=False)

    def wait(self) -> None:
        self.waits += 1


def test_repetitions_are_counted_and_timed_apart_from_the_cold_one():
    fake, taken = FakeClock(), iter([900, 100, 10, 20, 40])

    def work() -> None:
        with frameroof.stage("a"):
            fake.time += next(taken)
        with frameroof.stage("b"):
            fake.time += 1

    found = measure(work, warmup=2, repeat=3, clock=fake.clock()).record()
    assert found.cold_ns == 901
    assert found.samples_ns == [11, 21, 41]
    assert (found.median_ns, found.min_ns, found.max_ns, found.spread_ns) == (21, 11, 41, 15)
    assert [(s.name, s.calls, s.median_ns) for s in found.stages] == [("a", 1, 20), ("b", 1, 1)]
    assert fake.waits == 2 * 5
    spread(found, [7])
    assert (found.median_ns, found.spread_ns) == (7, 0)


def test_measure_runs_the_work_as_often_as_it_says():
    net, calls = Net(), []
    run = Profile(net)
    run.measure(lambda: calls.append(net(torch.randn(1, 16))), warmup=2, repeat=3)
    assert len(calls) == 2 + 3 + 1
    assert len(run.measured.samples_ns) == 3
    assert len(names(run.trace)) == 6  # only the last one is recorded
    with pytest.raises(ValueError, match="0 or more"):
        run.measure(lambda: None, repeat=-1)


PEAKS = """
import msgspec, torch, frameroof
from frameroof.profiler.timing import measure

def work():
    with frameroof.stage("whole"):
        for name, size in (("large", 32 << 20), ("small", 12 << 20)):
            with frameroof.stage(name):
                torch.ones(size).sum()

array = measure(lambda: torch.ones(16 << 20).sum(), warmup=0, repeat=1).memory
print(msgspec.json.encode({"array": array, "stages": measure(work, warmup=2, repeat=1).record().stages}).decode())
"""


@pytest.fixture(scope="module")
def peaks():
    """What `measure` finds in a fresh process: this one may hold freed memory that new arrays would lie in."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_memory_peak_sees_an_array_that_is_gone(peaks):
    found = peaks["array"]
    if "since" in found["of"]:
        pytest.skip("this system does not let a process forget its peak")
    assert 60 << 20 < found["peak_bytes"] - found["before_bytes"] < 80 << 20


def test_kinetos_marks_stay_off_stderr_and_all_else_gets_through(capfd):
    with without_marks():
        os.write(2, b"USDT:2026-01-01 profiler_start\nWARNING: buffer full\n")
    os.write(2, b"USDT: not ours\n")
    assert capfd.readouterr().err == "WARNING: buffer full\nUSDT: not ours\n"


def test_the_clock_without_the_profiler_bounds_the_advice():
    """Fusing could bring most of what was recorded; a clock that saw 1 us leaves 1 us to win."""
    run, x = Profile(), torch.randn(200_000)
    with run:
        for _ in range(20):
            x = x * 2 + 1
    run.measured.median_ns = 1_000
    found = run.result.advice
    assert found
    assert max(advice.max_gain_s for advice in found) == 1e-6


def test_every_stage_has_its_own_memory_peak(peaks):
    """128 MiB in `large`, 48 MiB in `small`, nothing left of them afterwards; `whole` holds both."""
    found = {s["name"]: s.get("peak_bytes") for s in peaks["stages"]}
    if found["whole"] is None:
        pytest.skip("this system does not let a process forget its peak")
    assert found["whole"] == found["large"]
    assert 72 << 20 < found["large"] - found["small"] < 88 << 20


@pytest.mark.parametrize(("product_ns", "sides"), [(10, 3), (10_000_000, 2), (100_000_000, 1)])
def test_the_probe_leaves_out_products_that_would_take_too_long(monkeypatch, product_ns, sides):
    """0.5 s for three sides are 167 ms for each; twice the side is eight times the work."""
    asked = []

    def took(work, seconds, now):
        asked.append(work.args[0].shape[0])
        return product_ns * (asked[-1] // 512) ** 3

    monkeypatch.setattr(probe, "_best_ns", took)
    rate = probe._matmul_rate(torch.float32, 0.5, lambda: 0)
    assert asked == [512, 1024, 2048][:sides]
    assert rate == pytest.approx(2 * 512**3 / product_ns * 1e9)


def test_the_best_trial_is_the_peak():
    fake, taken = FakeClock(), iter([500, 30, 10, 20, 50])

    def work() -> None:
        fake.time += next(taken)

    assert probe._best_ns(work, 60e-9, lambda: fake.time) == 10


@pytest.mark.gpu
def test_a_cuda_graph_is_recorded_with_its_capture():
    net, x = Net().cuda().eval(), torch.randn(4, 16, device="cuda")
    run = Profile(net)
    with torch.inference_mode():
        run.measure(lambda: net(x), graph=True, repeat=3)
    assert run.result.launch.graph_launches == 1
    assert len(run.measured.device_samples_ns) == 3
