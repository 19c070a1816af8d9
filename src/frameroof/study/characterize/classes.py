"""The class of an operation of a workload, by the rules of recorded operators (`trace.resolve.classify`)."""

from __future__ import annotations

from functools import cache

from ...trace.read.events import Kind
from ...trace.resolve.classify import ATTENTION, classify
from ...workload.records import Op


def class_of(op: Op) -> str:
    """The class (of `trace.resolve.classify.CLASSES`) that a trace of this operation would have.

    Pieces of baseline attention belong to attention. Pieces of a norm that a model writes by hand (RMS norm as power,
    mean, multiply) are elementwise, as in a trace, where nothing says what they are for.
    """
    return ATTENTION if op.kind == "attention" else _by_name(op.name)


@cache
def _by_name(name: str) -> str:
    return classify(f"aten::{name}", "", Kind.OPERATOR)


def attention_kind(op: Op) -> str:
    """``self``, ``cross``; with an axis ``temporal``, ``spatial`` or ``full`` for self-attention, ``temporal cross`` …
    for cross-attention; "" for anything but attention."""
    if op.kind != "attention":
        return ""
    role, axis = str(op.attrs.get("role", "self")), str(op.attrs.get("axis", ""))
    if not axis:
        return role
    return axis if role == "self" else f"{axis} {role}"
