"""Bytes of operators that pick or place a part of a tensor: what they touch, and not the whole of the table.

Every rule gives all bytes of a call, read and written. What is picked more often than there is of it is read once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .recorded_inputs import Inputs, NotToldError
from .results import integer, shape_of

Rule = Callable[[Inputs], int]


def _along(inputs: Inputs, count: int) -> int:
    """Elements of `count` slices of the first input along the dimension that the second argument names."""
    shape, dim = shape_of(inputs), integer(inputs.value(1))
    if not -len(shape) <= dim < len(shape):
        raise NotToldError
    return math.prod(shape) // max(1, shape[dim]) * count


def _picked(inputs: Inputs, elements: int, at: int) -> int:
    """Read no more than there is, written as often as asked for, and the places themselves."""
    return (min(elements, inputs.elements(0)) + elements) * inputs.item(0) + inputs.read(at)


def embedding(inputs: Inputs) -> int:
    """`embedding(table, places)`: a row for each place."""
    shape_of(inputs, 1)
    return _picked(inputs, inputs.elements(1) * shape_of(inputs)[-1], 1)


def index_select(inputs: Inputs) -> int:
    """`index_select(self, dim, places)`."""
    return _picked(inputs, _along(inputs, inputs.elements(2)), 2)


def gather(inputs: Inputs) -> int:
    """`gather(self, dim, places)`: an element for each place."""
    shape_of(inputs, 2)
    return _picked(inputs, inputs.elements(2), 2)


def take(inputs: Inputs) -> int:
    """`take(self, places)`."""
    shape_of(inputs, 1)
    return _picked(inputs, inputs.elements(1), 1)


def index(inputs: Inputs) -> int:
    """`index(self, list of places)`: `NotToldError` unless the list holds one tensor for each dimension."""
    listed = inputs.dims[1] if len(inputs) > 1 and inputs.is_list(1) else ()
    if not listed or len(listed) != len(shape_of(inputs)):
        raise NotToldError
    shapes: tuple[tuple[int, ...], ...] = listed  # type: ignore[assignment]
    elements = max(math.prod(shape) for shape in shapes)
    read = sum(math.prod(shape) for shape in shapes) * 8
    return (min(elements, inputs.elements(0)) + elements) * inputs.item(0) + read


def index_put(inputs: Inputs) -> int:
    """`index_put_(self, list of places, values, add)`: the values, and their places in `self`, read where it adds.

    `NotToldError` for a single number: how often it is written is not recorded.
    """
    if not inputs.elements(2):
        raise NotToldError
    return inputs.read(2) + inputs.size(2) * (2 if inputs.value(3) == "True" else 1)


def placed(times: int) -> Rule:
    """`index_add_(self, dim, places, values)`: values, and their places in `self` so many times (read, written)."""

    def rule(inputs: Inputs) -> int:
        shape_of(inputs, 3)
        return inputs.read(3) + inputs.elements(3) * inputs.item(0) * times + inputs.read(2)

    return rule


def index_fill(inputs: Inputs) -> int:
    """`index_fill_(self, dim, places, value)`."""
    shape_of(inputs, 2)
    return _along(inputs, inputs.elements(2)) * inputs.item(0) + inputs.read(2)


def scatter(times: int) -> Rule:
    """`scatter_(self, dim, places, values or one value)`: an element for each place, so many times."""

    def rule(inputs: Inputs) -> int:
        shape_of(inputs, 2)
        elements = inputs.elements(2)
        source = min(elements * inputs.item(0), inputs.read(3))
        return elements * inputs.item(0) * times + source + inputs.read(2)

    return rule


def picked_loss(inputs: Inputs) -> int:
    """`nll_loss_forward(self, target, …)`: of each row the entry of its target."""
    shape_of(inputs, 1)
    return inputs.elements(1) * inputs.item(0) + inputs.size(1)


def picked_loss_gradient(inputs: Inputs) -> int:
    """`nll_loss_backward(gradient, self, target, …)`: a gradient as large as `self`."""
    return inputs.read(0) + inputs.size(1) + inputs.read(2)


def table_gradient(inputs: Inputs) -> int:
    """`embedding_dense_backward(gradient, places, rows, …)`."""
    width = shape_of(inputs)[-1]
    return inputs.size(0) + inputs.size(1) + integer(inputs.value(2)) * width * inputs.item(0)


def overwritten(inputs: Inputs) -> int:
    """`slice_scatter` and `select_scatter`: a copy in which some is replaced."""
    return 2 * inputs.size(0)


def looked_up(inputs: Inputs) -> int:
    """`bucketize(values, boundaries)`: a place for each value."""
    return inputs.size(0) + inputs.size(1) + inputs.elements(0) * 8


def searched(inputs: Inputs) -> int:
    """`searchsorted(boundaries, values)`: a place for each value."""
    return inputs.size(0) + inputs.size(1) + inputs.elements(1) * 8


RULES: dict[str, Rule] = {
    "embedding": embedding,
    "index_select": index_select,
    "gather": gather,
    "take": take,
    "index": index,
    "_unsafe_index": index,
    "index_put": index_put,
    "_index_put_impl": index_put,
    "_unsafe_index_put": index_put,
    "index_copy": placed(1),
    "index_add": placed(2),
    "index_reduce": placed(2),
    "index_fill": index_fill,
    "scatter": scatter(1),
    "scatter_add": scatter(2),
    "scatter_reduce": scatter(2),
    "nll_loss_forward": picked_loss,
    "nll_loss2d_forward": picked_loss,
    "nll_loss_backward": picked_loss_gradient,
    "nll_loss2d_backward": picked_loss_gradient,
    "embedding_dense_backward": table_gradient,
    "slice_scatter": overwritten,
    "select_scatter": overwritten,
    "diagonal_scatter": overwritten,
    "bucketize": looked_up,
    "searchsorted": searched,
}
"""Where an operator does not work in place, it copies first: a call of its own inside it."""
