"""Numbers 0 to n - 1 that are joined into groups, two at a time (union and find)."""

from __future__ import annotations


class Groups:
    """At first each number is a group of its own."""

    def __init__(self, count: int) -> None:
        self._up = list(range(count))

    def root(self, one: int) -> int:
        """The number that stands for the group of `one`."""
        up = self._up
        while up[one] != one:
            up[one] = up[up[one]]
            one = up[one]
        return one

    def join(self, one: int, other: int) -> None:
        """Make the groups of two numbers one."""
        self._up[self.root(other)] = self.root(one)

    def numbers(self) -> list[int]:
        """The number of every number's group: 1, 2, … in order of first appearance."""
        seen: dict[int, int] = {}
        return [seen.setdefault(self.root(one), len(seen) + 1) for one in range(len(self._up))]
