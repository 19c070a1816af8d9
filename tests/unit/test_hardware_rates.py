"""Peaks follow from multiprocessors, clock and what one multiprocessor does in a clock: a check on every GPU's entry.

The rates are those of the vendors' architecture papers, not of the catalogue: NVIDIA's of Volta, Turing, A100, GA102,
Ada, Hopper and RTX Blackwell, AMD's of CDNA 2 to 4 and RDNA 3. A card whose document disagrees stands below with why.
"""

from __future__ import annotations

import re

import pytest

from frameroof.hardware import device, devices

FULL = {"fp16": 1024, "bf16": 1024, "tf32": 512, "int8": 2048, "fp8": 2048, "fp4": 4096}
"""FLOPs a clock of a multiprocessor of GA102, AD102 and GB202, with fp32 accumulate, on professional cards."""
HALVED = {**FULL, "fp16": 512, "bf16": 512, "tf32": 256, "fp8": 1024, "fp16_acc": 1024}
"""The same of GeForce cards: half with fp32 accumulate, but for int8 and fp4."""
HALF = {unit: rate // 2 for unit, rate in FULL.items()}
"""The same halved throughout."""
HOPPER = {"fp16": 4096, "bf16": 4096, "tf32": 2048, "int8": 8192, "fp8": 8192}
BLACKWELL = {"fp16": 8192, "bf16": 8192, "tf32": 4096, "int8": 16384, "fp8": 16384, "fp4": 32768}
RATES = {
    "volta": {"fp16": 1024},
    "turing": {"fp16": 1024, "int8": 2048},
    "ampere": FULL,
    "ada": FULL,
    "hopper": HOPPER,
    "blackwell": BLACKWELL,
    "blackwell-rtx": FULL,
    "cdna2": {"fp16": 1024, "bf16": 1024, "int8": 1024},
    "cdna3": {"fp16": 2048, "bf16": 2048, "tf32": 1024, "int8": 4096, "fp8": 4096},
    "cdna4": {"fp16": 4096, "bf16": 4096, "int8": 8192, "fp8": 8192, "fp4": 16384},
    "rdna3": {"fp16": 512},
}
GA100 = {"fp16": 2048, "bf16": 2048, "tf32": 1024, "int8": 4096}
OWN_RATES = {
    "A10G": {"fp16": 512, "bf16": 512, "tf32": 256, "int8": 1024},  # NVIDIA's sheet for AWS: half of an A10's
    "L40": HALF,  # its sheet has half of an L40S's
    "L20": HALF,  # for export to China, as L2
    "L2": HALF,
    "Jetson AGX Orin 64GB": GA100,  # its GPU has the tensor cores of GA100
    "Jetson Thor T5000 128GB": BLACKWELL,  # 20 multiprocessors of B200's kind
}
CLOCKS = {
    "H100-PCIe-80GB": (1620, "matrix units at 1620 MHz; its boost clock is that of the rest"),
    "H800-PCIe-80GB": (1620, "as H100-PCIe-80GB"),
    "H100-NVL-94GB": (1545, "its sheet's peaks are those of 1545 MHz"),
    "H200-NVL-141GB": (1545, "as H100-NVL-94GB"),
    "B200-SXM-180GB": (1856, "no boost clock is stated; the catalogue has the highest"),
    "B300-SXM (HGX, 270-288GB)": (1856, "as B200; its sheet's fp4 is of a rate of its own"),
    "DGX Spark GB10": (2543, "peaks are halves of a rounded 1 PFLOP/s of fp4 with sparsity"),
}
"""At which clock, in MHz, a peak is stated where it is not the catalogue's, and why."""
NOT_BY_RATE = {
    ("B300-SXM (HGX, 270-288GB)", "int8"),  # Blackwell Ultra gave its int8 units up
    ("GB300 (per GPU)", "int8"),
    ("B300-SXM (HGX, 270-288GB)", "fp4"),  # and widened fp4, dense, by 1.5
    ("GB300 (per GPU)", "fp4"),
}
EXPORTED = "H20-96GB"
"""Its peaks follow from the rule for exports to China (peak times bits below 2,400 TOP/s), not from its clock."""
NO_CLOCK = {"L2": "no document of NVIDIA was found that states them"}
GPUS = [one for one in devices() if one.vendor in ("NVIDIA", "AMD")]


def rates_of(one):
    """What a multiprocessor of a device does in a clock, by unit."""
    if one.name in OWN_RATES:
        return OWN_RATES[one.name]
    if one.name.startswith(("A100", "A800", "A30")):
        return GA100
    halved = "fp16_acc" in one.dense_flops
    return (
        HALVED
        if halved and one.generation != "turing"
        else {**RATES[one.generation], **({"fp16": 512, "fp16_acc": 1024} if halved else {})}
    )


@pytest.mark.parametrize("one", GPUS, ids=lambda one: one.name)
def test_every_gpu_has_a_generation_and_a_clock_or_says_why_not(one):
    assert one.generation in RATES
    if one.name in NO_CLOCK:
        assert one.clock_hz is None
        assert any(NO_CLOCK[one.name] in flag for flag in one.flags)
    else:
        assert one.clock_hz
        assert one.provenance("clock").confirmed
        assert one.units


@pytest.mark.parametrize("one", [one for one in GPUS if one.units and one.clock_hz], ids=lambda one: one.name)
def test_matrix_peaks_follow_from_multiprocessors_and_clock(one):
    if one.name == EXPORTED:
        assert all(one.peak(unit) * bits < 2400e12 for unit, bits in (("bf16", 16), ("fp8", 8), ("int8", 8)))
        return
    rates, clock = rates_of(one), CLOCKS.get(one.name, (one.clock_hz / 1e6, ""))[0] * 1e6
    checked = [unit for unit in one.dense_flops if unit in rates and (one.name, unit) not in NOT_BY_RATE]
    assert len(checked) >= min(3, len(one.dense_flops) - 1)
    for unit in checked:
        assert one.peak(unit) == pytest.approx(one.units * clock * rates[unit], rel=0.03), unit


@pytest.mark.parametrize("one", [one for one in GPUS if one.units and one.clock_hz], ids=lambda one: one.name)
def test_vector_peaks_follow_from_multiprocessors_and_clock(one):
    """128 FLOPs a clock and multiprocessor on Volta, Turing, GA100 and CDNA 2, 256 elsewhere; Hopper's vector units
    run at up to 1.98 GHz where its matrix units do at 1.83, and an H20's sheet has 44 TFLOP/s, which is 2.2 GHz."""
    slow = one.generation in ("volta", "turing", "cdna2") or one.name.startswith(("A100", "A800", "A30"))
    expected = one.units * one.clock_hz * (128 if slow else 256)
    if one.vector_peak:
        assert one.vector_peak / expected == pytest.approx(1.0, rel=0.12 if one.generation == "hopper" else 0.06)


def test_consumer_cards_that_halve_fp32_accumulation_state_what_fp16_accumulation_reaches():
    geforce = {one.name for one in GPUS if re.match(r"RTX \d{4}", one.name) and "Ada" not in one.name}
    cards = {one.name for one in devices() if "fp16_acc" in one.dense_flops}
    assert {"RTX 2080 Ti", "RTX 3090", "RTX 4090", "RTX 5090"} <= cards
    assert geforce == cards
    assert device("4090").peak("fp16_acc") == 330.3e12  # NVIDIA's Ada white paper
    assert device("5090").peak("fp16_acc") == 419e12
    for name in cards:
        one = device(name)
        assert one.peak("fp16_acc") == pytest.approx(2 * one.peak("fp16"), rel=0.01), name
