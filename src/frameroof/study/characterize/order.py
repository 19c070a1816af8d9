"""The order in which the operations of a folded table run: a table keeps first appearances, a run needs all of them.

Module paths are unfolded and sorted as a tree. A child comes where its first row comes. A row that is folded over
several places says only where the first of them is, so that the rows folded over the fewest decide. Lists of modules
with the same numbers under one parent (``resnets.[0-1]``, ``attentions.[0-1]`` of a block) alternate; lists at the top
do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ...workload.fold import unfold
from ...workload.records import Op

Unit = tuple[str, int]  # a child: its name and, for a member of a list, its number (else -1)
Leaf = tuple[tuple[Unit, ...], int]  # the units of a path, and the row


def run_order(ops: Sequence[Op]) -> list[int]:
    """Rows of a table in the order of the run, each as often as it has paths."""
    leaves = [(_units(path), row) for row, op in enumerate(ops) for path in unfold(op.path)]
    return _ordered(leaves, 0, Counter(row for _, row in leaves))


def _units(path: str) -> tuple[Unit, ...]:
    units: list[Unit] = []
    for part in path.split("."):
        if part.isdigit() and units and units[-1][1] < 0:
            units[-1] = (units[-1][0], int(part))
        elif part:
            units.append((part, -1))
    return tuple(units)


def _ordered(leaves: list[Leaf], depth: int, paths: Mapping[int, int]) -> list[int]:
    children: dict[Unit, list[Leaf]] = {}
    for units, row in leaves:
        key = units[depth] if depth < len(units) else ("", row)  # work of the module itself stays by its row
        children.setdefault(key, []).append((units, row))
    first = {unit: _first(members, paths) for unit, members in children.items()}
    rounds = _rounds(list(first), first) if depth else {}

    def place(unit: Unit) -> tuple[int, int, int, Unit]:
        return rounds.get(unit, first[unit]), unit[1] if unit in rounds else first[unit], first[unit], unit

    out: list[int] = []
    for unit in sorted(first, key=place):
        members = children[unit]
        out += [row for _, row in members] if unit[0] == "" else _ordered(members, depth + 1, paths)
    return out


def _first(members: list[Leaf], paths: Mapping[int, int]) -> int:
    """The row at which a child begins, from those of its rows that are folded over the fewest paths."""
    fewest = min(paths[row] for _, row in members)
    return min(row for _, row in members if paths[row] == fewest)


def _rounds(units: list[Unit], first: dict[Unit, int]) -> dict[Unit, int]:
    """For members of lists that alternate: where their first round begins."""
    lists: dict[str, set[int]] = {}
    for name, number in units:
        if name and number >= 0:
            lists.setdefault(name, set()).add(number)
    found: dict[Unit, int] = {}
    for name, numbers in lists.items():
        alike = [other for other, others in lists.items() if others == numbers]
        if len(alike) > 1 and len(numbers) > 1:
            start = min(first[other, number] for other in alike for number in numbers)
            found.update({(name, number): start for number in numbers})
    return found
