"""`frameroof stream bench`: the latency report by command, for the baseline and every variant beside it.

On a CPU all variants take turns, block by block, so that what else the machine does falls on all of them; on a GPU each
has it to itself. Before any clock starts, the variant's latents are compared with the baseline's, and every forward
that a stream can need has run once.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from frameroof.profiler import Profile
from frameroof.stream import Block, Engine, Session
from frameroof.stream.metrics import BlockTimes, Meter, Report, meter

from .parity import Checks, Drift, Parity
from .variants import Setup, find
from .watch import Forwards, Watch, breakdown

Say = Callable[[str], None]
WATCHED = 3  # blocks whose forwards are timed one by one, and as many that are recorded
PROMPT = "a cat runs"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured. `decoded` says whether streams are decoded; `out` takes the traces, one folder a variant."""

    setup: Setup
    variants: Sequence[str]
    blocks: int = 16
    switch_every: int = 4
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
    """What one variant took, in nanoseconds; `forwards` by kind under the clock, `parts` of them from the trace."""

    name: str
    parity: Parity | None
    drift: Drift
    report: Report
    blocks: list[BlockTimes]
    end_to_end_ns: int
    forwards: Mapping[str, list[int]] = field(default_factory=dict)
    parts: Mapping[str, Forwards] = field(default_factory=dict)
    says: tuple[str, ...] = ()

    def steady_ns(self, full: int) -> list[int]:
        """Generation times of blocks with a full window and no switch."""
        return [row.generate_ns for row in self.blocks if row.number >= full and not row.switched]


class Lane:
    """One variant's stream under the clock."""

    def __init__(self, name: str, setup: Setup, say: Say) -> None:
        self.name, self.setup = name, setup
        say(f"{name}: building")
        start = time.perf_counter_ns()
        self.engine: Engine = setup.engine(name)
        self._cold_ns = time.perf_counter_ns() - start
        self.meter: Meter
        self.session: Session
        self.watch: Watch

    def ready(self, say: Say) -> None:
        """A stream whose every forward has run once, and a decoder too; what that took stands apart."""
        say(f"{self.name}: warming up")
        v = find(self.name)
        self.meter = meter(self.engine.c, torch.device(self.setup.device))
        self.meter.apart_ns["cold"] = self._cold_ns
        with self.meter.apart("capture" if v.graphs else "compile" if v.ops == "compiled" else "warm-up"):
            spare = self.engine.prepare(PROMPT)
            if not v.graphs:  # a session captures its own graphs
                spare.warm()
            if self.setup.decoder:
                for number in range(2):
                    zeros = torch.zeros(self.engine.c.latent_shape(1), device=self.setup.device)
                    spare.decode(Block(number, zeros, (PROMPT,)))
            start = self._now()
            self.session = self.engine.prepare(PROMPT)
            self._prepare_ns = self._end_to_end_ns = self._now() - start
            self.session.warm()
        del spare
        if self.setup.device.startswith("cuda"):  # the peak is that of the stream alone
            torch.cuda.reset_peak_memory_stats(self.setup.device)
        self.watch = Watch(self.session, self.meter.settle)

    def block(self, number: int, switch: str | None) -> None:
        """Generate and decode the next block; its times go into the meter."""
        asked = self._now()
        if switch is not None:
            self.session.switch(switch)
        start = self._now()
        block = self.session.generate_block()
        made = self._now()
        if self.setup.decoder:
            self.session.decode(block)
        done = self._now() if self.setup.decoder else made
        visible = done - asked if switch is not None else None
        rows = self.meter.rows
        rows.append(BlockTimes(number, made - start, done - made, switch is not None, visible))
        if number == 0:
            self.meter.first_ns = self._prepare_ns + done - start  # since it was asked for, at 0; warm-up apart
        self._end_to_end_ns += done - asked

    def forwards(self) -> dict[str, list[int]]:
        """Nanoseconds of each forward of a few more blocks, by kind, the device waited for after each."""
        self.watch.on = True
        for _ in range(WATCHED):
            self.session.generate_block()
        self.watch.on = False
        return {name: list(times) for name, times in self.watch.times_ns.items()}

    def record(self, plan: Plan) -> dict[str, Forwards]:
        """A few more blocks under the profiler, saved beside the report; where their time went."""
        profile = Profile({"transformer": self.engine.denoiser.model})
        self.watch.on = True
        with profile:
            for _ in range(WATCHED):
                self.session.generate_block()
        self.watch.on = False
        if plan.out is not None:
            profile.save(plan.out / self.name, plan.force)
        return breakdown(profile.trace, self.engine.c.text_tokens, find(self.name).ops == "fused")

    def measured(self, checked: tuple[Parity | None, Drift], plan: Plan) -> Measured:
        report = self.meter.report()  # before anything else runs: its memory is the stream's
        forwards = self.forwards()
        return Measured(
            name=self.name,
            parity=checked[0],
            drift=checked[1],
            report=report,
            blocks=self.meter.rows,
            end_to_end_ns=self._end_to_end_ns,
            forwards=forwards,
            parts=self.record(plan),
            says=tuple(self.engine.says),
        )

    def _now(self) -> int:
        self.meter.settle()
        return self.meter.clock()


def bench(plan: Plan, say: Say = lambda _: None) -> Iterator[Measured]:
    """Measure every variant, the baseline first."""
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
