"""The rows of a run's tables: one record for what a table shows in a line, summed over all work that it names.

Times are integer nanoseconds, of the device unless a field says otherwise; FLOPs, bytes and rates are in SI units,
shares are parts of 1. None: not known.
"""

from __future__ import annotations

import msgspec

from ..rules import attention_backward_flops, attention_flops, masked_pairs
from .measured import Amount


class OperatorRow(msgspec.Struct):
    """All work of one operator in one class."""

    class_: str = msgspec.field(name="class")
    name: str = ""
    time_ns: int = 0
    count: int = 0
    """Calls of the operator; pieces of work where the operator is unknown."""
    kernels: int = 0
    flops: float | None = None
    bytes: float | None = None
    flops_per_s: float | None = None
    bytes_per_s: float | None = None
    """None too where it would be above the memory's: a cache served it, or only a part of the inputs was read."""
    share_of_peak: float | None = None
    """Achieved FLOP/s over the device's dense peak at the operator's dtype; of causal attention those it computes."""
    dtype: str | None = None
    above: str = ""
    """Why its bytes are more than the memory can move in its time: "in the cache" (by no more than the last-level cache
    may have kept) or "a fault of ours"; "" where they are not."""


class ShapeRow(msgspec.Struct):
    """All calls of one operator with the same inputs in one stage: what `gap` matches with a workload."""

    class_: str = msgspec.field(name="class")
    name: str = ""
    stage: str = ""
    module: str = ""
    """Deepest module path that all its calls share."""
    dims: list[list[Amount | list[Amount]]] = msgspec.field(default_factory=list)
    """Of each input: its dimensions, those of each of its tensors, or none."""
    dtype: str | None = None
    time_ns: int = 0
    count: int = 0
    flops: float | None = None
    bytes: float | None = None
    over_link: bool = False
    """Whether it is copies between host and device, which the link between them limits and not the memory."""
    kernel: str = ""
    """The kernel that takes most of its time; empty in a run saved before this was kept."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an input that mixes numbers and lists."""
        if any(len(set(map(type, each))) > 1 for each in self.dims):
            raise ValueError("an input's dimensions are whole numbers, or a list of them for each tensor")


class GroupRow(msgspec.Struct):
    """Time of a class, a kernel or a module."""

    name: str
    time_ns: int
    count: int
    share: float
    flops: float | None = None
    bytes: float | None = None
    flops_ns: int = 0
    """Time of the part whose FLOPs are known: what `flops` is to be divided by."""


class ModuleRow(msgspec.Struct):
    """All work under one module path, the gaps before its kernels, and how long those are."""

    name: str
    time_ns: int
    count: int
    """Pieces of work."""
    share: float
    idle_ns: int
    """Idle time of the device that ended with work of this module."""
    mean_gap_ns: float
    """Idle time before a piece of work, on average: the time between the kernels of a layer."""


class Packed(msgspec.Struct, frozen=True):
    """The lengths of one call of attention over several sequences, packed into one tensor or read from a cache; None:
    the file does not tell."""

    queries: int
    """Of all sequences."""
    sequences: int | None = None
    keys: int | None = None
    """Of all sequences."""
    pairs: int | None = None
    """Pairs of a query and a key of the same sequence, all of them, causal or not."""
    least_pairs: int | None = None
    """What a kernel must compute: the pairs that its causal mask leaves, or may leave where none is recorded."""
    latent: bool = False
    """Whether keys and values are one tensor (multi-head latent attention)."""


class AttentionRow(msgspec.Struct):
    """All attention calls of one geometry; lengths of 0 are unknown, or differ between the sequences of `packed`."""

    kind: str
    query_len: int
    key_len: int
    heads: int
    head_dim: int
    batch: int
    time_ns: int
    count: int
    fused: bool
    causal: bool | None
    flops: float | None
    """None, as the bytes: its size is unknown."""
    bytes: float | None
    matrix_bytes: float | None
    """The similarity matrix of one call, written once."""
    saved_at_most_ns: int
    """What a fused kernel could save at most: everything, copies too, but its own limit; 0 where it is fused."""
    stage: str = ""
    module: str = ""
    """Deepest module path that all its calls share."""
    dtype: str | None = None
    copy_ns: int = 0
    """Beside `time_ns`: what its own operators copy and fill first, such as a product its factors."""
    align: str = ""
    """Of its causal mask: upper_left or lower_right (`rules.ALIGNMENTS`); "" where it has none or nothing tells."""
    kernel: str = ""
    """As of `ShapeRow`."""
    packed: Packed | None = None
    """Its lengths where sequences are packed into one tensor or read from a cache."""
    value_dim: int = 0
    """Head dimension of the values; 0: the same as `head_dim`."""
    backward: bool = False
    """Whether it computes the gradients: five products in place of two."""

    @property
    def executed_flops(self) -> int | None:
        """FLOPs that fused kernels must execute for all calls: of the pairs that the causal mask leaves; None where
        the size is unknown."""
        if self.packed:
            pairs, calls = self.packed.least_pairs, self.count
        else:
            pairs, calls = masked_pairs(self.query_len, self.key_len, self.causal, self.align), self.batch * self.count
        if pairs is None or self.flops is None:
            return None
        rule = attention_backward_flops if self.backward else attention_flops
        return int(rule(calls, self.heads, pairs, self.head_dim, self.value_dim or self.head_dim))

    @property
    def size(self) -> str:
        """Its size in words."""
        if self.query_len:
            return f"{self.batch} x {self.heads} x {self.query_len} x {self.key_len} x {self.head_dim}"
        if self.packed is None:
            return "not recorded"
        of = f"{self.heads} heads of {self.head_dim}"
        if self.packed.pairs is None:
            return f"unknown: {self.packed.queries:,} packed queries, {of}"
        lengths = f"{self.packed.queries:,} queries, {self.packed.keys:,} keys"
        return f"{self.packed.sequences} sequences packed: {lengths}, {of}"


class StageRow(msgspec.Struct):
    """One stage of the pipeline and its calls."""

    name: str
    source: str
    time_ns: int
    busy_ns: int
    count: int
    call_ns: list[int]
    """Device time of each call, in order: the denoising steps, where it is the denoiser."""
    classes: dict[str, int]
    share: float
    idle_ns: int = 0
    """Idle time of the device that ended with work of this stage."""
    call_classes: dict[str, list[int]] = msgspec.field(default_factory=dict)
    """Class -> its time in each call, in order: what a denoising step is made of."""


class DeviceRow(msgspec.Struct):
    """One of several devices in one trace."""

    device: int
    """As the file numbers it."""
    name: str | None
    busy_ns: int
    span_ns: int
    idle_ns: int
    kernels: int
    idle: dict[str, int] = msgspec.field(default_factory=dict)
    """Its own idle time by cause."""


class SequenceRow(msgspec.Struct):
    """One point of the sequence length over the run (Golden et al., figures 8 and 9)."""

    start_ns: int
    query_len: int
    key_len: int
    time_ns: int


class SyncRow(msgspec.Struct):
    """A place in which the host waits for the device."""

    call: str
    operator: str
    line: str
    count: int
    host_ns: int
    idle_ns: int


class ProblemRow(msgspec.Struct):
    """What was broken, clipped or lost."""

    what: str
    count: int
    action: str


class HostFunctionRow(msgspec.Struct):
    """Idle time of the device that one place of the host's code filled; all rows add up to the idle time."""

    cause: str
    """The cause of idle time that it is part of."""
    function: str
    """The innermost Python frame, `file.py(12): function`; where none was recorded the module, range or operator; in
    parentheses what is no function."""
    kind: str
    """What `function` is: python, module, annotation, operator, call; none: nothing recorded; device: not the host."""
    inside: str
    """What it was doing, where that is an event of its own: a runtime call, an operator, a built-in function. Where
    nothing was recorded: before which operator."""
    what: str
    """What that is for: launch, first launch, graph capture, allocation, free, module load, initialization, garbage
    collection or compilation; empty where the names do not tell."""
    time_ns: int
    share: float
    """Of the idle time."""
    gaps: int
    """Gaps that it filled, in part or whole."""
