"""Microseconds as a trace writes them -> integer nanoseconds, exactly.

A double holds microseconds to the nanosecond only below 2**43 us (about 100 days); files of 2024 hold the time since
1970 (1.7e15 us), where a double is 0.25 us wide. Those are read again digit by digit (`Event` -> `ExactEvent`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import numpy as np

EXACT_BELOW_US = 2.0**43
LIMIT_US = 9.0e15
"""The latest time that is believed (the year 2255); anything beyond would overflow int64 nanoseconds."""

Value = int | float | str | Decimal | None


def needs_digits(values: Sequence[Value]) -> bool:
    """Whether some value is a float too large for a double to hold its nanoseconds."""
    return any(type(v) is float and (v >= EXACT_BELOW_US or v <= -EXACT_BELOW_US) for v in values)


def nanoseconds(values: Sequence[Value]) -> tuple[np.ndarray, np.ndarray]:
    """Times in microseconds -> (int64 nanoseconds, bool: was a believable number).

    None counts as 0; a value that is no number, not finite or beyond `LIMIT_US` is 0 and not valid.
    """
    count = len(values)
    try:
        floats = np.fromiter((0.0 if v is None else v for v in values), dtype=np.float64, count=count)
    except (TypeError, ValueError, OverflowError):
        return _one_by_one(values)
    if count and float(np.abs(floats).max(initial=0.0)) < EXACT_BELOW_US and not np.isnan(floats).any():
        return np.rint(floats * 1000.0).astype(np.int64), np.ones(count, dtype=bool)
    return _one_by_one(values)


def _one_by_one(values: Sequence[Value]) -> tuple[np.ndarray, np.ndarray]:
    out = np.zeros(len(values), dtype=np.int64)
    valid = np.ones(len(values), dtype=bool)
    for i, value in enumerate(values):
        ns = exact(value)
        if ns is None:
            valid[i] = False
        else:
            out[i] = ns
    return out, valid


def exact(value: Value) -> int | None:
    """One time in microseconds -> nanoseconds, rounded half to even; None where it is no believable number."""
    if value is None:
        return 0
    if type(value) is int:
        return value * 1000 if abs(value) <= LIMIT_US else None
    try:
        number = value if isinstance(value, Decimal) else Decimal(value)
    except (InvalidOperation, ValueError, TypeError):
        return None
    if not number.is_finite() or abs(number) > Decimal(LIMIT_US):
        return None
    return int((number * 1000).to_integral_value())
