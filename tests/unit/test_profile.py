"""Recording: module paths, stages, repetitions and files, against what torch and a fake clock say."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import frameroof
from frameroof.profiler import Profile, recorder
from frameroof.profiler.build import make
from frameroof.profiler.hooks import ModuleHooks, hookable, roots_of
from frameroof.profiler.probe import _best_ns
from frameroof.profiler.timing import Clock, compile_ns, measure, spread
from frameroof.profiler.trace import without_marks
from frameroof.run import load_run

pytestmark = pytest.mark.filterwarnings("ignore:.*global hooks on modules.*")


@pytest.fixture(autouse=True)
def _cheap_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe takes two seconds; one test measures it, at a fraction of that."""
    from frameroof.profiler.probe import probe

    monkeypatch.setattr(recorder, "_this_cpu", lambda: probe(0.001))


class Net(nn.Module):
    """Two linear layers, of which one is called twice, and one shared under a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(32, 32))
        self.again = self.rest[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.rest(self.first(x)))


class Failing(nn.Module):
    """Its first part fails, and another takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.bad, self.good = Bad(), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.bad(x)
        except RuntimeError:
            return self.good(x)


class Bad(nn.Module):
    """Fails."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("on purpose")


def no_hooks(model: nn.Module) -> bool:
    return not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def ranges(path: Path, prefix: str) -> list[dict[str, Any]]:
    """Our ranges in a trace, in order of time; read with json alone."""
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    found = [e for e in events if e.get("ph") == "X" and e["name"].startswith(prefix)]
    return sorted(found, key=lambda e: (e["ts"], -e["dur"]))


def names(path: Path, prefix: str = "mod::") -> list[str]:
    return [e["name"].removeprefix(prefix) for e in ranges(path, prefix)]


# ------------------------------------------------------------------------------------- hooks


def test_paths_are_those_of_named_modules():
    net = Net()
    assert dict(hookable(net)) == dict(net.named_modules())


def test_a_block_is_recorded_with_paths_and_stages():
    net, x = Net().eval(), torch.randn(4, 16)
    with torch.inference_mode(), frameroof.profile(net) as run, run.stage("denoise"):
        net(x)
    assert names(run.trace) == ["Net", "first", "rest", "rest.0", "rest.1", "rest.1"]
    assert {e["cat"] for e in ranges(run.trace, "mod::")} == {"user_annotation"}
    assert names(run.trace, "stage::") == ["denoise"]
    assert no_hooks(net)
    result = run.result
    linear = [row for row in result.operators if row.name == "aten::addmm"]
    assert sum(row.count for row in linear) == 3
    assert sum(row.flops or 0 for row in linear) == 2 * 4 * (16 * 32 + 32 * 32 + 32 * 32)
    assert [s.name for s in result.stages if s.source] == ["denoise"]
    assert {"first", "rest", "rest.0", "rest.1"} <= {row.name for row in result.modules}
    assert result.measured["modules"] == 5
    assert result.environment["versions"]["torch"] == torch.__version__
    assert result.environment["probe"]["dense_flops"]["fp32"] > 0


def test_a_failing_forward_closes_its_range():
    net = Failing()
    with frameroof.profile(net) as run:
        net(torch.randn(2, 16))
    bad, good = (next(e for e in ranges(run.trace, "mod::") if e["name"] == f"mod::{n}") for n in ("bad", "good"))
    assert bad["ts"] + bad["dur"] <= good["ts"]


def test_an_error_in_the_block_removes_hooks_and_writes_nothing(tmp_path: Path):
    net = Net()
    run = frameroof.profile(net, out=tmp_path / "run")
    with pytest.raises(TypeError), run:
        net(torch.randn(2, 16), "one too many")
    assert no_hooks(net)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="nothing has been recorded"):
        _ = run.result
    with frameroof.profile(net):  # and the next recording works
        net(torch.randn(2, 16))


def test_an_interrupt_inside_a_forward_leaves_no_range_open():
    class Interrupted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    net = nn.Sequential(Interrupted())
    hooks = ModuleHooks([("", net)])
    with pytest.raises(KeyboardInterrupt), hooks:
        net(torch.randn(1))
    assert hooks._stack() == []
    assert no_hooks(net)


def test_a_module_that_calls_itself_has_nested_ranges():
    class Recursive(nn.Module):
        def forward(self, x: torch.Tensor, depth: int = 2) -> torch.Tensor:
            return self(x, depth - 1) if depth else x + 1

    net = Recursive()
    with frameroof.profile(net) as run:
        net(torch.ones(1))
    found = ranges(run.trace, "mod::")
    assert len(found) == 3
    assert all(a["ts"] + a["dur"] >= b["ts"] + b["dur"] for a, b in pairwise(found))


def test_threads_keep_their_own_ranges():
    net, x = Net().eval(), torch.randn(64, 16)
    with frameroof.profile(net) as run:
        threads = [threading.Thread(target=net, args=(x,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        net(x)
    per_thread = Counter(e["tid"] for e in ranges(run.trace, "mod::"))
    assert set(per_thread.values()) <= {6, 12, 18, 24}  # a thread's number may be used again
    assert sum(per_thread.values()) in (6, 30)  # torch < 2.9 records one thread


def test_without_a_model_the_outermost_modules_give_the_names():
    one, two = Net().eval(), Net().eval()
    with frameroof.profile() as run:
        one(torch.randn(2, 16))
        two.rest(torch.randn(2, 32))
        one(torch.randn(2, 16))
    first = ["Net", "Net.first", "Net.rest", "Net.rest.0", "Net.rest.1", "Net.rest.1"]
    assert names(run.trace) == [*first, "Sequential", "Sequential.0", "Sequential.1", *first]


def test_several_roots_have_their_own_prefix():
    parts = {"unet": nn.Sequential(nn.ReLU()), "vae": nn.Sequential(nn.ReLU()), "scheduler": object()}
    with frameroof.profile(parts) as run:
        parts["unet"](torch.ones(1))
        parts["vae"](torch.ones(1))
    assert names(run.trace) == ["unet", "unet.0", "vae", "vae.0"]
    with pytest.raises(ValueError, match="not a str"):
        roots_of("unet")


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_module_is_one_range_and_is_not_compiled_again(in_place: bool):
    torch._dynamo.reset()
    net, x = Net().eval(), torch.randn(4, 16)
    if in_place:
        net.compile(backend="eager")
    called: Any = net if in_place else torch.compile(net, backend="eager")
    with torch.inference_mode():
        called(x)
        before = compile_ns()
        assert before > 0
        with frameroof.profile(called) as run:
            called(x)
    assert names(run.trace) == ["Net"]
    assert compile_ns() == before
    assert no_hooks(net)
    torch._dynamo.reset()


# ------------------------------------------------------------------------------------ stages


def test_a_stage_does_nothing_when_nothing_is_recorded():
    with frameroof.stage("denoise"):
        pass
    with pytest.raises(ValueError, match="needs a name"):
        frameroof.stage(" ")


def test_stages_nest_repeat_and_decorate():
    @frameroof.stage("step")
    def step(depth: int) -> None:
        torch.ones(1).add_(1)
        if depth:
            step(depth - 1)

    with frameroof.profile() as run, frameroof.stage('de"noise'):
        step(1)
    assert names(run.trace, "stage::") == ["de'noise", "step", "step"]


def test_a_decorated_function_is_recorded_at_every_call():
    net = Net()

    @frameroof.profile(net)
    def infer(n: int) -> torch.Size:
        return net(torch.randn(n, 16)).shape if n else infer(2)

    assert infer(3) == (3, 32)
    assert infer(0) == (2, 32)  # a call inside a recorded one is part of it
    assert len(names(infer.profile.trace)) == 6


def test_one_recording_at_a_time():
    with frameroof.profile(), pytest.raises(ValueError, match="already"), frameroof.profile():
        pass


def test_naming_a_stage_loads_no_torch():
    program = "import frameroof, sys\nwith frameroof.stage('a'): pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# ------------------------------------------------------------------------------------ timing


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

    found = measure(work, warmup=2, repeat=3, clock=fake.clock()).to_dict()
    assert found["cold_ns"] == 901
    assert found["samples_ns"] == [11, 21, 41]
    assert (found["median_ns"], found["min_ns"], found["max_ns"], found["spread_ns"]) == (21, 11, 41, 15)
    assert [(s["name"], s["calls"], s["median_ns"]) for s in found["stages"]] == [("a", 1, 20), ("b", 1, 1)]
    assert fake.waits == 2 * 5
    assert spread([7])["spread_ns"] == 0


def test_measure_runs_the_work_as_often_as_it_says():
    net, calls = Net(), []
    run = Profile(net)
    run.measure(lambda: calls.append(net(torch.randn(1, 16))), warmup=2, repeat=3)
    assert len(calls) == 2 + 3 + 1
    assert len(run.measured["samples_ns"]) == 3
    assert len(names(run.trace)) == 6  # only the last one is recorded
    with pytest.raises(ValueError, match="0 or more"):
        run.measure(lambda: None, repeat=-1)


def in_a_fresh_process(work):
    """What `measure` finds there, as data: this process may hold freed memory that new arrays would lie in."""
    code = f"import json, torch, frameroof\nfrom frameroof.profiler.timing import measure\n{work}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_memory_peak_sees_an_array_that_is_gone():
    found = in_a_fresh_process(
        "found = measure(lambda: torch.ones(16 << 20).sum(), warmup=0, repeat=1).memory\nprint(json.dumps(found))"
    )
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
    run.measured["median_ns"] = 1_000
    found = run.result.advice
    assert found
    assert max(advice.max_gain_s for advice in found) == 1e-6


def test_every_stage_has_its_own_memory_peak():
    """128 MiB in `large`, 48 MiB in `small`, nothing left of them afterwards; `whole` holds both."""
    stages = in_a_fresh_process(
        """
def work():
    with frameroof.stage("whole"):
        for name, size in (("large", 32 << 20), ("small", 12 << 20)):
            with frameroof.stage(name):
                torch.ones(size).sum()

print(json.dumps(measure(work, warmup=2, repeat=1).to_dict()["stages"]))
"""
    )
    found = {s["name"]: s.get("peak_bytes") for s in stages}
    if found["whole"] is None:
        pytest.skip("this system does not let a process forget its peak")
    assert found["whole"] == found["large"]
    assert 72 << 20 < found["large"] - found["small"] < 88 << 20


def test_the_best_trial_is_the_peak():
    fake, taken = FakeClock(), iter([500, 30, 10, 20, 50])

    def work() -> None:
        fake.time += next(taken)

    assert _best_ns(work, 60e-9, lambda: fake.time) == 10


# ------------------------------------------------------------------------------------- files


def test_a_run_is_saved_whole_and_never_over_another(tmp_path: Path):
    net = Net()
    with frameroof.profile(net, out=tmp_path / "run"):
        net(torch.randn(2, 16))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["run.json", "trace.json.gz"]
    assert load_run(tmp_path / "run").measured["profiled_ns"] > 0
    with pytest.raises(ValueError, match="--force"):
        frameroof.profile(net, out=tmp_path / "run")
    with frameroof.profile(net, out=tmp_path / "run", force=True):
        net(torch.randn(2, 16))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_inputs_of_a_builder_are_no_leftovers():
    def build() -> tuple[Any, ...]:
        return nn.Linear(8, 8).train(), (torch.empty(4, 8),), {"input": torch.empty(2, dtype=torch.int64)}

    work = make("forward", build, "cpu", "bf16")
    assert work.args[0].dtype == torch.bfloat16
    assert 0.5 < float(work.args[0].float().std()) < 2
    assert work.kwargs["input"].tolist() == [0, 0]
    assert not work.module.training
    with pytest.raises(ValueError, match="not None"):
        make("forward", lambda: None, "cpu")


# ----------------------------------------------------------------------------------- command

BUILDER = """
import torch
from torch import nn
def build(batch: int = 2, width: int = 16):
    return nn.Sequential(nn.Linear(width, 32), nn.ReLU()), (torch.empty(batch, width),), {}
def work():
    torch.ones(64, 64) @ torch.ones(64, 64)
def broken():
    raise RuntimeError("on purpose")
"""


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from frameroof.profiler import recorder, probe\n"
    program += "recorder._this_cpu = lambda: probe.probe(0.001)\nfrom frameroof.cli import main; main()"
    environment = {**os.environ, "FRAMEROOF_DEBUG": ""}
    return subprocess.run(
        [sys.executable, "-c", program, "profile", *words], cwd=folder, capture_output=True, text=True, env=environment
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.py").write_text(BUILDER)
    return tmp_path


def test_a_builder_is_profiled(folder: Path):
    words = ("b.py:build", "--size", "batch=3", "--repeat", "2", "--out", "run", "--json", "--device", "cpu")
    done = command(*words, folder=folder)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert len(data["measured"]["samples_ns"]) == 2
    assert data["measured"]["sizes"] == {"batch": 3}
    assert [o["flops"] for o in data["operators"] if o["name"] == "aten::addmm"] == [2 * 3 * 16 * 32]
    assert [s["name"] for s in data["stages"] if s["source"]] == ["forward"]
    assert sorted(p.name for p in (folder / "run").iterdir()) == ["run.json", "trace.json.gz", "workload.json"]
    assert names(folder / "run" / "trace.json.gz") == ["Sequential", "0", "1"]
    again = command("b.py:build", "--out", "run", folder=folder)
    assert (again.returncode, again.stdout) == (2, "")
    assert "--force" in again.stderr


def test_a_function_is_called_as_it_is(folder: Path):
    done = command("b.py:work", "--repeat", "1", "--json", "--device", "cpu", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "aten::mm" in {o["name"] for o in json.loads(done.stdout)["operators"]}


def test_a_script_is_run_as_main_with_its_arguments(folder: Path):
    (folder / "s.py").write_text(
        "import sys, torch, frameroof\nassert __name__ == '__main__'\nprint(sys.argv)\n"
        "with frameroof.stage('prepare'):\n    torch.nn.Linear(4, 4)(torch.ones(1, 4))\n"
    )
    done = command("s.py", "--json", "--", "--steps", "3", folder=folder)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert "['s.py', '--steps', '3']" in done.stderr
    assert "Linear" in {m["name"] for m in data["modules"]}
    assert "prepare" in {s["name"] for s in data["stages"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("b.py:broken",), "on purpose"),
        (("b.py:nothing",), "nothing"),
        (("b.py:build", "--size", "depth=3"), "depth"),
        (("fails.py",), "at line 2"),
        (("exits.py",), "exit code 3"),
        (("missing.py",), "does not exist"),
        (("no-such-model",), "unknown model"),
        (("sd15", "--stage", "no-such-stage"), "denoise"),
        (("sd15", "--size", "height=513"), "513"),
        (("b.py:build", "--device", "tpu"), "cpu or cuda"),
        (("b.py:build", "x"), "--"),
    ],
)
def test_what_fails_is_one_sentence_and_leaves_nothing(folder: Path, words: tuple[str, ...], said: str):
    (folder / "fails.py").write_text("x = 1\nx / 0\n")
    (folder / "exits.py").write_text("raise SystemExit(3)\n")
    done = command(*words, "--out", "run", folder=folder)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("frameroof: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.stderr
    assert not [p for p in folder.iterdir() if "run" in p.name]


def test_a_model_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch):
    from frameroof.cli.work import Asked, job_of
    from frameroof.profiler import environment

    monkeypatch.setattr(environment, "free_bytes", lambda device: 10**9)
    with pytest.raises(ValueError, match=r"needs 3\.438 GB for its weights, and 1\.000? ?GB"):
        job_of(Asked("sd15", stages=["denoise"]), lambda text: None)


@pytest.mark.gpu
def test_a_cuda_graph_is_recorded_with_its_capture():
    net, x = Net().cuda().eval(), torch.randn(4, 16, device="cuda")
    run = Profile(net)
    with torch.inference_mode():
        run.measure(lambda: net(x), graph=True, repeat=3)
    assert run.result.launch.graph_launches == 1
    assert len(run.measured["device_samples_ns"]) == 3
