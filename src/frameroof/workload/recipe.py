"""What to record: the sizes a builder takes, and the stages a pipeline is made of.

A *builder* is a function whose keyword arguments are sizes with defaults and which returns
``(module, args, kwargs)``; it is called under the meta device, so nothing is allocated.
A *recipe* names the builders of a whole pipeline and how often each runs. Both are data:
`frameroof.count` turns a recipe into a `Workload`, and this file needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .size import Size

__all__ = ["B", "Builder", "Part", "Recipe", "Size", "Sizes", "sizes"]
Builder = Callable[..., tuple[Any, tuple[Any, ...], dict[str, Any]]]
B = TypeVar("B", bound=Builder)


@dataclass(frozen=True)
class Sizes:
    """What a builder declares of itself: its sizes, and the variables its shapes are written in."""

    sizes: Mapping[str, Size]
    let: Mapping[str, str] = field(default_factory=dict)
    squared: tuple[str, ...] = ()  # variables that shapes may depend on by their square
    when: Mapping[str, str] = field(default_factory=dict)  # names of 0 or 1: whether an operation occurs at all
    samples: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # values to trace; else the smallest dozen
    also: tuple[Mapping[str, int], ...] = ()  # sizes to trace beside those drawn


def sizes(let: Mapping[str, str] | None = None, **named: Size) -> Callable[[B], B]:
    """Declare a builder's admissible sizes and the variables its tensor shapes are polynomials of.

    `let` maps short variables to expressions of the sizes, in order, e.g. ``h="height//8"``,
    ``h2="ceil(h, 2)"``. By convention ``b`` is the batch, ``t``, ``t2`` … count frames, ``h``,
    ``w``, ``h2`` … count rows and columns, ``s`` counts text tokens and ``kv`` cached tokens:
    attention whose query length depends on frames alone is then known to be temporal.
    A size without a variable of its own stands for itself.
    """

    def mark(builder: B) -> B:
        builder.__frameroof_sizes__ = Sizes(named, dict(let or {}))  # type: ignore[attr-defined]
        return builder

    return mark


@dataclass(frozen=True)
class Part:
    """One stage of a pipeline: a builder, the sizes it gets, and how often it runs.

    `sizes` maps each of the builder's sizes to an expression of the recipe's parameters (and of the
    loop variable); a builder's size that is not named gets the parameter of the same name, or its
    own default where there is none. `repeat` multiplies (``"steps*guidance"``). `loop` is
    ``(variable, count)``: the stage runs for each value 0 … count-1 with `sizes` depending on it.
    """

    name: str
    build: Builder
    sizes: Mapping[str, str] = field(default_factory=dict)
    repeat: str = "1"
    loop: tuple[str, str] | None = None
    weights: str = ""  # parts that share one set of weights carry the same name here


@dataclass(frozen=True)
class Recipe:
    """A whole pipeline as data: parameters, stages, and what was assumed.

    `dtype` is the type that the pipeline's weights and activations have by default; builders are
    called with it as torch's default dtype. `item` is what one run of the pipeline yields per
    batch entry ("image", "video", "answer").
    """

    name: str
    title: str
    params: Mapping[str, Size]
    parts: tuple[Part, ...]
    item: str = "image"
    dtype: str = "bf16"
    notes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
