"""Machines where a rule turns: prices that do not rise, prefixes of units, dates, the best of several readings."""

from __future__ import annotations

import msgspec
import pytest

from frameroof.hardware import Node, Price, device, parse_changes, parse_node, what_if
from frameroof.hardware.load import read_family
from frameroof.hardware.records import MAX_COUNT, Device, Differing, Reading

ENTRY = """
vendor = 'Me'
[[device]]
name = 'Dream 1'
kind = 'accelerator'
dense_tflops = { bf16 = 2, fp8 = 4 }
sparse_tflops = { bf16 = 8 }
memory_gb = 100
memory_gb_s = 6700
l2_mb = 50
link_gb_s_per_direction = 450
tdp_w = 700
source = ['an idea']
date = '2026-11-21'
confidence = 'low'
"""
PRICE = "usd_per_hour = {{ low = {}, median = {}, high = {}, date = '2026-01', source = 'a list' }}\n"


def read(more="", old="", new=""):
    (one,) = read_family((ENTRY + more).replace(old, new) if old else ENTRY + more, "mine")
    return one


def test_an_entry_in_the_units_of_data_sheets_is_si():
    one = read(PRICE.format(1, 2, 4))
    assert (one.dense_flops, one.sparse_flops) == ({"bf16": 2e12, "fp8": 4e12}, {"bf16": 8e12})
    assert (one.memory_bytes, one.bandwidth, one.l2_bytes) == (100 * 10**9, 6.7e12, 50 * 1024**2)
    assert (one.link_bandwidth, one.pcie_bandwidth, one.tdp_w) == (450e9, None, 700)
    assert (one.vendor, one.family, one.chips, one.ridge("bf16")) == ("Me", "mine", 1, 2 / 6.7)


@pytest.mark.parametrize("prices", [(1, 2, 4), (1, 1, 4), (1, 4, 4), (2, 2, 2)])
def test_prices_rise_from_low_over_the_median_to_high(prices):
    assert read(PRICE.format(*prices)).usd_per_hour.mid == prices[1]


@pytest.mark.parametrize("prices", [(2, 1, 4), (1, 5, 4), (4, 2, 1), (0, 1, 2), (-1, 1, 2)])
def test_prices_that_do_not_rise_are_refused(prices):
    with pytest.raises(
        ValueError, match=rf"has a price from {prices[0]}.* to {prices[2]}.*; it must be above zero and rise"
    ):
        read(PRICE.format(*prices))


def test_a_price_without_a_median_rises_too():
    two = "usd_per_hour = {{ low = {}, high = {}, date = '2026-01', source = 'a list' }}\n"
    assert read(two.format(1, 4)).usd_per_hour.mid == 2.5
    with pytest.raises(ValueError, match="it must be above zero and rise"):
        read(two.format(4, 1))


@pytest.mark.parametrize("date", ["2026-11", "2026-01-31", "2026-12-01"])
def test_dates_that_are_dates(date):
    assert read(old="2026-11-21", new=date).date == date


@pytest.mark.parametrize(
    "date", ["2026", "2026-13", "2026-00", "2026-11-32", "2026-11-00", "1999-11-01", "2026-1-1", "2026-11-21 "]
)
def test_dates_that_are_none_are_refused(date):
    with pytest.raises(ValueError, match="it must be YYYY-MM-DD or YYYY-MM"):
        read(old="2026-11-21", new=date)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("'an idea'", "' '", "has no source"),
        ("'Dream 1'", "' '", "has an empty name"),
        ("bf16 = 2,", "bf17 = 2,", "has a peak for 'bf17'"),
        ("{ bf16 = 8 }", "{ fp5 = 8 }", "has a peak for 'fp5'"),
        ("bf16 = 2,", "bf16 = 0,", "has a value that is not above zero"),
        ("bf16 = 8", "bf16 = -8", "has a value that is not above zero"),
        ("memory_gb = 100", "memory_gb = 0", "has a value that is not above zero"),
        ("l2_mb = 50", "l2_mb = 0", "has a value that is not above zero"),
        ("tdp_w = 700", "tdp_w = inf", "not finite"),
    ],
)
def test_what_does_not_belong_is_refused(old, new, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(old=old, new=new)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("pcie=500MB/s", 500e6),
        ("pcie=500kB/s", 500e3),
        ("link=.5 Gbps", 0.5e9),
        ("link=2e3B", 2e3),
        ("link=1PB/s", 1e15),
        ("memory=2mb", 2e6),
        ("vector_fp32=3 TFLOP/s", 3e12),
        ("fp8=7 Gops", 7e9),
        ("tdp=5", 5),
        ("tdp=2kW", 2000),
    ],
)
def test_every_prefix_is_a_thousand_times_the_one_before(text, value):
    assert list(parse_changes([text]).values()) == [pytest.approx(value, rel=1e-12)]


@pytest.mark.parametrize("text", ["pcie=5xB/s", "pcie=5B/", "memory=5B/s", "tdp=5kWh", "tdp=1 000", "tdp=5 5"])
def test_units_of_another_kind_are_refused(text):
    with pytest.raises(ValueError, match="is no value; write a number in"):
        parse_changes([text])


def test_changed_values_stand_in_place_of_the_own_ones():
    real = parse_node("H100")
    changes = {"memory": 1.0, "link": 2.0, "pcie": 3.0, "vector_fp32": 4.0, "tdp": 5.0, "mem_bandwidth": 6.0}
    now = what_if(real, changes).device
    assert (now.memory_bytes, now.link_bandwidth, now.pcie_bandwidth) == (1, 2.0, 3.0)
    assert (now.vector_peak, now.tdp_w, now.bandwidth) == (4.0, 5.0, 6.0)
    kept = what_if(real, {"fp4": 1e15}).device
    was = real.device
    assert (kept.memory_bytes, kept.link_bandwidth, kept.pcie_bandwidth) == (
        was.memory_bytes,
        was.link_bandwidth,
        was.pcie_bandwidth,
    )
    assert (kept.vector_peak, kept.tdp_w, kept.bandwidth) == (was.vector_peak, was.tdp_w, was.bandwidth)
    assert kept.sparse_flops == was.sparse_flops
    assert (now.cache_bytes, what_if(real, {"cache": 2e6}).device.cache_bytes) == (50 * 1024**2, 2_000_000)
    for key in ("memory", "cache"):
        with pytest.raises(ValueError, match=rf"{key} must be at least one byte, not 0\.9"):
            what_if(real, {key: 0.9})


# --------------------------------------------------------------------------------------- records


def test_a_node_multiplies_what_a_buyer_pays_and_nothing_else():
    node = Node(device("H100"), 3, Price(1.0, 3.0, "2026-01", "a list"))
    assert (node.name, node.usd_per_hour.low, node.usd_per_hour.mid) == ("3 x H100-SXM5-80GB", 3.0, 6.0)
    assert Node(device("H100")).usd_per_hour == device("H100").usd_per_hour
    assert Node(device("H100"), MAX_COUNT).count == MAX_COUNT
    for count in (0, MAX_COUNT + 1):
        with pytest.raises(ValueError, match=rf"the number of devices must be 1 to {MAX_COUNT}"):
            Node(device("H100"), count)


@pytest.mark.parametrize("text", ["2xH100", "2 x H100", "2*h100", "2 × H100", "+2xH100"])
def test_a_count_stands_before_the_device(text):
    assert (parse_node(text).count, parse_node(text).device.name) == (2, "H100-SXM5-80GB")


@pytest.mark.parametrize("text", ["2.5xH100", "1,000xH100", "2x", "-1xH100", "0xH100"])
def test_counts_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"number of devices|names no device"):
        parse_node(text)


def known(*ranks, **changes):
    """A device whose bandwidth was read at documents of these ranks."""
    readings = tuple(Reading(("mem_bandwidth",), at, f"doc {i}", f"2026-01-{i + 1:02}") for i, at in enumerate(ranks))
    fields = {"name": "d", "vendor": "v", "family": "f", "kind": "accelerator", "dense_flops": {"bf16": 1e12}} | changes
    return Device(
        memory_bytes=1, bandwidth=2.0, source=("a", "b"), date="2025-05", confidence="low", readings=readings, **fields
    )


@pytest.mark.parametrize(
    ("ranks", "source", "confidence"),
    [
        (("second hand", "vendor"), "vendor: doc 1", "high"),
        (("vendor", "second hand"), "vendor: doc 0", "high"),
        (("second hand",), "second hand: doc 0", "medium"),
        (("second hand", "vendor copy"), "vendor copy: doc 1", "high"),
        (("vendor", "vendor"), "vendor: doc 0", "high"),
    ],
)
def test_the_best_reading_says_where_a_value_comes_from(ranks, source, confidence):
    found = known(*ranks).provenance("mem_bandwidth")
    assert (found.source, found.confidence, found.confirmed, found.value) == (source, confidence, True, 2.0)


def test_a_value_that_no_one_read_again_has_the_sources_of_its_device():
    one = known("vendor", differing=(Differing("memory", "2 B", "elsewhere"), Differing("tdp", "3 W", "there")))
    found = one.provenance("memory")
    assert (found.source, found.date, found.confidence, found.confirmed) == ("a; b", "2025-05", "low", False)
    assert found.differs == ("2 B (elsewhere)",)
    assert (one.confirmed, one.unconfirmed_values) == (("mem_bandwidth",), ("bf16", "memory"))
    with pytest.raises(ValueError, match=r"d has no value 'tdp'; it has: bf16, memory, mem_bandwidth$"):
        one.provenance("tdp")


@pytest.mark.parametrize(("source", "confidence"), [("a list", "medium"), ("recalled by someone", "low")])
def test_a_recalled_price_is_not_sure(source, confidence):
    found = known(usd_per_hour=Price(1.0, 3.0, "2026-02", source)).provenance("price")
    assert (found.value, found.source, found.date, found.confidence) == (2.0, source, "2026-02", confidence)


@pytest.mark.parametrize(
    ("sources", "unconfirmed"),
    [(("recalled", "an estimate"), True), (("recalled", "a sheet"), False), (("a sheet",), False)],
)
def test_a_device_is_unconfirmed_where_no_document_stands_behind_it(sources, unconfirmed):
    assert msgspec.structs.replace(known(), source=sources).unconfirmed == unconfirmed
