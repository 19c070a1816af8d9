"""A loop's stage with few turns at once: its operations as rows of one array, its turns as columns.

Each array of ten numbers costs as much to compute with as a thousand; a loop over latent frames has ten turns and a
hundred operations. The numbers are those of `limits`, digit by digit: what no turn changes is multiplied, not summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..roofline import Roofline
from ..workload.table import Row

if TYPE_CHECKING:
    from .limits import Pass

MOST_CELLS = 200_000
"""Values times turns; beyond it rows are computed one by one, in less memory."""


def seconds_in_turns(
    run: Pass, rows: Sequence[Row], values: Sequence[Any], roofline: Roofline
) -> dict[int, tuple[float, float, float]]:
    """Seconds of compute, of memory and of the limit over all turns, by `Row.alike`; empty where there are too many.

    Raises `ValueError` as `Roofline.limit`.
    """
    if len(values) * run.turns > MOST_CELLS:
        return {}
    wide = np.empty((len(values), run.turns))
    for at, value in enumerate(values):
        wide[at] = value
    fixed = np.array([isinstance(value, int) or not value.ndim for value in values])
    found: dict[int, tuple[float, float, float]] = {}
    for unit in dict.fromkeys(row.unit for row in rows):
        own = [row for row in rows if row.unit == unit]
        _, times, _, executed, vector, bits = np.array([row.at for row in own]).T
        limit = roofline.limit(
            flops=wide[executed] if unit else 0.0, unit=unit, vector_flops=wide[vector], bytes=wide[bits] / 8
        )
        alone = fixed[times] & fixed[executed] & fixed[vector]
        moved = fixed[times] & fixed[bits]
        parts = ((limit.compute_s, alone), (limit.memory_s, moved), (limit.seconds, alone & moved))
        sums = [_summed(run, part * wide[times], same).tolist() for part, same in parts]
        found.update(zip((row.alike for row in own), zip(*sums, strict=True), strict=True))
    return found


def _summed(run: Pass, seconds: NDArray[np.float64], same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Over turns and repeats, of one device."""
    total = np.where(same, seconds[:, 0] * run.turns, np.add.reduce(seconds, axis=1))
    made: NDArray[np.float64] = total * run.repeat * run.share
    return made
