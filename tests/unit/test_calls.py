"""Which curve times an operation, as a state of the software runs it."""

from __future__ import annotations

import pytest

from frameroof.estimate.expected.calls import Calls
from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.general import curves_of
from frameroof.estimate.expected.kernels import Kernels
from frameroof.estimate.expected.protocol import Bounds, Work, total_s
from frameroof.estimate.expected.software import software_of
from frameroof.hardware import device
from frameroof.roofline import Roofline
from frameroof.workload.expr import ONE, poly
from frameroof.workload.records import Op, Tensor

H100 = device("H100-SXM5")


def calls(software):
    return Calls(chip_of(H100), curves_of(H100), software_of(software))


def attention(d, env):
    queries, out = (Tensor((ONE, poly("8"), poly("q"), poly(str(d))), "bf16") for _ in range(2))
    dims = {"b": ONE, "heads": poly("8"), "q": poly("q"), "kv": poly("q"), "d": poly(str(d)), "dv": poly(str(d))}
    return Work(Op("a", "attention", "attention", (queries, queries, queries), (out,), dims), env)


def test_an_engine_writes_what_a_product_reads_in_the_type_of_the_product():
    """Its epilogues quantize, so that only the others' inputs are written in eight bits before a product."""
    m, n, k = 4096, 3072, 3072
    tensors = [Tensor((poly(str(a)), poly(str(b))), "fp8") for a, b in ((m, k), (k, n))]
    dims = {"b": ONE, "m": poly(str(m)), "n": poly(str(n)), "k": poly(str(k))}
    op = Op("x", "linear", "linear", tuple(tensors), (Tensor((poly(str(m)), poly(str(n))), "bf16"),), dims)
    eager, engine = (calls(name).seconds(Work(op)) for name in ("diffusers-eager", "tensorrt"))
    curve = curves_of(H100).gemm["fp8"]
    assert eager - engine == pytest.approx(curve.quantize * (m * k * 3) / H100.bandwidth)
    assert eager > engine * 1.1


def test_heads_wider_than_flash_attention_is_made_for_run_in_torchs_own():
    """A VAE's attention, one head of 512: FlashAttention 3 has no such kernel, nor has 2 (their README)."""
    named, torchs = (calls(f"diffusers-eager,attention={kernel}") for kernel in ("fa3", "sdpa"))
    wide, narrow = (attention(d, {"q": 16384}) for d in (512, 256))
    assert named.seconds(wide) == torchs.seconds(wide)
    assert named.seconds(narrow) < torchs.seconds(narrow)
    assert named.seconds(wide) > 2.1 * torchs.seconds(narrow)  # twice the work, in a slower kernel


def test_one_query_takes_the_bytes_of_its_keys():
    env = {"kv": 65536}
    query, keys = (
        Tensor((ONE, poly("32"), ONE, poly("128")), "bf16"),
        Tensor((ONE, poly("32"), poly("kv"), poly("128")), "bf16"),
    )
    dims = {"b": ONE, "heads": poly("32"), "q": ONE, "kv": poly("kv"), "d": poly("128"), "dv": poly("128")}
    found = calls("compiled").seconds(Work(Op("a", "attention", "attention", (query, keys, keys), (query,), dims), env))
    moved = 2 * 32 * 65536 * 128 * 2
    assert found == pytest.approx(moved / (0.9 * H100.bandwidth), rel=0.05)


@pytest.mark.parametrize("software", ["diffusers-eager", "compiled"])
@pytest.mark.parametrize("kind", ["copy", "linear", "conv3d"])
def test_sizes_that_are_sums_over_calls_take_as_long_as_the_calls(kind, software):
    """Twenty calls of one size, as a row of twenty and as one whose sizes are their sums; each above its limit."""
    each = Tensor((poly("4096"), poly("1024")), "bf16")
    every = Tensor((poly("20"), poly("4096"), poly("1024")), "bf16")
    sizes = {
        "linear": ({"b": 1, "m": 4096, "n": 1024, "k": 1024}, {"b": 20, "m": 4096, "n": 1024, "k": 1024}),
        "conv3d": (
            {"n": 4096 * 1024, "k": 512, "c": 1024, "g": 1},
            {"n": 20 * 4096 * 1024, "k": 512, "c": 1024, "g": 1},
        ),
    }.get(kind, ({}, {}))
    dims = [{name: poly(str(size)) for name, size in given.items()} for given in sizes]
    one = Work(Op("x", kind, kind, (each,), (each,), dims[0], count=poly("20")))
    whole = Work(Op("x", kind, kind, (every,), (every,), dims[1], {"total": True}, poly("20")))
    model = Kernels(software_of(software))
    seconds = [total_s(model, work, Bounds.of(work, Roofline(H100))) for work in (one, whole)]
    assert seconds[1] == pytest.approx(seconds[0])
    none = Work(Op("x", kind, kind, (each,), (each,), dims[0], {"total": True}, poly("t-1")), {"t": 1})
    assert total_s(model, none, Bounds.of(none, Roofline(H100))) >= 0  # a video of one frame has no such call
