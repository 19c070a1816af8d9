"""Advice on traces made by hand: what is found, what is not, and every bound by hand."""

from __future__ import annotations

import pytest
from trace_made import H100, Made

from frameroof.hardware import device
from frameroof.recorded import Gpu, Measured, StageTime
from frameroof.trace.advice import advise

BF16, FP32 = "c10::BFloat16", "float"
LATENTS, TEXT, WIDTH = 4096, 154, 320


def _denoiser(projections, steps=4, each=10_000):
    """`steps` calls of a module with linears by name: the rows of their input, the work of each one `each` ns."""
    t, at = Made(**H100), 10_000
    for step in range(steps):
        t.note("mod::unet", at, 30_000 * len(projections))
        for name, rows in projections.items():
            rows = rows[step] if isinstance(rows, list) else rows
            t.note(f"mod::unet.{name}", at + 2_000, 20_000)
            t.one("aten::mm", at + 10_000, each, dims=[[rows, 768], [768, WIDTH]], types=[BF16] * 2)
            at += 30_000
    return t


def _cross(attention, **changes):
    names = {f"{attention}.to_q": LATENTS, f"{attention}.to_k": TEXT, f"{attention}.to_v": TEXT}
    return names | {f"{attention}.{name}": rows for name, rows in changes.items()}


def _cached(run):
    return next((a for a in run.advice if a.title == "Cache the text's keys and values"), None)


def test_keys_and_values_of_the_text_are_computed_once_too_often_in_all_steps_but_one(tmp_path):
    run = _denoiser(_cross("block.attn2")).run(tmp_path)
    text = run.text_kv
    assert (text.count, text.calls, text.time_ns, text.repeated_ns) == (2, 8, 80_000, 60_000)
    assert (text.stage, text.example) == ("unet", "unet.block.attn2.to_k")
    assert "does not depend on the timestep" in _cached(run).how
    spare = run.summary.span_ns - run.launch.host_active_ns
    assert _cached(run).max_gain_s == pytest.approx(min(60_000, spare) / 1e9)


@pytest.mark.parametrize("names", [("q", "k", "v"), ("wq", "wk", "wv"), ("q_proj", "k_proj", "v_proj")])
def test_projections_have_many_names(tmp_path, names):
    rows = zip(names, (LATENTS, TEXT, TEXT), strict=True)
    run = _denoiser({f"block.cross_attn.{name}": count for name, count in rows}).run(tmp_path)
    assert (run.text_kv.count, run.text_kv.example) == (2, f"unet.block.cross_attn.{names[1]}")


@pytest.mark.parametrize(
    "projections",
    [
        _cross("block.attn1"),  # no cross attention by its name: keys may be latents that were made fewer
        _cross("block.attn2", to_k=LATENTS, to_v=LATENTS),  # a second self-attention (SD3.5 medium, motion modules)
        _cross("attn", to_k=LATENTS, to_v=LATENTS, add_q_proj=TEXT, add_k_proj=TEXT, add_v_proj=TEXT),  # SD3, FLUX
        {"block.attn2.to_k": TEXT, "block.attn2.to_v": TEXT},  # no queries to tell them from
        _cross("block.attn2", to_k=[154, 77, 154, 77], to_v=[154, 77, 154, 77]),  # other sizes in other steps
    ],
    ids=["self", "second self", "joint", "alone", "changing"],
)
def test_what_may_change_with_the_step_is_not_to_be_cached(tmp_path, projections):
    run = _denoiser(projections).run(tmp_path)
    assert (run.text_kv.count, _cached(run)) == (0, None)


def test_added_keys_without_added_queries_are_the_texts(tmp_path):
    names = {"attn.to_q": LATENTS, "attn.to_k": LATENTS, "attn.add_k_proj": TEXT, "attn.add_v_proj": TEXT}
    assert _denoiser(names, steps=2).run(tmp_path).text_kv.repeated_ns == 20_000


def test_one_step_has_nothing_to_cache(tmp_path):
    assert _denoiser(_cross("block.attn2"), steps=1).run(tmp_path).text_kv.count == 0


def _classes(own_keys):
    """Two steps of a block whose modules are known by class; the first attention has `own_keys` keys."""
    t, at = Made(**H100), 10_000
    for _ in range(2):
        t.module("UNet2DConditionModel_0", at, 400_000)
        t.module("BasicTransformerBlock_3", at + 100, 390_000)
        for i, keys in ((0, own_keys), (1, 77)):
            t.module(f"Attention_{i}", at + 1_000, 150_000)
            for linear, rows in enumerate((LATENTS, keys, keys, LATENTS)):
                t.module(f"Linear_{4 * i + linear}", at + 2_000, 28_000)
                t.one("aten::mm", at + 10_000, 10_000, dims=[[rows, 64], [64, 64]], types=[BF16] * 2)
                at += 30_000
            q, k = [1, 8, LATENTS, 8], [1, 8, keys, 8]
            name = "aten::_scaled_dot_product_flash_attention"
            t.one(name, at + 10_000, 10_000, "flash_fwd", [q, k, k], [BF16] * 3)
            at += 50_000
        at += 100_000
    return t


def test_by_class_the_keys_of_the_text_are_those_that_attention_has(tmp_path):
    run = _classes(LATENTS).run(tmp_path)
    assert {a.kind for a in run.attention} == {"self", "cross"}
    assert (run.text_kv.count, run.text_kv.calls, run.text_kv.repeated_ns) == (2, 4, 20_000)
    assert run.text_kv.example.endswith("BasicTransformerBlock_3/Attention_1/Linear_5")


def test_by_class_keys_that_may_be_fewer_latents_are_not_told_from_text(tmp_path):
    assert _classes(1024).run(tmp_path).text_kv.count == 0


# ------------------------------------------------------------------------------------------------ VAE

CONV = [[1, 128, 64, 64], [128, 128, 3, 3]]
CONV_FLOPS = 2 * 64 * 64 * 128 * 128 * 9
STRIDE = ["", "", "", "[1, 1]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"]


def _pipeline(denoise=BF16, decode=FP32, tokens=0):
    """1 ms of a product in the denoiser; in the decoder 1 ms of a convolution, 0.5 ms of a norm, 2 ms of attention."""
    t = Made(**H100)
    t.note("stage::denoise", 0, 20_000)
    t.one("aten::mm", 10_000, 1_000_000, dims=[[4096, 4096], [4096, 4096]], types=[denoise] * 2)
    t.note("stage::vae_decode", 20_000, 400_000)
    for i, (name, length, dims, more) in enumerate(
        [("convolution", 1_000_000, CONV, STRIDE), ("native_group_norm", 500_000, CONV[:1], None)]
        + [("_scaled_dot_product_flash_attention", 2_000_000, [[1, 1, tokens, 512]] * 3, None)] * bool(tokens)
    ):
        at = 30_000 + 10_000 * i
        t.op(f"aten::{name}", at, 5_000, dims, [decode] * len(dims), more)
        t.call(at + 1_000, 500, 900 + i)
        t.kernel(1_010_000 + 2_000_000 * i, length, 900 + i)
    return t


def _titles(run):
    return {a.title: a.max_gain_s for a in run.advice}


def test_a_vae_in_fp32_beside_a_denoiser_in_bf16(tmp_path):
    found = _titles(_pipeline().run(tmp_path))
    # bf16 has twice the peak of TF32, which convolutions on fp32 have; the norm moves half the bytes
    assert found["Run the VAE in half precision"] == pytest.approx(1e-3 / 2 + 0.5e-3 / 2)
    assert "Compute in bf16 instead of fp32" not in found  # the same time must not be promised twice


@pytest.mark.parametrize(("denoise", "decode"), [(BF16, BF16), (FP32, FP32), (FP32, BF16)])
def test_a_vae_like_the_rest_gets_no_advice_of_its_own(tmp_path, denoise, decode):
    found = _titles(_pipeline(denoise, decode).run(tmp_path))
    assert not [title for title in found if "VAE" in title]
    assert ("Compute in bf16 instead of fp32" in found) == (denoise == FP32)


def test_attention_over_a_whole_picture_shrinks_with_its_tiles(tmp_path):
    wide = _titles(_pipeline(decode=BF16, tokens=4 * 4096).run(tmp_path))
    assert wide["Run the VAE in tiles"] == pytest.approx(2e-3 * 3 / 4)
    assert "Run the VAE in tiles" not in _titles(_pipeline(decode=BF16, tokens=4096).run(tmp_path))


@pytest.mark.parametrize(
    ("denoise", "decode", "advised"),
    [(20e9, 77e9, True), (20e9, 70e9, False), (79e9, 77e9, False)],
    ids=["full", "room", "the denoiser is worse"],
)
def test_a_decoder_that_fills_the_memory_is_to_be_tiled(tmp_path, denoise, decode, advised):
    run = _pipeline(decode=BF16).run(tmp_path)
    run.environment.gpu = Gpu(memory_bytes=80_000_000_000)
    run.measured.stages = [
        StageTime(name="denoise", peak_bytes=int(denoise)),
        StageTime(name="vae_decode", peak_bytes=int(decode)),
    ]
    found = {a.title: a for a in advise(run, device("H100"))}
    assert ("Run the VAE in tiles" in found) == advised
    if advised:
        one = found["Run the VAE in tiles"]
        assert (one.kind, one.max_gain_s) == ("memory", 0)
        assert "77.00 GB at its peak, of the 80.00 GB" in one.evidence


# ------------------------------------------------------------------------------------------- measured


def _host_bound():
    """20 kernels of 10 us, one every 100 us, launched one by one: 1,910 us, 200 of them busy."""
    t = Made(**H100)
    for i in range(20):
        t.one("aten::add", 10_000 + 100_000 * i, 10_000, dims=[[4, 4]])
    return t


@pytest.mark.parametrize(
    ("median_ns", "whole_ns", "idle_ns"),
    [(None, 1_910_000, 1_710_000), (5_000_000, 1_910_000, 1_710_000), (800_000, 800_000, 600_000)],
    ids=["not measured", "a script with more in it", "the profiler slowed the host"],
)
def test_idle_time_that_the_clock_does_not_see_cannot_be_won(tmp_path, median_ns, whole_ns, idle_ns):
    run = _host_bound().run(tmp_path)
    run.measured = Measured(median_ns=median_ns)
    assert run.whole_ns == whole_ns
    first = advise(run, device("H100"))[0]
    assert first.title == "Reduce launch overhead"
    assert first.max_gain_s * 1e9 == pytest.approx(idle_ns, rel=0.01)


def test_a_host_that_only_the_profiler_makes_late_bounds_nothing(tmp_path):
    """Launches every 20 us of kernels that take 18: the recording leaves nothing to win on the device. The clock says
    that the device is never idle, so its work may be shortened after all."""
    t = Made(**H100)
    for i in range(100):
        t.one("aten::add", 20_000 * (i + 1), 18_000, dims=[[4, 4]])
    run = t.run(tmp_path)
    assert run.advice[0].title == "Reduce launch overhead"
    run.measured = Measured(median_ns=1_810_000)
    assert [a.id for a in advise(run, device("H100"))] == ["device.elementwise", "device.slow-kernel"]
    run.measured = Measured(median_ns=2_200_000)
    assert "Fuse elementwise work" not in [a.title for a in advise(run, device("H100"))]
