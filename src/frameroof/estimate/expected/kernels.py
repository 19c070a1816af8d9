"""Expected times by kernels that were measured: each operation by the curve of the kernel that the software runs.

A call takes what the curve of its kind says on that device: matrix products by tiles and waves (`gemm`), attention by
the named kernel (`attention`), convolutions as implicit products, everything else by the bytes that it moves
(`traffic`), collectives by the link. A stage takes (device^4 + host^4)^(1/4): a host that launches slower than the
device works leaves it idle, one that is faster is hidden. Which kernels, how many launches and which types is the
software's to say (`software`); the numbers are those of the device (`curves`), measured there or derived.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...passes.guidance import DONE, GUIDANCE
from ...passes.maths import maths_of
from ...passes.precision import run_in
from ...roofline import larger
from ...workload.records import COLLECTIVE, MATRIX_KINDS, Op, Workload
from .calls import Calls
from .chip import chip_of
from .curves import Curves
from .forms import joined
from .general import curves_of
from .intervals import ANCHORED, factors_of
from .pipelines import pipeline_of
from .protocol import About, Bounds, Clock, Spent, Work
from .software import BATCHED, DEFAULT, TWICE, Running, Software
from .uniform import other_device

if TYPE_CHECKING:
    from ...hardware import Device


@dataclass(frozen=True)
class Anchor:
    """A time that was measured on a device, over what was expected there: a factor of all times; `text` says which."""

    factor: float
    device: str
    text: str


@dataclass(frozen=True)
class Kernels:
    """A software state and the numbers of devices: a model of expected time (`Expected`).

    `own` are a user's curves, in place of the shipped ones of that device. With the clock ``kernel`` times are those of
    the device alone. An `anchor` is what was measured of the same model.
    """

    software: Software = DEFAULT
    own: Curves | None = None
    clock: Clock = "wall"
    anchor: Anchor | None = None
    _calls: dict[str, Calls] = field(init=False, repr=False, compare=False, default_factory=dict)

    def calls(self, device: Device) -> Calls:
        """What single calls take on a device."""
        if device.name not in self._calls:
            self._calls[device.name] = Calls(chip_of(device), curves_of(device, self.own), self.software)
        return self._calls[device.name]

    @property
    def about(self) -> About:
        """See `Expected.about`."""
        if self.own is not None:
            return About("kernels", self.own.name, self.own.source, self.own.date, None, self.own.device)
        return About("kernels", str(self.software), "measured kernels by device (docs/guide/expected.rst)")

    def share(self, op: Op) -> None:
        """See `Expected.share`: every time depends on sizes."""

    @property
    def fused(self) -> bool:
        """See `Expected.fused`: whether the software fuses pointwise work."""
        return self.software.compiled

    def as_run(self, workload: Workload) -> Workload:
        """See `Expected.as_run`: the VAE in the type that it really runs in."""
        runs_in = pipeline_of(workload.name).vae
        for stage in workload.stages:
            if is_vae(stage.name):
                own = stage.dtype or workload.dtype
                dtype = self.software.vae or runs_in.get(own, own)
                workload = workload if dtype == own else run_in(workload, dtype, [stage.name])
        return workload

    def running(self, workload: Workload, device: Device) -> Running:
        """What the software is for this model on this device."""
        calls = self.calls(device)
        run = self.as_run(workload)
        vae = next((stage.dtype or run.dtype for stage in run.stages if is_vae(stage.name)), "")
        passes = workload.params.get(GUIDANCE)
        guided = "" if passes is None or passes.default < 2 else BATCHED if DONE in workload.passes else TWICE
        curves = calls.curves
        return Running(
            self.software,
            calls.attention,
            vae,
            guided,
            maths_of(workload),
            calls.launch_s * 1e6,
            curves.derived_from or curves.device,
            bool(curves.derived_from),
        )

    def parts_s(self, work: Work, bounds: Bounds) -> tuple[Any, Any]:
        """See `Expected.parts_s`: what binds a kernel takes all of its time, the other what its limit is."""
        seconds, computes = self.call_s(work, bounds), bounds.compute_s >= bounds.memory_s
        return bounds.compute_s + computes * (seconds - bounds.compute_s), (
            seconds + computes * (bounds.memory_s - seconds)
        )

    def call_s(self, work: Work, bounds: Bounds) -> Any:
        """See `Expected.call_s`. Nothing is faster than its limit."""
        assert bounds.device is not None
        calls = self.calls(bounds.device)
        if work.op.kind == COLLECTIVE:
            return calls.collective_s(work, bounds)
        return larger(calls.seconds(work), bounds.limit_s)

    def host_s(self, work: Work, device: Device) -> float:
        """See `Expected.host_s`: a launch for whatever moves something or multiplies."""
        if self.clock == "kernel" or work.op.kind == COLLECTIVE:
            return 0.0
        if self.fused and not work.formulas.bits and work.op.kind not in MATRIX_KINDS:
            return 0.0
        return self.calls(device).launch_s

    def whole_s(self, device_s: Any, host_s: Any) -> Any:
        """See `Expected.whole_s`."""
        return joined(device_s, host_s) * (self.anchor.factor if self.anchor else 1.0)

    def spread(self, times: Spent, device: Device) -> tuple[Any, Any]:
        """See `Expected.spread`."""
        if self.anchor and self.anchor.device == device.name:
            return ANCHORED
        return factors_of(times, self.calls(device).curves, self.fused)

    def on(self, clock: Clock) -> Kernels:
        """See `Expected.on`."""
        return replace(self, clock=clock)

    def refusal(self, device: Device) -> str | None:
        """See `Expected.refusal`: a user's curves are of one device; its kernels may not be those asked for."""
        if self.own is not None and (why := other_device(self.about, device)):
            return why
        try:
            self.calls(device)
        except ValueError as error:
            return str(error)
        return None

    def described(self) -> str:
        """See `Expected.described`."""
        return str(self.software)

    def assumptions(self) -> tuple[str, ...]:
        """See `Expected.assumptions`."""
        return (
            "Expected: each operation by a curve of its kernel on this device, joined with the host that launches it "
            "(docs/guide/expected.rst); the interval holds 80 % of published times.",
        )


def is_vae(stage: str) -> bool:
    """Whether a stage is an autoencoder's, by its name."""
    return any(word in stage.split("_") for word in ("vae", "vq", "tae"))
