"""How much of the communication between devices overlapped with computation, and how much was exposed."""

from __future__ import annotations

import numpy as np

from ..intervals import covered, merged, overlap
from ..read.columns import distinct
from ..resolve.classify import COMMUNICATION
from ..resolve.work_table import WorkTable


def exposed(work_table: WorkTable, whole: WorkTable | None = None) -> dict[str, int]:
    """`time_ns` (union of communication), `overlapped_ns`, `exposed_ns`; empty where there is none.

    Overlapped: while some kernel that is no communication ran on the same device. Of a window `whole` has the work
    around it.
    """
    whole = whole or work_table
    is_comm = np.array([name == COMMUNICATION for name in work_table.classes], dtype=bool)
    if not is_comm.any():
        return {}
    others = np.array([name != COMMUNICATION for name in whole.classes], dtype=bool)
    total = hidden = 0
    for number in distinct(work_table.device[is_comm]):
        here = work_table.device == number
        start, end = merged(work_table.start[is_comm & here], work_table.end[is_comm & here])
        beside = others & (whole.device == number)
        other = merged(whole.start[beside], whole.end[beside])
        total += covered(start, end)
        hidden += int(overlap(start, end, *other).sum())
    return {"time_ns": total, "overlapped_ns": hidden, "exposed_ns": total - hidden}
