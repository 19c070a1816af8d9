"""A time that was seen anchors expected times of the same model."""

from __future__ import annotations

import pytest

from frameroof.study.anchor import parse_measured
from frameroof.study.predict import predict


def test_a_text():
    assert parse_measured("H100 batch=1 4.2s") == ("H100", {"batch": 1}, 4.2)
    assert parse_measured("RTX 4090 steps=4 batch=2 900ms") == ("RTX 4090", {"steps": 4, "batch": 2}, 0.9)


@pytest.mark.parametrize("text", ["", "H100", "4.2s", "H100 batch=x 4s", "H100 0s", "H100 batch=1"])
def test_what_is_none_is_a_sentence(text):
    with pytest.raises(ValueError, match="--measured"):
        parse_measured(text)


def test_what_was_measured_is_what_is_expected_there_and_elsewhere_in_proportion():
    plain, seen = predict("flux", "H100"), predict("flux", "H100", measured="H100 4.2s")
    assert seen.expected_s == pytest.approx(4.2)
    assert (seen.low_s, seen.high_s) == (pytest.approx(0.9 * 4.2), pytest.approx(1.1 * 4.2))
    factor = 4.2 / plain.expected_s
    other = predict("flux", "L40S", sizes={"batch": 2}, measured="H100 batch=1 4.2s")
    assert other.expected_s == pytest.approx(factor * predict("flux", "L40S", sizes={"batch": 2}).expected_s)
    assert other.limit_s == predict("flux", "L40S", sizes={"batch": 2}).limit_s


def test_no_anchor_makes_a_time_shorter_than_its_limit():
    limit_s = predict("flux", "H100").limit_s
    fast = predict("flux", "H100", measured=f"H100 {limit_s * 1.01:.6f}s")
    assert fast.expected_s >= fast.limit_s
    assert all(op.expected_s >= op.limit_s * (1 - 1e-9) for op in fast.estimate.total.ops)
    with pytest.raises(ValueError, match="below the limit"):
        predict("flux", "H100", measured="H100 1s")
    with pytest.raises(ValueError, match="times what is expected on H100"):
        predict("flux", "H100", measured="H100 400s")
    with pytest.raises(ValueError, match="anchor of its own"):
        predict("flux", "H100", utilization=0.5, measured="H100 4.2s")
