"""What public names share: rooms that can be called, names loaded when asked for, listings, a word on what is missing.

`frameroof.count` and `frameroof.models` are functions for whoever uses the package, and rooms of it. Python sets a
room as an attribute of the package once anything imports it, and would so take the function's place: which of the two
a name means would hang on what was imported before. So the room itself can be called, and the name means one thing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


def make_callable(room: str, function: Callable[..., Any]) -> None:
    """Let the module called `room` be called as `function` is, with its signature and documentation."""

    class Room(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        @property
        def __signature__(self) -> Any:
            from inspect import signature

            return signature(function)

    Room.__call__.__doc__ = function.__doc__
    sys.modules[room].__class__ = Room


def on_demand(room: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """`__getattr__` of the module called `room`: each name of `where` is that file's, loaded when asked for."""

    def found(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f".{where[name]}", room), name)

    return found


class Listing(tuple[T, ...]):
    """A tuple that shows one entry a line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) if self else "()"


def need_torch(what: str) -> None:
    """`ValueError`, a sentence, where PyTorch is not installed; `what` needs it."""
    if find_spec("torch") is None:
        raise ValueError(f"{what} needs PyTorch: pip install 'frameroof[torch]'")
