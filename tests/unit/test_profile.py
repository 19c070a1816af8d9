"""Recording: module paths and stages, against what torch says."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from profile_made import RECORDS, Net, names, ranges
from torch import nn

import frameroof
from frameroof.profiler.hooks import ModuleHooks, hookable, roots_of
from frameroof.profiler.timing import compile_ns

pytestmark = RECORDS


def no_hooks(model: nn.Module) -> bool:
    return not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


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
    assert result.measured.modules == 5
    assert result.environment.versions["torch"] == torch.__version__
    assert result.environment.probe.dense_flops["fp32"] > 0


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
