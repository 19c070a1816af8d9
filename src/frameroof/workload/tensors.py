"""A tensor as one text, as workload files have it: read often, by people and by programs, so short and exact."""

from __future__ import annotations

import re

from ..dtypes import BITS
from ..outside import quoted
from .expr import poly
from .records import AGAIN, CHIP, GIVEN, Tensor

MOST_RANK = 64
"""Dimensions of a tensor."""
_MARKS = {"": "", CHIP: "~", GIVEN: "+", AGAIN: "="}
_TRAFFIC = {**{mark: traffic for traffic, mark in _MARKS.items()}, "~~": CHIP}
"""``~~`` is what files of version 1 have where fusing was a pass."""


def tensor_text(tensor: Tensor) -> str:
    """One tensor as text: ``w:bf16[320,4,3,3]``, with a mark at the end for its traffic (`_MARKS`)."""
    shape = ",".join(map(str, tensor.shape))
    return f"{'w:' if tensor.weight else ''}{tensor.dtype}[{shape}]{_MARKS[tensor.traffic]}"


def tensor_of(text: str) -> Tensor:
    """The inverse of `tensor_text`.

    Raises `ValueError`, a sentence, for a text of another form.
    """
    body, closed, mark = text.removeprefix("w:").rpartition("]")
    dtype, bracket, shape = body.partition("[")
    if not (bracket and closed) or dtype not in BITS or mark not in _TRAFFIC:
        raise ValueError(f"{quoted(text)} is not a tensor such as bf16[b,320,h,w]")
    sides = _sides(shape)
    if len(sides) > MOST_RANK:
        raise ValueError(f"{quoted(text)} has too many dimensions; a tensor has at most {MOST_RANK}")
    return Tensor(tuple(map(poly, sides)), dtype, text.startswith("w:"), _TRAFFIC[mark])


def _sides(shape: str) -> list[str]:
    """The expressions of a shape: commas within parentheses, as in ``min(b*s,32)``, part none."""
    if "(" not in shape:
        return shape.split(",") if shape else []
    sides, depth = [""], 0
    for piece in re.split("([(),])", shape):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "," and not depth:
            sides.append("")
        else:
            sides[-1] += piece
    return sides
