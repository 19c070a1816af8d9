"""The grammar of sizes: values, exactness, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameroof.workload.expr import Expr, Poly, poly

NAMES = ("b", "h", "w", "s")
polys = st.dictionaries(
    st.lists(st.sampled_from(NAMES), max_size=3).map(lambda names: tuple(sorted(names))),
    st.integers(-(10**6), 10**6),
    max_size=4,
).map(Poly)
points = st.fixed_dictionaries({name: st.integers(1, 10**4) for name in NAMES})


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("h//8", 65), ("ceil(h, 16)", 33), ("min(h, 9) + max(1, 2) * 3", 15), ("-h + 521", 1)],
)
def test_values(text, value):
    assert Expr(text)({"h": 520}) == value


def test_arrays_and_integers_agree():
    expression = Expr("min(ceil(h, 16), 40) * w // 3")
    h, w = np.arange(1, 900, 37), np.arange(1, 26)
    assert expression({"h": h, "w": w}).tolist() == [
        expression({"h": int(a), "w": int(b)}) for a, b in zip(h, w, strict=True)
    ]


@pytest.mark.parametrize("text", ["h/8", "h**2", "__import__('os')", "h.real", "f(h)", "h if w else b", "1.5", "", "("])
def test_refuses_what_is_not_of_the_grammar(text):
    with pytest.raises(ValueError, match="not"):
        Expr(text)


def test_unknown_names_and_division_by_zero_are_sentences():
    with pytest.raises(ValueError, match="'h//8' uses a size that is not known here"):
        Expr("h//8")({})
    with pytest.raises(ValueError, match="divides by zero"):
        Expr("h//b")({"h": 1, "b": 0})


@given(polys, polys, points)
def test_polynomials_compute_like_integers(p, q, point):
    assert (p + q)(point) == p(point) + q(point)
    assert (p * q)(point) == p(point) * q(point)
    assert (p - q)(point) == p(point) - q(point)


@given(polys)
def test_a_polynomial_survives_its_text(p):
    assert poly(str(p)) == p


def read(text):
    try:
        return poly(text)
    except ValueError:
        return None


@given(st.text("bh0127*+- ", max_size=12))
def test_a_plain_polynomial_needs_no_parser_and_is_what_it_is_with_one(text):
    assert read(text) == read(f"({text})")


@pytest.mark.parametrize(
    "text", ["4*h*w+77", "-h", "h-77*b*b-1", "0", "h-h", "999999999999999*b", "-1*h", "2*3*h", "b_2"]
)
def test_a_plain_polynomial_is_read(text):
    assert read(text) == read(f"({text})") is not None


@pytest.mark.parametrize(
    "text", ["+h", "h+", "h**b", "h*", "007", "if", "if*h", "h b", "--", "", "None+1", "2h", "1e3"]
)
def test_what_python_would_refuse_is_refused(text):
    with pytest.raises(ValueError, match="is not a"):
        poly(text)


def test_a_polynomial_is_no_division():
    with pytest.raises(ValueError, match="only"):
        poly("h//8")


def test_substitution_is_evaluation_later():
    p = poly("3*h*w+h+7")
    assert p.substitute({"h": poly("2*b+1")})({"b": 5, "w": 2}) == p({"h": 11, "w": 2})
