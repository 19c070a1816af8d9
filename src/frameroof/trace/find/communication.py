"""How much of the communication between devices was hidden behind computation, and how much stood alone."""

from __future__ import annotations

import numpy as np

from ..intervals import covered, merged, overlap
from ..resolve.classify import COMMUNICATION
from ..resolve.work_table import Placed


def exposed(placed: Placed) -> dict[str, int]:
    """`time_ns` (union of communication), `overlapped_ns`, `exposed_ns`; empty where there is none.

    Overlapped: while some kernel that is no communication ran on the same device.
    """
    is_comm = np.array([name == COMMUNICATION for name in placed.classes], dtype=bool)
    if not is_comm.any():
        return {}
    total = hidden = 0
    for number in np.unique(placed.device[is_comm]):
        here = placed.device == number
        start, end = merged(placed.start[is_comm & here], placed.end[is_comm & here])
        other = merged(placed.start[~is_comm & here], placed.end[~is_comm & here])
        total += covered(start, end)
        hidden += int(overlap(start, end, *other).sum())
    return {"time_ns": total, "overlapped_ns": hidden, "exposed_ns": total - hidden}
