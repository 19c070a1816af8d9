"""Exact polynomials through samples: found when they are there, refused when they are not."""

import random

import pytest

from frameroof.count.fit import Fitter, NoPolynomial
from frameroof.workload.expr import poly

POINTS = [
    {name: random.Random(f"{name}{i}").randint(2, 40) for name in ("b", "h", "w", "h2", "s", "t")} for i in range(14)
]


@pytest.mark.parametrize(
    "text",
    ["7", "320*b*h*w", "h*w+s", "b*t*h*w+b*s", "4*t-3", "h2", "t*t", "768*b*s+4*b*h*w+1", "1024*b*h*w*t"],
)
def test_finds_the_polynomial(text):
    p = poly(text)
    assert Fitter(POINTS).fit([p(point) for point in POINTS]) == p


@pytest.mark.parametrize("rule", [lambda p: p["h"] // 3, lambda p: p["h"] ** 3, lambda p: min(p["h"], 20)])
def test_refuses_anything_else(rule):
    with pytest.raises(NoPolynomial):
        Fitter(POINTS).fit([rule(point) for point in POINTS])


def test_a_variable_is_squared_only_where_it_may_be():
    squares = [poly("h*h")(point) for point in POINTS]
    with pytest.raises(NoPolynomial):
        Fitter(POINTS).fit(squares)
    assert Fitter(POINTS, squared=("h",)).fit(squares) == poly("h*h")
    with pytest.raises(NoPolynomial):  # h and h2 are rows both: an area has one of them
        Fitter(POINTS).fit([point["h"] * point["h2"] for point in POINTS])


def test_what_does_not_vary_is_no_variable():
    fixed = [{**point, "b": 2} for point in POINTS]
    assert Fitter(fixed).fit([6 * point["h"] for point in fixed]) == poly("6*h")
    assert Fitter(fixed).fit([0] * len(fixed)) == poly("0")


def test_one_value_that_differs_is_refused():
    for p in (poly("3*h*w+5"), poly("3*h*w")):
        for at in (0, -1):
            values = [p(point) for point in POINTS]
            values[at] += 1
            with pytest.raises(NoPolynomial):
                Fitter(POINTS).fit(values)


def test_the_fewest_terms_are_found_first():
    points = [{"h": h, "w": w} for h, w in ((2, 3), (3, 5), (5, 2), (7, 11))]
    assert Fitter(points).fit([p["h"] * p["w"] for p in points]) == poly("h*w")
    assert Fitter(points).fit([4 * p["h"] - 3 for p in points]) == poly("4*h-3")


def test_three_terms_are_found_among_many_sizes_that_may_be_squared():
    """A batch of sequences of text, one more token and patches: of hundreds of products few are looked at in threes."""
    p = poly("b*h2*w2+b*s+b")
    points = [{**point, "w2": 3 * i % 17 + 2} for i, point in enumerate(POINTS)]
    assert Fitter(points, squared=("b", "h", "w", "s")).fit([p(point) for point in points]) == p


def test_a_factor_may_occur_twice_where_its_size_may_be_squared():
    def rule(point):
        return 3 * (point["h"] + 3) ** 2 * (point["t"] + 1)

    samples = [rule(point) for point in POINTS]
    found = Fitter(POINTS, squared=("h",)).fit(samples)
    assert found({"h": 100, "t": 50}) == 3 * 103**2 * 51
    with pytest.raises(NoPolynomial):
        Fitter(POINTS).fit(samples)
