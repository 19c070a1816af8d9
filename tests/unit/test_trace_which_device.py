"""Devices by their properties where ROCm left the name empty, and one of two chips of a package."""

from __future__ import annotations

import pytest
from trace_made import Made

from frameroof.hardware import device

GIB = 1 << 30


def listed(tmp_path, name="", units=304, memory=192 * GIB, warp=64):
    t = Made(deviceProperties=[{"id": 0, "name": name, "totalGlobalMem": memory, "numSms": units, "warpSize": warp}])
    t.one("aten::mm", 10_000, 9_000, dims=[[512, 512]] * 2, types=["c10::BFloat16"] * 2)
    run = t.run(tmp_path)
    said = [f"{p.what}: {p.action}" for p in run.problems if "without a name" in p.what]
    return run.summary.hardware, said[0] if said else ""


@pytest.mark.parametrize(
    ("units", "gib", "hardware", "words"),
    [
        (304, 191.99, "MI300X", "304 compute units, 206 GB and wavefronts of 64: taken for MI300X"),
        (304, 191.45, "MI300X", "taken for MI300X"),  # in a virtual machine
        (304, 255.98, "MI325X", "taken for MI325X"),
        (110, 63.98, "MI250X (1 of 2 chips)", "taken for MI250X"),
        (104, 63.98, "MI210", "taken for MI210, which has the figures of MI250"),
        (256, 287.98, None, "MI350X or MI355X: no peak is compared with; name the device with --on"),
        (228, 127.9, None, "MI300A, of which no figures are known"),
        (38, 24, None, "no device is known by them"),
        (304, 64, None, "no device is known by them"),
    ],
)
def test_by_units_and_memory(tmp_path, units, gib, hardware, words):
    found, said = listed(tmp_path, units=units, memory=int(gib * GIB))
    assert found == hardware
    assert words in said


def test_warps_of_32_and_properties_that_are_none_tell_nothing(tmp_path):
    assert listed(tmp_path, warp=32) == (None, "")
    assert listed(tmp_path, units="many") == (None, "")


@pytest.mark.parametrize(
    ("name", "memory", "hardware", "peak"),
    [
        ("AMD Instinct MI300X", 192 * GIB, "MI300X", 1307.4e12),
        ("AMD Instinct MI250X", 64 * GIB, "MI250X (1 of 2 chips)", 191.5e12),
        ("Intel(R) Data Center GPU Max 1550", 64 * GIB, "Data Center GPU Max 1550 (1 of 2 chips)", 416e12),
        ("Intel(R) Data Center GPU Max 1550", 128 * GIB, "Data Center GPU Max 1550", 832e12),
        ("Intel(R) Arc(TM) B580 Graphics", 12 * GIB, "Arc B580 12GB", 116.5e12),
        ("Intel(R) Arc(TM) Pro B60 Graphics", 24 * GIB, "Arc Pro B60 24GB", 98.3e12),
    ],
)
def test_by_name(tmp_path, name, memory, hardware, peak):
    found, said = listed(tmp_path, name, memory=memory)
    assert (found, said) == (hardware, "")
    whole = device(name).peak("bf16")
    assert peak == pytest.approx(whole / 2 if "1 of 2" in hardware else whole)
