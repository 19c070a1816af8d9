"""A state of the software: what may be said, what contradicts, and what it is for one model on one device."""

from __future__ import annotations

import pytest

from frameroof import catalogue
from frameroof.estimate.expected.kernels import Kernels, is_vae
from frameroof.estimate.expected.software import DEFAULT, PRESETS, parse_software
from frameroof.hardware import device
from frameroof.passes import batch_guidance, set_precision
from frameroof.study.predict import predict
from frameroof.workload.expr import expr


def test_a_preset_with_choices():
    asked = parse_software("wan,attention=fa3,vae=bf16")
    assert (asked.name, asked.attention, asked.vae, asked.guidance) == ("wan", "fa3", "bf16", "twice")
    assert str(asked) == "wan,attention=fa3,vae=bf16"
    assert parse_software("attention=fa2").name == DEFAULT.name
    assert all(parse_software(name) == preset for name, preset in PRESETS.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vllm", "unknown software 'vllm'"),
        ("", "unknown software ''"),
        ("compiled,attention=fa9", "attention of software is best, fa2"),
        ("compiled,speed=11", "unknown choice 'speed=11'"),
        ("compiled,vae=fp32,vae=bf16", "says vae twice"),
        ("tensorrt,compile=no", "contradict"),
        ("tensorrt,attention=fa3", "contradict"),
        ("compiled,attention=trt", "contradict"),
        ("diffusers-eager,compile=yes", "contradict"),
    ],
)
def test_what_cannot_be_is_a_sentence(text, said):
    with pytest.raises(ValueError, match=said):
        parse_software(text)


@pytest.mark.parametrize(
    ("on", "asked", "kernel"),
    [
        ("H100", "compiled", "fa3"),
        ("H100", "wan", "fa2"),
        ("B200", "compiled", "fa4"),
        ("A100", "compiled", "fa2"),
        ("RTX 5090", "compiled", "fa2"),
        ("H100", "tensorrt", "trt"),
        ("MI300X", "diffusers-eager", "sdpa"),
        ("MI300X", "compiled", "fa2"),
        ("V100", "compiled", "sdpa"),  # FlashAttention-2 is for Ampere and later
        ("Gaudi3", "compiled", "sdpa"),
    ],
)
def test_each_device_has_its_kernel(on, asked, kernel):
    assert Kernels(parse_software(asked)).calls(device(on)).attention == kernel


def test_a_kernel_that_a_device_has_not_is_refused():
    with pytest.raises(ValueError, match="A100-SXM4-80GB has no attention kernel fa3; it has fa2"):
        predict("flux", "A100", software="wan,attention=fa3")
    with pytest.raises(ValueError, match="T4 has no attention kernel fa2; it has sdpa, math"):
        predict("sd15", "T4", dtype="fp16", software="xdit")


def test_a_vae_runs_in_the_type_that_its_pipeline_has():
    """SDXL's in fp16 is upcast; Wan's is fp32 whatever the rest; neither changes the limit."""
    half = set_precision(catalogue.load("sdxl-base"), "fp16")
    running = Kernels(PRESETS["diffusers-eager"]).running(half, device("A100"))
    assert (running.vae, running.guidance) == ("fp32", "twice")  # not batched yet
    wan = predict("wan2.1-t2v-1.3b", "A100", software="wan")
    assert (wan.running.vae, wan.running.guidance) == ("fp32", "twice")
    bf16 = predict("wan2.1-t2v-1.3b", "A100", software="wan,vae=bf16")
    assert bf16.limit_s == wan.limit_s
    assert bf16.estimate.stages[-1].expected_s < wan.estimate.stages[-1].expected_s
    assert [is_vae(name) for name in ("vae_decode", "vq_decode", "denoise")] == [True, True, False]


def test_guidance_in_one_batch_is_the_same_work_with_weights_read_once():
    loaded = catalogue.load("sdxl-base")
    made = batch_guidance(loaded)
    assert batch_guidance(made) is made
    for before, after in zip(loaded.stages, made.stages, strict=True):
        sizes = loaded.sizes({"batch": 3})
        repeats = [expr(stage.repeat)(sizes) for stage in (before, after)]
        guided = "guidance" in expr(before.repeat).names
        assert repeats[0] == repeats[1] * (2 if guided else 1)
        env, other = before.bind(sizes), after.bind(sizes)
        assert other["b"] == env["b"] * (2 if guided else 1)
        flops = [sum(op.flops()(e) * op.times(e) for op in stage.ops) * r
                 for stage, e, r in ((before, env, repeats[0]), (after, other, repeats[1]))]  # fmt: skip
        assert flops[0] == flops[1]
    for model in ("sdxl", "animatediff", "cogvideox-2b"):  # a batch may run item by item, each with the whole cache
        for on in ("A100", "H100"):
            made_s, apart_s = (
                predict(model, on, software=f"compiled,guidance={g}").limit_s for g in ("batched", "twice")
            )
            assert made_s <= apart_s * (1 + 1e-12)
    one, two = (predict("sdxl", "A100", software=f"compiled,guidance={how}") for how in ("batched", "twice"))
    assert one.estimate.total.flops == two.estimate.total.flops
    assert one.estimate.total.bytes < two.estimate.total.bytes


def test_eager_is_slower_and_waits_for_its_host():
    """aMUSEd is a small model in many launches: the host decides in eager code, the device where it is compiled."""
    eager, compiled, ideal = (
        predict("amused-512", "A100", software=s) for s in ("diffusers-eager", "compiled", "ideal")
    )
    assert eager.expected_s > 3 * compiled.expected_s
    spent = eager.estimate.total.spent
    assert spent.host_s > spent.device_s
    assert eager.estimate.total.expected_s < spent.host_s + spent.device_s
    assert ideal.estimate.total.spent.host_s == 0
    for found in (eager, compiled, ideal):
        assert found.limit_s <= found.low_s < found.expected_s < found.high_s
