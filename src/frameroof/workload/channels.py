"""Channels and groups of convolutions, ``c`` and ``g`` of `Op.dims`: in older files, and that they can be divided by.

With them a convolution is a matrix product of known sides (`rules.convolution_product`). Files before version 3 left
them out; their operands tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..outside import quoted
from .expr import Poly
from .records import Op, product

CHANNELS_SINCE = 3
"""The version of files that have a convolution's channels and groups (``c`` and ``g``) among its dims."""


def with_channels(op: Op) -> Op:
    """A convolution of a file before version `CHANNELS_SINCE` with ``c`` and ``g``; itself where it is none.

    They follow from the operands, exactly: the weight is (c, other channels / g, kernel ...), transposed or not. Where
    the operands are not recorded so, or do not agree with each other and with ``k``, it stays without them.
    """
    found = _channels(op) if op.kind.startswith("conv") else None
    if found is None:
        return op
    attrs = {name: value for name, value in op.attrs.items() if name != "groups"}
    return replace(op, dims={**op.dims, **found}, attrs=attrs)


def _channels(op: Op) -> Mapping[str, Poly] | None:
    """``c`` and ``g`` of a convolution by its input, weight and output; None where they do not all agree."""
    groups, transposed = op.attrs.get("groups", 1), bool(op.attrs.get("transposed"))
    if len(op.reads) < 2 or len(op.writes) != 1 or type(groups) is not int or groups < 1:
        return None
    read, weight, made = op.reads[0].shape, op.reads[1].shape, op.writes[0].shape
    rank = int(op.kind.removeprefix("conv").removesuffix("d")) + 2
    if not len(read) == len(weight) == len(made) == rank:
        return None
    own, other = (read, made) if transposed else (made, read)
    agree = (
        (own[1], weight[0]),
        (other[1], weight[1] * groups),
        (op.dims["k"], product(weight[1:])),
    )
    return {"c": weight[0], "g": Poly.of(groups)} if all(a == b for a, b in agree) else None


def check_channels(op: Op, env: Mapping[str, Any]) -> None:
    """`ValueError`, a sentence, for a convolution whose channels do not divide into its groups at these sizes."""
    if not op.kind.startswith("conv") or not {"c", "g"} & set(op.dims):
        return
    if not {"c", "g"} <= set(op.dims):
        raise ValueError(f"operation {quoted(op.path)}: a convolution has both channels c and groups g, or neither")
    n, c, g = (op.dims[name](env) for name in ("n", "c", "g"))
    if c < 1 or g < 1 or c % g or n % c:
        raise ValueError(f"operation {quoted(op.path)}: {n} elements are not of {c} channels in {g} groups")
