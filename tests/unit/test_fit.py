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
