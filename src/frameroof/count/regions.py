"""Which operations run as one kernel where nothing is wasted: the regions of one trace.

A region is a matrix operation with its pointwise epilogue, or a connected set of operations without matrix work. Two of
the latter belong together where one reads what the other wrote, or both read the same, and no matrix operation stands
between them. A program that runs each matrix operation as a kernel of its own, one region after another, can join no
others; so the sum over these regions bounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import combinations

from ..workload.groups import Groups
from ..workload.records import MATRIX_KINDS
from .flow import Flow, Value, bits_of, disjoint
from .operands import RawTensor

LONGEST_EPILOGUE = 64
"""Pointwise operations that are tried, one after another, as the epilogue of a matrix operation."""
LAYOUT = ("clone", "copy_")
"""Copies that a kernel does without: it writes its output where and how it is wanted."""
MOST_PAIRS = 128
"""Readers of one value that are compared each with each."""


def mark_regions(flow: Flow) -> None:
    """Number the region of every operation, from 1; those that nobody needs have none."""
    kernels = _Kernels(flow).of
    before, after = _apart(flow, kernels)
    groups = Groups(len(flow.ops))

    def join(a: int, b: int) -> None:
        if kernels[a] < 0 and kernels[b] < 0 and not (after[a] & before[b] or after[b] & before[a]):
            groups.join(a, b)

    shared: dict[tuple[int, int], list[tuple[int, RawTensor]]] = {}
    for i, raw, values in flow.reads():
        if kernels[i] < 0:
            seen = flow.read_as(raw)
            shared.setdefault(seen.value, []).append((i, seen))
            for _, source in values:
                join(source, i)
    for readers in shared.values():
        for (a, first), (b, second) in _pairs(readers):
            if a != b and not disjoint(first, second):
                join(a, b)
    numbers: dict[int, int] = {}
    for i, op in flow.used():
        key = -1 - kernels[i] if kernels[i] >= 0 else groups.root(i)
        op.region = numbers.setdefault(key, len(numbers) + 1)


def _pairs(readers: Sequence[tuple[int, RawTensor]]) -> list[tuple[tuple[int, RawTensor], tuple[int, RawTensor]]]:
    if len(readers) <= MOST_PAIRS:
        return list(combinations(readers, 2))
    return [(a, b) for at, a in enumerate(readers) for b in readers[at + 1 : at + 9]]


class _Kernels:
    """`of` every operation, the matrix operation into whose kernel it goes; -1 for those that go into none."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.of = [-1] * len(flow.ops)
        self.level = [-1] * len(flow.ops)  # the last matrix operation that one depends on
        matrix = []
        for i, op in flow.used():
            self.level[i] = max((self.level[s] for s in flow.needs(i)), default=-1)
            if op.kind in MATRIX_KINDS:
                self.of[i] = self.level[i] = i
                matrix.append(i)
        self._before, self._after = _apart(flow, self.of)
        for i in matrix:
            for member in self._epilogue(i):
                self.of[member] = i

    def _apart(self, one: int, other: int) -> bool:
        """Whether matrix work stands between two operations."""
        return bool(self._after[one] & self._before[other] or self._after[other] & self._before[one])

    def _epilogue(self, matrix: int) -> list[int]:
        """The pointwise operations after a matrix operation with which its kernel leaves the least to move."""
        found = self._candidates(matrix)
        if not found:
            return []
        costs = [(self._moved([matrix, *found[:n]], found[n:]), -n) for n in range(len(found) + 1)]
        return found[: -min(costs)[1]]

    def _candidates(self, matrix: int) -> list[int]:
        """In order, the operations that read nothing but what is there when the kernel has made its outputs."""
        flow, inside, waiting = self.flow, {matrix}, [matrix]
        found: list[int] = []
        seen = {matrix}
        while waiting and len(found) < LONGEST_EPILOGUE:
            at = heappop(waiting)
            if at != matrix:
                op = flow.ops[at]
                if not (op.pointwise or op.name in LAYOUT) or op.kind in MATRIX_KINDS or self.of[at] >= 0:
                    continue
                if any(s not in inside and self.level[s] >= matrix for s in flow.needs(at)):
                    continue
                inside.add(at)
                found.append(at)
            for raw in flow.ops[at].writes:
                for reader, _ in flow.readers.get(raw.value, ()):
                    if reader not in seen:
                        seen.add(reader)
                        heappush(waiting, reader)
        return found

    def _moved(self, kernel: list[int], rest: list[int]) -> int:
        """Bits that a kernel of these operations moves, and a region with the rest of the candidates."""
        inside = set(kernel)
        total = sum(self._written(raw, inside) for at in kernel for raw in self.flow.ops[at].writes)
        total += sum(self._written(raw, set()) for at in rest for raw in self.flow.ops[at].writes)
        made = inside.union(rest)
        return total + self._read(kernel[1:], made, True) + self._read(rest, made, False)

    def _written(self, raw: RawTensor, kernel: set[int]) -> int:
        """Bits that are moved for a value which a kernel makes, or one outside of kernels: written, and read elsewhere.

        What kernels read of it is the same whoever makes it, and not counted.
        """
        flow, writer = self.flow, raw.value[1]
        readers = [i for i, _ in flow.readers.get(raw.value, ()) if i not in kernel]
        far = readers if kernel else [i for i in readers if self.of[i] >= 0 or self._apart(writer, i)]
        regions: list[int] = []  # one reader of each region
        for i in far:
            if self.of[i] < 0 and all(self._apart(i, other) for other in regions):
                regions.append(i)
        return bits_of(raw) * (len(regions) + bool(far or raw.value in flow.handed))

    def _read(self, members: Sequence[int], made: set[int], kernel: bool) -> int:
        """Bits moved for what operations read that none of those considered makes, each operand once.

        What a region without matrix work would keep on chip for its own has to be written for a kernel.
        """
        operands: dict[tuple[Value, tuple[int, ...], tuple[int, ...]], int] = {}
        for at in members:
            for raw, values in zip(self.flow.ops[at].reads, self.flow.sources[at], strict=True):
                if not any(s in made for _, s in values):
                    near = bool(values) and not any(self.of[s] >= 0 or self._apart(s, at) for _, s in values)
                    times = (1 + (near and not any(map(self._stored, values)))) if kernel else not near
                    seen = self.flow.read_as(raw)
                    operands[seen.value, seen.shape, seen.place] = bits_of(raw) * times
        return sum(operands.values())

    def _stored(self, value: Value) -> bool:
        """Whether a value is written in any case: a kernel reads it, or a region far away, or it is handed back."""
        readers = (i for i, _ in self.flow.readers.get(value, ()))
        return value in self.flow.handed or any(self.of[i] >= 0 or self._apart(value[1], i) for i in readers)


def _apart(flow: Flow, kernels: Sequence[int]) -> tuple[list[int], list[int]]:
    """Of every operation the kernels of matrix work that it needs, and those that need it, as bits."""
    numbers: dict[int, int] = {}
    for kernel in kernels:
        if kernel >= 0:
            numbers.setdefault(kernel, len(numbers))
    own = [1 << numbers[kernel] if kernel >= 0 else 0 for kernel in kernels]
    before, after = [0] * len(kernels), [0] * len(kernels)
    needs: dict[int, int] = {}
    for i, _ in flow.used():
        mask = 0
        for s in flow.needs(i):
            mask |= (needs[kernels[s]] if kernels[s] >= 0 else before[s]) | own[s]
        if kernels[i] >= 0:
            needs[kernels[i]] = mask = (needs.get(kernels[i], 0) | mask) & ~own[i]
        before[i] = mask
    needed: dict[int, int] = {}
    for i, _ in reversed(list(flow.used())):
        kernel = kernels[i]
        if kernel >= 0:
            needed[kernel] = after[i] = needed.get(kernel, 0) | after[i]
        mask = after[i] | own[i]
        for s in flow.needs(i):
            after[s] |= mask
    return before, after
