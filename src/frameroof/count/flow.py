"""Who reads what was written by whom: the dataflow of one trace, operation by operation.

A value is a storage and the operation that wrote it last. An operation may write a part of a storage only, and another
may read a part: what a read depends on are the writers, back to the first that covers it, whose part it touches.
Copies that change nothing but where something stands are no work of their own: who makes it can write it where it
belongs, and who reads it can read it where it is. So a concatenation of what the forward made is none, and no clone is,
but for one of an input that is handed back. (PyTorch leaves clones out where a batch of one makes them needless.)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import prod

from ..dtypes import BITS
from .operands import RawTensor
from .recorder import RawOp, Trace

Value = tuple[int, int]
JOINING = ("cat", "stack")
MOVING = ("clone",)
SMALL_PART = 16
"""What was given counts as read as it was where the forward has written at most this fraction of it (1 / 16)."""


class Flow:
    """The dataflow of a trace: `sources` of every read, `readers` of every write, and what is `handed` back."""

    def __init__(self, trace: Trace) -> None:
        self.ops = trace.ops
        self.trace = trace
        self._versions: dict[int, list[tuple[int, RawTensor]]] = {}
        self._at: dict[Value, int] = {}
        for i, op in enumerate(trace.ops):
            for raw in op.writes:
                versions = self._versions.setdefault(raw.value[0], [])
                self._at[raw.value] = len(versions)
                versions.append((i, raw))
        self.parts: dict[int, tuple[Value, ...]] = {}
        """The copies that are none, each with the values that it is made of; none of them where it was given."""
        self._origin: dict[Value, RawTensor] = {}
        self.sources: list[list[tuple[Value, ...]]] = []
        for i, op in enumerate(trace.ops):
            found = [self._sources(raw) for raw in op.reads]
            self.sources.append(found)
            if self._is_none(op, found):
                self.parts[i] = tuple(dict.fromkeys(value for values in found for value in values))
                if not self.parts[i]:
                    self._origin[op.writes[0].value] = self.read_as(op.reads[0])
        self.handed = self._handed()
        self.unused = self._unused()

    def _is_none(self, op: RawOp, found: list[tuple[Value, ...]]) -> bool:
        """Whether an operation is a copy that a program does without."""
        if op.name not in (*JOINING, *MOVING) or not op.reads or _bits(op.reads) != _bits(op.writes):
            return False
        if all(found) and not any(map(self.given, op.reads)):
            return True
        return op.name in MOVING and not any(found) and op.writes[0].value[0] not in self.trace.outputs

    def read_as(self, raw: RawTensor) -> RawTensor:
        """An operand as it is read: what a clone that is none is a clone of; of its parts it is not known which."""
        whole = self._origin.get(raw.value, raw)
        if whole is raw or bits_of(whole) == bits_of(raw):
            return whole
        return RawTensor(raw.shape, raw.dtype, whole.value, whole.weight, most=raw.most)

    def _sources(self, raw: RawTensor) -> tuple[Value, ...]:
        """The values that hold what is read, the last first; none of them where it was given."""
        storage, writer = raw.value
        last = self._at.get((storage, writer))
        if last is None:
            return ()
        found: dict[Value, None] = {}
        for i, written in reversed(self._versions[storage][: last + 1]):
            if disjoint(written, raw):
                continue
            found.update(dict.fromkeys(self.parts.get(i, (written.value,))))
            if self._covers(written, raw):
                break
        return tuple(found)

    def _covers(self, written: RawTensor, raw: RawTensor) -> bool:
        """Whether a write leaves nothing of what was there before in what is read."""
        if written.place and (written.shape, written.place) == (raw.shape, raw.place):
            return True
        return self._whole(written)

    def given(self, raw: RawTensor) -> bool:
        """Whether some of what an operand reads was there before the forward, as inputs and weights are."""
        seen = self.read_as(raw)
        return seen.weight or self.trace.storages[seen.value[0]].by is None

    def left_of(self, raw: RawTensor, sources: tuple[Value, ...]) -> bool:
        """Whether what is read is, but for a small part, what was given: a cache that a new token was written to."""
        if not sources:
            return True
        written = sum(bits_of(w) for _, i in sources for w in self.ops[i].writes if w.value[0] == raw.value[0])
        return self.given(raw) and written * SMALL_PART <= bits_of(raw)

    def _handed(self) -> set[Value]:
        """The values that the caller of the forward can read afterwards: results, and what was given and is changed."""
        found: set[Value] = set()
        for uid, versions in self._versions.items():
            if uid not in self.trace.outputs and self.trace.storages[uid].by is not None:
                continue
            kept: list[RawTensor] = []
            for i, raw in reversed(versions):
                if all(disjoint(raw, later) for later in kept):
                    found.update(self.parts.get(i, (raw.value,)))
                kept.append(raw)
                if self._whole(raw):
                    break
        if not found:  # nobody knows what becomes of it: whatever nobody read
            read = {value for known in self.sources for values in known for value in values}
            found = {raw.value for i, op in enumerate(self.ops) for raw in op.writes if i not in self.parts} - read
        return found

    def _whole(self, raw: RawTensor) -> bool:
        """Whether a write leaves nothing of a storage; of one to chosen places that is not known."""
        storage = self.trace.storages[raw.value[0]]
        return bool(raw.place) and bits_of(raw) >= storage.elements * BITS[storage.dtype]

    def _unused(self) -> list[bool]:
        """Of every operation, whether only outputs that nobody reads need it; one that has none does something else."""
        used = [not op.writes or any(raw.value in self.handed for raw in op.writes) for op in self.ops]
        for uid in self.trace.outputs:  # parts that a later, partial write left
            for i, _ in self._versions.get(uid, ()):
                used[i] = True
        for i in reversed(range(len(self.ops))):
            if used[i]:
                for values in self.sources[i]:
                    for _, writer in values:
                        used[writer] = True
        for i in self.parts:  # it is there wherever its parts are read
            used[i] = used[i] or not self.parts[i] or any(used[writer] for _, writer in self.parts[i])
        return [not needed for needed in used]

    @cached_property
    def readers(self) -> dict[Value, list[tuple[int, RawTensor]]]:
        """By value, the used operations that read some of it, in order, each with the operand."""
        found: dict[Value, list[tuple[int, RawTensor]]] = {}
        for i, raw, values in self.reads():
            for value in values:
                found.setdefault(value, []).append((i, raw))
        return found

    def reads(self) -> Iterator[tuple[int, RawTensor, tuple[Value, ...]]]:
        """Every operand that a used operation reads: the operation, the operand, and the values that hold it."""
        for i, _ in self.used():
            for raw, values in zip(self.ops[i].reads, self.sources[i], strict=True):
                yield i, raw, values

    def used(self) -> Iterator[tuple[int, RawOp]]:
        """The operations that something needs, in order, without the concatenations that are none."""
        return ((i, op) for i, op in enumerate(self.ops) if not self.unused[i] and i not in self.parts)

    def needs(self, i: int) -> Iterator[int]:
        """The operations that wrote what one reads."""
        return (writer for values in self.sources[i] for _, writer in values)


def _bits(operands: list[RawTensor]) -> int:
    return sum(map(bits_of, operands))


def bits_of(raw: RawTensor) -> int:
    """Bits that an operand touches."""
    return prod(raw.touched) * BITS[raw.dtype]


def disjoint(a: RawTensor, b: RawTensor) -> bool:
    """Whether two operands of one storage touch no element in common; False where that is not known."""
    if not a.place or not b.place or a.dtype != b.dtype or a.value[0] != b.value[0]:
        return False
    if len(a.place) != len(a.shape) + 1 or len(b.place) != len(b.shape) + 1:
        return False
    if a.place[0] > b.place[0]:
        a, b = b, a
    strides = a.place[1:]
    last = a.place[0] + sum((size - 1) * stride for size, stride in zip(a.shape, strides, strict=True) if size > 0)
    if last < b.place[0]:
        return True
    if strides != b.place[1:]:
        return False
    between, pitch = b.place[0] - a.place[0], 0
    for stride, size in sorted(((t, n) for t, n in zip(strides, a.shape, strict=True) if n > 1), reverse=True):
        steps, between = divmod(between, stride) if stride > 0 else (0, between)
        if stride <= 0 or (pitch and (steps + size) * stride > pitch):
            return False  # it is no slice of what the other one is a slice of
        if steps >= size:
            return True
        pitch = stride
    return between > 0
