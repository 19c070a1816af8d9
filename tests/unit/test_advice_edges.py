"""Advice where a rule turns: what is worth it, what the host leaves to win, tiny products, tiles that bring nothing."""

from __future__ import annotations

import pytest
from msgspec import structs
from run_made import MS, attention, made

from frameroof.hardware import device
from frameroof.recorded import Measured
from frameroof.run import GroupRow, Launch, ShapeRow, StageRow, SyncRow
from frameroof.trace.advice import advise
from frameroof.trace.advice.decoder import is_decoder, tiles
from frameroof.trace.advice.device import on_device
from frameroof.trace.advice.host import waits
from frameroof.trace.advice.precision import precision

H100 = device("H100")


def gains(run, on=None):
    return {advice.id: round(advice.max_gain_s * 1e9) for advice in advise(run, on)}


def launch(host_active_ns):
    return Launch(5000, 9000, 12000, 20000, 1.5, 4, 0, 0, host_active_ns, [])


def test_no_advice_brings_more_than_there_is_to_win():
    """100 ms, of which the device works 60 and the host 90: 40 ms are idle, and 10 are beyond the host."""
    found = gains(made(launch=launch(90 * MS)))
    assert found["host.launches"] == 30 * MS  # all of its cause
    assert found["host.wait"] == 10 * MS  # the wait's own idle time
    assert found["device.fused-attention"] == 10 * MS  # 20 could be saved, the host leaves 10
    found = gains(made(launch=launch(95 * MS)))
    assert (found["host.launches"], found["host.wait"], found["device.fused-attention"]) == (30 * MS, 5 * MS, 5 * MS)
    found = gains(made(idle={"host_launch": 70 * MS}, launch=launch(0)))
    assert (found["host.launches"], found["device.fused-attention"]) == (40 * MS, 20 * MS)


@pytest.mark.parametrize(("late", "given"), [(2 * MS, True), (2 * MS - 1, False)])
def test_advice_is_given_from_two_percent_of_the_run_on(late, given):
    assert ("host.launches" in gains(made(idle={"host_launch": late}, attention=[], syncs=[]))) == given


def test_advice_stands_in_order_of_what_it_can_bring():
    run = made(idle={"host_launch": 5 * MS, "copy": 8 * MS}, launch=launch(0))
    assert [advice.id for advice in advise(run, None)] == [
        "device.fused-attention", "host.wait", "host.copies", "host.launches",
    ]  # fmt: skip


def test_waits_of_one_place_are_one_advice():
    syncs = [
        SyncRow("cudaStreamSynchronize", "aten::item", "a.py(1): f", 3, 1, 4 * MS),
        SyncRow("cudaMemcpyAsync", "aten::item", "a.py(1): f", 2, 1, 3 * MS),
        SyncRow("cudaStreamSynchronize", "aten::item", "a.py(2): f", 1, 1, 2 * MS),
        SyncRow("cudaDeviceSynchronize", "", "a.py(1): f", 1, 1, 1 * MS),
    ]
    found = [
        (one.title.removeprefix("Remove the wait for the device in "), one.max_gain_s)
        for one in waits(made(syncs=syncs))
    ]
    assert found == [
        ("aten::item at a.py(1): f", pytest.approx(7e-3)),
        ("aten::item at a.py(2): f", pytest.approx(2e-3)),
        ("cudaDeviceSynchronize at a.py(1): f", pytest.approx(1e-3)),
    ]


@pytest.mark.parametrize(
    ("query_len", "batch", "heads", "tiny"),
    [(32, 500, 2, True), (33, 500, 2, False), (32, 333, 3, False), (8, 1, 1000, True)],
)
def test_short_sequences_in_great_number_are_tiny_products(query_len, batch, heads, tiny):
    row = attention(10 * MS, fused=False, query_len=query_len, batch=batch, heads=heads)
    found = [advice.id for advice in on_device(made(attention=[row]), None)]
    assert found == ["device.tiny-attention" if tiny else "device.fused-attention"]


def test_fused_attention_and_attention_of_unknown_size_call_for_nothing():
    rows = [attention(10 * MS, fused=True), attention(10 * MS, fused=False, query_len=0)]
    assert list(on_device(made(attention=rows), None)) == []


def test_all_eager_attention_is_one_advice():
    rows = [attention(10 * MS, fused=False), attention(30 * MS, fused=False, query_len=512)]
    (one,) = on_device(made(attention=rows), None)
    assert one.max_gain_s == pytest.approx(20e-3)  # half of each
    assert "8 calls of attention" in one.evidence
    assert "the largest is 512 x 256" in one.evidence


def vae(name="vae decode", source="Decoder", convolution=2, linear=1):
    return StageRow(name, source, MS, MS, 1, [MS], {"convolution": convolution, "linear": linear}, 1.0)


@pytest.mark.parametrize(
    ("stage", "decodes"),
    [
        (vae(), True),
        (vae("x", "AutoencoderKL"), True),
        (vae("x", "y"), False),
        (vae(convolution=1), False),  # as much in linear layers: the decoding of a language model
        (vae(convolution=1, linear=0), True),
    ],
)
def test_a_decoder_is_named_so_and_made_of_convolutions(stage, decodes):
    assert is_decoder(stage) == decodes


@pytest.mark.parametrize(
    ("tokens", "keys", "saved"),
    [(4096, 4096, None), (8192, 8192, 20 * MS), (16384, 16384, 30 * MS), (8192, 4096, None)],
)
def test_tiles_save_what_is_beyond_one_tile(tokens, keys, saved):
    """40 ms of attention over all positions; in tiles of 64 x 64 it grows with their number alone."""
    row = attention(40 * MS, fused=True, query_len=tokens, key_len=keys)
    row.stage = "vae decode"
    found = [round(advice.max_gain_s * 1e9) for advice in tiles(made(stages=[vae()], attention=[row]), H100)]
    assert found == ([] if saved is None else [saved])
    row.stage = "denoise"
    assert list(tiles(made(stages=[vae()], attention=[row]), H100)) == []


def linear(time_ns, dtype, flops=1e12, class_="linear", stage="denoise"):
    return ShapeRow(class_, "aten::mm", stage, "", [[8, 64], [64, 64]], dtype, time_ns, 1, flops)


def precise(*rows, on=H100):
    return {a.id: a for a in precision(made(shapes=list(rows)), on)}


def test_eight_bits_bring_half_of_the_time_however_slow_it_is():
    for time in (20 * MS, 200 * MS):
        (found,) = precise(linear(time, "bf16", 10e12)).values()
        assert found.id == "precision.eight-bits"
        assert found.max_gain_s * 1e9 == pytest.approx(time / 2, rel=1e-3)  # 1,978.9 over 989.4 TFLOP/s


def test_half_precision_keeps_the_inefficiency_of_today():
    """26 s at 12 % of a peak that bf16 has 2.4 times: 26 x (1 - 1/2.4) is 15.17 s, not the 25 above the new limit."""
    machine = structs.replace(H100, dense_flops={"fp32": 100e12, "bf16": 240e12})
    (found,) = precise(linear(26_000 * MS, "fp32", 0.12 * 26 * 100e12), on=machine).values()
    assert found.max_gain_s == pytest.approx(26 * (1 - 1 / 2.4))
    assert found.arithmetic == "26.00 s limited by compute x (1 - 1/2.4) = 15.17 s"


def test_what_bytes_limit_gains_by_bytes():
    """1 GFLOP that moves 3.35 GB: 1 ms by bandwidth, whatever the peak; twice as slow now, and then."""
    row = linear(2 * MS, "fp32", 1e9)
    row.bytes = 3.35e9
    (found,) = precise(row).values()
    assert found.max_gain_s == pytest.approx(1e-3)
    assert found.arithmetic == "2.000 ms limited by bandwidth x (1 - 1/2) = 1.000 ms"


def test_a_limit_that_turns_from_compute_to_bandwidth_falls_less_than_either():
    """fp32: 2 ms by its peak, 1.6 by bytes; bf16: 0.14 by its peak, 0.8 by bytes. So 2 -> 0.8 of 4 ms."""
    row = linear(4 * MS, "fp32", 2e-3 * H100.peak("fp32"))
    row.bytes = 1.6e-3 * H100.bandwidth
    (found,) = precise(row).values()
    assert found.max_gain_s == pytest.approx(4e-3 * (1 - 0.8 / 2))
    assert found.arithmetic == ("4.000 ms limited by the one before and by the other after x (1 - 1/2.5) = 2.400 ms")


def test_products_of_fp32_that_ran_faster_than_fp32_have_the_peak_of_tf32():
    found = precise(linear(50 * MS, "fp32", 20e12))
    assert set(found) == {"precision.fp32-products"}
    assert found["precision.fp32-products"].max_gain_s == pytest.approx(25e-3)  # 494.7 -> 989.4 TFLOP/s


def test_a_gain_that_the_host_caps_says_so():
    """100 ms, of which the host needs 90: fused attention could save 20 and brings 10."""
    run = made(launch=launch(90 * MS))
    (fused,) = (a for a in advise(run, None) if a.id == "device.fused-attention")
    assert fused.arithmetic == "40.00 ms - 20.00 ms, the limit of fused kernels, = 20.00 ms"
    assert fused.cap == "the host itself needs 90.00 ms of 100.0 ms, which leaves 10.00 ms"
    (free,) = (a for a in advise(made(launch=launch(0)), None) if a.id == "device.fused-attention")
    assert (free.cap, free.max_gain_s) == ("", 20e-3)


def test_what_the_host_leaves_shrinks_with_the_run_without_the_profiler():
    """Of 100 ms the host leaves 10; without the profiler it is 80 ms, of which it leaves as large a share: 8."""
    found = gains(made(launch=launch(90 * MS), measured=Measured(median_ns=80 * MS)))
    assert found["device.fused-attention"] == 8 * MS


def test_without_device_work_there_is_no_advice():
    run = made()
    run.summary.host_only = True
    assert advise(run, H100) == []


def test_kernels_that_change_a_layout_are_what_channels_last_can_bring():
    kernels = [
        GroupRow("nchwToNhwcKernel", 3 * MS, 1, 0.1),
        GroupRow("gemm", 9 * MS, 1, 0.1),
        GroupRow("batched_transpose_16", MS, 1, 0.1),
    ]
    (one,) = on_device(made(attention=[], kernels=kernels), None)
    assert (one.id, one.max_gain_s) == ("device.channels-last", pytest.approx(4e-3))
