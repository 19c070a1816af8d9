"""The small traces that stand in `traces/`: made by the script beside them, and accounted for as counted by hand."""

from __future__ import annotations

import pytest
from make_traces import HERE, MADE

from frameroof.trace.to_run import analyze

FLASH = 4 * 12 * 1280 * 1280 * 128  # two products of 12 heads of 128, 1,280 queries and keys


def of(name, **options):
    return analyze(HERE / f"{name}.json", **options)


def classes(run):
    return {c.name: (c.count, c.time_ns) for c in run.classes}


@pytest.mark.parametrize("name", MADE)
def test_a_file_is_what_its_script_makes(name):
    """`python tests/golden/traces/make_traces.py` makes them again."""
    text = (HERE / f"{name}.json").read_text("utf-8")
    assert text == MADE[name]()
    assert len(text) < 60_000


def test_every_file_has_its_function():
    assert {path.stem for path in HERE.glob("*.json")} == set(MADE)


def test_eager_diffusion():
    """A step: 2 kernels of the first convolution (15 us), 6 of the block (66), a norm (4), 8 of self attention with its
    projections (214), 8 of cross attention (58), two additions (4 each), and the scheduler's subtraction (2)."""
    run = of("h100_eager_diffusion")
    assert classes(run) == {
        "attention": (2 * 8, 2 * (178_000 + 22_000)),
        "convolution": (2 * 4 + 4, 2 * (15_000 + 43_000) + 18_000 + 253_000),
        "linear": (1 + 2 * 8, 5_000 + 2 * (4 + 4) * 9_000),
        "elementwise": (2 * 5, 2 * (5_000 + 5_000 + 4_000 + 4_000 + 2_000)),
        "group norm": (2 * 2, 2 * 13_000),
        "layer norm": (1 + 2, 3_000 + 2 * 4_000),
        "embedding": (1, 4_000),
        "copy": (2, 2 * 1_200),
    }
    assert [(s.name, s.count, s.time_ns) for s in run.stages] == [
        ("text encode", 1, 12_000), ("denoise", 2, 2 * 365_000), ("(outside modules)", 1, 6_400),
        ("vae decode", 1, 271_000),
    ]  # fmt: skip
    assert [
        (a.kind, a.fused, a.batch, a.heads, a.query_len, a.key_len, a.head_dim, a.count) for a in run.attention
    ] == [
        ("self", False, 2, 8, 1024, 1024, 40, 2),
        ("cross", False, 2, 8, 1024, 77, 40, 2),
    ]
    convolution = next(c for c in run.classes if c.name == "convolution")
    per_pixel = 9 * 2 * (4 * 320 + 320 * 320)
    assert convolution.flops == 2 * 2 * 1024 * per_pixel + 9 * 4 * (4 * 512 * 1024 + 512 * 3 * 256 * 256)
    wait = next(s for s in run.syncs if s.idle_ns)
    assert (wait.operator, wait.line, wait.count) == ("aten::item", "scheduler.py(12): step", 2)
    assert wait.idle_ns == run.idle["synchronization"]
    assert wait.idle_ns > 2 * 150_000  # as long as the host thinks after each wait
    assert run.problems == []


def test_fused_attention_of_grouped_queries():
    run = of("h100_flash_gqa")
    assert [(s.name, s.source, s.count) for s in run.stages] == [
        ("prefill", "annotation", 1), ("chunk", "annotation", 1), ("decode", "annotation", 3),
    ]  # fmt: skip
    found = {(a.query_len, a.key_len): (a.time_ns, a.causal, a.fused) for a in run.attention}
    assert found == {
        (2048, 2048): (120_000, True, True),
        (512, 8192): (200_000, True, True),
        **{(1, 8193 + i): (22_000, False, True) for i in range(3)},
    }
    chunk = next(a for a in run.attention if a.query_len == 512)
    assert (chunk.heads, chunk.head_dim, chunk.kind) == (32, 128, "self")
    assert chunk.bytes == 2 * 128 * (2 * 32 * 512 + 2 * 8 * 8192)  # a quarter as many heads of keys and values
    assert classes(run)["layer norm"] == (5, 5 * 2_000 + 8 * (2048 + 512 + 3))
    assert classes(run)["elementwise"] == (5, 5 * 3_000 + 30 * (2048 + 512 + 3))
    assert {"layers.0", "layers.0.attn", "layers.0.mlp"} <= {m.name for m in run.modules}


def test_a_cuda_graph():
    """Each replay: 14 + 30 + 8 + 14 + 3 us, of which 6 us of the second stream run beside the first."""
    run = of("a100_cuda_graph")
    assert run.summary.kernel_ns == 18_000 + 2 * 69_000
    assert run.summary.busy_ns == 18_000 + 2 * (69_000 - 6_000)
    assert (run.launch.graph_launches, run.launch.graph_kernels, run.summary.streams) == (2, 10, 2)
    assert run.idle["graph"] == 2 * (1_000 + 3_000)  # 34 to 35 and 67 to 70 us after the start of a replay
    assert run.idle_reliable
    assert [(s.name, s.call_ns) for s in run.stages] == [("denoise", [18_000, 69_000, 69_000])]
    assert classes(run) == {"linear": (5, 70_000), "attention": (2, 60_000), "elementwise": (5, 26_000)}


def test_rocm():
    run = of("mi300x_eager")
    assert (run.summary.device, run.summary.hardware, run.summary.devices) == ("AMD Instinct MI300X", "MI300X", 1)
    assert classes(run) == {
        "linear": (4, 2 * (52_000 + 15_000)),
        "attention": (4, 2 * 64_000),  # with the copy that its operator makes first
        "convolution": (1, 22_000),
        "layer norm": (2, 14_000),
        "elementwise": (2, 12_000),
    }
    flops = {o.name: o.flops for o in run.operators}
    assert flops["aten::miopen_convolution"] == 2 * 16 * 4 * 1536 * (5 * 16 * 16)
    assert flops["aten::_scaled_mm"] == 2 * 2 * 1280 * 1536 * 1536
    assert flops["flash_attn::_flash_attn_forward"] == 2 * FLASH


def test_a_hip_graph_with_and_without_its_capture():
    run = of("mi300x_graph", capture=HERE / "mi300x_graph_capture.json")
    assert run.coverage.graph_capture == 1.0
    assert run.summary.flops == 3 * (FLASH + 2 * 2 * 1280 * 1536 * 4608)
    assert {m.name for m in run.modules} >= {f"WanTransformer3DModel_0/Block_{i}" for i in range(4)}
    alone = of("mi300x_graph")
    assert (alone.summary.flops, alone.coverage.graph_capture) == (None, None)
    for one in (run, alone):
        assert classes(one) == {"linear": (6, 306_000), "attention": (3, 183_000), "elementwise": (3, 27_000)}
        assert one.idle["graph"] == 3 * 3 * 2_000
        assert not one.idle_reliable


def test_the_processor():
    """Seven outer operators of two steps; time inside of one another counts once."""
    run = of("cpu")
    assert (run.summary.on_cpu, run.summary.device) == (True, "CPU")
    assert run.summary.busy_ns == 2 * (90_000 + 40_000 + 12_000 + 30_000 + 38_000 + 15_000 + 160_000)
    (attention,) = run.attention
    assert (attention.batch, attention.heads, attention.query_len, attention.head_dim) == (2, 4, 64, 32)
    linear, convolution = 2 * 128 * 128 * 384, 2 * 9 * 128 * 128 * (2 * 64)
    assert run.summary.flops == 2 * (linear + convolution + 4 * 8 * 64 * 64 * 32)
    assert [(s.name, s.count) for s in run.stages] == [("denoiser", 2)]


def test_two_devices():
    """On each: 20 of 30 us and none of 10 us of communication run beside a product; 7 us idle."""
    run = of("a100_two_devices")
    assert run.communication == {"time_ns": 80_000, "overlapped_ns": 40_000, "exposed_ns": 40_000}
    assert [(d.busy_ns, d.idle_ns, d.kernels) for d in run.devices] == [(109_000, 7_000, 5)] * 2
    assert run.summary.kernel_ns == 2 * (40_000 + 30_000 + 40_000 + 10_000 + 9_000)
    assert run.summary.busy_ns == 40_000 + 111_000  # the second starts while the first works and ends 40 us later
    assert (run.source.rank, run.source.world_size) == (0, 2)


def test_names_of_2021():
    run = of("v100_2021")
    assert run.source.times == "us"
    assert classes(run) == {
        "copy": (1, 100_000),
        "convolution": (1, 90_000),
        "batch norm": (1, 30_000),
        "elementwise": (1, 21_000),
        "linear": (1, 17_000),
    }
    assert run.coverage.operator == 1.0
    flops = {o.name: o.flops for o in run.operators}
    assert flops["aten::addmm"] == 2 * 2 * 2048 * 1000
    assert flops["aten::cudnn_convolution"] is None  # its strides were not written then
