"""`frameroof stream bench`: the latency report by command, for the baseline and every variant beside it.

On a CPU all variants take turns, block by block, so that what else the machine does falls on all of them; on a GPU each
has it to itself. Before any clock starts, the variant's latents are compared with the baseline's, and every forward
that a stream can need has run once.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...profiler import Profile
from ...stream import Engine, Session
from ...stream.metrics import BlockTimes, Meter, Report, meter
from .breakdown import Breakdown, breakdown
from .parity import Checks, Parity, Quality
from .variants import Setup
from .watch import Watch

Say = Callable[[str], None]
WATCHED = 3  # steady blocks whose forwards are timed one by one, and as many that are recorded


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured. `decoded` says whether streams are decoded; `out` takes the traces, one folder a variant.

    Raises `ValueError`, a sentence, for too few blocks to fill the window and switch.
    """

    setup: Setup
    variants: Sequence[str]
    blocks: int = 16
    switch_every: int = 2
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        full = self.setup.config().window_blocks
        if self.blocks < full + 4:
            raise ValueError(
                f"blocks is {self.blocks}; the window is full after {full}, and 4 more are needed for a steady block, "
                "a switch and what follows it."
            )

    @property
    def switches(self) -> dict[int, str]:
        """Prompts by block, from the second one after the window is full; never the last block."""
        first = self.setup.config().window_blocks + 2
        return {at: f"a fox runs, {at}" for at in range(first, self.blocks, self.switch_every)}


@dataclass
class Measured:
    """What one variant took, in nanoseconds; `forwards` by name under the clock, `taken_apart` from the trace."""

    name: str
    parity: Parity | None
    quality: Quality
    report: Report
    blocks: list[BlockTimes]
    end_to_end_ns: int
    forwards: Mapping[str, list[int]] = field(default_factory=dict)
    taken_apart: Breakdown = field(default_factory=Breakdown)
    says: tuple[str, ...] = ()

    def steady_ns(self, full: int) -> list[int]:
        """Generation times of blocks with a full window and no switch."""
        return [row.generate_ns for row in self.blocks if row.number >= full and not row.switched]


class Lane:
    """One variant's stream under the clock."""

    def __init__(self, name: str, setup: Setup, say: Say) -> None:
        self.name, self.setup, self.decodes = name, setup, bool(setup.decoder)
        say(f"{name}: building")
        start = time.perf_counter_ns()
        self.engine: Engine = setup.engine(name)
        self._cold_ns = time.perf_counter_ns() - start
        self.meter: Meter
        self.session: Session

    def ready(self, say: Say) -> None:
        """A stream whose every forward has run once, and a decoder too; what that took stands apart."""
        say(f"{self.name}: warming up")
        v = self.setup.variant(self.name)
        self.meter = meter(self.engine.c, torch.device(self.setup.device))
        self.meter.apart_ns["cold"] = self._cold_ns
        with self.meter.apart("capture" if v.graphs else "compile" if v.ops == "compiled" else "warm-up"):
            spare = self.setup.session(self.engine)
            if not v.graphs:  # a session captures its own graphs
                spare.warm()
            start = self._now()
            self.session = self.setup.session(self.engine)
            self._prepare_ns = self._end_to_end_ns = self._now() - start
            self.session.warm()
        del spare
        if self.setup.device.startswith("cuda"):  # the peak is that of the stream alone
            torch.cuda.reset_peak_memory_stats(self.setup.device)

    def block(self, number: int, switch: str | None, sample: int | None = None) -> None:
        """Generate and decode the next block; its times go into the meter."""
        asked = self._now()
        if switch is not None:
            self.session.switch(switch, sample)
        start = self._now()
        block = self.session.generate_block()
        made = self._now()
        if self.decodes:
            self.session.decode(block)
        done = self._now() if self.decodes else made
        visible = done - asked if switch is not None else None
        rows = self.meter.rows
        rows.append(BlockTimes(number, made - start, done - made, switch is not None, visible))
        if number == 0:
            self.meter.first_ns = self._prepare_ns + done - start  # since it was asked for, at 0; warm-up apart
        self._end_to_end_ns += done - asked

    def measured(self, checked: tuple[Parity | None, Quality], plan: Plan) -> Measured:
        """The figures of the blocks so far, then every kind of forward under the clock, and once more recorded."""
        report = self.meter.report()  # before anything else runs: its memory is the stream's
        del self.session
        return Measured(
            name=self.name,
            parity=checked[0],
            quality=checked[1],
            report=report,
            blocks=self.meter.rows,
            end_to_end_ns=self._end_to_end_ns,
            forwards=self._clocked(),
            taken_apart=self._record(plan),
            says=tuple(self.engine.says),
        )

    def _clocked(self) -> dict[str, list[int]]:
        """Nanoseconds of every kind of forward; the filling of more streams, where one needs no new capture."""
        found = self._walk()
        if not self.setup.variant(self.name).graphs:
            for _ in range(WATCHED - 1):
                for name, times in self._walk(only_filling=True).items():
                    found[name] += times
        return found

    def _walk(
        self, recorded: AbstractContextManager[Any] = nullcontext(), only_filling: bool = False
    ) -> dict[str, list[int]]:
        """Nanoseconds of every kind of forward, the device waited for before and after each.

        A new stream: while the window fills, with a switch before each block; then steady blocks and ones with a switch
        in turns.
        """
        session = self.setup.session(self.engine)
        session.warm()
        watch, full = Watch(session, self.meter.settle), self.engine.c.window_blocks
        with recorded:
            for number in range(full + (0 if only_filling else 2 * WATCHED)):
                switched = 0 < number < full or (number - full) % 2 == 1
                decode = bool(self.setup.decoder) and not only_filling
                watch.block(f"a dog sleeps, {number}" if switched else None, decode)
        return dict(watch.times_ns)

    def _record(self, plan: Plan) -> Breakdown:
        """The same under the profiler, saved beside the report: where its time went."""
        profile = Profile({"transformer": self.engine.denoiser.model})
        self._walk(profile)
        if plan.out is not None:
            profile.save(plan.out / self.name, plan.force)
        return breakdown(profile.trace, self.engine.c.text_tokens, self.setup.variant(self.name).ops == "fused")

    def _now(self) -> int:
        self.meter.settle()
        return self.meter.clock()


def bench(plan: Plan, say: Say = lambda _: None) -> Iterator[Measured]:
    """Measure every variant, the baseline first.

    Raises `ValueError`, a sentence, where the baseline is not the first.
    """
    if list(plan.variants[:1]) != ["baseline"]:
        raise ValueError("A bench begins with the baseline: everything is compared with it.")
    together = not plan.setup.device.startswith("cuda")
    plan.setup.check_memory(len(plan.variants) if together else 1)
    checks: Checks | None = None
    for names in [list(plan.variants)] if together else [[name] for name in plan.variants]:
        lanes = [Lane(name, plan.setup, say) for name in names]
        checked = {}
        for lane in lanes:
            say(f"{lane.name}: comparing with the baseline")
            checks = checks or Checks(plan.setup, lane.engine)
            checked[lane.name] = checks.of(lane.name, lane.engine)
        for lane in lanes:
            lane.ready(say)
        for number in range(plan.blocks):
            say(f"{names[0] if len(names) == 1 else 'all variants'}: block {number + 1} of {plan.blocks}")
            turn = number % len(lanes)
            for lane in (*lanes[turn:], *lanes[:turn]):
                lane.block(number, plan.switches.get(number))
        for lane in lanes:
            say(f"{lane.name}: recording")
            yield lane.measured(checked[lane.name], plan)
        del lanes, lane
        gc.collect()
        if not together:
            torch.cuda.empty_cache()
