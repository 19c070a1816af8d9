"""How much of the communication between devices overlapped with computation, and how much was exposed."""

from __future__ import annotations

import numpy as np

from ..intervals import covered, merged, overlap
from ..resolve.classify import COMMUNICATION
from ..resolve.work_table import WorkTable


def exposed(work_table: WorkTable) -> dict[str, int]:
    """`time_ns` (union of communication), `overlapped_ns`, `exposed_ns`; empty where there is none.

    Overlapped: while some kernel that is no communication ran on the same device.
    """
    is_comm = np.array([name == COMMUNICATION for name in work_table.classes], dtype=bool)
    if not is_comm.any():
        return {}
    total = hidden = 0
    for number in np.unique(work_table.device[is_comm]):
        here = work_table.device == number
        start, end = merged(work_table.start[is_comm & here], work_table.end[is_comm & here])
        other = merged(work_table.start[~is_comm & here], work_table.end[~is_comm & here])
        total += covered(start, end)
        hidden += int(overlap(start, end, *other).sum())
    return {"time_ns": total, "overlapped_ns": hidden, "exposed_ns": total - hidden}
