"""Fused, compiled and graphed streams against the baseline, and the choice of an attention kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import pytest
import torch
from stream_made import BLOCKS, SWITCH, distance, latents

from frameroof.models.causal_wan import CausalWan, Ops
from frameroof.stream import Engine, Session, attention, compiled, preset
from frameroof.stream.attention import NAMES, backend, choose
from frameroof.stream.compiled import CompiledOps
from frameroof.stream.fused import FusedOps
from frameroof.stream.graphs import WARM, Graphs, Inputs
from frameroof.stream.session import Block

EQUAL = 1e-5
needs_gpu = pytest.mark.gpu


def stream(session: Session, blocks: int = BLOCKS) -> torch.Tensor:
    made: list[Block] = list(session.run(blocks, dict([SWITCH])))
    return torch.stack([block.latents for block in made])


@cache
def engine(variant: str) -> Engine:
    return Engine.random(preset("tiny", variant), umt5=False)


def with_ops(variant: str, ops: Callable[[CausalWan], Ops]) -> Engine:
    return Engine.random(preset("tiny", variant), ops=ops, umt5=False)


@pytest.mark.parametrize("variant", ["ring", "tabulated", "fold"])
def test_fused_operations_equal_the_baseline(variant: str) -> None:
    assert distance(stream(with_ops(variant, FusedOps).prepare("a cat runs")), latents()) < EQUAL


def test_fused_operations_discard_what_a_whole_recache_does_not_keep() -> None:
    session = Engine.random(preset("tiny", "fold", recache="window"), ops=FusedOps, umt5=False).prepare("a cat runs")
    assert distance(stream(session), latents()) < EQUAL
    assert session.recached == 12


def test_traced_operations_equal_the_baseline() -> None:
    """The functions that torch.compile gets, through its tracer but without code generation."""
    session = with_ops("tabulated", lambda model: CompiledOps(backend="eager")).prepare("a cat runs")
    made = torch.stack([block.latents for block in session.run(6)])
    assert distance(made, latents(switch=None)[:6]) < EQUAL


def test_more_shapes_than_are_compiled_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile alone would go on uncompiled and say nothing."""
    from torch._dynamo import config, exc

    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    monkeypatch.setattr(compiled, "SHAPES", 3)
    with config.patch(recompile_limit=1, fail_on_recompile_limit_hit=False):  # and put back afterwards
        made = compiled.strictly(doubled, backend="eager")
        assert (config.recompile_limit, config.fail_on_recompile_limit_hit) == (3, True)
        for size in (2, 3, 4):
            assert made(torch.ones(size)).tolist() == [2.0] * size
        with pytest.raises(exc.FailOnRecompileLimitHit):
            made(torch.ones(5))


@pytest.mark.full
def test_compiled_operations_equal_the_baseline() -> None:
    """Inductor's C++ code; without a compiler torch says so and the test fails."""
    assert distance(stream(with_ops("fold", lambda model: CompiledOps()).prepare("a cat runs")), latents()) < EQUAL


class Rerun:
    """In place of a CUDA graph on a CPU: what was captured runs again, over the same buffers and places.

    As before a capture on CUDA, it runs some times beforehand, which must leave no trace.
    """

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, forward):
        for _ in range(WARM):
            forward()

        def replay() -> None:
            self.runs += 1
            forward()

        return replay


@pytest.mark.parametrize(
    ("variant", "graphs"),
    # 3 blocks while the window fills, 3 places when it is full, the switch's recache; folded, as many pairs of blocks.
    [("tabulated", 7), ("recache-needed", 7), ("fold", 13)],
)
def test_a_captured_forward_holds_for_every_later_block(variant: str, graphs: int) -> None:
    e, rerun = engine(variant), Rerun()
    captured = Graphs(e.denoiser, rerun)
    session = Session(e.denoiser, e.encode, ["a cat runs"], seeds=[0], velocity=captured.velocity)
    assert distance(stream(session), latents()) < EQUAL
    assert rerun.runs == session.forwards
    assert captured.captured == graphs


def test_warming_captures_everything_that_a_stream_needs() -> None:
    for variant in ("tabulated", "fold"):
        e = engine(variant)
        captured = Graphs(e.denoiser, Rerun())
        session = Session(e.denoiser, e.encode, ["a cat runs"], seeds=[0], velocity=captured.velocity)
        session.warm()
        ready = captured.captured
        assert distance(stream(session), latents()) < EQUAL
        assert captured.captured == ready
        with pytest.raises(ValueError, match="warmed before its first block"):
            session.warm()


def test_warming_captures_the_switches_of_single_samples() -> None:
    e = engine("fold")
    captured = Graphs(e.denoiser, Rerun())
    session = Session(e.denoiser, e.encode, ["a cat", "a dog"], seeds=[0, 1], velocity=captured.velocity)
    session.warm()
    ready = captured.captured
    for number in range(9):
        if number in (2, 6):
            session.switch("a fox", sample=number // 4)
        session.generate_block()
    assert captured.captured == ready


def test_warming_compiles_everything_that_a_stream_needs() -> None:
    traces = []

    def count(graph, inputs):
        traces.append(1)
        return graph

    e = Engine.random(preset("tiny", "fold"), ops=lambda model: CompiledOps(backend=count), umt5=False)
    session = e.prepare(["a cat", "a dog"])
    session.warm()
    ready = len(traces)
    for number in range(8):
        if number in (2, 6):
            session.switch("a fox", None if number == 2 else 1)
        session.generate_block()
    assert 0 < ready == len(traces)


def test_warming_changes_no_stream() -> None:
    # 4 blocks fill the window and 3 more take the other places, each a step and a context pass; 7 recaches.
    for variant in ("baseline", "ring"):
        session = Engine.random(preset("tiny", variant), umt5=False).prepare("a cat runs")
        assert session.warm() == 7 * 2 + 7
        assert distance(stream(session), latents()) < EQUAL


def test_graphs_are_refused_where_they_cannot_be() -> None:
    with pytest.raises(ValueError, match="need the ring cache and tabulated"):
        Graphs(engine("ring").denoiser)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="need a CUDA device; the model is on cpu"):
            Engine.random(preset("tiny", "fold"), graphs=True)


def test_fused_kernels_need_the_ring() -> None:
    with pytest.raises(ValueError, match="the baseline copies"):
        with_ops("baseline", FusedOps)


def test_the_kernel_with_the_least_median_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of each call: one to warm up, then three. 'math' has the larger mean, and the longer first call."""
    monkeypatch.setattr(attention, "NAMES", ("sdpa", "math", "fa3"))
    now, readings = 0.0, []
    for taken in (9.0, 3.0, 1.0, 2.0, 50.0, 1.5, 9.0, 1.0):
        readings += [now, now + taken]
        now += taken + 7.0  # between two calls the clock goes on
    choice = choose(preset("tiny"), "cpu", torch.float32, runs=3, clock=iter(readings).__next__)
    assert (choice.name, choice.seconds) == ("math", {"sdpa": 2.0, "math": 1.5})
    assert list(choice.refused) == ["fa3"]
    assert "flash_attn_interface" in choice.refused["fa3"]


def test_every_kernel_is_measured_or_says_why_not() -> None:
    choice = choose(preset("tiny"), "cpu", torch.float32, runs=1)
    assert {*choice.seconds, *choice.refused} == set(NAMES)
    assert choice.seconds[choice.name] == min(choice.seconds.values())
    assert all(choice.refused.values())


def test_every_kernel_that_runs_gives_the_same() -> None:
    q, k, v = torch.randn(3, 1, 6, 2, 8)
    expected = torch.softmax(torch.einsum("bnhd,blhd->bhnl", q, k) / 8**0.5, -1)
    expected = torch.einsum("bhnl,blhd->bnhd", expected, v)
    ran = choose(preset("tiny"), "cpu", torch.float32, runs=1).seconds
    assert {"sdpa", "math"} <= set(ran)
    for name in ran:
        assert torch.allclose(backend(name)(q, k, v), expected, atol=1e-5)
    with pytest.raises(ValueError, match="No attention is called 'fast'"):
        backend("fast")


@needs_gpu
@pytest.mark.parametrize(
    "ops",
    [None, FusedOps, lambda model: FusedOps(model, backend("fp8")), lambda model: CompiledOps()],
    ids=["plain", "fused", "fp8 attention", "compiled"],
)
def test_cuda_graphs_equal_the_eager_stream(ops: Callable[[CausalWan], Ops] | None) -> None:
    c = preset("tiny", "fold")
    eager = stream(Engine.random(c, device="cuda", ops=ops).prepare("a cat runs"))
    session = Engine.random(c, device="cuda", ops=ops, graphs=True).prepare("a cat runs")
    session.warm()
    assert distance(stream(session), eager) < EQUAL


@needs_gpu
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("ops", [None, FusedOps])
def test_nothing_in_a_block_waits_for_the_device(ops: Callable[[CausalWan], Ops] | None, graphs: bool) -> None:
    how = {"vae": "wan", "decoding": {"own_stream": True, "graphs": graphs}}
    session = Engine.random(preset("tiny", "fold"), device="cuda", ops=ops, graphs=graphs, **how).prepare("a cat runs")
    session.warm()
    session.decode(session.generate_block())
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            session.decode_later(session.generate_block()).wait()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_buffers_are_filled_in_place() -> None:
    from frameroof.stream.denoiser import Tabulated

    def of(value: float) -> tuple:
        def full() -> torch.Tensor:
            return torch.full((2,), value)

        return full(), (full(), full()), Tabulated(full(), full())

    inputs = Inputs(*of(0.0), torch.zeros(2))
    places = [t.data_ptr() for t in (inputs.x, *inputs.rotary, inputs.times.layers, inputs.times.head)]
    inputs.fill(*of(3.0))
    filled = [inputs.x, *inputs.rotary, inputs.times.layers, inputs.times.head]
    assert [t.data_ptr() for t in filled] == places
    assert all(float(t.sum()) == 6.0 for t in filled)


def test_no_warning_escapes_the_choice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose(preset("tiny"), "cpu", torch.float32)
