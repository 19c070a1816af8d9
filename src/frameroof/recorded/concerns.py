"""What an advice concerns: the part of a run whose time it would shorten, so that it can be measured in another run.

In JSON each is told by `of`. Equal ones are about the same thing, whatever counts and times a title or evidence holds.
"""

from __future__ import annotations

import msgspec


class _Concern(msgspec.Struct, frozen=True, tag_field="of"):
    """Told apart in JSON by `of`."""


class Idle(_Concern, frozen=True, tag="idle"):
    """Idle time of one cause."""

    cause: str


class Wait(_Concern, frozen=True, tag="wait"):
    """Idle time after the host waited for the device in one place."""

    operator: str
    """The outermost operator around the call; the call itself where there is none."""
    line: str = ""
    """`file.py(12): function` or `module a.b`; empty where unknown."""


class HostFunction(_Concern, frozen=True, tag="host_function"):
    """Idle time while the host was in one function."""

    function: str


class Classes(_Concern, frozen=True, tag="classes"):
    """Time of some classes of operators."""

    names: tuple[str, ...]


class Operator(_Concern, frozen=True, tag="operator"):
    """Time of one operator in one class."""

    class_: str = msgspec.field(name="class")
    name: str = ""


class Attention(_Concern, frozen=True, tag="attention"):
    """Time of one kind of attention; the advice is about the calls over so many positions in one stage."""

    kind: str
    query_len: int
    stage: str = ""


class Stage(_Concern, frozen=True, tag="stage"):
    """Time of one stage."""

    name: str


class Kernels(_Concern, frozen=True, tag="kernels"):
    """Time of the kernels whose names hold one of these."""

    named: tuple[str, ...]


class Communication(_Concern, frozen=True, tag="communication"):
    """Communication while nothing else ran."""


class TextKeys(_Concern, frozen=True, tag="text_kv"):
    """Keys and values of the text that were computed again."""


Concern = Idle | Wait | HostFunction | Classes | Operator | Attention | Stage | Kernels | Communication | TextKeys
"""The part of a run that an advice is about."""
