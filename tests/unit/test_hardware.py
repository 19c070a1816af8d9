"""The values of the hardware catalogue agree with arithmetic on clocks, pins and units, and with the facts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cli_said import run

import frameroof.hardware as hardware
from frameroof.hardware import DTYPES, device, devices, seed_devices

# Sparse figures that are not twice the dense peak, and why.
NOT_TWICE = {
    ("B300-SXM (HGX, 270-288GB)", "fp4"): "14 PF dense, 18 PF sparse",
    ("GB300 (per GPU)", "fp4"): "15 PF dense, 20 PF sparse",
    ("Trainium2", "bf16"): "4:16 sparsity",
    ("Trainium3", "bf16"): "not 2:4 sparsity",
}


def test_sparse_is_twice_dense_but_for_the_listed():
    found = set()
    for one in devices():
        for dtype, sparse in one.sparse_flops.items():
            if abs(sparse / one.dense_flops[dtype] - 2) > 0.03:
                found.add((one.name, dtype))
            assert sparse > one.dense_flops[dtype]
    assert found == set(NOT_TWICE)


def test_peak_never_is_the_sparse_figure():
    for one in devices():
        for dtype in one.dense_flops:
            assert one.peak(dtype) == one.dense_flops[dtype]
            assert one.peak(dtype) < one.sparse_flops.get(dtype, float("inf"))
    h100 = device("H100")
    assert h100.peak("bf16") == 989.4e12
    assert h100.sparse_flops["bf16"] == pytest.approx(1979e12, rel=1e-3)
    assert h100.peak("fp32") == h100.vector_peak == 66.9e12
    assert h100.peak("tf32") == 494.7e12


# Where the vendor's figure replaced that of the facts, in the facts' units (memory in TB).
NVL = {"bf16": 835.5, "fp16": 835.5, "fp8": 1670.5, "int8": 1670.5}
NVL_SPARSE = {"bf16_sparse": 1671, "fp16_sparse": 1671, "fp8_sparse": 3341, "int8_sparse": 3341}
CORRECTED = {
    "MI250X (2 GCDs)": {"fp32": 95.7},  # the facts hold the vector rate
    "H100-NVL-94GB": NVL | NVL_SPARSE,
    "H200-NVL-141GB": NVL | NVL_SPARSE,
    "L40S": {"bf16_sparse": 733, "fp16_sparse": 733},
    "B300-SXM (HGX, 270-288GB)": {"fp32": 75, "memory": 0.270, "mem_bandwidth": 7.7},
    "A10G": {"fp32": 35},  # of 80 multiprocessors, as its data sheet has it
    "GB300 (per GPU)": {"memory": 0.279},
    "MI300X": {"bf16_sparse": 2614.9, "fp16_sparse": 2614.9},
    "MI325X": {"bf16_sparse": 2614.9, "fp16_sparse": 2614.9},
}


# FLOPs per clock and unit, units, boost clock in GHz: from the architectures, not from the catalogue.
BY_CLOCK = [
    ("V100", "fp16", 1024, 80, 1.53),
    ("V100", "fp32", 128, 80, 1.53),
    ("MI210", "bf16", 1024, 104, 1.7),
    ("MI210", "fp32", 256, 104, 1.7),
    ("A100", "bf16", 2048, 108, 1.41),
    ("A100", "fp32", 128, 108, 1.41),
    ("H100", "bf16", 4096, 132, 1.83),
    ("H100", "fp8", 8192, 132, 1.83),
    ("H100", "fp32", 256, 132, 1.98),
    ("H100 PCIe", "bf16", 4096, 114, 1.62),
    ("4090", "bf16", 512, 128, 2.52),
    ("4090", "fp32", 256, 128, 2.52),
    ("5090", "bf16", 512, 170, 2.407),
    ("L40S", "bf16", 1024, 142, 2.49),
    ("MI250X", "bf16", 1024, 220, 1.7),
    ("MI250X", "fp32", 256, 220, 1.7),
    ("MI300X", "bf16", 2048, 304, 2.1),
    ("MI355X", "bf16", 4096, 256, 2.4),
    ("MI355X", "fp4", 16384, 256, 2.4),
    ("M2 Ultra", "bf16", 256, 76, 1.398),
]


@pytest.mark.parametrize(("name", "dtype", "flops_per_clock", "units", "ghz"), BY_CLOCK)
def test_peaks_agree_with_units_times_clock(name, dtype, flops_per_clock, units, ghz):
    assert device(name).peak(dtype) == pytest.approx(flops_per_clock * units * ghz * 1e9, rel=5e-3)


# Bus width in bits, Gbit/s per pin.
BY_PINS = [
    ("V100", 4096, 1.754),
    ("MI210", 4096, 3.2),
    ("4090", 384, 21),
    ("5090", 512, 28),
    ("L4", 192, 12.5),
    ("L40S", 384, 18),
    ("M4 Max", 512, 8.533),
    ("n150", 192, 12),
    ("p150", 256, 16),
    ("WH Galaxy", 32 * 192, 12),
    ("BH Galaxy", 32 * 256, 16),
]


@pytest.mark.parametrize(("name", "bits", "gbit_s"), BY_PINS)
def test_bandwidths_agree_with_bus_width_times_pin_rate(name, bits, gbit_s):
    assert device(name).bandwidth == pytest.approx(bits * gbit_s / 8 * 1e9, rel=5e-3)


def test_values_are_si_and_plausible():
    for one in devices():
        half = "bf16" if "bf16" in one.dense_flops else "fp16"
        assert 1e12 < one.peak(half) < 1e16, one.name
        assert 1e9 < one.memory_bytes / one.chips < 1e12, one.name
        assert 1e11 < one.bandwidth / one.chips < 1e13, one.name
        assert 20 < one.ridge(half) < 1000, one.name  # a Jetson Thor has 273 GB/s for 259 TFLOP/s
        assert one.dense_flops.get("fp8", 1e18) >= one.peak(half), one.name
        assert list(one.dense_flops) == [dtype for dtype in DTYPES if dtype in one.dense_flops]
        if one.link_bandwidth:
            assert 1e10 < one.link_bandwidth < one.bandwidth, one.name
    assert device("H100").ridge("bf16") == pytest.approx(295.3, abs=0.1)
    assert device("H100").memory_bytes == 80_000_000_000
    assert device("H100").l2_bytes == 52_428_800  # as torch.cuda.get_device_properties says
    assert device("H100").link_bandwidth == 450e9  # NVLink 4: 900 GB/s is both directions
    assert device("MI250X").vector_peak == 47.9e12
    assert device("TPU v4").vector_peak is None


@pytest.mark.shared
def test_the_catalogue_carries_the_facts_over():
    path = Path(__file__).parents[3] / "shared/facts/hardware.json"
    if not path.exists():
        pytest.skip("no shared facts here")
    facts = msgspec.json.decode(path.read_bytes())["devices"]
    added = {"V100-SXM2-16GB", "V100-SXM2-32GB", "MI210", "A10", "T4"}  # the facts do not name them
    more = msgspec.json.decode(path.with_name("hardware_more.json").read_bytes())["devices"]
    added |= {one["name"] for one in more} - {"MI308X"}  # whose peaks nobody prints
    assert {one["name"] for one in facts} | added == {one.name for one in devices() if one.date < "2026-12"} | {"L2"}
    for fact in facts:
        one = device(fact["name"])
        said = {f"{dtype}": tflops for dtype, tflops in fact["dense_tflops"].items()}
        said |= {f"{dtype}_sparse": tflops for dtype, tflops in fact["sparse_tflops"].items()}
        said |= {"mem_bandwidth": fact["mem_tb_s"], "memory": fact["mem_gb"] / 1e3, "tdp": fact["tdp_w"]}
        for name, value in (said | CORRECTED.get(one.name, {})).items():
            scale = 1.0 if name == "tdp" else 1e12
            assert one.amounts.get(name) == (value and pytest.approx(value * scale)), (one.name, name)
            assert name not in CORRECTED.get(one.name, {}) or name in one.confirmed, (one.name, name)
        assert set(fact["source"]) == set(one.source)
        assert {flag for flag in fact["flags"] if "no price stored" not in flag or not one.usd_per_hour} <= set(
            one.flags
        )
        assert one.confidence == fact["confidence"]


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, frameroof.hardware as h, frameroof.units; h.parse_node('8xH100'); "
        "print([m for m in ('numpy', 'torch', 'polars', 'rich', 'matplotlib', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist():
    assert all(hasattr(hardware, name) for name in hardware.__all__)


def test_seed_devices_are_labeled_found_by_name_and_no_part_of_the_catalogue():
    h100, galaxy, n300 = (device(f"seed:{name}") for name in ("h100", "wh-galaxy", "n300"))
    assert seed_devices() == (h100, galaxy, n300)
    assert device("H100-as-in-movie-gen-post") is h100
    assert not set(seed_devices()) & set(devices())
    assert not any(one.label or one.stands_for for one in devices())
    assert (galaxy.peak("bf16"), galaxy.bandwidth) == (9.3e15, 7.68e12)
    assert (n300.peak("bf16"), n300.bandwidth) == (466e12, 576e9)
    assert galaxy.label == n300.label == "8-bit block-float peaks, used there for bf16 work"
    # "How fast is Meta Movie Gen?", which takes off 50 %: 480,926 TFLOP and 56,700 GB
    assert 480_926e12 / (8 * h100.peak("bf16") / 2) == pytest.approx(60.8, abs=0.05)
    assert 56_700e9 / (8 * h100.bandwidth / 2) == pytest.approx(4.2, abs=0.05)
    assert 480_926e12 / (galaxy.peak("bf16") / 2) == pytest.approx(103.4, abs=0.05)
    assert 56_700e9 / (galaxy.bandwidth / 2) == pytest.approx(14.8, abs=0.05)
    assert h100.usd_per_hour is not None
    assert 8 * h100.usd_per_hour.mid == 16
    # "Analyzing Llama3.2-Vision Performance", at 100 %: 9,982 GFLOP and 10,872 MB
    assert 9_982e9 / n300.peak("bf16") == pytest.approx(21.4e-3, abs=5e-5)
    assert 10_872e6 / n300.bandwidth == pytest.approx(18.9e-3, abs=5e-5)
    for seed in seed_devices():
        real = device(seed.stands_for)
        assert seed.peak("bf16") > 1.9 * real.peak("bf16")
        assert seed.memory_bytes == real.memory_bytes
        assert seed.flags
    assert h100.peak("bf16") == pytest.approx(device("H100").sparse_flops["bf16"], rel=1e-3)


def test_seed_devices_are_listed_apart(capsys, monkeypatch):
    status, said = run(capsys, monkeypatch, "hardware")
    assert status == 0
    catalogue, _, seeds = said.partition("As the seed documents assumed them")
    assert "seed:" not in catalogue
    assert all(one.name in seeds and one.stands_for in seeds for one in seed_devices())
    status, said = run(capsys, monkeypatch, "hardware", "seed:n300")
    assert "8-bit block-float peaks, used there for bf16 work; the real one is Wormhole n300" in said
    status, said = run(capsys, monkeypatch, "hardware", "--json")
    labels = {one["name"]: one["label"] for one in msgspec.json.decode(said.encode())}
    assert {name for name, label in labels.items() if label} == {one.name for one in seed_devices()}


# MiB: NVIDIA's and Tenstorrent's by their units (L2 slices, 1.5 MiB of L1 in a Tensix), AMD's with its Infinity Cache.
LAST_LEVELS = {"A100": 40, "H100": 50, "H200": 60, "B200": 126.5, "4090": 72, "T4": 4, "MI250X": 2 * 8, "MI300X": 256}
LAST_LEVELS |= {"MI325X": 256, "MI355X": 256, "n150": 72 * 1.5, "n300": 128 * 1.5, "p150": 140 * 1.5, "M1 Max": 48}


def test_the_last_level_cache_is_the_l2_where_nothing_larger_is_behind_it():
    assert {name: device(name).cache_bytes / 2**20 for name in LAST_LEVELS} == LAST_LEVELS
    assert device("MI300X").l2_bytes == 8 * 4 * 2**20  # 4 MiB in each of eight dies, in front of the Infinity Cache
    assert device("MI300X").provenance("cache").source.startswith("vendor: AMD ROCm")
    assert device("MI210").provenance("cache").source == device("MI210").provenance("l2").source
    assert all((one.cache_bytes or 0) >= (one.l2_bytes or 0) for one in devices())
    assert device("TPU v4").cache_bytes is None  # unknown is not none
