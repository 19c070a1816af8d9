"""How many bytes the result of an operator of torch has, from its recorded inputs: one rule for every family.

Each rule takes the inputs of one call and returns bytes; `NotToldError` where they do not tell. What a rule leaves
out is small beside what it counts: the mean of a norm, the single number that a loss makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...dtypes import CODE_BYTES, TRACE_TYPES, promoted_bytes
from .recorded_inputs import Dims, Inputs, NotToldError

Rule = Callable[[Inputs], int]
INDEX = 8
"""Bytes of an index that an operator makes: torch counts in int64."""
SINGLE = 4
"""Bytes of what torch makes of integers where the result is no integer: its default type is fp32."""


def shape_of(inputs: Inputs, at: int = 0) -> Dims:
    """Dimensions of the tensor at a position; `NotToldError` where there is none."""
    found = inputs.tensor(at)
    if found is None:
        raise NotToldError
    return found


def integers(text: str) -> tuple[int, ...]:
    """ "[2, -1]" -> (2, -1); `NotToldError` for anything else, an empty list too."""
    try:
        found = tuple(int(part) for part in text.removeprefix("[").removesuffix("]").split(",", 16))
    except ValueError:
        raise NotToldError from None
    if not text.startswith("["):
        raise NotToldError
    return found


def integer(text: str) -> int:
    """ "-1" -> -1; `NotToldError` for anything else."""
    try:
        return int(text)
    except ValueError:
        raise NotToldError from None


def made(shape: tuple[int, ...], item: int) -> int:
    """Bytes of a tensor; `NotToldError` for a shape that there cannot be."""
    if any(side < 0 for side in shape):
        raise NotToldError
    return math.prod(shape) * item


# ---------------------------------------------------------------------------------------------- pointwise


def broadcast(inputs: Inputs) -> int:
    """Elements of what all tensors of a call are broadcast to; `NotToldError` where it has none."""
    shapes = [shape for i in range(len(inputs)) if (shape := inputs.tensor(i)) is not None]
    if not shapes:
        raise NotToldError
    sides = [1] * max(map(len, shapes))
    for shape in shapes:
        for at, side in enumerate(reversed(shape), 1):
            sides[-at] = side if sides[-at] == 1 else sides[-at]
    return math.prod(sides)


def _types(inputs: Inputs, first: int) -> tuple[list[str], list[str]]:
    """Types of the tensors of a call, and of what has no dimensions: numbers that Python writes count as such."""
    tensors, scalars = [], []
    for i in range(first, len(inputs)):
        name, value = inputs.type(i), inputs.value(i)
        if inputs.tensor(i) is not None:
            if name not in TRACE_TYPES:
                raise NotToldError
            tensors.append(TRACE_TYPES[name])
        elif name in ("double", "Double"):  # a number of Python's, wrapped
            scalars.append("fp32")
        elif name in TRACE_TYPES:
            scalars.append(TRACE_TYPES[name])
        elif name == "Scalar" and value and i <= first + 1:  # further ones are weights and the like
            known = "bool" if value in ("True", "False") else "int64" if value.lstrip("-").isdigit() else "fp32"
            scalars.append(known)
    return tensors, scalars


def promoted(inputs: Inputs, first: int = 0) -> int:
    """Bytes of an element of a pointwise result, of the inputs from `first` on; `NotToldError` for other types."""
    tensors, scalars = _types(inputs, first)
    if not tensors and not scalars:
        raise NotToldError
    return promoted_bytes(tensors, scalars)


def same(inputs: Inputs) -> int:
    """As large as the first input."""
    return inputs.size(0)


def pointwise(inputs: Inputs) -> int:
    """A function of all inputs, element by element."""
    return broadcast(inputs) * promoted(inputs)


def comparison(inputs: Inputs) -> int:
    """One Boolean an element."""
    return broadcast(inputs)


def floating(inputs: Inputs) -> int:
    """A function whose result is no integer."""
    tensors, scalars = _types(inputs, 0)
    whole = all("int" in name or name == "bool" for name in (*tensors, *scalars))
    return broadcast(inputs) * (SINGLE if whole else promoted(inputs))


def choice(inputs: Inputs) -> int:
    """`where`: the condition is no part of the type."""
    return broadcast(inputs) * promoted(inputs, 1)


def first_type(inputs: Inputs) -> int:
    """Broadcast, in the type of the first input."""
    return broadcast(inputs) * inputs.item(0)


def cast(inputs: Inputs) -> int:
    """`_to_copy`: in the type whose number is the second argument; without one in its own."""
    return inputs.elements(0) * (_coded(inputs.value(1)) or inputs.item(0))


def _coded(text: str) -> int:
    """Bytes of an element of the type of a number; 0 where there is none."""
    if not text:
        return 0
    try:
        return CODE_BYTES[text]
    except KeyError:
        raise NotToldError from None


def softmax(inputs: Inputs) -> int:
    """`_softmax` (third argument: from half to fp32) and `softmax` (third argument: a type)."""
    asked = inputs.value(2)
    return inputs.elements(0) * (SINGLE if asked == "True" else CODE_BYTES.get(asked, inputs.item(0)))


def with_mask(inputs: Inputs) -> int:
    """A dropout: its result, and one Boolean an element."""
    return inputs.elements(0) * (inputs.item(0) + 1)


def running(inputs: Inputs) -> int:
    """A sum over what came before: integers become int64."""
    whole = "int" in TRACE_TYPES.get(inputs.type(0), "") or inputs.type(0) == "bool"
    return inputs.elements(0) * (_coded(inputs.value(2)) or (INDEX if whole else inputs.item(0)))


def halved(inputs: Inputs) -> int:
    """`glu`: half of the input."""
    return inputs.size(0) // 2


def joined(inputs: Inputs) -> int:
    """What tensors of a list are put together to: the list, however it is cut."""
    return inputs.size(0)


def listed(inputs: Inputs) -> int:
    """A list as large as the first."""
    return inputs.size(0)


# ---------------------------------------------------------------------------------------------- reductions


def reduction(inputs: Inputs) -> int:
    """What is left of the dimensions of the first list; 0 where no dimensions are told, or all are reduced."""
    return _left(inputs) * inputs.item(0)


def _left(inputs: Inputs) -> int:
    shape = shape_of(inputs)
    value = inputs.value(1) or inputs.value(2)
    value = value if value.startswith("[") else inputs.value(2)
    if not value.startswith("[") or value == "[]":
        return 0
    return _without(shape, integers(value))


def _without(shape: Dims, dims: tuple[int, ...]) -> int:
    if any(not -len(shape) <= dim < len(shape) for dim in dims):
        raise NotToldError
    gone = {dim % len(shape) for dim in dims}
    return math.prod(side for at, side in enumerate(shape) if at not in gone)


def _one_dimension(inputs: Inputs) -> int:
    """Elements left of a reduction over one dimension; 0 where it is over all."""
    shape = shape_of(inputs)
    return _without(shape, (integer(inputs.value(1)),)) if inputs.value(1).lstrip("-").isdigit() else 0


def largest_of(inputs: Inputs) -> int:
    """`max` and `min`: of two tensors pointwise, over a dimension with their places, or of all."""
    if inputs.is_tensor(1):
        return pointwise(inputs)
    return _one_dimension(inputs) * (inputs.item(0) + INDEX)


def place_of(inputs: Inputs) -> int:
    """`argmax`: places."""
    return _one_dimension(inputs) * INDEX


def truth(inputs: Inputs) -> int:
    """`all` and `any`."""
    return _one_dimension(inputs)


def loss(inputs: Inputs) -> int:
    """A loss of two tensors: one number, or where nothing is reduced ("0") one for each element."""
    return pointwise(inputs) if inputs.value(2) == "0" else 0


def nothing(inputs: Inputs) -> int:
    """A number or so."""
    return 0


# ---------------------------------------------------------------------------------------------- other shapes


def ordered(inputs: Inputs) -> int:
    """`sort`: values and their places."""
    return inputs.elements(0) * (inputs.item(0) + INDEX)


def places(inputs: Inputs) -> int:
    """A place for every element."""
    return inputs.elements(0) * INDEX


def top(inputs: Inputs) -> int:
    """`topk(self, k, dim)`: values and places."""
    shape, dim = shape_of(inputs), integer(inputs.value(2))
    return _without(shape, (dim,)) * integer(inputs.value(1)) * (inputs.item(0) + INDEX)


def resized(inputs: Inputs) -> int:
    """An upsampling: to a size, or by factors, whichever is the first list; `NotToldError` where there is none."""
    shape = shape_of(inputs)
    for text in inputs.concrete[1:]:
        if text.startswith("[") and text != "[]":
            if "." not in text:
                return made((*shape[:2], *integers(text)), inputs.item(0))
            try:
                by = [float(part) for part in text[1:-1].split(",")]
                sides = tuple(math.floor(n * f) for n, f in zip(shape[2:], by, strict=True))
            except (ValueError, OverflowError):
                raise NotToldError from None
            return made((*shape[:2], *sides), inputs.item(0))
    raise NotToldError


def grown(inputs: Inputs) -> int:
    """A padding: pairs of additions, the last dimension first; `NotToldError` for more of them than dimensions."""
    sides, pairs = list(shape_of(inputs)), integers(inputs.value(1))
    if len(pairs) % 2 or len(pairs) > 2 * len(sides):
        raise NotToldError
    for at in range(len(pairs) // 2):
        sides[-1 - at] += pairs[2 * at] + pairs[2 * at + 1]
    return made(tuple(sides), inputs.item(0))


def pooled(inputs: Inputs, extra: int = 0) -> int:
    """A pooling (self, kernel, stride, padding, …): `extra` bytes beside each value.

    `NotToldError` where it rounds up at the ends.
    """
    shape, window = shape_of(inputs), integers(inputs.value(1))
    rank = len(window)
    stride = integers(inputs.value(2)) if inputs.value(2) not in ("", "[]") else window
    dilation, ceil = (1,) * rank, inputs.value(4)
    if ceil.startswith("["):  # of maxima
        dilation, ceil = integers(ceil), inputs.value(5)
    if ceil not in ("False", ""):
        raise NotToldError
    numbers = (window, stride, integers(inputs.value(3)), dilation)
    sides = (
        (side + 2 * p - d * (k - 1) - 1) // max(1, s) + 1
        for side, k, s, p, d in zip(shape[-rank:], *numbers, strict=True)
    )
    return made((*shape[:-rank], *sides), inputs.item(0) + extra)


def pooled_with_places(inputs: Inputs) -> int:
    """A pooling of maxima: values and places."""
    return pooled(inputs, INDEX)


def pooled_to(inputs: Inputs) -> int:
    """An adaptive pooling: to a size."""
    shape, size = shape_of(inputs), integers(inputs.value(1))
    return made((*shape[: -len(size)], *size), inputs.item(0))


def repeated(inputs: Inputs) -> int:
    """`repeat`: so many times in each dimension."""
    return inputs.size(0) * math.prod(integers(inputs.value(1)))


def columns(inputs: Inputs) -> int:
    """`im2col(self, kernel, dilation, padding, stride)`."""
    shape = shape_of(inputs)
    kernel, dilation, padding, stride = (integers(inputs.value(i)) for i in (1, 2, 3, 4))
    sides = (
        (side + 2 * p - d * (k - 1) - 1) // max(1, s) + 1
        for side, k, d, p, s in zip(shape[-2:], kernel, dilation, padding, stride, strict=True)
    )
    return made((*shape[:-2], math.prod(kernel), *sides), inputs.item(0))


def of_columns(inputs: Inputs) -> int:
    """`col2im(self, size, kernel, …)`."""
    shape, size = shape_of(inputs), integers(inputs.value(1))
    channels = shape[-2] // max(1, math.prod(integers(inputs.value(2))))
    return made((*shape[:-2], channels, *size), inputs.item(0))


def sized_by(at: int) -> Rule:
    """A gradient as large as the list of sizes at a position."""
    return lambda inputs: made(integers(inputs.value(at)), inputs.item(0))


def as_large_as(*positions: int) -> Rule:
    """Gradients as large as the inputs at some positions."""
    return lambda inputs: sum(inputs.size(at) for at in positions)


def spectrum(inputs: Inputs) -> int:
    """`_fft_r2c(self, dims, …, one-sided)`: complex numbers, half of them where the rest mirrors them."""
    shape, dims = list(shape_of(inputs)), integers(inputs.value(1))
    if inputs.value(3) == "True":
        shape[dims[-1]] = shape[dims[-1]] // 2 + 1
    return made(tuple(shape), 2 * inputs.item(0))
