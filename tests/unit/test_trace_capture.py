"""Graph replays: linked to their launch, and given the operators and modules of the trace of their capture."""

from __future__ import annotations

import pytest
from trace_made import Made, real

KERNELS = ["gemm_a.kd", "elementwise_b.kd", "flash_c.kd", "gemm_a.kd"]


def captured(extra=(), names=KERNELS):
    """A capture of one block: linear, gelu, attention, linear, each launch naming its kernel."""
    t = Made()
    t.call(0, 100, name="hipStreamBeginCapture")
    t.module("Block_0", 500, 90_000)
    operators = ["aten::addmm", "aten::gelu", "aten::_flash_attention_forward", "aten::addmm", *extra]
    dims = [
        [[8], [4, 16], [16, 8]],
        [[4, 8]],
        [[1, 4, 2, 4]] * 3,
        [[16], [4, 8], [8, 16]],
    ]
    for i, (operator, kernel) in enumerate(zip(operators, [*names, *extra], strict=True)):
        start = 1_000 + 10_000 * i
        t.module(f"Layer_{i}", start, 9_000)
        t.op(operator, start + 100, 8_000, dims[i] if i < 4 else [[2]])
        t.call(start + 200, 500, name="hipModuleLaunchKernel", kernel=kernel)
    t.call(95_000, 100, name="hipStreamEndCapture")
    return t


def replayed(replays=2, names=KERNELS):
    """Each replay is one launch inside a denoiser's call; kernels of 1, 2, 3 and 4 us."""
    t = Made()
    for r in range(replays):
        at = 200_000 * r
        t.module("DiTModel_0", at, 50_000)
        t.call(at + 1_000, 2_000, r + 1, "hipGraphLaunch")
        for i, name in enumerate(names):
            t.kernel(at + 10_000 * (i + 1), 1_000 * (i + 1), r + 1, name)
    return t


def test_a_replay_gets_what_launched_it_in_its_capture(tmp_path):
    capture = captured().write(tmp_path, "capture.json")
    run = replayed().run(tmp_path, capture=capture)
    assert run.coverage.graph_capture == 1.0
    assert {o.name: (o.class_, o.time_ns, o.count) for o in run.operators} == {
        "aten::addmm": ("linear", 2 * 5_000, 4),
        "aten::gelu": ("elementwise", 2 * 2_000, 2),
        "aten::_flash_attention_forward": ("attention", 2 * 3_000, 2),
    }
    assert {m.name for m in run.modules} >= {"Block_0", "Block_0/Layer_0", "Block_0/Layer_3"}
    assert run.summary.flops == 2 * (2 * 4 * 16 * 8 * 2 + 4 * 2 * 4 * 4 * 4)
    (stage,) = run.stages  # the step that a replay belongs to is that of its launch
    assert (stage.name, stage.count, stage.call_ns) == ("denoise", 2, [10_000, 10_000])
    assert (run.launch.graph_launches, run.launch.graph_kernels) == (2, 8)
    assert run.problems == []


def test_without_the_capture_classes_come_from_the_kernels(tmp_path):
    run = replayed().run(tmp_path)
    assert {c.name: c.time_ns for c in run.classes} == {"linear": 10_000, "elementwise": 4_000, "attention": 6_000}
    assert run.coverage.graph_capture is None
    assert run.coverage.flops == 0.0


def test_kernels_that_the_capture_does_not_show_keep_their_launch(tmp_path):
    capture = captured().write(tmp_path, "capture.json")
    names = ["gemm_a.kd", "stranger.kd", "elementwise_b.kd", "flash_c.kd"]
    run = replayed(1, names).run(tmp_path, capture=capture)
    assert run.coverage.graph_capture == pytest.approx(0.8)  # 1 + 3 + 4 us of 10
    assert {o.name for o in run.operators if o.class_ == "other"} == {"(kernel) stranger.kd"}
    assert [p.what for p in run.problems] == ["graph replays that do not agree with their capture"]


def test_kernels_that_a_replay_lost_are_counted(tmp_path):
    capture = captured().write(tmp_path, "capture.json")
    run = replayed(2, KERNELS[:3]).run(tmp_path, capture=capture)
    assert run.coverage.graph_capture == 1.0
    assert [(p.what, p.count) for p in run.problems] == [("captured launches without a kernel in their replay", 2)]


def test_of_several_captures_the_one_that_agrees(tmp_path):
    other = captured(names=["gemm_a.kd", "y", "z", "w"])
    mine = captured()
    shifted = [{**e, "ts": e["ts"] + 200} for e in mine.events]
    other.events += shifted
    capture = other.write(tmp_path, "capture.json")
    assert replayed().run(tmp_path, capture=capture).coverage.graph_capture == 1.0


def test_names_differ_in_what_only_one_writer_adds(tmp_path):
    capture = captured(names=["void gemm_a(float*)", "elementwise_b", "flash_c", "gemm_a"]).write(
        tmp_path, "capture.json"
    )
    assert replayed().run(tmp_path, capture=capture).coverage.graph_capture == 1.0


def test_a_trace_without_a_capture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no graph capture"):
        replayed().run(tmp_path, capture=Made().write(tmp_path, "capture.json"))


@pytest.mark.shared
def test_flux(shared):
    """FLUX.1 on MI300X: 6,264 kernels in 4 graph launches, each in its own call of the denoiser."""
    name = "mi300x_flux1_hipgraph_v2.json.gz"
    run = real(name, "mi300x_flux1_graph_capture.json.gz")
    assert (run.launch.graph_launches, run.launch.graph_kernels) == (4, 6264)
    denoise = next(s for s in run.stages if s.name == "denoise")
    assert denoise.count == 4
    assert max(denoise.call_ns) < 1.05 * min(denoise.call_ns)
    shares = {c.name: c.share for c in run.classes}
    assert 1 - shares.get("other", 0.0) >= 0.9
    assert shares["linear"] == pytest.approx(0.66, abs=0.006)
    assert run.coverage.graph_capture == 1.0
    assert [p.count for p in run.problems] == [4]  # the last product of each replay is in the capture only
    assert not run.idle_reliable
    alone = real(name)
    assert alone.summary.busy_ns == run.summary.busy_ns
    assert [s.call_ns for s in alone.stages] == [s.call_ns for s in run.stages]


def test_an_eager_and_a_fused_attention_of_one_replay_stay_two(tmp_path):
    """Both were launched by the same call of the replay, which is inside neither of them."""
    matrix = [2, 3, 16, 16]
    work = [
        ("aten::bmm", [[6, 16, 8], [6, 8, 16]]),
        ("aten::_softmax", [matrix, [], []]),
        ("aten::bmm", [[6, 16, 16], [6, 16, 8]]),
        ("aten::_scaled_dot_product_flash_attention", [[2, 3, 16, 8]] * 3),
    ]
    capture, replay = Made(), Made()
    capture.call(0, 100, name="hipStreamBeginCapture")
    replay.op("my::attention_stack", 0, 5_000)
    replay.call(1_000, 2_000, 1, "hipGraphLaunch")
    for i, (operator, dims) in enumerate(work):
        capture.op(operator, 10_000 * (i + 1), 5_000, dims)
        capture.call(10_000 * (i + 1) + 100, 500, name="hipModuleLaunchKernel", kernel=f"kernel_{i}")
        replay.kernel(10_000 * (i + 1), 1_000 * (i + 1), 1, f"kernel_{i}")
    capture.call(95_000, 100, name="hipStreamEndCapture")
    run = replay.run(tmp_path, capture=capture.write(tmp_path, "capture.json"))
    assert {(a.fused, a.time_ns, a.query_len) for a in run.attention} == {(False, 6_000, 16), (True, 4_000, 16)}
