"""What a forward leaves where its caller can read it: results, and tensors in caches and attributes."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

MOST_OBJECTS = 100_000
"""Objects that are looked into."""
MOST_RESULTS = 10_000
"""Results that are taken from a forward which yields them one by one."""


def all_of(out: Any) -> Any:
    """What a forward gives; of one that yields, which computes only when it is asked, all results.

    Raises `TypeError`, a sentence, for one that does not end, and for a coroutine.
    """
    if isinstance(out, Coroutine):
        out.close()
        raise TypeError("its forward is a coroutine, which computes nothing until something awaits it")
    if not isinstance(out, Iterator):
        return out
    found = list(islice(out, MOST_RESULTS + 1))
    if len(found) > MOST_RESULTS:
        raise TypeError("its forward yields results without an end")
    return found


def left_behind(module: nn.Module, given: Any, out: Any) -> Iterator[torch.Tensor]:
    """The tensors that a forward leaves where its caller can read them.

    They are in what it returned, in objects that it was given (caches), and in attributes of its modules.
    """
    stack: list[Any] = [out, *tree_leaves(given), *(value for m in module.modules() for value in _own(m))]
    seen: set[int] = set()
    while stack and len(seen) < MOST_OBJECTS:
        thing = stack.pop()
        if isinstance(thing, torch.Tensor):
            yield thing
        elif isinstance(thing, (str, bytes, int, float, complex, type, nn.Module, torch.dtype, torch.device)):
            continue
        elif thing is not None and id(thing) not in seen:
            seen.add(id(thing))
            stack.extend(_inside(thing))


_MODULE = frozenset(vars(nn.Module()))


def _own(module: nn.Module) -> Iterator[Any]:
    return (value for name, value in vars(module).items() if name not in _MODULE)


def _inside(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(thing)
    if callable(thing):
        return []
    found = list(getattr(thing, "__dict__", {}).values())
    return found + [getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())]
