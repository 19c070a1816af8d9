"""No value of the hardware catalogue lacks a source, and each says whether it was re-read there."""

from __future__ import annotations

import msgspec
import pytest
from cli_said import run

from frameroof.hardware import device, devices, load, seed_devices

READING = "readings = [{ values = ['tdp'], at = 'vendor', document = 'a page', date = '2026-11-21' }]"
DIFFERING = "differing = [{ value = 'tdp', says = '90 W', source = 'a rumor' }]"
ENTRY = f"""
vendor = 'NVIDIA'
[[device]]
name = 'X1'
kind = 'gpu'
dense_tflops = {{ bf16 = 100 }}
memory_gb = 10
memory_gb_s = 1000
usd_per_hour = {{ low = 1.0, high = 2.0, date = '2026-05', source = 'a list' }}
source = ['a data sheet']
date = '2026-11-20'
confidence = 'low'
tdp_w = 100
{READING}
{DIFFERING}
"""


def test_every_device_and_price_has_a_source_and_a_date():
    assert len(devices()) == 117
    for one in devices():
        assert one.source, one.name
        assert all(source.strip() for source in one.source), one.name
        assert one.date in ("2026-11-20", "2026-11-21", "2026-11-30", "2026-12-01"), one.name
        if one.usd_per_hour:
            assert one.usd_per_hour.source, one.name
            assert one.usd_per_hour.date >= "2026", one.name
    for one in seed_devices():
        assert one.source, one.name
        assert one.date.startswith("2024-10"), one.name


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("source = ['a data sheet']\n", "", "missing required field `source`"),
        ("['a data sheet']", "[]", "X1 has no source"),
        ("['a data sheet']", "[' ']", "X1 has no source"),
        ("date = '2026-11-20'\n", "", "missing required field `date`"),
        ("'2026-11-20'", "'last week'", "X1 has the date 'last week'"),
        ("'a list'", "''", "X1 has a price without a source"),
        (", source = 'a list'", "", "missing required field `source`"),
        ("'2026-05'", "'May'", "X1 has a price with the date 'May'"),
        ("high = 2.0", "high = 0.5", "X1 has a price from 1.0 to 0.5"),
        ("bf16 = 100", "bf61 = 100", "X1 has a peak for 'bf61'; allowed are fp32"),
        ("bf16 = 100", "bf16 = 0", "X1 has a value that is not above zero"),
        ("memory_gb = 10", "memory_gb = 'ten'", "nvidia.toml: Expected `float`"),
        ("kind = 'gpu'", "kind = 'toaster'", "Invalid enum value 'toaster'"),
        ("kind = 'gpu'", "kind = 'gpu'\ncolor = 'green'", "unknown field `color`"),
        ("kind = 'gpu'", "kind = ", "nvidia.toml: Invalid value"),
        ("memory_gb = 10\n", "memory_gb = 0\n", "X1 has a value that is not above zero"),
        ("memory_gb = 10\n", "memory_gb = inf\n", "inf, which is not finite"),
        ("'X1'", "' '", "has an empty name"),
        (READING, READING.replace("'a page'", "' '"), "X1 has a reading without a document"),
        (READING, READING.replace("['tdp']", "[]"), "X1 has a reading without a document or without values"),
        (READING, READING.replace("'vendor'", "'hearsay'"), "Invalid enum value 'hearsay'"),
        (READING, READING.replace("2026-11-21", "today"), "X1 has a reading with the date 'today'"),
        (
            READING,
            READING.replace("'tdp'", "'link'"),
            "X1 gives a source for 'link'; it has: bf16, memory, mem_bandwidth, tdp, price",
        ),
        (DIFFERING, DIFFERING.replace("'a rumor'", "''"), "X1 has a differing value without its source"),
        (DIFFERING, DIFFERING.replace("'tdp'", "'l2'"), "X1 gives a source for 'l2'"),
    ],
)
def test_a_bad_entry_is_refused(old, new, sentence):
    assert len(load.read_family(ENTRY, "nvidia")) == 1
    assert old in ENTRY
    with pytest.raises(ValueError, match=r"^nvidia\.toml: ") as caught:
        load.read_family(ENTRY.replace(old, new), "nvidia")
    assert sentence in str(caught.value)


def test_recalled_sources_stay_visible():
    assert device("Gaudi3").unconfirmed
    assert device("M4 Max").unconfirmed
    assert device("M4 Max").confidence == "low"
    assert not device("H100").unconfirmed
    assert any("recalled (unconfirmed)" in source for source in device("H100").source)
    assert "recalled" in device("TPU v4").usd_per_hour.source
    assert all(one.flags for one in devices() if one.chips > 1)


def test_what_was_re_read_is_named_with_its_document_and_the_rest_is_unconfirmed():
    readings = [reading for one in devices() for reading in one.readings]
    assert {reading.at for reading in readings} == {"vendor", "vendor copy", "second hand", "device"}
    assert all(reading.date in ("2026-11-21", "2026-11-30", "2026-12-01") for reading in readings)
    n300 = device("n300")
    assert n300.confirmed == ("fp16", "fp8", "memory", "mem_bandwidth", "l2", "cache", "pcie", "tdp")
    assert "bf16" in n300.unconfirmed_values
    assert device("Apple M5").unconfirmed_values == device("Apple M5").values
    for one in devices():
        assert bool(one.confirmed) == bool(one.readings), one.name
        assert sorted((*one.confirmed, *one.unconfirmed_values)) == sorted(one.values), one.name
    at_vendor = [one for one in devices() if any(reading.at.startswith("vendor") for reading in one.readings)]
    assert len(at_vendor) >= 40
    assert sum(any(reading.at == "vendor" for reading in one.readings) for one in devices()) >= 20


MOST_USED = [
    ("H100", "bf16 fp8 memory mem_bandwidth link tdp"),
    ("H100 PCIe", "bf16 mem_bandwidth tdp"),
    ("H100 NVL", "bf16 fp8 memory mem_bandwidth link tdp"),
    ("H200", "bf16 fp8 memory mem_bandwidth link tdp"),
    ("A100", "bf16 int8 memory mem_bandwidth link tdp"),
    ("A100 PCIe", "bf16 int8 memory mem_bandwidth link tdp"),
    ("V100", "fp16 fp32 memory tdp"),
    ("L40S", "bf16 fp8 memory mem_bandwidth tdp"),
    ("L4", "bf16 fp8 memory mem_bandwidth tdp"),
    ("RTX 4090", "bf16 fp8 memory mem_bandwidth tdp"),
    ("RTX 5090", "bf16 fp8 fp4 memory mem_bandwidth tdp"),
    ("RTX 6000 Ada", "bf16 memory mem_bandwidth tdp"),
    ("B200", "bf16 fp8 fp4 memory mem_bandwidth link tdp"),
    ("B300", "bf16 fp8 fp4 memory mem_bandwidth link tdp"),
    ("GB200", "bf16 fp8 fp4 memory mem_bandwidth link tdp"),
    ("MI300X", "bf16 fp8 memory mem_bandwidth link tdp"),
    ("MI325X", "bf16 fp8 memory mem_bandwidth link tdp"),
    ("MI355X", "bf16 fp8 fp4 memory mem_bandwidth link tdp"),
    ("Gaudi3", "bf16 fp8 memory mem_bandwidth link tdp"),
    ("TPU v5e", "bf16 int8 memory mem_bandwidth link"),
    ("TPU v5p", "bf16 memory mem_bandwidth link"),
    ("TPU v6e", "bf16 int8 memory mem_bandwidth link"),
    ("n150", "fp16 fp8 memory mem_bandwidth tdp"),
    ("n300", "fp16 fp8 memory mem_bandwidth tdp"),
]


@pytest.mark.parametrize(("name", "core"), MOST_USED)
def test_the_most_used_are_confirmed_at_a_vendors_document(name, core):
    for value in core.split():
        found = device(name).provenance(value)
        assert found.confirmed, value
        assert found.source.startswith(("vendor: ", "vendor copy: ")), value
        assert found.confidence == "high", value


def test_each_value_has_its_own_source_and_confidence():
    h100 = device("H100")
    assert h100.provenance("memory").source.startswith("vendor: github.com/ai-dynamo/aiconfigurator")
    assert h100.provenance("fp8").source.startswith("vendor copy: nvidia.com/en-us/data-center/h100")
    l2 = h100.provenance("l2")
    assert (l2.confirmed, l2.confidence, l2.date) == (False, "high", "2026-11-20")
    assert "recalled" in l2.source
    price = device("TPU v5e").provenance("price")
    assert (price.value, price.confirmed, price.confidence) == (1.2, False, "medium")
    assert device("TPU v4").provenance("price").confidence == "low"  # recalled
    assert device("L40").provenance("bf16").confidence == "medium"  # second hand
    assert all(one.provenance(name).source for one in devices() for name in one.values)
    with pytest.raises(ValueError, match="has no value 'speed'; it has: fp32"):
        h100.provenance("speed")


@pytest.mark.parametrize(
    ("name", "value", "amount", "other"),
    [
        ("B200", "mem_bandwidth", 7.7e12, "8 TB/s"),
        ("B200", "memory", 180e9, "192 GB"),
        ("GB200", "mem_bandwidth", 8e12, ""),
        ("GB200", "memory", 186e9, "192 GB"),
        ("TPU v6e", "mem_bandwidth", 1638e9, "1640 GB/s"),
        ("TPU v6e", "mem_bandwidth", 1638e9, "1600 GB/s"),
        ("Gaudi3", "mem_bandwidth", 3.7e12, "3.67 TB/s"),
        ("MI250X", "mem_bandwidth", 3277e9, "3.2 TB/s"),
    ],
)
def test_where_documents_disagree_both_are_kept(name, value, amount, other):
    found = device(name).provenance(value)
    assert found.value == amount
    assert not other or any(line.startswith(other) for line in found.differs)


def test_the_unconfirmed_are_listed(capsys, monkeypatch):
    status, said = run(capsys, monkeypatch, "hardware", "--unconfirmed", "--json")
    listed = {one["name"]: one for one in msgspec.json.decode(said.encode())}
    assert status == 0
    assert set(listed) == {one.name for one in devices() if one.unconfirmed_values}
    assert listed["M5 (10c)"]["confirmed"] == []
    assert "l2" in listed["H100-SXM5-80GB"]["unconfirmed"]
    assert "bf16" not in listed["H100-SXM5-80GB"]["unconfirmed"]
    status, said = run(capsys, monkeypatch, "hardware", "--unconfirmed")
    assert status == 0
    assert "of 117 machines" in said
    assert "seed:" not in said
    status, said = run(capsys, monkeypatch, "hardware", "n150", "--unconfirmed")
    assert status == 0
    assert "n150" in said
    assert "H100" not in said
    status, said = run(capsys, monkeypatch, "hardware", "n150")
    assert "vendor: docs.tenstorrent.com/aibs/wormhole/specifications.html (2026-11-21)" in said
    assert "elsewhere: fp8 148 TFLOP/s (the BLOCKFP8 row" in said
    assert "\nunconfirmed: bf16, link" in said
    status, said = run(capsys, monkeypatch, "hardware", "H100", "--json")
    values = msgspec.json.decode(said.encode())["values"]
    assert values["memory"]["confirmed"]
    assert values["memory"]["value"] == 80e9
    assert not values["l2"]["confirmed"]
    assert set(values["l2"]) == {"value", "source", "date", "confidence", "confirmed", "differs"}
