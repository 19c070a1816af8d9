"""`frameroof.estimate_grid`: a model at many sizes on many machines, each point as `predict` has it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import catalogue
from ..estimate import Expected, Rung, Utilization
from ..estimate.expected import Software, chosen
from ..hardware import Node, parse_node
from ..workload.records import Workload
from .predict import asked_of, prepare, state_of

if TYPE_CHECKING:
    from ..estimate.grid import Grid


def estimate_grid(  # twelve arguments: those of `predict`
    model: str | os.PathLike[str] | Workload,
    on: str | Node | Sequence[str | Node] = "H100",
    sizes: Mapping[str, Sequence[int] | Any] | None = None,
    utilization: Utilization | float | None = None,
    *,
    efficiency: str | os.PathLike[str] | Expected | None = None,
    software: str | Software | None = None,
    dtype: str | None = None,
    attention: str = "fused",
    elementwise: str | None = None,
    maths: str | None = None,
    bound: Rung | None = None,
    cold: bool = False,
) -> Grid:
    """Limit, expected time, peak memory and cost of a model at many sizes on many machines, as arrays.

    The arguments are those of `predict`, with several machines in `on` and arrays of one length in `sizes`: point i
    has the i-th of each, and a size that is not named its default. The arrays of the result have a row a machine and
    a column a point: seconds, bytes, US dollars (NaN where a machine has no price). Raises `ValueError`, a sentence,
    for an unknown name, an inadmissible size, or arrays that differ in length.
    """
    from ..estimate.grid import estimate_grid as estimated  # NumPy is loaded here

    workload = model if isinstance(model, Workload) else catalogue.load(model)
    expected = chosen(utilization, efficiency, software)
    prepared, _ = prepare(workload, dtype, attention, **state_of(expected, maths))
    nodes = [one if isinstance(one, Node) else parse_node(one) for one in _several(on)]
    if not nodes:
        raise ValueError("no machine is named; on is one or several, such as ['H100', '8xH200']")
    asked = asked_of(bound, elementwise, cold)
    return estimated(prepared, nodes, sizes or {}, expected, bound=asked.bound, cold=asked.cold)


def _several(on: str | Node | Sequence[str | Node]) -> Sequence[str | Node]:
    return [on] if isinstance(on, str | Node) else on
