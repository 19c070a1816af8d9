"""Quantities as people write them, at the edge of the program.

Inside frameroof a quantity is a plain number in SI: seconds, bytes, FLOPs, bytes per second, FLOP per
second, US dollars. This file exists so that units appear in two places only: in what a user typed
(`parse_...`) and in what a user reads (`format_...`). It imports the standard library alone.

One FLOP is one addition or one multiplication: a multiply-add counts as two.
"""

from __future__ import annotations

import math
import re

_DECIMAL = (("", 1e0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18), ("Z", 1e21))
_BINARY = tuple((f"{prefix}i" if i else "", 1024.0**i) for i, prefix in enumerate(" KMGTPEZ"))
_COUNT = (("", 1e0), ("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12))
_SUBSECOND = (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1e0))
_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86400.0

_SECONDS_PER = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the micro sign
    "μs": 1e-6,  # U+03BC, the Greek letter
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "min": _MINUTE_S,
    "h": _HOUR_S,
    "hour": _HOUR_S,
    "d": _DAY_S,
    "day": _DAY_S,
}
_PERIODS = ("s", "sec", "min", "h", "hour", "d", "day")
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_SECONDS_RE = re.compile(rf"({_NUMBER})\s*([a-zµμ]+)", re.IGNORECASE)
_THROUGHPUT_RE = re.compile(rf"({_NUMBER})\s*/\s*([a-z]+)", re.IGNORECASE)


# -------------------------------------------------------------------------------- writing


def format_flops(flops: float, digits: int = 4) -> str:
    """`flops` (a number of operations) for reading, such as ``"803.3 GFLOP"`` or ``"6.761 TFLOP"``."""
    return _scaled(flops, _DECIMAL, "FLOP", digits)


def format_rate(flops_per_s: float, digits: int = 4) -> str:
    """A compute rate in FLOP/s for reading, such as ``"989.4 TFLOP/s"``."""
    return _scaled(flops_per_s, _DECIMAL, "FLOP/s", digits)


def format_bytes(n_bytes: float, digits: int = 4, *, binary: bool = False) -> str:
    """`n_bytes` for reading: powers of 1000 (``"80.00 GB"``), or of 1024 with `binary` (``"74.51 GiB"``)."""
    return _scaled(n_bytes, _BINARY if binary else _DECIMAL, "B", digits)


def format_bandwidth(bytes_per_s: float, digits: int = 4) -> str:
    """A rate in bytes per second for reading, such as ``"3.350 TB/s"``."""
    return _scaled(bytes_per_s, _DECIMAL, "B/s", digits)


def format_count(n: float, digits: int = 4) -> str:
    """A number of things, such as parameters, for reading: ``"2.567 B"`` is 2.567 x 10^9."""
    return _scaled(n, _COUNT, "", digits)


def format_seconds(seconds: float, digits: int = 3) -> str:
    """A duration in seconds for reading: ``"220 µs"``, ``"24.1 ms"``, ``"60.8 s"``, ``"2.60 h"``.

    Seconds run up to ten minutes, minutes up to two hours, hours up to two days.
    """
    size = abs(seconds)
    if not math.isfinite(seconds) or seconds == 0:
        return f"{seconds:g} s"
    if size < 10 * _MINUTE_S:
        return _scaled(float(seconds), _SUBSECOND, "", digits)
    if size < 2 * _HOUR_S:
        return f"{_significant(seconds / _MINUTE_S, digits)} min"
    if size < 2 * _DAY_S:
        return f"{_significant(seconds / _HOUR_S, digits)} h"
    return f"{_significant(seconds / _DAY_S, digits)} d"


def format_usd(usd: float) -> str:
    """US dollars for reading: cents from one dollar up, three significant digits below.

    ``"$16.00"``, ``"$1,234.50"``, ``"$0.27"``, ``"$0.0044"``.
    """
    sign, size = ("-" if usd < 0 else ""), abs(usd)
    if not math.isfinite(usd):
        return f"{sign}${size:g}"
    if size == 0 or size >= 0.9995:
        return f"{sign}${size:,.2f}"
    text = _significant(size, 3)
    whole, _, cents = text.partition(".")
    return f"{sign}${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


def _scaled(value: float, scale: tuple[tuple[str, float], ...], unit: str, digits: int) -> str:
    """`value` with the prefix of `scale` (ascending) under which it reads as one to three whole digits."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g} {unit}".strip()
    if isinstance(value, int) and abs(value) < 1000:
        return f"{value} {unit}".strip()
    step = scale[1][1] / scale[0][1]
    index = 0
    while index + 1 < len(scale) and abs(value) >= scale[index + 1][1]:
        index += 1
    text = _significant(value / scale[index][1], digits)
    if index + 1 < len(scale) and abs(float(text)) >= step:  # 999.96 G rounds up to 1.000 T
        index += 1
        text = _significant(value / scale[index][1], digits)
    return f"{text} {scale[index][0]}{unit}".strip()


def _significant(value: float, digits: int) -> str:
    """`value` with `digits` significant digits; whole digits are never dropped, exponents never used."""
    if digits < 1:
        raise ValueError(f"digits={digits} is not possible; at least 1 significant digit is needed")
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{decimals}f}" if decimals > 0 else f"{value:.0f}"


# -------------------------------------------------------------------------------- reading


def parse_seconds(text: str) -> float:
    """Seconds from a number with a unit, such as ``"3ms"``, ``"1.5 s"`` or ``"2 h"``.

    Units: ns, us (µs), ms, s, min, h, d. Raises `ValueError`, with a sentence that quotes `text`,
    when it has another form, no unit, or is not finite.
    """
    match = _SECONDS_RE.fullmatch(text.strip())
    factor = _SECONDS_PER.get(match[2].lower()) if match else None
    seconds = float(match[1]) * factor if match and factor is not None else math.inf
    if not math.isfinite(seconds):
        raise ValueError(
            f"{text!r} is not a duration; write a number and a unit (ns, us, ms, s, min, h or d), such as 3ms or 1.5 s"
        )
    return seconds


def parse_throughput(text: str) -> float:
    """Items per second from a number of items per unit of time, such as ``"1000/h"`` or ``"24/s"``.

    Periods: /s, /min, /h, /day. Raises `ValueError`, with a sentence that quotes `text`, when it has
    another form or is not a finite number above zero.
    """
    match = _THROUGHPUT_RE.fullmatch(text.strip())
    period = match[2].lower() if match else ""
    rate = float(match[1]) / _SECONDS_PER[period] if match and period in _PERIODS else math.inf
    if not math.isfinite(rate):
        raise ValueError(
            f"{text!r} is not a throughput; write a number and one of /s, /min, /h or /day, such as 1000/h or 24/s"
        )
    if rate <= 0:
        raise ValueError(f"{text!r} is a throughput of zero; it must be above zero, such as 1000/h")
    return rate


def leading_count(text: str | None) -> int | None:
    """The whole number that a text begins with ("108 SM" -> 108); None where it begins with none."""
    found = re.match(r"(\d+)", text or "")
    return int(found[1]) if found else None
