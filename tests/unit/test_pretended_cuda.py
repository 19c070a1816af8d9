"""Host code for CUDA run on a pretended device (`pretended_cuda`): what a first run on a GPU would trip over."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_cuda import CLASSES, Device, parameters, pretended_cuda

from frameroof.lab.stream.batches import batches
from frameroof.lab.stream.bench import Plan, bench
from frameroof.lab.stream.clip import Clip, make
from frameroof.lab.stream.needed import Needed, machine
from frameroof.lab.stream.parity import without_tf32
from frameroof.lab.stream.tune import Axes, grid, tune
from frameroof.lab.stream.variants import VARIANTS, Setup
from frameroof.stream import Engine, kernels, preset

ROOT = Path(__file__).parents[2]
EQUAL = 1e-5
TINY = ["--device", "cuda", "--size", "tiny", "--samples", "2"]
BACKENDS = ("/efficient", "/cudnn")  # of SDPA, which a CPU has not


@pytest.fixture
def cuda() -> Iterator[Device]:
    with pretended_cuda() as device:
        yield device


def rows(folder: Path, section: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads((folder / f"{section}.json").read_text("utf-8"))["rows"]}


def stream(engine: Engine, warm: bool) -> torch.Tensor:
    session = engine.prepare("a cat runs")
    if warm:
        session.warm()
    return torch.stack([block.latents for block in session.run(8, {6: "a fox sleeps"})])


@pytest.mark.parametrize("warm", [True, False])
def test_a_graph_gives_what_the_eager_stream_gives(warm: bool, cuda: Device) -> None:
    """Also one that is captured while the stream runs: warming up and capturing leave the cache as it was."""
    plain = stream(Engine.random(preset("tiny", "fold"), umt5=False, device="cuda"), False)
    made = stream(Engine.random(preset("tiny", "fold"), umt5=False, device="cuda", graphs=True), warm)
    assert made.isfinite().all()
    assert float((made - plain).abs().max()) < EQUAL


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"graphs": True}, marks=pytest.mark.full),
        pytest.param({"own_stream": True}, marks=pytest.mark.full),
        {"graphs": True, "own_stream": True, "frames_at_once": 1},
    ],
)
def test_a_decoder_gives_the_same_video(how: dict[str, Any], cuda: Device) -> None:
    plain, made = (
        Engine.random(preset("tiny", "fold"), umt5=False, device="cuda", vae="wan", decoding=each).prepare("a cat")
        for each in ({}, how)
    )
    made.warm()
    videos = [torch.stack(list(session.frames(3))) for session in (plain, made)]
    assert videos[1].isfinite().all()
    assert torch.allclose(*videos, atol=1e-5)
    assert ("record_stream" in cuda.used) == ("own_stream" in how)


def test_a_first_command_on_a_gpu_calibrates(script: Any, tmp_path: Path, cuda: Device) -> None:
    """Every row of `calibrate` and of `quant`; the launches of graphs and the copies of pinned memory among them."""
    assert script.main(["calibrate", "quant", *TINY, "--out", str(tmp_path)]) == 0
    for section in ("calibrate", "quant"):
        found = rows(tmp_path, section)
        refused = [name for name, row in found.items() if row["state"] != "measured"]
        assert all(name.endswith(BACKENDS) for name in refused), refused
        assert {len(row["samples_s"]) for name, row in found.items() if name not in refused} == {2}
    assert {"launch/graph-node", "copy/HtoD/pinned/4096", "copy/DtoH/pageable/4096"} <= set(rows(tmp_path, "calibrate"))
    data = json.loads((tmp_path / "quant.json").read_text("utf-8"))
    assert data["environment"]["gpu"]["name"] == data["properties"]["name"] == "NVIDIA H200"
    assert data["peaks"]["bytes_per_s"] == 4.8e12


def test_a_first_command_on_a_gpu_checks(script: Any, tmp_path: Path, cuda: Device) -> None:
    """Kernels, products, attention, and a stream of graphs beside the baseline."""
    only = ["kernels/", "linears", "attention/", "stream/tiny/baseline", "stream/tiny/fused-graph"]
    assert script.main(["check", *TINY, "--out", str(tmp_path), "--only", *only]) == 0
    found = rows(tmp_path, "check")
    assert all(row["ok"] for row in found.values() if row["state"] == "measured")
    assert all(name.endswith(BACKENDS) for name, row in found.items() if row["state"] != "measured")
    assert found["kernels/attend_fp8-128/odd/float32"]["ran"] == "triton"
    assert found["stream/tiny/fused-graph"]["error"] < EQUAL


@pytest.mark.full
def test_every_variant_is_checked_on_a_gpu(script: Any, tmp_path: Path, cuda: Device) -> None:
    assert script.main(["check", *TINY, "--out", str(tmp_path), "--only", "stream/", "layer/"]) == 0
    found = rows(tmp_path, "check")
    assert {name.split("/")[-1] for name in found} == {name for name, v in VARIANTS.items() if v.of != "decode"}
    assert {row["state"] for row in found.values()} == {"measured"}


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "tf32", "fp32", "fp8", "int8"])
def test_products_of_every_type_are_calibrated(dtype: str, script: Any, tmp_path: Path, cuda: Device) -> None:
    """In the shapes and layouts that the matrix units take; TF32 is for the product alone."""
    from gpu import calibrate, limits, record

    here = torch.device("cuda")
    session = record.Session(here, "full", tmp_path, limits.machine(here))
    made = calibrate._gemm(session, dtype, 32, 48, 64)()()
    assert made.shape == (32, 48)
    assert made.float().isfinite().all()
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.full
def test_a_whole_model_is_measured_on_a_gpu(script: Any, tmp_path: Path, cuda: Device) -> None:
    pytest.importorskip("diffusers")
    assert script.main(["suite", *TINY, "--out", str(tmp_path)]) == 0
    found = rows(tmp_path, "suite")
    assert {row["state"] for row in found.values()} == {"measured"}
    assert {row["peak_bytes"] for row in found.values()} == {3 << 20}


@pytest.mark.full
def test_decoders_are_timed_on_a_gpu(script: Any, tmp_path: Path, cuda: Device) -> None:
    only = ["decode/beside", "decode/wan-graph", "decode/wan-compiled", "estimate"]
    assert script.main(["stream", *TINY, "--out", str(tmp_path), "--only", *only]) == 0
    found = rows(tmp_path, "stream")
    assert len(found) == len(only)
    assert {row["state"] for row in found.values()} == {"measured"}


@pytest.mark.full
def test_streams_are_measured_on_a_gpu(script: Any, tmp_path: Path, cuda: Device) -> None:
    only = ["stream/baseline", "stream/ring", "stream/fused-graph", "published"]
    assert script.main(["stream", *TINY, "--out", str(tmp_path), "--only", *only]) == 0
    found = rows(tmp_path, "stream")
    assert {row["state"] for row in found.values()} == {"measured"}
    row = found["stream/fused-graph"]
    assert row["peak_bytes"] == 2 << 20
    assert {"folded step 1", "step", "recache"} <= set(row["forwards_s"])
    assert len(row["block_device_s"]) == len(row["samples_s"]) == 4


@pytest.mark.full
@pytest.mark.parametrize("graphs", [False, True])
def test_the_report_is_made_on_a_gpu(graphs: bool, cuda: Device) -> None:
    """Variants one after the other, each with the device's peak; graphs' captures stand apart."""
    variants = ["baseline", "fused-graph"] if graphs else ["baseline"]
    plan = Plan(setup=Setup(device="cuda", changes={"window": 6}), variants=variants, blocks=6)
    for measured in bench(plan):
        assert measured.parity is not None
        assert measured.parity.equal
        assert measured.report.peak_bytes == 3 << 20
        assert measured.forwards
        assert ("capture" in measured.report.apart_s) == (measured.name == "fused-graph")


def test_a_clip_is_made_on_a_gpu(tmp_path: Path, cuda: Device) -> None:
    pytest.importorskip("av")
    setup = Setup(device="cuda", decoder="wan")
    with Clip(tmp_path / "a.mp4", (32, 48), 16) as clip:
        made = make(setup.session(setup.engine("fold")), 2, {1: "a dog"}, clip)
    assert made.frames == 21


@pytest.mark.full
def test_batches_and_choices_run_one_after_the_other_on_a_gpu(cuda: Device) -> None:
    """Each has the device to itself, and its memory goes back."""
    setup = Setup(device="cuda", changes={"window": 3, "sink": 0})
    needed = Needed(setup.config(), machine("cuda"), "fp32")
    found = batches(setup, ["fold"], [1, 2], needed, lambda said: None)
    assert [each.peak_bytes for each in found] == [3 << 20] * 2
    points, _ = tune(setup, grid(setup, Axes([3], [0], ["own", "fp8"], ["fold"])))
    assert [point.setup.precision for point in points] == ["own", "fp8"]
    assert "empty_cache" in cuda.used


def test_a_viewer_has_graphs_of_their_own(cuda: Device) -> None:
    from frameroof.serve.engine import EngineSource

    setup = Setup(device="cuda", decoder="tiny", changes={"window": 6})
    source = EngineSource(setup.engine("fused-graph"), setup, "fused-graph")
    source.warm()
    viewer = source.open("a cat")
    assert viewer.make(lambda: False).number == 0
    assert viewer.switch("a dog") == 1
    assert viewer.make(lambda: False).number == 1


def test_a_profile_of_a_graph_has_the_devices_clock_and_memory(cuda: Device) -> None:
    from frameroof.profiler import Profile

    layer, x = torch.nn.Linear(8, 8, device="cuda"), torch.randn(4, 8, device="cuda")
    with torch.inference_mode():
        timing = Profile(layer).measure(lambda: layer(x), graph=True, repeat=3)
    assert len(timing.device_samples_ns) == 3
    assert timing.memory.of == "allocator of the device"


def test_another_device_than_the_current_one_is_a_sentence(cuda: Device) -> None:
    with pytest.raises(ValueError, match=r"cuda:1 is not the current CUDA device; call torch.cuda.set_device\(1\)"):
        Engine.random(preset("tiny"), device="cuda:1", umt5=False)


def test_without_triton_the_fused_operations_say_what_they_are(cuda: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, sentence = Setup(device="cuda"), "Triton is not installed here: the fused operations are plain PyTorch."
    assert sentence not in setup.engine("fused").says
    monkeypatch.setattr(kernels, "_TRITON", False)
    assert sentence in setup.engine("fused").says


def test_numbers_that_should_be_equal_are_compared_without_tf32() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    with without_tf32():
        assert not cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert cudnn.allow_tf32 == before


# ------------------------------------------------------------------------------ the stand-ins


def test_stand_ins_take_what_torch_takes() -> None:
    """Each argument of ours is one of torch's, in its place."""
    for name, cls in CLASSES.items():
        ours = list(inspect.signature(cls).parameters)
        assert cls is not getattr(torch.cuda, name), "the stand-in would be compared with itself"
        assert ours, name
        assert ours == parameters(name)[: len(ours)], name
    with pretended_cuda(), pytest.raises(TypeError, match="unexpected keyword argument 'where'"):
        torch.cuda.synchronize(where=0)


def test_what_a_graph_may_not_do_fails(cuda: Device) -> None:
    x, own = torch.ones(4, device="cuda"), torch.Generator("cuda")
    for wrong in (
        torch.cuda.synchronize,
        lambda: x.sum().item(),
        lambda: torch.randn(2, generator=own, device="cuda"),
        lambda: x.cpu(),
        x.pin_memory,
    ):
        with pytest.raises(RuntimeError, match=r"capturing|capture mode"), torch.cuda.graph(torch.cuda.CUDAGraph()):
            wrong()


def test_a_captured_graph_has_not_run(cuda: Device) -> None:
    x, out = torch.ones(4, device="cuda"), torch.zeros(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        own = x * 2
        out.copy_(own)
    assert (out.sum(), own.isnan().all()) == (0, True)
    x.fill_(3)
    graph.replay()
    assert out.tolist() == own.tolist() == [6.0] * 4


def test_time_between_events_is_known_once_they_are_waited_for(cuda: Device) -> None:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    last.record()
    with pytest.raises(RuntimeError, match="not ready"):
        first.elapsed_time(last)
    torch.cuda.synchronize()
    assert first.elapsed_time(last) > 0
