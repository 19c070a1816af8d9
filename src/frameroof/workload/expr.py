"""The grammar of sizes, version 1: integers, names, + - * //, min(a,b), max(a,b), ceil(a,b).

Two forms. `Expr` is any such text, compiled once and evaluated over integers or NumPy arrays.
`Poly` is the part of the grammar with + - * alone, kept as exact integer coefficients, so that
FLOPs and bytes can be multiplied out symbolically. ``ceil(a, b)`` is ceiling division.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

GRAMMAR_VERSION = 1
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


_FUNCTIONS = {"min": _minimum, "max": _maximum, "ceil": lambda a, b: -(-a // b), "__builtins__": {}}


class Expr:
    """An expression of the grammar: ``Expr("ceil(height, 16)")(height=520)`` is 33."""

    __slots__ = ("_code", "names", "text")

    def __init__(self, text: str) -> None:
        """Compile `text`; raise `ValueError` with a sentence if it is not of the grammar."""
        self.text = text
        tree = _parsed(text)
        names: set[str] = set()
        _check(tree.body, text, names)
        self.names = frozenset(names)
        self._code = compile(tree, "<size>", "eval")

    def __call__(self, env: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """The value with the names bound in `env`: integers or NumPy integer arrays.

        Raises `ValueError`, a sentence, for a name that is not bound and a division by zero.
        """
        try:
            return eval(self._code, _FUNCTIONS, {**(env or {}), **more})
        except NameError as error:
            raise ValueError(f"{self.text!r} uses a size that is not known here: {error.name}") from error
        except ZeroDivisionError as error:
            raise ValueError(f"{self.text!r} divides by zero") from error

    def __repr__(self) -> str:
        return f"Expr({self.text!r})"


def _parsed(text: str) -> ast.Expression:
    try:
        return ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"{text!r} is not an expression of sizes") from error


def _check(node: ast.AST, text: str, names: set[str]) -> None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
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
    raise ValueError(f"{text!r} is not of the grammar: integers, names, + - * //, min(a,b), max(a,b), ceil(a,b)")


@lru_cache(maxsize=4096)
def expr(text: str) -> Expr:
    """`Expr(text)`, remembered."""
    return Expr(text)


class Poly:
    """A polynomial with integer coefficients in named sizes; immutable and hashable.

    ``Poly({("h", "w"): 4, (): 77})`` is ``4*h*w+77``; a monomial lists its names sorted, with repeats.
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
        return Poly({(): value}) if isinstance(value, int) else poly(value)

    @property
    def names(self) -> frozenset[str]:
        """Every name that occurs."""
        return frozenset(n for m in self.terms for n in m)

    def __add__(self, other: Poly | int) -> Poly:
        out = dict(self.terms)
        for m, c in Poly.of(other).terms.items():
            out[m] = out.get(m, 0) + c
        return Poly(out)

    def __neg__(self) -> Poly:
        return Poly({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Poly | int) -> Poly:
        return self + (-Poly.of(other))

    def __mul__(self, other: Poly | int) -> Poly:
        if isinstance(other, int):
            return Poly({m: c * other for m, c in self.terms.items()})
        out: dict[Monomial, int] = {}
        for m1, c1 in self.terms.items():
            for m2, c2 in other.terms.items():
                m = m1 if not m2 else m2 if not m1 else tuple(sorted(m1 + m2))
                out[m] = out.get(m, 0) + c1 * c2
        return Poly(out)

    __radd__ = __add__
    __rmul__ = __mul__

    def __call__(self, env: Mapping[str, Any]) -> Any:
        """The value with every name bound: exact for Python integers, vectorized for arrays."""
        total: Any = 0
        for m, c in self.terms.items():
            value: Any = c
            for name in m:
                value = value * env[name]
            total = total + value
        return total

    def substitute(self, values: Mapping[str, Poly]) -> Poly:
        """The same polynomial with some names replaced by polynomials."""
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


@lru_cache(maxsize=65536)
def poly(text: str) -> Poly:
    """Read a polynomial written with + - * only; `ValueError` with a sentence otherwise."""
    try:
        return Poly({(): int(text)})
    except ValueError:
        pass
    return _poly_of(_parsed(text).body, text)


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
            return _poly_of(left, text) * _poly_of(right, text)
    raise ValueError(f"{text!r} is not a polynomial of sizes (only + - * are allowed)")
