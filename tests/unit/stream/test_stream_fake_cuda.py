"""The stream at its full size on a CUDA device that is not there: every shape, type, stride and device, no values.

480 x 832, 1560 tokens a frame, a window of twelve frames, bf16; one layer of thirty and two steps of four, for time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_cuda import Call, Launches, OnTheDevice, fake_cuda

from frameroof.lab.stream.variants import SLOW_TO_BUILD, VARIANTS, Setup
from frameroof.models.causal_wan import WanSize
from frameroof.stream import attention, engine, graphs
from frameroof.stream.attention import Choice

pytest.importorskip("triton")

from frameroof.stream.kernels import aot, launch

SETUP = Setup(
    model="longlive-1.3b",
    changes={"model": replace(WanSize(), layers=1), "steps": (1000, 500)},
    device="cuda",
    dtype=torch.bfloat16,
)
QUICK = ("fused", "fp8-graph", "int8", "fp8-attention")


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    """What would be launched; a graph calls what it captured, and no kernel is measured: the first 8-bit one wins."""
    found = Launches(aot.kind)
    monkeypatch.setattr(launch.Launch, "run", lambda self: found(self))
    for module in (graphs, engine):
        monkeypatch.setattr(module, "CudaCapture", Call)
    monkeypatch.setattr(attention, "choose", lambda c, device, dtype, **how: Choice(
        "fp8" if how.get("eight_bit") else "cudnn", {}, {}))  # fmt: skip
    return found


def stream(name: str, batch: int = 1, blocks: int = 6, decoder: str | None = None) -> list[str]:
    """Warmed and run past a full window, with switches of all samples and of one; operations that touched the CPU."""
    setup = replace(SETUP, batch=batch, decoder=decoder)
    session = setup.session(setup.engine(name))
    session.warm()
    shape = session.c.latent_shape(batch)
    with OnTheDevice() as seen:
        for number in range(blocks):
            block = session.generate_block()
            assert (tuple(block.latents.shape), block.latents.dtype) == (shape, torch.float32)
            assert block.latents.device.type == "cuda"
            if decoder is not None:
                video = session.decode(block)
                frames = 4 * session.c.block - (3 if number == 0 else 0)
                assert (tuple(video.shape), video.device.type) == ((batch, 3, frames, 480, 832), "cuda")
            if number == blocks - 3:
                with OnTheDevice():  # its prompt is made on the host, and sent
                    session.switch("a fox runs", batch - 1 if batch > 1 else None)
                seen.found.clear()
    return seen.found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in VARIANTS]
)
def test_a_variant_runs_at_full_size(name: str, launches: Launches) -> None:
    """Nothing lies on another device, and what its kernels are given is what was compiled for sm_90 without a GPU."""
    if name in SLOW_TO_BUILD:
        pytest.skip("torch.compile does not trace what runs on fake tensors")
    with fake_cuda():
        assert stream(name, decoder="wan" if VARIANTS[name].of == "decode" else None, blocks=6) == []
    compiled = {aot.kind(each) for each in aot.launches().values()}
    assert set(launches.kinds) <= compiled
    assert (launches.count > 0) == (VARIANTS[name].ops == "fused")


@pytest.mark.full
@pytest.mark.parametrize("name", ["fused", "fp8-all"])
def test_two_samples_run_at_full_size(name: str, launches: Launches) -> None:
    """One of them switches alone."""
    with fake_cuda():
        assert stream(name, batch=2) == []
    assert set(launches.kinds) <= {aot.kind(each) for each in aot.launches().values()}


@pytest.mark.full
def test_what_is_compiled_ahead_is_what_is_launched(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 no program more and none less, over every variant with kernels and both ways of fp8 attention."""
    for rows in attention.OWN_FP8:
        monkeypatch.setattr(attention, "choose", lambda c, device, dtype, rows=rows, **how: Choice(
            rows if how.get("eight_bit") else "cudnn", {}, {}))  # fmt: skip
        for name in ("fused", "fp8", "int8", "fp8-ffn", "fp8-all"):
            with fake_cuda():
                stream(name)
    made = {aot.kind(each): name for name, each in aot.launches().items()}
    assert set(launches.kinds) == {key for key, name in made.items() if "fp32" not in name}


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        pytest.param("wan", {}, marks=pytest.mark.full),
        pytest.param("wan", {"frames_at_once": 1}, marks=pytest.mark.full),
        ("wan", {"channels_last": True, "graphs": True}),
        ("tiny", {}),
    ],
)
def test_a_decoder_runs_at_full_size(kind: str, how: dict[str, Any], launches: Launches) -> None:
    """Three blocks of video: 1 + 4 x 2 frames, then 12 each; where asked, every convolution keeps channels last."""
    with fake_cuda():
        make = engine.Maker(SETUP.config(), engine.Files(), "cuda", torch.bfloat16).decoder(kind, how)
        assert make is not None
        decode, frames = make(), []
        decode.warm(torch.zeros(1, 16, 3, 60, 104, device="cuda"))
        with OnTheDevice() as seen:
            for _ in range(3):
                video = decode(torch.zeros(1, 16, 3, 60, 104, device="cuda"))
                assert (video.device.type, video.dtype, *video.shape[-2:]) == ("cuda", torch.bfloat16, 480, 832)
                frames.append(video.shape[2])
    assert frames == [9, 12, 12]
    assert seen.found == []


def named(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A file's tensors: those of a module, on the CPU; the transformer's last ones lie one level deeper there."""
    names = {"head.weight": "head.head.weight", "head.bias": "head.head.bias", "modulation": "head.modulation"}
    return {names.get(name, name): torch.empty(p.shape, dtype=torch.bfloat16) for name, p in module.named_parameters()}


def test_weights_of_files_go_to_the_device(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer, LongLive's LoRA of rank 256 merged into it, the VAE; then a block, decoded."""
    from frameroof.models.causal_wan import CausalWan
    from frameroof.models.wan_vae import WanVAE
    from frameroof.stream.lora import random_lora

    c = SETUP.config("fold")
    with fake_cuda():
        model = CausalWan(c.model)
        files = {"transformer": named(model), "lora": random_lora(model), "vae": named(WanVAE())}
        monkeypatch.setattr(engine, "read", lambda path: files[path])
        maker = engine.Maker(c, engine.Files(**{name: name for name in files}), "cuda", torch.bfloat16)
        made = engine.Engine(c, maker.transformer(), maker.text(False), decoder=maker.decoder("wan", {}))
        assert {p.device.type for p in made.denoiser.model.parameters()} == {"cuda"}
        assert len(files["lora"]) == 2 * 10
        session = made.prepare("a cat")
        assert session.decode(session.generate_block()).shape == (1, 3, 9, 480, 832)


def test_the_text_encoder_runs_at_full_size(launches: Launches) -> None:
    """umT5-XXL, 24 layers; its features go to the transformer without a copy over the host."""
    pytest.importorskip("transformers")
    with fake_cuda():
        encode = engine.Maker(SETUP.config(), engine.Files(), "cuda", torch.bfloat16).text(True)
        features = encode(["a cat runs", "a dog"])
    assert (features.shape, features.device.type, features.dtype) == ((2, 512, 4096), "cuda", torch.bfloat16)


def mixed(x: torch.Tensor) -> torch.Tensor:
    return x + torch.ones(2)


@pytest.mark.parametrize("wrong", [mixed, lambda x: x @ torch.ones(3, device="cuda"), lambda x: x.sum().item()])
def test_what_would_be_seen(wrong: Callable[[torch.Tensor], Any]) -> None:
    """Two devices in one operation, shapes that do not fit, a value that is read: each fails."""
    with fake_cuda(), pytest.raises((RuntimeError, NotImplementedError)):
        wrong(torch.zeros(2, device="cuda"))


def test_a_tensor_of_the_host_in_a_launch_is_seen(launches: Launches) -> None:
    x = torch.zeros(4, 32)
    with pytest.raises(AssertionError, match="x lies on cpu"):
        launch.quantize_rows(x, launch.FP8)
