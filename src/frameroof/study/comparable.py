"""Whether two runs can be compared at all: of the same model, at the same sizes, with anything in common.

A change may rename every kernel and operator (a compiler does), split a batch or merge it (guidance), or leave steps
out, and is what a comparison is for. Weights of other sizes are another model; the same weights on other numbers of
rows, and with other FLOPs, are other sizes. Where nothing tells, two runs are taken to be comparable.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ..gap.matching import keys_of
from ..run import Run
from ..trace.resolve.classify import CONVOLUTION, LINEAR

KNOWN, ALIKE = 0.5, 0.1
"""Shares: of matrix work whose weights must be known to judge by them; of what is in common below which nothing is."""
SAME_FLOPS = 0.05

Weights = dict[tuple[Any, ...], dict[int, float]]
"""What identifies the weights of a product -> rows of its other factor -> FLOPs."""


def incomparable(before: Run, after: Run) -> list[str]:
    """Why the two cannot be compared, a clause each; empty where they can, or where nothing tells."""
    return list(_reasons(before, after))


def _reasons(before: Run, after: Run) -> Iterator[str]:
    for name, run in (("before", before), ("after", after)):
        if not run.classes:
            yield f"the run {name} holds no work"
            return
    if before.summary.host_only != after.summary.host_only:
        alone = "before" if before.summary.host_only else "after"
        yield f"the run {alone} has times of the host alone, the other those of a device"
        return
    if before.summary.on_cpu != after.summary.on_cpu:
        yield "one ran on a processor alone, the other on a device"
        return
    first, second = _weights(before), _weights(after)
    if first is not None and second is not None:
        yield from _by_weights(first, second)
        return
    models = _model(before), _model(after)
    if all(models) and not any(_alike(one, other) for one in models[0] for other in models[1]):
        yield f"they are of different models: {', '.join(models[0])} before, {', '.join(models[1])} after"
    elif not _anything_in_common(before, after):
        yield "they have no stage, operator or kernel in common, so they are not of one model"


def _by_weights(first: Weights, second: Weights) -> Iterator[str]:
    common = set(first) & set(second)
    shares = [_sum(side, common) / max(1.0, _sum(side, set(side))) for side in (first, second)]
    if max(shares) < ALIKE:
        yield f"they are of different models: only {max(shares):.0%} of their matrix work has weights of the same sizes"
        return
    flops = [_sum(side, common) for side in (first, second)]
    same = sum(n for key in common for rows, n in first[key].items() if rows in second[key])
    if same < ALIKE * flops[0] and abs(flops[1] / max(1.0, flops[0]) - 1) > SAME_FLOPS:
        key = max(common, key=lambda key: sum(first[key].values()))
        rows = [max(side[key], key=lambda n: side[key][n]) for side in (first, second)]
        yield (
            f"they are of different sizes: the same weights met {rows[0]:,} rows or positions before and {rows[1]:,} "
            f"after, with {flops[1] / max(1.0, flops[0]):.3g} times the FLOPs"
        )


def _sum(side: Weights, keys: set[tuple[Any, ...]]) -> float:
    return sum(sum(side[key].values()) for key in keys)


def _weights(run: Run) -> Weights | None:
    """The products of a run by their weights; None where less than half of the matrix work tells them."""
    found: Weights = defaultdict(lambda: defaultdict(float))
    known = whole = 0
    for row in run.shapes:
        if row.class_ not in (LINEAR, CONVOLUTION):
            continue
        whole += row.time_ns
        _, weights, rows = keys_of(row)
        if row.flops and weights is not None and weights[0] in ("mm", "conv"):
            first = row.dims[1][0] if weights[0] == "conv" else 1  # outputs are filters x positions
            filters = first if isinstance(first, int) and first else 1
            known += row.time_ns
            found[*weights, filters][rows // filters] += row.flops
    return found if known and known >= KNOWN * whole else None


def _model(run: Run) -> set[str]:
    """The classes of modules that the stage of most time is named by; nothing where none is."""
    longest = max(run.stages, key=lambda stage: stage.time_ns, default=None)
    named = longest is not None and longest.source not in ("", "annotation")
    return set(longest.source.split(", ")) if longest is not None and named else set()


_COMMON = re.compile(r"Transformer|Model|Wrapper|Pipeline|For[A-Z].*|Condition\w*|[23]D|\d")


def _alike(one: str, other: str) -> bool:
    """Whether two classes may be one model, wrapped: what is special in one name stands in the other."""
    parts = [_COMMON.sub("", name).lower() or name.lower() for name in (one, other)]
    return parts[0] in parts[1] or parts[1] in parts[0]


def _anything_in_common(before: Run, after: Run) -> bool:
    """Whether 1 % of the time of the operators or the kernels of one run is that of names in both."""
    for group in ("operators", "kernels"):
        rows = [{row.name: row.time_ns for row in getattr(run, group)} for run in (before, after)]
        shared = set(rows[0]) & set(rows[1])
        if any(sum(side[name] for name in shared) > 0.01 * max(1, sum(side.values())) for side in rows):
            return True
    return False
