"""Between which two an expected time lies four times out of five: factors from what was seen of times like it.

Rows whose device has tables and whose time is the device's own are known best; those of a host that launches, and of
devices whose curves are another's, less well.
"""

from __future__ import annotations

from .curves import Curves
from .protocol import Spent

DEVICE_TIME = (0.77, 1.13)
HOST_BOUND = (0.68, 1.33)
DERIVED = (0.81, 1.37)
"""Tenth and ninetieth percentile of measured over expected, of published times of whole models."""


def factors_of(times: Spent, curves: Curves) -> tuple[float, float]:
    """By what an expected time may be shorter and longer (80 %)."""
    found = [DEVICE_TIME]
    if times.host_s > times.device_s:
        found.append(HOST_BOUND)
    if curves.derived_from:
        found.append(DERIVED)
    return min(low for low, _ in found), max(high for _, high in found)
