"""The rank test of Mann and Whitney where its rules turn: ties, two sizes, counted or approximated, too few."""

from __future__ import annotations

import math

import pytest

from frameroof.study.samples import judge, p_value


def two_sided(distance, variance):
    """2 (1 - Phi(z)) = erfc(z / sqrt 2): the normal approximation, with half a rank taken off for continuity."""
    return math.erfc((distance - 0.5) / math.sqrt(2 * variance))


def test_the_approximation_by_hand_without_ties():
    # 21 even and 21 odd numbers: the even ones have ranks 1, 3 … 41, whose sum is 441; 21 x 43 / 2 = 451.5 are
    # expected, and the variance is 21 x 21 x 43 / 12 = 1580.25
    p = p_value(range(0, 42, 2), range(1, 43, 2))
    assert p == pytest.approx(two_sided(10.5, 1580.25), abs=1e-12)
    assert p == pytest.approx(0.80138, abs=1e-5)  # scipy.stats.mannwhitneyu(method="asymptotic") says so too


def test_the_approximation_by_hand_with_ties():
    # 15 ones, 15 twos, 30 threes: middle ranks 8, 23 and 45.5. Before: 10 (8 + 23 + 45.5) = 765 of 915 expected.
    # Variance 30 x 30 / 12 x (61 - (2 (15^3 - 15) + 30^3 - 30) / (60 x 59))
    before, after = [1] * 10 + [2] * 10 + [3] * 10, [1] * 5 + [2] * 5 + [3] * 20
    variance = 75 * (61 - (2 * (15**3 - 15) + 30**3 - 30) / (60 * 59))
    assert p_value(before, after) == pytest.approx(two_sided(150, variance), abs=1e-12)
    assert p_value(after, before) == pytest.approx(two_sided(150, variance), abs=1e-12)


def test_the_approximation_by_hand_with_sets_of_two_sizes():
    # 41 values, the 11 smallest before: ranks 1 … 11 are 66 of 11 x 42 / 2 = 231 expected; 11 x 30 x 42 / 12 = 1155
    assert p_value(range(11), range(11, 41)) == pytest.approx(two_sided(165, 1155), rel=1e-9)


def test_sets_that_do_not_differ_at_all_are_certain_not_to():
    # equal rank sums: the distance is 0, and half a rank less is not below 0
    even, odd = [0, 3] * 11, [1, 2] * 11
    assert p_value(even, odd) == 1.0
    assert p_value([5] * 21, [5] * 21) == 1.0


def test_up_to_forty_values_are_counted_and_more_are_approximated():
    assert p_value(range(20), range(20, 40)) == pytest.approx(2 / math.comb(40, 20), rel=1e-12)
    # ranks 1 … 20 are 210 of 20 x 42 / 2 = 420 expected; the variance is 20 x 21 x 42 / 12 = 1470
    assert p_value(range(20), range(20, 41)) == pytest.approx(two_sided(210, 1470), rel=1e-9)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([1], [2, 3, 4], "single measurements: no spread to judge by"),
        ([1, 2, 3], [4], "single measurements: no spread to judge by"),
        ([1, 2], [3, 4], "too few to tell (2 and 2 repetitions)"),
        (range(2), range(9, 16), "too few to tell (2 and 7 repetitions)"),  # 2 / 36 at best
        (range(2), range(9, 17), "slower (p = 0.044, 2 and 8 repetitions)"),  # 2 / 45
        (range(20, 22), range(8), "faster (p = 0.044, 2 and 8 repetitions)"),
        (range(8), range(20, 22), "slower (p = 0.044, 8 and 2 repetitions)"),
        (range(3), range(9, 13), "too few to tell (3 and 4 repetitions)"),  # 2 / 35
        (range(4), range(9, 13), "slower (p = 0.029, 4 and 4 repetitions)"),  # 2 / 70
        ([1, 2, 3, 5], [4, 6, 7, 8], "within the spread (p = 0.057, 4 and 4 repetitions)"),  # 4 / 70
    ],
)
def test_verdicts_by_counting(before, after, verdict):
    assert judge(before, after) == verdict
