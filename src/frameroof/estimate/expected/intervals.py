"""Between which two an expected time lies four times out of five: factors from what was seen of times like it.

What is known of a time is whether its software is compiled (how much a compiler fused is guessed, what eager code
launches is known), whether its device's products were measured, and whether its host takes longer than the device.
"""

from __future__ import annotations

from typing import Any

from .curves import Curves
from .protocol import Spent

ANCHORED = (0.9, 1.1)
"""Where the same model was measured on the same device at another size: nine of ten other batches were within 10 %."""
EAGER = (0.86, 1.17)
COMPILED = (0.87, 1.36)
DERIVED_EAGER = (0.85, 1.22)
DERIVED_COMPILED = (0.78, 1.52)
HOST_BOUND = (0.7, 1.57)
"""Tenth and ninetieth percentile of published over expected of whole models and their parts, where the constants that
whole models decide were fitted without the family or without the device's generation, whichever is wider
(``benchmarks/results/validation-2026-12-01.json``; of hosts without the family). They are up to a tenth wider than
that, since the form of the model was chosen with these rows known."""


def factors_of(times: Spent, curves: Curves, compiled: bool) -> tuple[Any, Any]:
    """By what an expected time may be shorter and longer (80 %): numbers, or arrays for those of arrays."""
    derived = bool(curves.derived_from)
    low, high = (DERIVED_COMPILED if compiled else DERIVED_EAGER) if derived else COMPILED if compiled else EAGER
    waits = times.host_s > times.device_s
    ends = min(low, HOST_BOUND[0]), max(high, HOST_BOUND[1])
    if not hasattr(waits, "shape"):
        return ends if waits else (low, high)
    import numpy as np

    return np.where(waits, ends[0], low), np.where(waits, ends[1], high)
