"""Which curve times an operation, as a state of the software runs it."""

from __future__ import annotations

import pytest

from frameroof.estimate.expected.calls import Calls
from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.general import curves_of
from frameroof.estimate.expected.protocol import Work
from frameroof.estimate.expected.software import software_of
from frameroof.hardware import device
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
