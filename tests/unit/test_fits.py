"""What would fit where a model does not."""

from __future__ import annotations

from frameroof.hardware import device
from frameroof.study.fits import what_fits
from frameroof.study.predict import predict


def test_nothing_is_said_where_it_fits():
    assert what_fits(predict("flux", "H100")) == []


def test_fp8_weights_more_devices_or_a_larger_one():
    """FLUX needs some 35 GB: 24 GB hold it in fp8 or twice."""
    found = predict("flux", "RTX 4090")
    fp8, more, larger = what_fits(found)
    assert fp8.startswith("fp8 weights (")
    assert more == "2 x RTX 4090, shared perfectly (48.00 GB)"
    name = larger.removeprefix("one ").partition(" (")[0]
    assert device(name).memory_bytes >= found.memory.peak_bytes
    assert found.to_dict()["memory"]["would_fit"] == [fp8, more, larger]


def test_what_is_too_large_in_fp8_too_is_not_proposed():
    assert not any("fp8" in each for each in what_fits(predict("llama3.1-405b", "H100")))
