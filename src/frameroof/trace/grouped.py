"""Rows of work that share a name: their number, their time and sums of their columns, for all names at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .read.columns import Array, distinct_with_places


def numbered(keys: Sequence[Any]) -> tuple[dict[Any, int], Array]:
    """A number for every different key, by its first place, and the number of each."""
    number = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    return number, np.fromiter(map(number.__getitem__, keys), dtype=np.int64, count=len(keys))


class Grouped:
    """Rows by key, the key of the longest time first (of equal ones, the first to appear)."""

    def __init__(self, keys: Sequence[Any], duration: Array) -> None:
        number, self._group = numbered(keys)
        self._order = np.argsort(self._group, kind="stable")
        counts = np.bincount(self._group, minlength=len(number))
        self._first = np.cumsum(counts) - counts
        self._rank = np.argsort(-self._sums(duration), kind="stable")
        names = list(number)
        self.keys: list[Any] = [names[i] for i in self._rank.tolist()]
        self.counts: list[int] = counts[self._rank].tolist()
        self.times: list[int] = self.sums(duration)

    def rows(self, index: int) -> Array:
        """The rows of the `index`-th key, ascending."""
        first = self._first[self._rank[index]]
        return self._order[first : first + self.counts[index]]

    def sums(self, values: Array) -> list[Any]:
        """The sum of a column for every key."""
        return self._sums(values)[self._rank].tolist()  # type: ignore[no-any-return]

    def known_sums(self, values: Array) -> list[float | None]:
        """The sum of those values that are known (not negative) for every key; None where none is."""
        known = values >= 0
        pairs = zip(self.sums(np.where(known, values, 0.0)), self.sums(known.astype(np.int64)), strict=True)
        return [total if count else None for total, count in pairs]

    def distinct(self, values: Array) -> list[int]:
        """How many different numbers a column has for every key; each negative one counts by itself."""
        within = np.lexsort((values, self._group))
        sorted_values, group = values[within], self._group[within]
        fresh = np.ones(len(within), dtype=np.int64)
        fresh[1:] = (np.diff(sorted_values) != 0) | (np.diff(group) != 0) | (sorted_values[1:] < 0)
        return self._totals(fresh)[self._rank].tolist()  # type: ignore[no-any-return]

    def longest(self, names: Sequence[str], duration: Array) -> list[str]:
        """For every key the name, of one a row, that takes most of its time (of equal ones, the first to appear)."""
        number, named = numbered(names)
        pairs, inverse = distinct_with_places(self._group * max(1, len(number)) + named)
        order = np.argsort(-np.bincount(inverse, weights=duration, minlength=len(pairs)), kind="stable")
        group, name = np.divmod(pairs[order], max(1, len(number)))
        best: dict[int, int] = {}
        for key, at in zip(group.tolist(), name.tolist(), strict=True):
            best.setdefault(key, at)
        known = list(number)
        return [known[best[i]] for i in self._rank.tolist()]

    def _sums(self, values: Array) -> Array:
        return self._totals(values[self._order])

    def _totals(self, ordered: Array) -> Array:
        return np.add.reduceat(ordered, self._first) if len(ordered) else ordered[:0]
