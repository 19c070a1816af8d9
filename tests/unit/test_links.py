"""Collectives: by hand with round numbers, beside rows that were measured, and on links that were not."""

from __future__ import annotations

import statistics

import msgspec
import numpy as np
import pytest
from kernel_rows import NCCL

from frameroof.estimate.expected.links import Pace, links_of, shipped
from frameroof.hardware import device

HAND = msgspec.structs.replace(
    links_of(device("A100")),
    paces={name: {"2": Pace(10, 0, 100), "8": Pace(30, 6, 50)} for name in ("all_gather", "all_reduce")},
)
"""10 us and 100 GB/s between two; 30 us, 6 us a root of a MB and 50 GB/s between eight."""


def test_a_collective_is_a_latency_a_ramp_and_its_bytes():
    assert HAND.seconds("all_gather", 8e9, 1) == 0.0
    assert HAND.seconds("all_gather", 2e8, 2) == pytest.approx(10e-6 + 1e8 / 100e9)
    assert HAND.seconds("all_gather", 8e6 / 7 * 100, 8) == pytest.approx(30e-6 + 6e-6 * 10 + 1e8 / 50e9)
    assert HAND.seconds("all_reduce", 1e8, 2) == pytest.approx(HAND.seconds("all_gather", 2e8, 2))  # passes it twice
    assert HAND.seconds("broadcast", 2e8, 2) == HAND.seconds("all_gather", 2e8, 2)


def test_numbers_of_devices_between_those_measured_lie_between():
    two, four, eight = (HAND.seconds("all_gather", 1e8 * n / (n - 1), n) for n in (2, 4, 8))
    assert four == pytest.approx((two + eight) / 2)  # one of two doublings, for equal bytes


def test_beyond_a_node_the_slower_link_counts():
    slow = msgspec.structs.replace(HAND, across=msgspec.structs.replace(HAND.across, gb_s=5.0, share=1.0))
    passed = 1e8
    found = slow.seconds("all_gather", passed * 16 / 15, 16)  # eight adapters of 5 GB/s
    assert found == pytest.approx(30e-6 + 20e-6 + 60e-6 + passed / 40e9)


def test_arrays_are_as_numbers():
    sizes = np.array([1e4, 1e6, 1e9])
    assert HAND.seconds("all_gather", sizes, 4).tolist() == [HAND.seconds("all_gather", s, 4) for s in sizes.tolist()]


@pytest.mark.parametrize(("kind", "size", "devices"), [("scatter", 1, 2), ("all_gather", -1, 2), ("all_gather", 1, 0)])
def test_collectives_that_cannot_be_are_refused(kind, size, devices):
    with pytest.raises(ValueError, match="collective"):
        HAND.seconds(kind, size, devices)


def test_measured_collectives_are_met():
    errors = [
        abs(links_of(device(name)).seconds(collective, 2.0 * elements, devices) / (took_ms / 1e3) - 1)
        for name, collective, devices, elements, took_ms in NCCL
    ]
    assert statistics.median(errors) < 0.06
    assert sorted(errors)[int(0.9 * len(errors))] < 0.2


@pytest.mark.parametrize("name", sorted(shipped().devices))
def test_every_table_has_a_source_and_no_rate_above_the_link(name):
    own = shipped().devices[name]
    assert own.source
    assert own.date
    assert own.rows > 50
    assert own.error_median < 0.06
    in_network = 1.15  # an all-reduce inside the switch passes fewer bytes than a ring (NVLink SHARP)
    assert all(p.gb_s <= own.link_gb_s * in_network for by in own.paces.values() for p in by.values())


def test_links_without_a_table_are_scaled_from_their_kind():
    h100, h800 = links_of(device("H100-SXM5")), links_of(device("H800"))
    assert (h100.derived_from, h800.derived_from) == ("", "H100-SXM5-80GB")
    ratio = h800.paces["all_to_all"]["8"].gb_s / h100.paces["all_to_all"]["8"].gb_s
    assert ratio == pytest.approx(200 / 450)  # 400 GB/s in both directions, of 900
    assert h800.seconds("all_to_all", 1e9, 8) > 2 * h100.seconds("all_to_all", 1e9, 8)
    assert links_of(device("RTX 4090")).derived_from.startswith("RTX PRO 6000")


def test_cards_without_peers_have_the_numbers_of_two_only():
    assert set(shipped().devices["L40S"].paces["all_to_all"]) == {"2"}
    eight = links_of(device("L40S")).seconds("all_to_all", 64e6, 8)
    assert 64e6 * 7 / 8 / eight > 10e9  # the table says 1 to 2 GB/s: of a machine without peer access


def test_a_device_without_a_link_is_refused():
    with pytest.raises(ValueError, match="no link"):
        links_of(device("M1 Max"))
