"""Expected times of eager execution and of collectives, against arithmetic done by hand on an A100."""

import math
from dataclasses import replace

import pytest

from frameroof.estimate import estimate
from frameroof.estimate.communication import Links, links_of
from frameroof.estimate.expected import Bounds, Work
from frameroof.estimate.expected.efficiency import Curve, stated
from frameroof.hardware import parse_node
from frameroof.roofline import Roofline
from frameroof.study.characterize.predicted import workload_of
from frameroof.workload.expr import poly
from frameroof.workload.records import Op, Tensor

A100 = parse_node("A100")
PEAK, BANDWIDTH, UNITS = 312e12, 2.039e12, 108
TABLE = stated().table


class Made:
    """The stated table on an A100, asked about one operation."""

    def __init__(self, clock="kernel", table=TABLE):
        self.expected = replace(stated(), clock=clock, table=table)

    def call_s(self, work):
        return self.expected.call_s(work, Bounds.of(work, Roofline(A100.device)))

    def parts_s(self, work):
        return self.expected.parts_s(work, Bounds.of(work, Roofline(A100.device)))


made = Made


def tensor(*shape):
    return Tensor(tuple(poly(str(d)) for d in shape), "bf16")


def at(op, **env):
    return Work(op, env)


def linear(m, n, k):
    dims = {"b": poly("1"), "m": poly(str(m)), "n": poly(str(n)), "k": poly(str(k))}
    return Op("fc", "linear", "linear", (tensor(m, k), tensor(n, k)), (tensor(m, n),), dims)


def attention(b, heads, q, kv, d, masks=0):
    sizes = {"b": b, "heads": heads, "kv_heads": heads, "q": q, "kv": kv, "d": d, "dv": d}
    reads = (tensor(b, heads, q, d), tensor(b, heads, kv, d), tensor(b, heads, kv, d), *[tensor(q, kv)] * masks)
    dims = {name: poly(str(size)) for name, size in sizes.items()}
    return Op("attn", "attention", "sdpa", reads, (tensor(b, heads, q, d),), dims, {"role": "self"})


def pointwise(elements):
    return Op("act", "elementwise", "silu", (tensor(elements),), (tensor(elements),))


def test_small_work_takes_a_launch():
    small = at(pointwise(16))
    assert made("kernel").call_s(small) == pytest.approx(2e-6)  # the smallest kernel
    assert made("wall").call_s(small) == pytest.approx(35e-6)  # a dispatch


def test_a_large_product_takes_its_flops_through_the_curve():
    work = at(linear(4096, 4096, 4096))  # 137 GFLOP, beyond the curve's last point: 0.95
    assert made().call_s(work) == pytest.approx(2 * 4096**3 / (PEAK * 0.95))


def test_the_curve_is_straight_over_the_logarithm_of_the_size():
    curve = Curve(points=((1.0, 0.6), (16.0, 0.9)), unit="", source="hand", date="2026-01-01")
    assert curve.at(4.0) == pytest.approx(0.75)  # half way from 1 to 16 in logarithms
    assert curve.at(0.001) == pytest.approx(0.6)
    assert curve.at(1e9) == pytest.approx(0.9)


def test_one_row_of_a_product_is_bound_by_its_weights():
    work = at(linear(1, 4096, 4096))
    moved = 2 * (4096 * 4096 + 2 * 4096)
    share = 0.75 + 0.15 * math.log(moved / 1e7) / math.log(10)  # between the points at 10 and 100 MB
    assert made().call_s(work) == pytest.approx(moved / (BANDWIDTH * share))


def test_elementwise_work_takes_its_bytes():
    work = at(pointwise(10**8))
    assert made().call_s(work) == pytest.approx(4e8 / (BANDWIDTH * 0.9))


def test_flash_attention_takes_whole_waves_of_blocks():
    work = at(attention(1, 8, 4096, 4096, 64))
    blocks = 8 * 4096 // 128  # 256 on 108 multiprocessors: 3 waves
    share = 0.5 * blocks / (3 * UNITS)
    assert made().call_s(work) == pytest.approx(4 * 8 * 4096**2 * 64 / (PEAK * share))


def test_flash_attention_over_few_frames_computes_padding():
    work = at(attention(4096, 8, 16, 16, 64))
    blocks, padding = 4096 * 8, 16 / 128 * 16 / 64
    share = 0.5 * padding * blocks / (math.ceil(blocks / UNITS) * UNITS)
    assert made().call_s(work) == pytest.approx(4 * blocks * 16 * 16 * 64 / (PEAK * share))


def test_decoding_with_few_heads_leaves_most_of_the_device_idle():
    work = at(attention(1, 32, 1, 2048, 128))
    moved = 2 * 128 * 32 * (2 * 2048 + 2)
    share = 0.75 + 0.15 * math.log(moved / 1e7) / math.log(10)
    assert made().call_s(work) == pytest.approx(moved / (BANDWIDTH * share) / (32 / UNITS))


def test_split_keys_fill_the_device():
    split = made(table=replace(TABLE, flash_splits_keys=replace(TABLE.flash_splits_keys, value=1.0)))
    short, long = at(attention(1, 32, 1, 2048, 128)), at(attention(1, 8, 4096, 4096, 64))
    assert made().parts_s(short)[1] / split.parts_s(short)[1] == pytest.approx(UNITS / 32)
    assert split.call_s(long) == made().call_s(long)


def test_masks_and_wide_heads_do_not_run_in_flash_attention():
    for op in (attention(1, 8, 4096, 4096, 64, masks=1), attention(1, 8, 4096, 4096, 512)):
        flops = op.flops()({})
        assert made().call_s(at(op)) == pytest.approx(flops / (PEAK * 0.25))


def test_group_norm_at_batch_one_does_not_fill_the_device():
    def norm(batch):
        return Op("n", "norm", "group_norm", (tensor(batch, 10**7),), (tensor(batch, 10**7),))

    plain = 4e7 / (BANDWIDTH * TABLE.memory.at(40))
    assert made().call_s(at(norm(1))) == pytest.approx(plain * (1 + 0.5 * UNITS / 32))
    assert made().call_s(at(norm(4))) == pytest.approx(4 * 4e7 / (BANDWIDTH * 0.9) * 1.5)


@pytest.mark.parametrize("attention_kind", ["baseline", "flash"])
def test_nothing_is_faster_than_its_limit(attention_kind):
    workload = workload_of("stable-diffusion", attention_kind)
    for op in estimate(workload, A100, {"batch": 2, "guidance": 1}, stated()).total.ops:
        assert op.expected_s >= op.limit_s * (1 - 1e-9), op.op.path


# ------------------------------------------------------------------------------------------- links

HAND = Links(inside_bytes_s=100e9, inside_latency_s=10e-6, across_bytes_s=50e9, across_latency_s=20e-6, per_node=8)


def test_a_collective_is_a_latency_and_its_bytes():
    assert HAND.seconds("all_gather", 8e9, 1) == 0.0
    assert HAND.seconds("all_gather", 8e9, 8) == pytest.approx(10e-6 + 7e9 / 100e9)
    assert HAND.seconds("all_reduce", 8e9, 8) == pytest.approx(2 * (10e-6 + 7e9 / 100e9))
    assert HAND.seconds("reduce_scatter", 16e9, 16) == pytest.approx(30e-6 + 15e9 / 50e9)  # the slower link


def test_links_of_an_a100_are_its_nvlink_and_one_adapter_each():
    links = links_of(A100.device, TABLE)
    assert links.inside_bytes_s == pytest.approx(0.65 * 300e9)
    assert links.across_bytes_s == pytest.approx(0.9 * 8 * 25e9)


@pytest.mark.parametrize(("kind", "size", "devices"), [("scatter", 1, 2), ("all_gather", -1, 2), ("all_gather", 1, 0)])
def test_collectives_that_cannot_be_are_refused(kind, size, devices):
    with pytest.raises(ValueError, match="collective"):
        HAND.seconds(kind, size, devices)
