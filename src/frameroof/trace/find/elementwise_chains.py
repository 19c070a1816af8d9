"""Chains of elementwise work: what a compiler could make one kernel of, and what that kernel must still move.

A chain is a run of ATen's elementwise kernels, norms and copies on one stream with nothing else between. Made one
kernel it still reads what its first one reads and writes what its last one writes; that bounds what fusing can bring.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ...run import Chains
from ..grouped import Grouped
from ..read.columns import Array
from ..read.events import Kind
from ..resolve.classify import BATCH_NORM, COPY, ELEMENTWISE, GROUP_NORM, LAYER_NORM, OTHER
from ..resolve.work_table import WorkTable

LOOSE = (ELEMENTWISE, COPY, LAYER_NORM, GROUP_NORM, BATCH_NORM)
LARGE = 1 << 20
_BETWEEN = re.compile("DtoD|Device -> Device")
_ONLY_WRITES = ("aten::fill_", "aten::zero_")
_READ_BY_HOST = ("aten::item", "aten::_local_scalar_dense")
_DRAWN = re.compile(r"^aten::(\w*uniform|\w*normal|\w*random|bernoulli|exponential|cauchy|geometric|multinomial)_?$")
"""Random numbers: initial weights above all, a tensor each, that no compiler makes one kernel of."""
_REDUCES = ("aten::mean", "aten::sum", "aten::amax", "aten::max", "aten::min", "aten::all", "aten::any")


def find_chains(work_table: WorkTable, moved: Array) -> Chains:
    """Sum over all chains of at least two; `moved` are the bytes of every row."""
    found = Chains()
    streams: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(work_table.device.tolist(), work_table.stream.tolist(), strict=True)):
        if not (work_table.on_cpu and work_table.classes[row] == OTHER):  # making a tensor or a view separates nothing
            streams.setdefault(key, []).append(row)
    rows: list[int] = []
    for stream in streams.values():
        chain: list[int] = []
        for row in (*stream, -1):
            if row >= 0 and _is_loose(work_table, row):
                chain.append(row)
                continue
            if len(chain) > 1:
                found.count += 1
                found.bytes += _largest(work_table, chain[0], _ONLY_WRITES) + _largest(work_table, chain[-1], _REDUCES)
                rows += chain
            chain = []
    found.kernels = len(rows)
    found.time_ns = int(work_table.duration[rows].sum())
    by_operator = Grouped([work_table.operator[row] for row in rows], work_table.duration[rows])
    found.longest = by_operator.keys[0] if rows else ""
    big = [r for r in rows if moved[r] >= LARGE and work_table.duration[r] > 0]
    found.bytes_per_s = float(np.max(moved[big] / work_table.duration[big]) * 1e9) if big else 0.0
    return found


def _is_loose(work_table: WorkTable, row: int) -> bool:
    operator = work_table.operator[row]
    if work_table.classes[row] not in LOOSE or not operator.startswith("aten::") or operator in _READ_BY_HOST:
        return False
    if _DRAWN.match(operator):
        return False
    return work_table.kind[row] != int(Kind.MEMCPY) or bool(_BETWEEN.search(work_table.kernel[row]))


def _largest(work_table: WorkTable, row: int, but: tuple[str, ...]) -> int:
    """Bytes of the largest tensor among the inputs; 0 for the operators that do not pass that much on."""
    inputs = work_table.input(row)
    if inputs is None or work_table.operator[row] in but:
        return 0
    return max((math.prod(dims) * item for dims, item in inputs.tensors), default=0)
