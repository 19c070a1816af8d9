"""Fold alike operations of a table into one row: ``blocks.0.attn.to_q`` … ``blocks.29.attn.to_q``
of the same sizes become ``blocks.[0-29].attn.to_q`` with their calls added up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from ..outside import clean, quoted
from .expr import Poly
from .records import Op

MOST_PATHS = 100_000
"""Modules that one folded path may stand for."""
_RUN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_SET = re.compile(r"\[([0-9,-]+)\]")


def fold(ops: Sequence[Op]) -> tuple[list[Op], list[int]]:
    """The folded table, in order of first appearance, and for every old row the new one's index."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, op in enumerate(ops):
        key = (op.kind, op.name, op.reads, op.writes, tuple(op.dims.items()), tuple(op.attrs.items()))
        groups.setdefault(key, []).append(i)
    folded: list[tuple[int, Op, list[int]]] = []
    for members in groups.values():
        for path, count, rows in _fold_paths(ops, members):
            first = ops[rows[0]]
            op = Op(path, first.kind, first.name, first.reads, first.writes, first.dims, first.attrs, count)
            folded.append((min(rows), op, rows))
    folded.sort(key=lambda item: item[0])
    where = [0] * len(ops)
    for new, (_, _, rows) in enumerate(folded):
        for old in rows:
            where[old] = new
    return [op for _, op, _ in folded], where


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
