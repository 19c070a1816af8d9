"""What advice can bring at most, from made traces: bounded by the work above its limit, and by the host."""

from __future__ import annotations

import msgspec
import pytest
from trace_made import H100, Made

from frameroof.hardware import device
from frameroof.run import Run
from frameroof.trace.advice import advise

pytestmark = pytest.mark.filterwarnings("error")


def test_fusing_is_bounded_by_what_must_still_be_moved(tmp_path):
    """4 elementwise kernels of 100 us on 64 MiB each in a row: one must read 64 MiB and write 64 MiB. A single one
    between two products is no chain, and a copy from the host cannot be fused with anything."""
    t, whole, small = Made(**H100), [[4096, 8192]], [[64, 64], [64, 64]]
    at = 100_000
    for i, (name, dims) in enumerate(
        [(f"aten::{n}", whole) for n in ("mul", "add", "silu", "native_layer_norm")]
        + [("aten::mm", small), ("aten::gelu", whole), ("aten::mm", small)]
    ):  # launched in time, one after the other
        t.op(name, 1_000 * i, 900, dims, ["c10::BFloat16"] * len(dims))
        t.call(1_000 * i + 100, 500, i + 1)
        t.kernel(at, 100_000, i + 1)
        at += 100_000
    t.op("aten::copy_", 8_000, 900, whole, ["c10::BFloat16"])
    t.call(8_100, 500, 900)
    t.kernel(at, 100_000, 900, "Memcpy HtoD (Pageable -> Device)", cat="gpu_memcpy", bytes=2**26)
    t.op("aten::add", 9_000, 900, whole, ["c10::BFloat16"])
    t.call(9_100, 500, 901)
    t.kernel(at + 100_000, 100_000, 901)
    run = t.run(tmp_path)
    chains = run.chains
    assert (chains.count, chains.kernels, chains.time_ns, chains.bytes) == (1, 4, 400_000, 2 * 2**26)
    advice = next(a for a in run.advice if a.title == "Fuse elementwise work")
    assert advice.max_gain_s == pytest.approx(400e-6 - 2 * 2**26 / device("H100").bandwidth)
    assert chains.bytes_per_s == pytest.approx(2 * 2**26 / 100e-6)
    assert advice.evidence.endswith("must still move 134.2 MB; the longest operator among them is aten::mul")
    saved = msgspec.to_builtins(run)
    del saved["chains"]["longest"]  # a run.json of before that was looked at
    old = msgspec.convert(saved, Run)
    evidence = [a.evidence for a in advise(old, device("H100")) if a.title == "Fuse elementwise work"]
    assert evidence == [advice.evidence.removesuffix("; the longest operator among them is aten::mul")]


def test_weights_being_drawn_are_no_chain(tmp_path):
    """A script that builds its model first: no compiler makes one kernel of the initial values of many tensors."""
    t = Made()
    for i, name in enumerate(("uniform_", "normal_", "uniform_", "mul", "add")):
        t.one(f"aten::{name}", 20_000 * (i + 1), 5_000, dims=[[64, 64]])
    chains = t.run(tmp_path).chains
    assert (chains.count, chains.kernels, chains.time_ns) == (1, 2, 10_000)


def test_advice_of_the_device_is_bounded_by_the_host(tmp_path):
    """Launches every 20 us of kernels that take 18: the host's own time leaves little to win on the device."""
    t = Made(**H100)
    for i in range(100):
        t.one("aten::add", 20_000 * (i + 1), 18_000, dims=[[4, 4]])
    run = t.run(tmp_path)
    assert run.chains.time_ns == 1_800_000
    assert not [a for a in run.advice if a.kind == "device"]


def test_nothing_worth_doing_gets_no_advice(tmp_path):
    t = Made(**H100)
    for i in range(10):
        t.call(100 * i, 50, i + 1)
        t.kernel(10_000 + 1_000_000 * i, 1_000_000, i + 1, "flash_fwd")
    assert t.run(tmp_path).advice == []


def test_half_and_eight_bits(tmp_path):
    def made(dtype):
        t = Made(**H100)
        t.one("aten::mm", 10_000, 1_000_000, dims=[[4096, 4096], [4096, 4096]], types=[dtype] * 2)
        return {a.id: a.max_gain_s for a in t.run(tmp_path).advice}

    # 137 TFLOP/s on fp32 is TF32's work, whose peak is half of bf16's; so is bf16's of fp8
    tf32, bf16 = (2 * 4096**3 / device("H100").dense_flops[unit] for unit in ("tf32", "bf16"))
    half = pytest.approx(0.5e-3, rel=1e-3)
    slow = {"device.slow-kernel": pytest.approx(1e-3 - tf32)}
    assert made("float") == {"precision.fp32-products": half} | slow
    slow = {"device.slow-kernel": pytest.approx(1e-3 - bf16)}
    assert made("c10::BFloat16") == {"precision.eight-bits": half} | slow
    t = Made(**H100)
    t.one("aten::mm", 10_000, 1_000_000, dims=[[4096, 4096], [4096, 4096]], types=["c10::BFloat16"] * 2)
    t.one("aten::mm", 1_020_000, 3_000_000)  # nothing was recorded of it
    (found,) = (a for a in t.run(tmp_path).advice if "8 bits" in a.title)
    assert found.evidence.startswith("linear layers take 1.000 ms of 4.000 ms, as far as they are in half precision")


def test_communication_exposed_and_hidden(tmp_path):
    t = Made()
    t.kernel(0, 10_000, 1, "gemm")
    t.kernel(4_000, 10_000, 2, "ncclDevKernel_AllReduce", stream=20)
    t.kernel(30_000, 5_000, 3, "ncclDevKernel_AllGather", stream=20)
    run = t.run(tmp_path)
    assert run.communication == {"time_ns": 15_000, "overlapped_ns": 6_000, "exposed_ns": 9_000}
