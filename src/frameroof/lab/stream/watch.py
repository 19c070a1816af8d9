"""Where a block's time goes: each forward by its kind under a clock, and in a trace by what its operations do."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from frameroof.models.causal_wan import KV
from frameroof.profiler import stage
from frameroof.stream.denoiser import CONTEXT, Cache, Forward
from frameroof.stream.session import Session, Velocity
from frameroof.trace.attention import find_attention
from frameroof.trace.placed import Placed, place
from frameroof.trace.read import read
from frameroof.trace.stages import find_stages

CACHE = "cache."
KINDS = ("step 1", "step", "folded step 1", "context", "recache")
FUSED = "norm, rotary, cache write in one"
OTHERS = "norms, modulation, rotary"


def kind_of(what: Forward) -> str:
    """A forward's kind: the first step of a block moves the window on, later ones overwrite its places."""
    if what.recache:
        return "recache"
    if len(what.rows) > 1:
        return "folded step 1"
    (row,) = what.rows
    return "context" if row == CONTEXT else "step 1" if row == 0 else "step"


@dataclass(frozen=True)
class Forwards:
    """Forwards of one kind in a trace, and each part's nanoseconds in one of them."""

    count: int
    parts_ns: Mapping[str, int]


class Watch:
    """A session's forwards, each timed by kind and named in a trace while `on`; otherwise nothing is added to them."""

    def __init__(self, session: Session, settle: Callable[[], None]) -> None:
        self._velocity: Velocity = session._velocity  # what the engine gave it: plain, or graphs
        session._velocity = self
        self._settle = settle
        self.on = False
        self.times_ns: dict[str, list[int]] = defaultdict(list)

    def __call__(self, x: torch.Tensor, what: Forward, cache: Cache, texts: Sequence[KV]) -> torch.Tensor:
        if not self.on:
            return self._velocity(x, what, cache, texts)
        self._settle()
        start = time.perf_counter_ns()
        with stage(kind_of(what)):
            out = self._velocity(x, what, cache, texts)
            self._settle()
        self.times_ns[kind_of(what)].append(time.perf_counter_ns() - start)
        return out


def breakdown(trace: Path, text_tokens: int, fused: bool = False) -> dict[str, Forwards]:
    """By kind of forward: how many there were, and each part's nanoseconds in one of them, the median over all.

    Parts are both attentions, linears, the cache's operations by name, and the rest; `fused` says that the cache is
    written by the kernel that norms and rotates. Read through the same steps as `frameroof analyze`.
    """
    placed = place(read(trace))
    parts = [_part(placed, row, fused) for row in range(len(placed))]
    for one in find_attention(placed):
        for row in one.rows:
            parts[row] = "cross-attention" if one.key_len == text_tokens else "self-attention"
    found = {}
    for each in find_stages(placed):
        if each.name not in KINDS:
            continue
        sums: dict[str, list[int]] = {}
        for call, rows in enumerate(each.calls):
            for row in rows:
                sums.setdefault(parts[row], [0] * len(each.calls))[call] += int(placed.duration[row])
        medians = {name: round(median(calls)) for name, calls in sums.items()}
        found[each.name] = Forwards(len(each.calls), dict(sorted(medians.items(), key=lambda pair: -pair[1])))
    return found


def _part(placed: Placed, row: int, fused: bool) -> str:
    mark = int(placed.mark_row[row])
    name = placed.trace.names[placed.trace.host.name[mark]] if mark >= 0 else ""
    if name.startswith(CACHE):
        return FUSED if fused else name
    return {"linear": "linears", "attention": "attention"}.get(placed.classes[row], OTHERS)


def cache_ns(found: Mapping[str, Forwards], blocks: int) -> int | None:
    """Nanoseconds of the cache's operations in one of so many blocks; None where they cannot be told from others.

    So it is where one kernel does more than write, and in a replayed graph, whose kernels carry no names of ours.
    """
    own = [ns for part, ns in per_block(found, blocks).items() if part.startswith(CACHE)]
    return sum(own) if own else None


def per_block(found: Mapping[str, Forwards], blocks: int) -> dict[str, int]:
    """Nanoseconds of each part in one of so many blocks, its forwards together."""
    sums: dict[str, float] = defaultdict(float)
    for forwards in found.values():
        for name, ns in forwards.parts_ns.items():
            sums[name] += ns * forwards.count / blocks
    return {name: round(ns) for name, ns in sums.items()}
