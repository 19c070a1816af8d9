"""Streaming decoders: diffusers' Wan VAE and whole clips as oracles, constant memory, counts by torch."""

from __future__ import annotations

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from frameroof.models.wan_vae import Memory, TinyVAE, VAESize, WanVAE
from frameroof.stream import Engine, preset
from frameroof.stream.compiled import strictly
from frameroof.stream.decoder import Decoder

SMALL = VAESize(base=4, latent_channels=4)


def _filled(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3 if p.dim() == 1 else 1.2 / p[0].numel() ** 0.5)
    return model.eval()


def _small(kind: str) -> torch.nn.Module:
    return _filled(WanVAE(SMALL) if kind == "wan" else TinyVAE(4, (16, 8, 8, 4)))


def _to_diffusers(name: str) -> str:
    """Our (Wan 2.1's) name of a decoder's parameter in diffusers' AutoencoderKLWan."""
    for mine, other in {
        r"^conv2": "post_quant_conv",
        r"decoder\.conv1": "decoder.conv_in",
        r"decoder\.head\.0": "decoder.norm_out",
        r"decoder\.head\.2": "decoder.conv_out",
        r"middle\.0": "mid_block.resnets.0",
        r"middle\.1": "mid_block.attentions.0",
        r"middle\.2": "mid_block.resnets.1",
        r"residual\.0": "norm1",
        r"residual\.2": "conv1",
        r"residual\.3": "norm2",
        r"residual\.6": "conv2",
        r"shortcut": "conv_shortcut",
    }.items():
        name = re.sub(mine, other, name)
    if found := re.search(r"upsamples\.(\d+)", name):
        level, place = divmod(int(found[1]), 4)
        part = f"up_blocks.{level}." + ("upsamplers.0" if place == 3 else f"resnets.{place}")
        name = name.replace(found[0], part)
    return name


def test_the_wan_decoder_equals_diffusers_frame_by_frame() -> None:
    from diffusers import AutoencoderKLWan

    ours = _small("wan")
    theirs = AutoencoderKLWan(base_dim=4, z_dim=4, latents_mean=[0.0] * 4, latents_std=[1.0] * 4).eval()
    state = {_to_diffusers(name): value for name, value in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith(("encoder.", "quant_conv.")) for name in missing)
    z = torch.randn(1, 4, 5, 2, 3)
    with torch.no_grad():
        expected = theirs.decode(z * ours.std + ours.mean, return_dict=False)[0]
    video = Decoder(ours)(z)
    assert video.shape == (1, 3, 17, 16, 24)
    assert 0.1 < video.std() < 0.95
    assert torch.allclose(video, expected, atol=1e-5)


@pytest.mark.parametrize("chunks", [(1,) * 7, (3, 3, 1), (2, 5), (1, 6)])
@pytest.mark.parametrize("kind", ["wan", "tiny"])
def test_a_stream_equals_the_whole_clip_however_it_is_cut(kind: str, chunks: tuple[int, ...]) -> None:
    vae, z = _small(kind), torch.randn(2, 4, 7, 2, 2)
    whole = Decoder(vae)(z)
    assert whole.shape == (2, 3, 25, 16, 16)
    stream = Decoder(vae)
    assert torch.allclose(torch.cat([stream(part) for part in z.split(chunks, dim=2)], dim=2), whole, atol=1e-5)
    assert torch.allclose(Decoder(vae, frames_at_once=2, channels_last=True)(z), whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["wan", "tiny"])
def test_frames_do_not_depend_on_later_ones_and_memory_is_constant(kind: str) -> None:
    vae, z = _small(kind), torch.randn(1, 4, 6, 2, 2)
    changed = z.clone()
    changed[:, :, 3:] += 1
    a, b = Decoder(vae)(z), Decoder(vae)(changed)
    assert torch.equal(a[:, :, :9], b[:, :, :9])
    assert (a[:, :, 9:] - b[:, :, 9:]).abs().max() > 0.01
    stream = Decoder(vae)
    kept = [(stream(part), stream.memory.bytes())[1] for part in z.split(1, dim=2)]
    assert len(set(kept)) == 1


def _steady_block(vae: torch.nn.Module) -> tuple[float, float]:
    """TFLOP of a block of three latent frames at 480 x 832, counted by torch on meta, and GB of memory."""
    memory = Memory()
    z = torch.empty(1, 16, 3, 60, 104, device="meta")
    with torch.no_grad():
        vae(z, memory)
        with FlopCounterMode(display=False) as counter:
            vae(z, memory)
    return counter.get_total_flops() / 1e12, memory.bytes() / 1e9


def test_full_size_counts() -> None:
    with torch.device("meta"):
        wan, tiny = WanVAE().to(torch.bfloat16), TinyVAE().to(torch.bfloat16)
    assert sum(p.numel() for p in wan.parameters()) == pytest.approx(73.3e6, rel=1e-3)  # facts/streaming.md
    assert _steady_block(wan) == pytest.approx((40.65, 1.89), rel=5e-3)
    assert _steady_block(tiny)[0] == pytest.approx(1.63, rel=5e-3)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="frames_at_once is -1"):
        Decoder(_small("tiny"), -1)
    with pytest.raises(ValueError, match="needs a CUDA device; the decoder is on cpu"):
        Decoder(_small("tiny"), own_stream=True)


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("kind", ["wan", "tiny"])
def test_a_captured_decode_holds_for_every_later_block(kind: str, chunk: int) -> None:
    """In place of a CUDA graph what was captured runs again; it ran more often before, as it does for a capture."""
    runs = []

    def rerun(work):
        for _ in range(2):
            work()
        return lambda: (runs.append(1), work())[1]

    vae, z = _small(kind), torch.randn(1, 4, 12, 2, 3)
    whole, stream = Decoder(vae)(z), Decoder(vae, chunk, capture=rerun)
    stream.warm(torch.zeros_like(z[:, :, :3]))
    kept, captured = stream.memory.bytes(), len(stream._graphs)
    made = [stream(part) for part in z.split(3, dim=2)]
    assert torch.allclose(torch.cat(made, dim=2), whole, atol=1e-5)
    assert captured == len(stream._graphs) == (2 if chunk else 1)  # blocks of 3, or of 2 and 1
    assert kept == 0 < stream.memory.bytes()
    assert len(runs) == (4 if chunk else 1) + (7 if chunk else 3)  # warming up, and all but a stream's first
    with pytest.raises(ValueError, match="warmed before its first block"):
        stream.warm(z)


def test_a_capture_in_mid_stream_forgets_nothing() -> None:
    """Without warming up the second block is captured, by runs that all move the memory on."""

    def rerun(work):
        work()
        return work

    vae, z = _small("wan"), torch.randn(1, 4, 9, 2, 3)
    stream = Decoder(vae, capture=rerun)
    assert torch.allclose(torch.cat([stream(part) for part in z.split(3, dim=2)], dim=2), Decoder(vae)(z), atol=1e-5)


@pytest.mark.parametrize("kind", ["wan", "tiny"])
def test_a_compiled_decoder_equals_the_plain_one_in_one_graph(kind: str) -> None:
    """Traced whole, without code generation; a second stream uses what the first one traced."""
    vae, z = _small(kind), torch.randn(1, 4, 9, 2, 2)
    whole, traces = Decoder(vae)(z), []

    def backend(graph, inputs):
        traces.append(1)
        return graph

    compiled = strictly(vae, backend=backend)
    for _ in range(2):
        stream = Decoder(compiled)
        made = [stream(part) for part in z.split(3, dim=2)]
        assert torch.allclose(torch.cat(made, dim=2), whole, atol=1e-5)
    assert len(traces) == 2  # a first block, a later one
    stream = Decoder(compiled)
    stream.warm(z[:, :, :3])
    ready = len(traces)
    made = [stream(part) for part in z.split(3, dim=2)]
    assert torch.allclose(torch.cat(made, dim=2), whole, atol=1e-5)
    assert len(traces) == ready


@pytest.mark.parametrize("kind", ["wan", "tiny"])
def test_channels_stay_last_through_every_layer(kind: str) -> None:
    """Convolutions give the layout that they get, as cuDNN's do and a CPU's do not: hooks see to that here."""
    vae, z, lost = _small(kind), torch.randn(2, 4, 6, 2, 3), []

    def keep(conv, args, out):
        last = torch.channels_last_3d if out.dim() == 5 else torch.channels_last
        lost.append(not args[0].is_contiguous(memory_format=last))
        return out.contiguous(memory_format=last)

    hooks = [m.register_forward_hook(keep) for m in vae.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Conv3d))]
    stream = Decoder(vae, channels_last=True)
    first = stream(z[:, :, :3])
    lost.clear()
    second = stream(z[:, :, 3:])
    assert len(lost) > 30
    assert not any(lost)
    for hook in hooks:
        hook.remove()
    assert torch.allclose(torch.cat((first, second), dim=2), Decoder(vae)(z), atol=1e-4)


def test_ways_to_decode_that_cannot_be_are_sentences() -> None:
    with pytest.raises(ValueError, match="no setting 'fast'; it has frames_at_once, channels_last"):
        Engine.random(preset("tiny"), vae="wan", decoding={"fast": True})
    if not torch.cuda.is_available():
        for how in ("graphs", "own_stream"):
            with pytest.raises(ValueError, match="CUDA device; the decoder is on cpu"):
                Engine.random(preset("tiny"), vae="wan", decoding={how: True})


@pytest.mark.gpu
@pytest.mark.parametrize("how", [{"compiled": True}, {"graphs": True}, {"channels_last": True, "graphs": True}])
def test_fast_decoders_on_a_gpu(how: dict[str, bool]) -> None:
    plain, fast = (
        Engine.random(preset("tiny", "fold"), device="cuda", vae="wan", umt5=False, decoding=each) for each in ({}, how)
    )
    videos = []
    for engine in (plain, fast):
        session = engine.prepare("a cat")
        session.warm()
        videos.append(torch.stack(list(session.frames(4))))
    assert torch.allclose(*videos, atol=1e-3)


@pytest.mark.gpu
def test_a_stream_of_its_own_gives_the_same_video() -> None:
    vae, z = _small("wan").cuda(), torch.randn(1, 4, 6, 2, 3, device="cuda")
    whole, beside = Decoder(vae)(z), Decoder(vae, own_stream=True)
    pending = [beside.later(part) for part in z.split(3, dim=2)]
    assert torch.allclose(torch.cat([each.wait() for each in pending], dim=2), whole, atol=1e-5)
