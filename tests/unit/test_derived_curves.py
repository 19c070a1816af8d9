"""Curves of devices and types without tables: whose they are, what they give, and that they say so."""

from __future__ import annotations

import msgspec
import pytest

from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.curves import shipped
from frameroof.estimate.expected.derived import DEFAULT, gemm_for, scaled
from frameroof.estimate.expected.file import load_efficiency
from frameroof.hardware import device, devices

SIZE = (1, 8192, 8192, 8192)
FLOPS = 2 * 8192**3
MOVED = 3 * 2 * 8192**2


def rate(name, type="bf16", size=SIZE):
    """FLOP/s of a square product."""
    chip = chip_of(device(name))
    return 2 * size[1] * size[2] * size[3] / gemm_for(chip, type).seconds(chip, size, MOVED, quantized=True)


def test_what_was_measured_is_the_devices_own_and_types_of_the_same_kernels_share_it():
    chip = chip_of(device("L40S"))
    own = gemm_for(chip, "bf16")
    assert own is shipped("L40S").gemm["bf16"]
    assert own.derived_from == ""
    half, tf32 = gemm_for(chip, "fp16"), gemm_for(chip, "tf32")
    assert (half.peak, half.derived_from) == ("fp16", "bf16 of L40S")
    assert tf32.seconds(chip, SIZE, 0.0) == pytest.approx(
        own.seconds(chip, SIZE, 0.0) * chip.peak("bf16") / chip.peak("tf32"), rel=0.15
    )


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("RTX 4090", 165e12),  # github.com/tinygrad/tinygrad pull request 13623: torch's product
        ("A100-PCIe-80GB", 252.9e12),  # github.com/stas00/ml-engineering, the best of many shapes
        ("GB200 (per GPU)", None),
    ],
)
def test_rates_of_devices_without_tables_are_near_what_others_measured(name, measured):
    derived = gemm_for(chip_of(device(name)), "bf16").derived_from
    assert bool(derived) == (measured is not None)
    if measured:
        assert rate(name) == pytest.approx(measured, rel=0.15)


def test_a_card_with_half_the_matrix_rate_reaches_more_of_its_peak_and_is_not_slowed_down_by_heat():
    full, half = chip_of(device("L40S")), chip_of(device("RTX 4090"))
    made = gemm_for(half, "bf16")
    assert made.derived_from == "bf16 of L40S"
    assert rate("RTX 4090") / half.peak("bf16") > 1.2 * rate("L40S") / full.peak("bf16")
    assert made.heat == 0
    assert made.error_median >= 0.1


def test_less_power_for_the_same_peak_slows_long_products_down():
    long = (1, 16384, 16384, 16384)
    assert rate("A100-PCIe-80GB", size=long) / rate("A100-SXM4-80GB", size=long) == pytest.approx(
        (300 / 400) ** (1 / 3), abs=0.03
    )


def test_a_device_scaled_to_itself_is_itself():
    chip = chip_of(device("H100"))
    own = gemm_for(chip, "bf16")
    again = scaled(own, chip, chip, "bf16")
    assert again.shares == pytest.approx(own.shares)
    assert again.heat == pytest.approx(own.heat)
    assert again.fill == own.fill


def test_kernels_have_curves_of_their_own_and_a_users_are_asked_first():
    chip = chip_of(device("H100"))
    assert gemm_for(chip, "fp8:trtllm") is shipped(chip.name).gemm["fp8:trtllm"]
    assert gemm_for(chip, "fp8:abacus") is shipped(chip.name).gemm["fp8"]
    mine = msgspec.structs.replace(gemm_for(chip, "bf16"), memory=0.5)
    curves = msgspec.structs.replace(shipped(chip.name), gemm={"bf16": mine})
    assert gemm_for(chip, "bf16", curves) is mine
    assert gemm_for(chip, "fp8", curves) is shipped(chip.name).gemm["fp8"]


def test_a_device_of_no_known_generation_has_the_default_and_one_without_the_unit_is_refused():
    made = gemm_for(chip_of(device("TPU v5e")), "bf16")
    assert made.shares == DEFAULT.shares
    assert (made.derived_from, made.error_median) == ("no device", 0.25)
    with pytest.raises(ValueError, match="A100"):
        gemm_for(chip_of(device("A100")), "fp8")


def test_nothing_is_faster_than_its_limit_on_any_device():
    for each in devices():
        chip = chip_of(each)
        for unit in each.dense_flops:
            for m, n, k in ((1, 4096, 4096), (77, 64, 3072), (4096, 4096, 4096), (32768, 16384, 8192)):
                moved = m * k + k * n + m * n
                seconds = gemm_for(chip, unit).seconds(chip, (1, m, n, k), moved)
                limit = chip.roofline.limit(flops=2.0 * m * n * k, unit=unit, bytes=moved)
                assert limit.seconds < seconds < 1e4 * limit.seconds, (each.name, unit, m, n, k)


def test_a_file_of_kernels_replaces_the_parts_it_has_and_is_of_one_device_alone(tmp_path):
    own = shipped("L40S")
    slow = msgspec.structs.replace(own.gemm["bf16"], memory=0.01)
    path = tmp_path / "mine.efficiency.json"
    told = {"schema": own.schema, "kind": own.kind, "name": "mine", "source": "measured here", "date": "2026-12-01"}
    parts = {"device": "L40S", "gemm": {"bf16": slow}, "made_with": {"samples": [1]}}
    path.write_bytes(msgspec.json.encode({**told, **parts}))
    made = load_efficiency(path)
    used = made.calls(device("L40S")).curves
    assert used.gemm["bf16"] == slow
    assert used.gemm["fp8"] == own.gemm["fp8"]
    assert used.attention["fa2"] == own.attention["fa2"]
    assert made.refusal(device("L40S")) is None
    assert "L40S" in made.refusal(device("H100"))
