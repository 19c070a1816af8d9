"""Fold alike operations of a table into one row: ``blocks.0.attn.to_q`` … ``blocks.29.attn.to_q``
of the same sizes become ``blocks.[0-29].attn.to_q`` with their calls added up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from operator import itemgetter

from ..outside import clean, quoted
from .expr import Poly
from .groups import Groups
from .records import Op

MOST_PATHS = 100_000
"""Modules that one folded path may stand for."""
_RUN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_SET = re.compile(r"\[([0-9,-]+)\]")


Alike = tuple[object, ...]


def fold(ops: Sequence[Op]) -> tuple[list[Op], list[int]]:
    """The folded table, in order of first appearance, and for every old row the new one's index.

    Rows become one only if their regions hold the same operations; the regions are then as many alike, of one number.
    """
    alike = [_alike(op) for op in ops]
    regions = _regions(ops, alike)
    groups: dict[Alike, list[int]] = {}
    for i, op in enumerate(ops):
        own = i if op.attrs.get("total") else None  # sums over calls are not those of more calls
        groups.setdefault((alike[i], regions.get(op.region), own), []).append(i)
    found = ((min(rows), path, count, rows) for same in groups.values() for path, count, rows in _fold_paths(ops, same))
    folded = sorted(found, key=itemgetter(0))
    where = [0] * len(ops)
    for new, (_, _, _, rows) in enumerate(folded):
        for old in rows:
            where[old] = new
    numbers = _numbered(ops, folded)
    made = [
        replace(ops[rows[0]], path=path, count=count, region=number)
        for (_, path, count, rows), number in zip(folded, numbers, strict=True)
    ]
    return made, where


def _alike(op: Op) -> Alike:
    return op.kind, op.name, op.reads, op.writes, tuple(op.dims.items()), tuple(op.attrs.items())


def _regions(ops: Sequence[Op], alike: Sequence[Alike]) -> dict[int, int]:
    """For every region a number that tells what it is made of: equal for equal operations."""
    known: dict[Alike, int] = {}
    members: dict[int, list[tuple[int, str]]] = {}
    for op, key in zip(ops, alike, strict=True):
        if op.region:
            members.setdefault(op.region, []).append((known.setdefault(key, len(known)), str(op.count)))
    kinds: dict[Alike, int] = {}
    return {region: kinds.setdefault(tuple(sorted(found)), len(kinds)) for region, found in members.items()}


def _numbered(ops: Sequence[Op], folded: Sequence[tuple[int, str, Poly, list[int]]]) -> list[int]:
    """The number of every folded row's region, from 1; 0 for those that have none."""
    together = Groups(len(folded))
    first: dict[int, int] = {}
    for new, (_, _, _, rows) in enumerate(folded):
        for region in {ops[old].region for old in rows} - {0}:
            together.join(first.setdefault(region, new), new)
    numbers: dict[int, int] = {}
    return [
        numbers.setdefault(together.root(new), len(numbers) + 1) if ops[rows[0]].region else 0
        for new, (_, _, _, rows) in enumerate(folded)
    ]


def _fold_paths(ops: Sequence[Op], members: list[int]) -> Iterator[tuple[str, Poly, list[int]]]:
    same: dict[str, list[int]] = {}
    for i in members:
        same.setdefault(ops[i].path, []).append(i)
    entries = [(path, sum((ops[i].count for i in rows), Poly()), rows) for path, rows in same.items()]
    depth = max(path.count(".") + 1 for path, _, _ in entries)
    for position in reversed(range(depth)):
        merged: dict[tuple[str, str], list[tuple[int, Poly, list[int]]]] = {}
        others = []
        for path, count, rows in entries:
            parts = path.split(".")
            if position < len(parts) and parts[position].isdigit():
                number = int(parts[position])
                parts[position] = "[]"
                size = _paths(path)
                each = str(Poly({m: c // size for m, c in count.terms.items()}))
                merged.setdefault((".".join(parts), each), []).append((number, count, rows))
            else:
                others.append((path, count, rows))
        for (path, _), found in merged.items():
            numbers = _ranges(sorted(n for n, _, _ in found))
            text = f"[{numbers}]" if len(found) > 1 else numbers
            total = sum((count for _, count, _ in found), Poly())
            others.append((path.replace("[]", text, 1), total, [r for _, _, rows in found for r in rows]))
        entries = others
    yield from entries


def _paths(path: str) -> int:
    return len(unfold(path))


def _ranges(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def unfold(path: str) -> list[str]:
    """Every module path that a folded path stands for; `ValueError` for more than `MOST_PATHS`."""
    pieces = _SET.split(path)
    options = [[text] if i % 2 == 0 else _numbers(text) for i, text in enumerate(pieces)]
    if prod(map(len, options)) > MOST_PATHS:
        raise ValueError(f"the path {quoted(path)} stands for more than {MOST_PATHS:,} modules")
    return ["".join(choice) for choice in product(*options)]


def _numbers(text: str) -> Sequence[str]:
    """ "0-2,5" -> 0, 1, 2, 5; what is no such list stands for itself."""
    out: list[str] = []
    for run in text.split(","):
        found = _RUN.fullmatch(run)
        if not found:
            return [f"[{text}]"]
        low, high = int(found[1]), int(found[2] or found[1])
        if high - low + len(out) >= MOST_PATHS:
            raise ValueError(f"[{clean(text, 80)}] in a path stands for more than {MOST_PATHS:,} modules")
        out.extend(map(str, range(low, high + 1)))
    return out
