"""Where the time of a recorded stream went: each forward by what its operations do, one step kernel by kernel.

Read through the same steps as `frameroof analyze`: the work table is made, attention found, stages found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ...stream.denoiser import KINDS
from ...study.stream import LINEARS, OTHERS
from ...trace.find.attention.calls import find_attention
from ...trace.find.stages import OUTSIDE, UNLINKED, WHOLE, find_stages
from ...trace.intervals import covered
from ...trace.read.decode import read
from ...trace.resolve.work_table import WorkTable, make_work_table
from .watch import DECODE

CACHE = "cache."
FUSED = "norm, rotary, cache write in one"
SELF, CROSS = "self-attention", "cross-attention"
STEP = "step"
_LAYER = re.compile(r"\bblocks\.(\d+)\b")


@dataclass(frozen=True)
class Forwards:
    """Forwards of one name in a trace; nanoseconds of one of them, each the median over all.

    `gaps_ns` is the time between its first and last work in which nothing ran: on a GPU the device waits for
    launches, on a CPU Python runs. `first_ns` and `later_ns` are self-attention in the first layer, and in one of the
    others; None where the trace names no layers.
    """

    count: int
    parts_ns: Mapping[str, int]
    gaps_ns: int = 0
    first_ns: int | None = None
    later_ns: int | None = None


@dataclass(frozen=True)
class Kernel:
    """All calls of a kernel, on a CPU of an operator, in one denoising step."""

    name: str
    part: str
    calls: int
    ns: int


@dataclass(frozen=True)
class Breakdown:
    """A recorded stream, taken apart."""

    forwards: Mapping[str, Forwards] = field(default_factory=dict)
    kernels: Sequence[Kernel] = ()

    @property
    def steady(self) -> dict[str, Forwards]:
        """The forwards of a block with a full window and no switch."""
        return {name: f for name, f in self.forwards.items() if name in KINDS and name != "recache"}

    def per_block(self, blocks: int) -> dict[str, int]:
        """Nanoseconds of each part in one of so many steady blocks, its forwards together."""
        sums: dict[str, float] = {}
        for forwards in self.steady.values():
            for name, ns in forwards.parts_ns.items():
                sums[name] = sums.get(name, 0) + ns * forwards.count / blocks
        return {name: round(ns) for name, ns in sums.items()}

    def gaps_ns(self, blocks: int) -> int:
        """Nanoseconds of one of so many steady blocks in which nothing ran within a forward."""
        return round(sum(f.gaps_ns * f.count for f in self.steady.values()) / blocks)

    def cache_ns(self, blocks: int) -> int | None:
        """Nanoseconds of the cache's operations in a steady block; None where they cannot be told from others.

        So it is where one kernel does more than write, and in a replayed graph, whose kernels carry no names of ours.
        """
        own = [ns for part, ns in self.per_block(blocks).items() if part.startswith(CACHE)]
        return sum(own) if own else None


def breakdown(trace: Path, text_tokens: int, fused: bool = False) -> Breakdown:
    """Every stage of a trace that `watch` named, and the kernels of a step.

    Parts are both attentions (one, where shapes are unknown), linears, the cache's operations by name, and the rest; of
    decoding, the classes of `frameroof analyze`. `fused` says that one kernel norms, rotates and writes the cache.
    """
    work_table = make_work_table(read(trace))
    parts = [_part(work_table, row, fused) for row in range(len(work_table))]
    for one in find_attention(work_table):
        for row in one.rows if one.key_len else ():  # a replayed graph's kernels say nothing of their shapes
            parts[row] = CROSS if one.key_len == text_tokens else SELF
    found: dict[str, Forwards] = {}
    kernels: tuple[Kernel, ...] = ()
    for each in find_stages(work_table):
        if each.name in (OUTSIDE, UNLINKED, WHOLE):
            continue
        names = work_table.classes if each.name.startswith(DECODE) else parts
        found[each.name] = _forwards(work_table, each.calls, names)
        if each.name == STEP:
            kernels = _kernels(work_table, each.calls, parts)
    return Breakdown(found, kernels)


def _forwards(work_table: WorkTable, calls: Sequence[list[int]], parts: Sequence[str]) -> Forwards:
    sums: dict[str, list[int]] = {}
    first: list[int] = []
    later: list[int] = []
    for call, rows in enumerate(calls):
        layers: dict[int, int] = {}
        for row in rows:
            ns = int(work_table.duration[row])
            sums.setdefault(parts[row], [0] * len(calls))[call] += ns
            if parts[row] == SELF and (layer := _LAYER.search(work_table.module[row])):
                layers[int(layer[1])] = layers.get(int(layer[1]), 0) + ns
        first += [ns for layer, ns in layers.items() if layer == 0]
        later += [ns for layer, ns in layers.items() if layer > 0]
    medians = {name: round(median(each)) for name, each in sums.items()}
    return Forwards(
        count=len(calls),
        parts_ns=dict(sorted(medians.items(), key=lambda pair: -pair[1])),
        gaps_ns=round(median(_gaps(work_table, calls))),
        first_ns=round(median(first)) if first else None,
        later_ns=round(median(later)) if later else None,
    )


def _gaps(work_table: WorkTable, calls: Sequence[list[int]]) -> Iterator[int]:
    for rows in calls:
        start, end = work_table.start[rows], work_table.end[rows]
        yield int(end.max() - start.min()) - covered(start, end)


def _kernels(work_table: WorkTable, calls: Sequence[list[int]], parts: Sequence[str]) -> tuple[Kernel, ...]:
    """The work of the call that took the median time, by name and part, the longest first."""
    rows = sorted(calls, key=lambda rows: int(work_table.duration[rows].sum()))[len(calls) // 2]
    sums: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        each = sums.setdefault((work_table.kernel[row], parts[row]), [0, 0])
        each[0] += 1
        each[1] += int(work_table.duration[row])
    found = (Kernel(name, part, count, ns) for (name, part), (count, ns) in sums.items())
    return tuple(sorted(found, key=lambda kernel: -kernel.ns))


def _part(work_table: WorkTable, row: int, fused: bool) -> str:
    mark = int(work_table.mark_row[row])
    name = work_table.trace.names[work_table.trace.host.name[mark]] if mark >= 0 else ""
    if name.startswith(CACHE):
        return FUSED if fused else name
    return {"linear": LINEARS, "attention": "attention"}.get(work_table.classes[row], OTHERS)
