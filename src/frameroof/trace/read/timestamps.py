"""Microseconds as a trace writes them -> integer nanoseconds, exactly.

A double holds microseconds to the nanosecond only below 2**43 us (about 100 days); files of 2024 hold the time since
1970 (1.7e15 us), where a double is 0.25 us wide. Those are read again digit by digit (`Event` -> `ExactEvent`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from ...outside import whole

EXACT_BELOW_US = 2.0**43
LIMIT_US = 3_000_000_000_000_000
"""The latest time that is believed (the year 2065): the end of an event and the span of a file then fit int64 ns."""

LIMIT_NS = LIMIT_US * 1000
MOST_SUM_NS = 4 * 10**18
"""The sum of all lengths of a file that is believed: it fits int64."""

Value = int | float | str | Decimal | None
Array = np.ndarray[Any, Any]


def needs_digits(values: Sequence[Value]) -> bool:
    """Whether some value is a float too large for a double to hold its nanoseconds."""
    kinds = set(map(type, values))
    if float not in kinds:
        return False
    floats: Any = values if len(kinds) == 1 else [v for v in values if type(v) is float]
    return bool(max(floats) >= EXACT_BELOW_US or min(floats) <= -EXACT_BELOW_US)


def nanoseconds(values: Sequence[Value], *, optional: bool = False) -> tuple[Array, Array]:
    """Times in microseconds -> (int64 nanoseconds, bool: was a believable number).

    A value that is no number, not finite or beyond `LIMIT_US` is 0 and not valid; None is valid where `optional`.
    """
    kinds = set(map(type, values))
    try:
        if kinds == {int}:
            whole = np.array(values, dtype=np.int64)
            if len(whole) and whole.min() >= -LIMIT_US and whole.max() <= LIMIT_US:
                return whole * 1000, np.ones(len(whole), dtype=bool)
        elif kinds <= {int, float, type(None)}:
            absent = 0.0 if optional else np.nan
            full: Any = values if type(None) not in kinds else [absent if v is None else v for v in values]
            floats = np.array(full, dtype=np.float64)
            if float(np.abs(floats).max(initial=0.0)) < EXACT_BELOW_US:  # False where one is NaN
                return np.rint(floats * 1000.0).astype(np.int64), np.ones(len(floats), dtype=bool)
    except OverflowError:
        pass
    return _one_by_one(values, optional)


def _one_by_one(values: Sequence[Value], optional: bool) -> tuple[Array, Array]:
    out = np.zeros(len(values), dtype=np.int64)
    valid = np.ones(len(values), dtype=bool)
    for i, value in enumerate(values):
        ns = exact(value)
        if ns is not None:
            out[i] = ns
        elif value is not None or not optional:
            valid[i] = False
    return out, valid


def exact(value: Value) -> int | None:
    """One time in microseconds -> nanoseconds, rounded half to even; None where it is no believable number."""
    return whole(value, -LIMIT_US, LIMIT_US, 1000)


def summable(start: Array, end: Array) -> Array:
    """Mask of the events that are so short that the lengths of all of them can be summed in int64 ns."""
    lengths = end - start
    if lengths.sum(dtype=np.float64) <= MOST_SUM_NS:
        return np.ones(len(lengths), dtype=bool)
    short: Array = lengths <= MOST_SUM_NS // len(lengths)
    return short
