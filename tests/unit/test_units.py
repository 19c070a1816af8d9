"""Quantities read and write as people do, and reading undoes writing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameroof import units


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (units.format_flops, 803.3e9, "803.3 GFLOP"),
        (units.format_flops, 6.7612e12, "6.761 TFLOP"),
        (units.format_flops, 480.926e15, "480.9 PFLOP"),
        (units.format_flops, 999.96e9, "1.000 TFLOP"),  # rounding carries into the next prefix
        (units.format_flops, 12, "12 FLOP"),
        (units.format_flops, -3e9, "-3.000 GFLOP"),
        (units.format_rate, 989.4e12, "989.4 TFLOP/s"),
        (units.format_rate, 0, "0 FLOP/s"),
        (units.format_bytes, 80e9, "80.00 GB"),
        (units.format_bytes, 1023, "1.023 kB"),
        (units.format_bandwidth, 3.35e12, "3.350 TB/s"),
        (units.format_count, 2.567e9, "2.567 B"),
        (units.format_count, 865_910_724, "865.9 M"),
        (units.format_count, 512, "512"),
        (units.format_seconds, 220e-6, "220 µs"),
        (units.format_seconds, 0.0241, "24.1 ms"),
        (units.format_seconds, 0.9996, "1.00 s"),
        (units.format_seconds, 60.8, "60.8 s"),
        (units.format_seconds, 1000, "16.7 min"),
        (units.format_seconds, 9360, "2.60 h"),
        (units.format_seconds, 10 * 86400, "10.0 d"),
        (units.format_seconds, 0, "0 s"),
        (units.format_seconds, math.inf, "inf s"),
        (units.format_usd, 0.27017, "$0.27"),
        (units.format_usd, 0.0044, "$0.0044"),
        (units.format_usd, 9.63e-5, "$0.0000963"),
        (units.format_usd, 0.99996, "$1.00"),
        (units.format_usd, 16, "$16.00"),
        (units.format_usd, 1234.5, "$1,234.50"),
        (units.format_usd, -0.5, "-$0.50"),
        (units.format_usd, 0, "$0.00"),
    ],
)
def test_written_as_people_write(write, value, text):
    assert write(value) == text


def test_binary_bytes_and_digits():
    assert units.format_bytes(80e9, binary=True) == "74.51 GiB"
    assert units.format_bytes(1023 * 2**20, binary=True) == "1023 MiB"
    assert units.format_bytes(2**40 - 1, binary=True) == "1.000 TiB"
    assert units.format_seconds(103.4, digits=4) == "103.4 s"
    with pytest.raises(ValueError, match="digits=0"):
        units.format_flops(1e12, digits=0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3ms", 3e-3),
        ("1.5 s", 1.5),
        ("220 µs", 220e-6),
        ("220 μs", 220e-6),
        ("5us", 5e-6),
        ("10 ns", 1e-8),
        (" 2 MIN ", 120.0),
        ("2.5h", 9000.0),
        ("1 day", 86400.0),
        ("1e3 s", 1000.0),
        (".5 s", 0.5),
        ("0 s", 0.0),
    ],
)
def test_seconds_read(text, seconds):
    assert units.parse_seconds(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "3", "ms", "-3ms", "3 weeks", "3 m", "1,5 s", "nan s", "inf s", "1e999 s", "3ms 4"]
)
def test_seconds_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match="is not a duration; write a number and a unit") as caught:
        units.parse_seconds(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("1000/h", 1000 / 3600),
        ("24/s", 24.0),
        ("24 / sec", 24.0),
        ("2.5/min", 2.5 / 60),
        ("1e6/day", 1e6 / 86400),
    ],
)
def test_throughput_read(text, per_second):
    assert units.parse_throughput(text) == pytest.approx(per_second, rel=1e-12)


@pytest.mark.parametrize("text", ["", "1000", "1000/ms", "-1/h", "h/1000", "1000 per h", "1e999/s", "0/h", "nan/s"])
def test_throughput_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match="throughput") as caught:
        units.parse_throughput(text)
    assert repr(text) in str(caught.value)


@given(st.floats(min_value=1e-9, max_value=1e9), st.integers(min_value=3, max_value=9))
def test_seconds_survive_writing_and_reading(seconds, digits):
    """What is lost is at most half of the last significant digit."""
    back = units.parse_seconds(units.format_seconds(seconds, digits))
    assert back == pytest.approx(seconds, rel=0.5000001 * 10.0 ** (1 - digits))


@given(st.floats(min_value=1.0, max_value=1e23), st.booleans())
def test_no_mantissa_reaches_the_next_prefix(value, binary):
    mantissa = float(units.format_bytes(float(value), binary=binary).split()[0])
    assert 1 <= mantissa < (1024 if binary else 1000)
