"""Whether two sets of repetitions differ by more than their spread: the rank test of Mann and Whitney, two-sided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

LEVEL = 0.05
MOST_EXACT = 40
"""Up to this many values together the probability is counted, beyond it is approximated."""


def judge(before: Sequence[float], after: Sequence[float]) -> str:
    """The verdict on two sets of times in words, such as "slower (p = 0.008, 5 and 5 repetitions)"."""
    n, m = len(before), len(after)
    if n < 2 or m < 2:
        return "single measurements: no spread to judge by"
    counts = f"{n} and {m} repetitions"
    if 2 / math.comb(n + m, n) > LEVEL:
        return f"too few to tell ({counts})"
    p = p_value(before, after)
    if p > LEVEL:
        return f"within the spread (p = {p:.2g}, {counts})"
    ranks = _ranks([*before, *after])
    slower = sum(ranks[n:]) / m > sum(ranks[:n]) / n
    return f"{'slower' if slower else 'faster'} (p = {p:.2g}, {counts})"


def p_value(before: Sequence[float], after: Sequence[float]) -> float:
    """How likely ranks at least this unequal are if both sets come from one distribution."""
    n, m = len(before), len(after)
    ranks = _ranks([*before, *after])
    total, expected = sum(ranks[:n]), n * (n + m + 1)  # ranks are doubled, so that ties keep them whole
    if n + m <= MOST_EXACT:
        ways = _sums(ranks, n)
        far = sum(count for value, count in ways.items() if abs(value - expected) >= abs(total - expected))
        return far / math.comb(n + m, n)
    mean = n + m + 1.0
    variance = sum((rank - mean) ** 2 for rank in ranks) / (n + m - 1) * n * m / (n + m)
    if not variance:
        return 1.0
    distance = max(0.0, abs(total - expected) - 1) / math.sqrt(variance)
    return 2 * NormalDist().cdf(-distance)


def _ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value; equal values share the middle of theirs."""
    order = sorted(values)
    first = {value: at for at, value in reversed(list(enumerate(order)))}
    last = {value: at for at, value in enumerate(order)}
    return [first[value] + last[value] + 2 for value in values]


def _sums(ranks: Sequence[int], size: int) -> dict[int, int]:
    """Sum -> in how many ways `size` of the ranks add up to it."""
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in range(size))]
    for rank in ranks:
        for taken in range(size, 0, -1):
            for value, count in ways[taken - 1].items():
                ways[taken][value + rank] = ways[taken].get(value + rank, 0) + count
    return ways[size]
