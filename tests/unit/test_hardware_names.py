"""Machines by the names that people and drivers use, and nodes of several."""

from __future__ import annotations

import msgspec
import pytest

from frameroof.hardware import Node, Price, device, devices, load, parse_node


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("H100", "H100-SXM5-80GB"),
        ("h 100", "H100-SXM5-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIe-80GB"),
        ("NVIDIA H200", "H200-SXM-141GB"),
        ("A100", "A100-SXM4-80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-PCIe-40GB"),
        ("b200", "B200-SXM-180GB"),
        ("B300", "B300-SXM (HGX, 270-288GB)"),
        ("GB200", "GB200 (per GPU)"),
        ("GB300", "GB300 (per GPU)"),
        ("h200", "H200-SXM-141GB"),
        ("NVIDIA B200", "B200-SXM-180GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("NVIDIA A100-PG509-200", "A100-SXM4-40GB"),
        ("V100", "V100-SXM2-32GB"),
        ("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"),
        ("Tesla V100-SXM2-32GB", "V100-SXM2-32GB"),
        ("Tesla V100-DGXS-32GB", "V100-SXM2-32GB"),
        ("AMD Instinct MI210", "MI210"),
        ("AMD Instinct MI300X", "MI300X"),
        ("AMD Instinct MI300X VF", "MI300X"),
        ("mi300x", "MI300X"),
        ("AMD Instinct MI325X 256GB HBM3e", "MI325X"),
        ("MI250X", "MI250X (2 GCDs)"),
        ("l40s", "L40S"),
        ("4090", "RTX 4090"),
        ("RTX4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 5090", "RTX 5090"),
        ("n150", "Wormhole n150"),
        ("n300", "Wormhole n300"),
        ("wh-galaxy", "Wormhole Galaxy (32 chips)"),
        ("BH_galaxy", "Blackhole Galaxy (32 chips)"),
        ("TPUv5e", "TPU v5e"),
        ("gaudi-3", "Gaudi3"),
        ("trn2", "Trainium2"),
        ("M4 Max", "M4 Max (40c)"),
        ("Apple M4 Max", "M4 Max (40c)"),
        ("GB10", "DGX Spark GB10"),
        ("DGX Spark", "DGX Spark GB10"),
    ],
)
def test_names_people_and_drivers_use(typed, name):
    assert device(typed).name == name


def test_every_name_means_one_device():
    """`_index` raises when two devices claim one name; here every name leads back to its own."""
    assert load._index()
    for one in devices():
        for name in (one.name, *one.aliases):
            assert device(name) == one


def test_a_name_claimed_twice_is_refused(monkeypatch):
    twin = msgspec.structs.replace(device("L4"), name="twin", aliases=("h-100",))
    monkeypatch.setattr(load, "_of_file", lambda family: (device("H100"), twin))
    with pytest.raises(ValueError, match="means both H100-SXM5-80GB and twin"):
        load._names.__wrapped__("nvidia")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("H1000", "no device is called 'H1000'; did you mean H100-SXM5-80GB"),
        ("warp drive", "no device is called 'warp drive'. `frameroof hardware` lists all."),
        ("", "no device is called ''."),
        ("AMD H100", "no device is called 'AMD H100'"),
    ],
)
def test_an_unknown_name_gets_a_sentence(typed, sentence):
    with pytest.raises(ValueError, match="device") as caught:
        device(typed)
    assert sentence in str(caught.value)


def test_a_missing_peak_gets_a_sentence():
    with pytest.raises(ValueError, match="H100-SXM5-80GB has no fp4 peak; it has: fp32, tf32, bf16"):
        device("H100").peak("fp4")
    with pytest.raises(ValueError, match="'float16' is not one of fp32, tf32"):
        device("H100").peak("float16")


def test_a_driver_s_name_needs_its_maker_s_file_alone(monkeypatch):
    read = []
    monkeypatch.setattr(load, "_entries", lambda family, of=load._entries: read.append(family) or of(family))
    monkeypatch.setattr(load, "_of_entry", load._of_entry.__wrapped__)
    load._find.cache_clear()
    assert device("AMD Instinct MI300X").name == "MI300X"
    assert set(read) == {"amd"}
    assert device("MI300X").name == "MI300X"
    assert set(read) == {"amd", "nvidia"}


@pytest.mark.parametrize("family", [*load.FAMILIES, "seeds"])
def test_a_file_read_entry_by_entry_says_what_it_says_as_a_whole(family):
    assert tuple(load._of_entry(family, at) for at in range(len(load._entries(family)[1]))) == load._of_file(family)


def test_a_device_is_read_without_its_neighbors(monkeypatch):
    read = []
    monkeypatch.setattr(load, "_of_entry", lambda family, at, of=load._of_entry: read.append(at) or of(family, at))
    load._find.cache_clear()
    assert device("NVIDIA GeForce RTX 5090").name == "RTX 5090"
    assert len(read) < len(load._entries("nvidia")[1]) / 4


@pytest.mark.parametrize(
    ("typed", "count", "name"),
    [
        ("8xH100", 8, "8 x H100-SXM5-80GB"),
        ("8 x H100", 8, "8 x H100-SXM5-80GB"),
        (" 8X h100 ", 8, "8 x H100-SXM5-80GB"),
        ("8×H100", 8, "8 x H100-SXM5-80GB"),
        ("H100", 1, "H100-SXM5-80GB"),
        ("1xH100", 1, "H100-SXM5-80GB"),
        ("2xMI300X", 2, "2 x MI300X"),
        ("4090", 1, "RTX 4090"),
        ("4x4090", 4, "4 x RTX 4090"),
        ("100000xL4", 100_000, "100000 x L4"),
    ],
)
def test_nodes_read(typed, count, name):
    node = parse_node(typed)
    assert (node.count, node.name) == (count, name)
    assert parse_node(node.name) == node


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("0xH100", "'0xH100': 0 x H100-SXM5-80GB is not possible; the number of devices must be 1 to 100000"),
        ("-8xH100", "the number of devices must be 1 to 100000"),
        ("100001xH100", "the number of devices must be 1 to 100000"),
        ("9" * 5000 + "xH100", "is no number of devices"),
        ("1.5xH100", "'1.5' is no number of devices; write a whole number, as in 8xH100"),
        ("8x", "'8x' names no device"),
        ("8xH1000", "'8xH1000': no device is called 'H1000'; did you mean H100-SXM5-80GB"),
        ("xH100", "no device is called 'xH100'"),
    ],
)
def test_nodes_refused_with_a_sentence(typed, sentence):
    with pytest.raises(ValueError, match="device") as caught:
        parse_node(typed)
    assert sentence in str(caught.value)


def test_a_node_is_the_sum_of_its_devices():
    node = parse_node("8xH100")
    assert node.usd_per_hour is not None
    assert (node.usd_per_hour.low, node.usd_per_hour.high) == pytest.approx((25.6, 98.32))
    assert node.usd_per_hour.mid == pytest.approx(8 * 3.99)  # the median, where it is known
    assert node.usd_per_hour.median == pytest.approx(31.92)
    assert (node.link.kind, node.link.bandwidth) == ("nvlink", 450e9)
    assert parse_node("2xMI210").usd_per_hour is None
    assert parse_node("2xTPU v5e").device.tdp_w is None
    own = Price(low=2.0, high=2.0, date="2024-10-20", source="the seed post")
    assert Node(device("H100"), 8, own).usd_per_hour == Price(16.0, 16.0, "2024-10-20", "the seed post")
    assert {node: "hashable"}[parse_node("8 x H100")] == "hashable"
