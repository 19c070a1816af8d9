"""What a model of expected time is asked, and what it answers: one protocol, whatever the model rests on.

It is asked about one operation at its sizes (`Work`) and what the roofline says of one call of it (`Bounds`): numbers,
or NumPy arrays over the turns of a loop or the configurations of a grid. It needs nothing but the standard library, so
that a script that measures a GPU can ask it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ...roofline import Limit, Roofline, larger
from ...rules import scores
from ...workload.expr import ONE, Poly, total
from ...workload.records import MATRIX_KINDS, Op

if TYPE_CHECKING:
    from ...hardware import Device
    from ...workload.records import Workload

Clock = Literal["kernel", "wall"]
"""Whose time it is: the device's alone (a profiler's kernel times), or with the host that launches."""


class Formulas:
    """The polynomials of an operation, each made when it is first asked for, once for many sizes.

    Its bits are those that leave the chip as a part of its region, or, not `fused`, where it runs on its own.
    """

    def __init__(self, op: Op, fused: bool = True) -> None:
        self.op = op
        self.fused = fused

    @cached_property
    def flops(self) -> Poly:
        return self.op.flops()

    @cached_property
    def executed(self) -> Poly:
        return self.op.executed_flops()

    @cached_property
    def vector(self) -> Poly:
        return self.op.vector_flops()

    @cached_property
    def bits(self) -> Poly:
        return self.op.moved_bits() if self.fused else self.op.bits()

    @cached_property
    def kept(self) -> Poly:
        """Bits that it writes for its own region alone, which leave the chip where its result is a kernel's."""
        return total(tensor.bits for tensor in self.op.writes if tensor.fusable)

    @cached_property
    def batch(self) -> Poly:
        return self.op.reads[0].shape[0] if self.op.reads and self.op.reads[0].shape else ONE

    @cached_property
    def last(self) -> Poly:
        """Elements of its first operand in a row: the last dimension."""
        return self.op.reads[0].shape[-1] if self.op.reads and self.op.reads[0].shape else ONE

    def sizes(self) -> dict[str, Poly]:
        """All that a model may ask a `Work` of it for: quantities by name, and dimensions as ``dims.m``.

        The batch is that of group norms alone, the last dimension that of other norms of a kernel each.
        """
        op = self.op
        names = ["flops", "executed", "vector", "bits"]
        if op.kind in MATRIX_KINDS:
            names.append("kept")
        if op.kind == "norm" and "group_norm" in op.name:
            names.append("batch")
        elif op.kind == "norm" and not self.fused:
            names.append("last")
        found: dict[str, Poly] = {name: getattr(self, name) for name in names}
        if op.attrs.get("total"):
            found["count"] = op.count
        return found | {f"dims.{name}": dim for name, dim in op.dims.items()}


class Work:
    """One operation at the sizes `env` (see `Stage.bind`); everything is of one call, but `count`."""

    def __init__(self, of: Op | Formulas, env: Mapping[str, Any] | None = None) -> None:
        self.formulas = of if isinstance(of, Formulas) else Formulas(of)
        self.op = self.formulas.op
        self.env: Mapping[str, Any] = env or {}

    @classmethod
    def given(cls, of: Formulas, sizes: Mapping[str, Any]) -> Work:
        """With the values of `Formulas.sizes` in place of sizes that they follow from; no other can be asked for."""
        made = cls(of)
        dims = {name.removeprefix("dims."): each for name, each in sizes.items() if name.startswith("dims.")}
        vars(made).update(sizes, dims=dims)  # as if they had been worked out
        return made

    @cached_property
    def count(self) -> Any:
        """How often it runs."""
        return self.op.count(self.env)

    @cached_property
    def times(self) -> Any:
        """What the quantities of one call are multiplied by: `count`, or 1 where they are sums over all calls."""
        return 1 if self.whole else self.count

    @cached_property
    def flops(self) -> Any:
        """Matrix FLOPs."""
        return self.formulas.flops(self.env)

    @cached_property
    def executed(self) -> Any:
        """Matrix FLOPs that a kernel must execute."""
        return self.formulas.executed(self.env)

    @cached_property
    def vector(self) -> Any:
        """All other arithmetic."""
        return self.formulas.vector(self.env)

    @cached_property
    def bits(self) -> Any:
        """Bits read and written."""
        return self.formulas.bits(self.env)

    @property
    def bytes(self) -> Any:
        """Bytes read and written."""
        return self.bits / 8

    @cached_property
    def dims(self) -> Mapping[str, Any]:
        """The sizes of the kind's FLOP rule by name (see `Op`)."""
        return {name: dim(self.env) for name, dim in self.op.dims.items()}

    @cached_property
    def kept(self) -> Any:
        """Bits that it writes for its own region alone (`Formulas.kept`)."""
        return self.formulas.kept(self.env)

    @cached_property
    def batch(self) -> Any:
        """The first dimension of its first operand."""
        return self.formulas.batch(self.env)

    @cached_property
    def last(self) -> Any:
        """The last dimension of its first operand."""
        return self.formulas.last(self.env)

    @property
    def whole(self) -> bool:
        """Whether the sizes are sums over all calls, not those of one."""
        return bool(self.op.attrs.get("total"))

    @property
    def calls(self) -> Any:
        """How many calls its sizes are sums over: 1, or all (at least 1) where they are sums (`whole`)."""
        return larger(self.count, 1) if self.whole else 1

    @property
    def piece(self) -> str:
        """Which kernel of baseline attention it is; "" for anything else."""
        return str(self.op.attrs.get("piece", ""))

    @property
    def scores(self) -> Any:
        """Elements of an attention's similarity matrix, over batch and heads."""
        return scores(*(self.dims[name] for name in ("b", "heads", "q", "kv")))

    @property
    def fused_attention(self) -> bool:
        """Whether it is attention in one kernel."""
        return self.op.kind == "attention" and not self.piece


@dataclass(frozen=True)
class Bounds:
    """The roofline of one call, and its parts: seconds of its matrix work and of its other arithmetic, each at 100 %.

    `units` is how many multiprocessors share the work, None where that is not known; `link` is the kind of link
    ("nvlink", "pcie") that a collective's bytes pass between `devices`, "" for the device's memory.
    """

    limit: Limit
    matrix_s: Any
    vector_s: Any
    units: int | None = None
    link: str = ""
    device: Device | None = None
    devices: int = 1

    @classmethod
    def of(cls, work: Work, roofline: Roofline) -> Bounds:
        """Of a call on a device; `ValueError` where the device has no peak for it."""
        flops = work.executed if work.op.kind in MATRIX_KINDS else 0.0
        unit, vector = work.op.unit, work.vector
        return cls(
            limit=roofline.limit(flops=flops, unit=unit, vector_flops=vector, bytes=work.bytes),
            matrix_s=roofline.limit(flops=flops, unit=unit).compute_s,
            vector_s=roofline.limit(vector_flops=vector).compute_s,
            units=roofline.device.units,
            device=roofline.device,
        )

    @property
    def compute_s(self) -> Any:
        """The longer of the two kinds of arithmetic."""
        return self.limit.compute_s

    @property
    def memory_s(self) -> Any:
        """Bytes over the bandwidth."""
        return self.limit.memory_s

    @property
    def limit_s(self) -> Any:
        """The longer of arithmetic and bytes."""
        return self.limit.seconds


@dataclass(frozen=True)
class About:
    """What a model of expected time is and where its numbers are from; None for what there is not.

    `model` is "uniform" or "efficiency"; `device` the one it holds for alone.
    """

    model: str
    name: str
    source: str
    date: str | None = None
    file: str | None = None
    device: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Spent:
    """What a stage's expected seconds are made of: of the device, of the host, and between devices.

    Numbers, or arrays of one shape.
    """

    device_s: Any
    host_s: Any = 0.0
    between_s: Any = 0.0


class Plain:
    """What a model of expected time answers that knows neither software nor a host."""

    @property
    def fused(self) -> bool | None:
        """See `Expected.fused`."""
        return None

    def as_run(self, workload: Workload) -> Workload:
        """See `Expected.as_run`: nothing is changed."""
        return workload

    def host_s(self, work: Work, device: Device) -> float:
        """See `Expected.host_s`."""
        return 0.0

    def whole_s(self, device_s: Any, host_s: Any) -> Any:
        """See `Expected.whole_s`."""
        return device_s

    def spread(self, times: Spent, device: Device) -> tuple[Any, Any] | None:
        """See `Expected.spread`."""
        return None


class Expected(Protocol):
    """Expected seconds of operations. Nothing is faster than its limit: a share of it is at most 1."""

    @property
    def about(self) -> About:
        """What this is, and where from."""
        ...

    def share(self, op: Op) -> float | None:
        """The share of its limit that an operation reaches at any size; None where it depends on its sizes.

        Where there is one, sums of limits are divided by it; else `call_s` is asked at every size.
        """
        ...

    def parts_s(self, work: Work, bounds: Bounds) -> tuple[Any, Any]:
        """Seconds that one call needs of the compute units and of memory."""
        ...

    def call_s(self, work: Work, bounds: Bounds) -> Any:
        """Expected seconds of one call (of all calls where the sizes are sums over them: `Work.whole`)."""
        ...

    def on(self, clock: Clock) -> Expected:
        """The same by this clock; itself where it does not tell clocks apart."""
        ...

    @property
    def fused(self) -> bool | None:
        """Whether its calls are parts of fused regions; None where it follows the rung that is asked for."""
        ...

    def as_run(self, workload: Workload) -> Workload:
        """What the software that it is of makes of a workload: row by row the same operations, in its own types."""
        ...

    def host_s(self, work: Work, device: Device) -> float:
        """Seconds of the host for one call, which pass while the device works; 0 where it has no host."""
        ...

    def whole_s(self, device_s: Any, host_s: Any) -> Any:
        """Seconds of a stage whose calls take the device and the host so long, each in sum."""
        ...

    def spread(self, times: Spent, device: Device) -> tuple[Any, Any] | None:
        """By what factors a stage's time may be shorter and longer (80 %); None where nothing is known of that.

        Numbers, or arrays where the times are.
        """
        ...

    def refusal(self, device: Device) -> str | None:
        """Why it says nothing of a device, a sentence; None where it does."""
        ...

    def described(self) -> str:
        """In a few words, behind a time: ``at utilization 0.48``."""
        ...

    def assumptions(self) -> tuple[str, ...]:
        """Everything that the times rest on, a sentence each."""
        ...


def total_s(expected: Expected, work: Work, bounds: Bounds) -> Any:
    """Expected seconds of all calls of an operation, for each turn of a loop."""
    return expected.call_s(work, bounds) * work.times


def check_device(expected: Expected, device: Device) -> None:
    """`ValueError`, a sentence, where the model says nothing of this device."""
    if why := expected.refusal(device):
        raise ValueError(why)
