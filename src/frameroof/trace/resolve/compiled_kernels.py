"""Bytes of the kernels that torch.compile makes with Triton: their tensors are recorded, not which of them is written.

A kernel is given what it changes in place first, then what it reads, then what it only writes, then the numbers of its
elements (of what is reduced last). So the result stands last if it is as large as those numbers say; if it does not,
the first tensor of that size is changed in place, and counts twice.
"""

from __future__ import annotations

import math
import re

from .recorded_inputs import Inputs

_PICKS = re.compile(r"_(index|gather|embedding|scatter)(_|$)")
"""Kernels that touch some rows of an input, or of a result: they name the whole of it."""
_PARTS = re.compile(r"_(slice|select|split|chunk|unbind|narrow)(_|$)")
"""Kernels that may read a part of an input: known where none is larger than what they make."""
_MAKES = re.compile(r"_(zeros|ones|full|fill|arange|empty|eye|rand|randn|randint|scalar_tensor|bernoulli)(_|$)")
"""Kernels that make numbers: a single tensor is then written alone, else it is changed."""
_TEMPLATE = re.compile(r"^triton_(tem|mm|bmm|conv)")


def bytes_moved(kernel: str, inputs: Inputs) -> int:
    """Bytes that a kernel of torch.compile moves at least; -1 where its inputs do not tell."""
    tensors = inputs.tensors
    if _PICKS.search(kernel) or len(tensors) < sum(inputs.tensor(i) is not None for i in range(len(inputs))):
        return -1
    moved = sum(map(inputs.read, range(len(inputs))))
    numbers = [] if _TEMPLATE.match(kernel) else _numbers(inputs)
    sizes = [math.prod(dims) for dims, _ in tensors]
    results = _results(numbers, sizes, reduces=kernel.startswith(("triton_red", "triton_per")))
    if _PARTS.search(kernel) and max(sizes) > max(results, default=0):
        return -1
    alone = len(sizes) == 1 and not _MAKES.search(kernel)
    if sizes[0] in results and (alone or sizes[-1] not in results):
        moved += sizes[0] * tensors[0][1]
    return moved


def _numbers(inputs: Inputs) -> list[int]:
    """The numbers after the tensors of a kernel."""
    values = [inputs.value(i) for i in range(len(inputs)) if inputs.tensor(i) is None]
    return [int(value) for value in values if value.isdecimal()]


def _results(numbers: list[int], sizes: list[int], reduces: bool) -> set[int]:
    """Elements that a result may have: of all numbers that fit some tensor, with and without what is reduced.

    Where sizes vary, more numbers stand before them: the longest run from the end that fits is meant.
    """
    for at in range(len(numbers)):
        run = numbers[at:]
        whole = math.prod(run)
        found = {whole, math.prod(run[:-1])} if reduces and len(run) > 1 else {whole}
        if found & set(sizes):
            return found
    return set()
