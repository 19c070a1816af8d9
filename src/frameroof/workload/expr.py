"""The grammar of sizes, version 1: integers, names, + - * //, min(a,b), max(a,b), ceil(a,b).

Two forms. `Expr` is any such text, compiled once and evaluated over integers or NumPy arrays.
`Poly` is the part of the grammar with + - * alone, kept as exact integer coefficients, so that
FLOPs and bytes can be multiplied out symbolically. ``ceil(a, b)`` is ceiling division.

Both are bounded, so that no file takes long or leaves what a float can hold: see the ``MOST_...`` constants.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from keyword import iskeyword
from typing import Any

from ..outside import quoted

GRAMMAR_VERSION = 1
MOST_TEXT = 2_000
"""Characters of one expression; the catalogue's longest has 88."""
MOST_TERMS = 2_000
"""Terms of one polynomial; the catalogue's largest has 9."""
MOST_FACTORS = 32
"""Factors of one term in a text."""
MOST_SIZE = 10**15
"""The value of an expression, and the numbers in a text."""
MOST_VALUE = 10**60
"""The value of a polynomial, such as the FLOPs of an operation."""
Monomial = tuple[str, ...]

_CALLS = {"min": 2, "max": 2, "ceil": 2}
_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv)


def _minimum(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    import numpy as np

    return np.minimum(a, b)


def _maximum(a: Any, b: Any) -> Any:
    return -_minimum(-a, -b)


_MOST_IN_ARRAY = 2.0**63 * (1 - 1e-9)
"""Integers of an array wrap a little beyond this."""


_FUNCTIONS = {"min": _minimum, "max": _maximum, "ceil": lambda a, b: -(-a // b), "__builtins__": {}}


class Expr:
    """An expression of the grammar: ``Expr("ceil(height, 16)")(height=520)`` is 33."""

    __slots__ = ("_code", "names", "text")

    def __init__(self, text: str) -> None:
        """Compile `text`; raise `ValueError` with a sentence if it is not of the grammar."""
        self.text = text
        tree = _parsed(text)
        names: set[str] = set()
        try:
            _check(tree.body, text, names)
            self._code = compile(tree, "<size>", "eval")
        except RecursionError:
            raise ValueError(f"{quoted(text)} is not an expression of sizes: it is nested too deeply") from None
        self.names = frozenset(names)

    def __call__(self, env: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """The value with the names bound in `env`: integers or NumPy integer arrays.

        Raises `ValueError` for a name that is not bound, a division by zero and a value beyond `MOST_SIZE`.
        """
        bound = {**(env or {}), **more}
        try:
            arrays = not all(type(bound.get(name, 0)) is int for name in self.names)
            value = self._array(bound) if arrays else eval(self._code, _FUNCTIONS, bound)
            if type(value) is not int:
                return value
        except NameError as error:
            raise ValueError(f"{quoted(self.text)} uses a size that is not known here: {error.name}") from error
        except ZeroDivisionError as error:
            raise ValueError(f"{quoted(self.text)} divides by zero") from error
        if not -MOST_SIZE <= value <= MOST_SIZE:
            raise self._grown()
        return value

    def _array(self, bound: dict[str, Any]) -> Any:
        """The same for arrays, whose integers wrap: found by the same sum in floats."""
        import numpy as np

        used = {name: bound[name] for name in self.names}
        floats = {name: each if type(each) is int else np.asarray(each, dtype=float) for name, each in used.items()}
        with np.errstate(all="ignore"):  # of what is found and said below
            value = eval(self._code, _FUNCTIONS, bound)
            check = np.asarray(eval(self._code, _FUNCTIONS, floats), dtype=float)
            if not np.isfinite(check).all():
                raise ZeroDivisionError
            if (np.abs(check) > MOST_SIZE).any() or (np.abs(value - check) > 1 + 1e-6 * np.abs(check)).any():
                raise self._grown()
        return value

    def _grown(self) -> ValueError:
        return ValueError(f"{quoted(self.text)} grows beyond any use: sizes go up to {MOST_SIZE:.0e}")

    def __repr__(self) -> str:
        return f"Expr({self.text!r})"


def _parsed(text: str) -> ast.Expression:
    if len(text) > MOST_TEXT:
        raise ValueError(f"{quoted(text)} is too long; an expression has at most {MOST_TEXT:,} characters")
    try:
        with warnings.catch_warnings(action="ignore"):  # of `1(2)`, which is refused below
            return ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{quoted(text)} is not an expression of sizes") from error


def _check(node: ast.AST, text: str, names: set[str]) -> None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        if node.value > MOST_SIZE:
            raise ValueError(f"{quoted(text)} holds a number beyond {MOST_SIZE:.0e}")
        return
    if isinstance(node, ast.Name):
        names.add(node.id)
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _check(node.operand, text, names)
    if isinstance(node, ast.BinOp) and isinstance(node.op, _BINARY):
        _check(node.left, text, names)
        return _check(node.right, text, names)
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords
    if is_call and _CALLS.get(node.func.id) == len(node.args):  # type: ignore[attr-defined]
        for argument in node.args:  # type: ignore[attr-defined]
            _check(argument, text, names)
        return None
    raise ValueError(f"{quoted(text)} is not of the grammar: integers, names, + - * //, min(a,b), max(a,b), ceil(a,b)")


@lru_cache(maxsize=4096)
def expr(text: str) -> Expr:
    """`Expr(text)`, remembered."""
    return Expr(text)


class Poly:
    """A polynomial with integer coefficients in named sizes; immutable and hashable.

    ``Poly({("h", "w"): 4, (): 77})`` is ``4*h*w+77``; a monomial lists its names sorted, with repeats. Where a quantity
    that is worked out from sizes needs a minimum, the text of it stands in place of a name (``min(512,n)``).
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: dict[Any, int] | None = None) -> None:
        self.terms: dict[Monomial, int] = {m: c for m, c in terms.items() if c} if terms else {}
        self._hash: int | None = None

    @staticmethod
    def of(value: int | str | Poly) -> Poly:
        """A polynomial from an integer, a text such as ``"4*h*w+77"``, or itself."""
        if isinstance(value, Poly):
            return value
        return constant(value) if isinstance(value, int) else poly(value)

    @property
    def names(self) -> frozenset[str]:
        """Every name that occurs."""
        return frozenset(n for m in self.terms for factor in m for n in names_in(factor))

    def __add__(self, other: Poly | int) -> Poly:
        out = dict(self.terms)
        for m, c in Poly.of(other).terms.items():
            out[m] = out.get(m, 0) + c
        return Poly(out)

    @classmethod
    def _sound(cls, terms: dict[Monomial, int]) -> Poly:
        """Of terms none of which is 0, without looking."""
        made = cls.__new__(cls)
        made.terms, made._hash = terms, None
        return made

    def __neg__(self) -> Poly:
        return Poly({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Poly | int) -> Poly:
        return self + (-Poly.of(other))

    def __mul__(self, other: Poly | int) -> Poly:
        if isinstance(other, int):
            return Poly._sound({m: c * other for m, c in self.terms.items()}) if other else Poly()
        if len(self.terms) == len(other.terms) == 1:
            ((m1, c1),), ((m2, c2),) = self.terms.items(), other.terms.items()
            return Poly._sound({m1 if not m2 else m2 if not m1 else tuple(sorted(m1 + m2)): c1 * c2})
        if len(self.terms) * len(other.terms) > MOST_TERMS:
            raise ValueError(f"a product of sizes has more than {MOST_TERMS:,} terms")
        out: dict[Monomial, int] = {}
        for m1, c1 in self.terms.items():
            for m2, c2 in other.terms.items():
                m = m1 if not m2 else m2 if not m1 else tuple(sorted(m1 + m2))
                out[m] = out.get(m, 0) + c1 * c2
        return Poly(out)

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> Poly:
        """The polynomial over an integer that divides all its coefficients; `ValueError` for another."""
        if any(c % other for c in self.terms.values()):
            raise ValueError(f"{self} does not divide by {other}")
        return Poly({m: c // other for m, c in self.terms.items()})

    def smaller(self, other: Poly | int) -> Poly:
        """The smaller of two: one of them where they differ by a number, else the minimum as a factor by its text."""
        a, b = self, Poly.of(other)
        apart = a - b
        if not apart.names:
            return b if apart({}) >= 0 else a
        first, second = sorted((str(a), str(b)))
        return Poly({(f"min({first},{second})",): 1})

    def __call__(self, env: Mapping[str, Any]) -> Any:
        """The value with every name bound: exact for Python integers, vectorized for arrays.

        Raises `ValueError` for a value beyond `MOST_VALUE`; integers of an array may wrap (`check_reach`).
        """
        total: Any = 0
        for m, c in self.terms.items():
            value: Any = c
            for name in m:
                try:
                    value = value * env[name]
                except KeyError:
                    value = value * value_of(name, env)
            total = total + value
        check_value(total, self)
        return total

    def substitute(self, values: Mapping[str, Poly]) -> Poly:
        """The same polynomial with some names replaced by polynomials; `ValueError` for a name within a minimum."""
        inner = {n for m in self.terms for factor in m if not factor.isidentifier() for n in names_in(factor)}
        if inner & set(values):
            raise ValueError(f"{self} has {', '.join(sorted(inner & set(values)))} within a minimum")
        total = Poly()
        for m, c in self.terms.items():
            product = Poly({(): c})
            for name in m:
                product = product * values.get(name, Poly({(name,): 1}))
            total = total + product
        return total

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and self.terms == other.terms

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.terms.items()))
        return self._hash

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        parts = []
        for m, c in sorted(self.terms.items(), key=lambda item: (-len(item[0]), item[0])):
            factors = ([str(abs(c))] if abs(c) != 1 or not m else []) + list(m)
            parts.append(("-" if c < 0 else "+") + "*".join(factors))
        return "".join(parts).removeprefix("+")

    def __repr__(self) -> str:
        return f"Poly({str(self)!r})"


ONE = Poly({(): 1})


def total(polys: Iterable[Poly]) -> Poly:
    """The sum of some polynomials, without one for each sum on the way."""
    several = list(polys)
    if len(several) == 1:
        return several[0]
    out: dict[Monomial, int] = {}
    for each in several:
        for m, c in each.terms.items():
            out[m] = out.get(m, 0) + c
    return Poly(out)


def names_in(factor: str) -> frozenset[str]:
    """The names in a factor of a monomial: itself, or those in the text of a minimum."""
    return frozenset((factor,)) if factor.isidentifier() else expr(factor).names


def check_value(value: Any, of: Poly) -> None:
    """`ValueError`, a sentence, for a value of a polynomial that is beyond `MOST_VALUE`."""
    if type(value) is int and not -MOST_VALUE <= value <= MOST_VALUE:
        raise ValueError(f"a size grows beyond any use: {quoted(of)} is more than {MOST_VALUE:.0e}")


def largest(value: Any) -> float:
    """The largest magnitude in a value, a number or an array."""
    if type(value) is int:
        return float(abs(value))
    return max(-float(value.min(initial=0)), float(value.max(initial=0)))


def check_reach(of: Poly, reach: float) -> None:
    """`ValueError`, a sentence, where integers of an array may have wrapped: terms that add up to `reach`."""
    if reach > _MOST_IN_ARRAY:
        raise ValueError(f"a size grows beyond any use: {quoted(of)} is more than {_MOST_IN_ARRAY:.0e} in a loop")


def value_of(factor: str, env: Mapping[str, Any]) -> Any:
    """The value of a factor of a monomial, a name or the text of a minimum; `KeyError` for a name that is not bound."""
    return env[factor] if factor.isidentifier() else expr(factor)(env)


@lru_cache(maxsize=4096)
def constant(value: int) -> Poly:
    """A whole number as a polynomial."""
    return Poly({(): value})


@lru_cache(maxsize=65536)
def poly(text: str) -> Poly:
    """Read a polynomial written with + - * and the min of two only; `ValueError` with a sentence otherwise."""
    try:
        found = _written(text) or _poly_of(_parsed(text).body, text)  # the latter's errors are sentences
    except RecursionError:
        raise ValueError(f"{quoted(text)} is not a polynomial of sizes: it is nested too deeply") from None
    if any(abs(c) > MOST_SIZE or len(m) > MOST_FACTORS for m, c in found.terms.items()):
        raise ValueError(
            f"{quoted(text)} is beyond any use: terms have up to {MOST_FACTORS} factors, numbers go to {MOST_SIZE:.0e}"
        )
    return found


def _written(text: str) -> Poly | None:
    """A polynomial as `Poly` writes it, which files are full of, without Python's parser; None for any other text."""
    if not text.isascii() or text.startswith("+") or len(text) > MOST_TEXT:
        return None
    found: dict[Monomial, int] = {}
    for term in text.replace("-", "+-").removeprefix("+").split("+"):
        names, number = [], -1 if term.startswith("-") else 1
        for factor in term.removeprefix("-").split("*"):
            if factor.isdecimal() and (factor == "0" or not factor.startswith("0")) and len(factor) < 20:
                number *= int(factor)
            elif factor.isidentifier() and not iskeyword(factor):
                names.append(factor)
            else:
                return None
        if abs(number) > MOST_SIZE:
            return None
        m = tuple(sorted(names))
        found[m] = found.get(m, 0) + number
    return Poly(found)


def _poly_of(node: ast.AST, text: str) -> Poly:
    match node:
        case ast.Constant(value=int(value)) if type(value) is int:
            return Poly({(): value})
        case ast.Name(id=name):
            return Poly({(name,): 1})
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_poly_of(operand, text)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _poly_of(left, text) + _poly_of(right, text)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _poly_of(left, text) - _poly_of(right, text)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _times(_poly_of(left, text), _poly_of(right, text), text)
        case ast.Call(func=ast.Name(id="min"), args=[one, other], keywords=[]):
            return _poly_of(one, text).smaller(_poly_of(other, text))
    raise ValueError(f"{quoted(text)} is not a polynomial of sizes (only + - * and min of two are allowed)")


def _times(left: Poly, right: Poly, text: str) -> Poly:
    """The product of two parts of `text`, whose numbers may not double with every sign."""
    if any(abs(c) > MOST_SIZE for part in (left, right) for c in part.terms.values()):
        raise ValueError(f"{quoted(text)} is beyond any use: its numbers are beyond {MOST_SIZE:.0e}")
    return left * right
