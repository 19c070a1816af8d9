"""The streaming engine, baseline and every variant: parity first, then blocks, switches, forwards and decoding.

A group of variants and the baseline stand on the device together and make their blocks in turns, in another order each
round; the device is waited for before and after a block. A block's forwards are timed by events, without waiting.
Shapes: latents are (B batch, C channels, frames, rows, columns).
"""

from __future__ import annotations

import gc
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from statistics import median, quantiles
from typing import Any

import torch

from frameroof.lab.stream.parity import EQUAL, Checks
from frameroof.lab.stream.variants import SLOW_TO_BUILD, VARIANTS, Setup, find, refused
from frameroof.models.causal_wan import KV
from frameroof.stream import Block, Engine, Session
from frameroof.stream.denoiser import CONTEXT, Cache, Forward

from . import counted
from .clock import between, compile_often, mark, settle
from .record import Log, Row
from .record import Session as Run

NOTES = (
    "samples_s: steady blocks (full window, no switch), host seconds with the device waited for before and after; "
    "block_device_s: the same between events. baseline_s: the baseline's, made in turns with this variant.",
    "switch_s: the first block after a switch; switch_latency_s: that less the block before it.",
    "forwards_s: device seconds of each forward of the steady and switched blocks, by kind.",
    "saved_s: lower quartile, median and upper quartile of the variant `before` less this one, sample by sample, of "
    "what the change is meant for; keep: parity holds (where numbers should be equal) and the lower quartile is above "
    "0.",
    "peak_bytes: the most memory from before the engine was built until its stream is warm; the L2 cache is not "
    "overwritten between blocks.",
    "Predictions: counted by hand (counted.py), limit at 100 % of the peaks, expected through one utilisation.",
)
PROMPT = "a cat runs"
GROUP = 7  # variants beside the baseline on the device
SAVED = 8  # rounds after which what is there is written
DECODERS = {"wan": {}, "wan-channels_last": {"channels_last": True}, "tiny": {}}


def run(session: Run) -> Log:
    """Variants in groups, then decoders."""
    log = Log.open(session, "stream", NOTES)
    compile_often(session)
    setup = Setup(
        model="tiny" if session.tiny else "longlive-1.3b",
        device=session.device.type,
        dtype=torch.bfloat16 if session.cuda else torch.float32,
    )
    _predict(log, setup)
    names = [name.removeprefix("stream/") for name in log.todo([f"stream/{name}" for name in VARIANTS])]
    left = []
    for name in names:
        why = refused(name, setup.device) or (name in SLOW_TO_BUILD and not session.cuda and "compiles for minutes")
        if why:
            log.refuse(f"stream/{name}", f"On {setup.device} it {why}.")
        else:
            left.append(name)
    others = [name for name in left if name != "baseline"]
    groups = [others[at : at + GROUP] for at in range(0, len(others), GROUP)] or ([[]] if left else [])
    for group in groups:
        if session.late:
            return log
        _measure(log, setup, group)
        log.save()
        _free(session)
    for kind in [name for name in log.rows if name.startswith("decode/")]:
        if not log.done(kind) and not session.late:
            _decode(log, setup, kind)
            log.save()
            _free(session)
    return log


def _predict(log: Log, setup: Setup) -> None:
    s = log.session
    for name in VARIANTS:
        if s.wanted(f"stream/{name}"):
            v, c = find(name), setup.config(name)
            found = counted.block(s.machine, c, "fp32" if setup.dtype == torch.float32 else "bf16", v)
            log.predict(f"stream/{name}", found, change=v.change, before=v.base or None, of=v.of)
    if s.wanted("stream/estimate"):
        log.predict("stream/estimate", {}, about="limits by frameroof.estimate, counted from the engine's own code")
        try:
            log.measure("stream/estimate", parts=_estimated(s, setup), ok=True)
        except (ImportError, ValueError) as error:  # without msgspec, or a device without a record
            log.refuse("stream/estimate", error)
    for name in DECODERS:
        if s.wanted(f"decode/{name}"):
            decoding = log.rows.get("stream/estimate", {}).get("parts", {}).get("decode")
            known = decoding if name.startswith("wan") and decoding else {"limit_s": None, "expected_s": None}
            log.predict(f"decode/{name}", {**known, "source": "stream/estimate, which counts Wan's decoder alone"})
    log.save()


def _estimated(s: Run, setup: Setup) -> Row:
    from frameroof.lab.stream.needed import machine, parts

    dtype = "fp32" if setup.dtype == torch.float32 else "bf16"
    found = parts(setup.config(), machine(setup.device), dtype, None if s.tiny else "wan", (_blocks(s), 0))
    return {name: asdict(part) for name, part in found.items()}


# ------------------------------------------------------------------------------------ variants


class Lane:
    """One variant's stream: engine, session, and the marks of what it did."""

    def __init__(self, s: Run, setup: Setup, name: str) -> None:
        self.s, self.name = s, name
        before = torch.cuda.memory_allocated() if s.cuda else 0
        if s.cuda:
            torch.cuda.reset_peak_memory_stats()
        start = self._now()
        self.engine: Engine = setup.engine(name)
        self.build_s = self._now() - start
        start = self._now()
        self.session: Session = self.engine.prepare(PROMPT)
        self.session.warm()
        self.warm_s = self._now() - start
        self.peak_bytes = torch.cuda.max_memory_allocated() - before if s.cuda else None
        self._velocity, self.session._velocity = self.session._velocity, self._marked
        self.marks: list[tuple[str, Any, Any]] = []
        self.walls: list[float] = []
        self.devices: list[float] = []
        self.switched: list[bool] = []
        self.forwards: dict[str, list[float]] = defaultdict(list)

    def block(self, switch: str | None) -> None:
        """The next block; a switch's text is encoded before the clock starts."""
        if switch:
            self.session.switch(switch)
        self.marks.clear()
        start = self._now()
        first = mark(self.s)
        self.session.generate_block()
        last = mark(self.s)
        self.walls.append(self._now() - start)
        self.devices.append(between(first, last))
        self.switched.append(switch is not None)
        if self.session.number > self.engine.c.window_blocks:
            for kind, a, b in self.marks:
                self.forwards[kind].append(between(a, b))

    def steady(self, times: list[float]) -> list[float]:
        first = self.engine.c.window_blocks
        rows = list(zip(times, self.switched, strict=True))[first:]
        return [taken for taken, switched in rows if not switched]

    def switches(self) -> tuple[list[float], list[float]]:
        """Seconds of each switched block, and what each took more than the block before it."""
        pairs = [(a, b) for (a, b), switched in zip(pairwise(self.walls), self.switched[1:], strict=True) if switched]
        return [b for _, b in pairs], [b - a for a, b in pairs]

    def _marked(self, x: torch.Tensor, what: Forward, cache: Cache, texts: Sequence[KV]) -> torch.Tensor:
        start = mark(self.s)
        out = self._velocity(x, what, cache, texts)
        self.marks.append((kind_of(what), start, mark(self.s)))
        return out

    def _now(self) -> float:
        settle(self.s)
        return time.perf_counter()


def kind_of(what: Forward) -> str:
    """As `frameroof.lab.stream.watch.kind_of`, which needs msgspec."""
    if what.recache:
        return "recache"
    if len(what.rows) > 1:
        return "folded step 1"
    return "context" if what.rows[0] == CONTEXT else "step 1" if what.rows[0] == 0 else "step"


def _blocks(s: Run) -> int:
    return 10 if s.tiny else 48


def _measure(log: Log, setup: Setup, names: list[str]) -> None:
    """One group, the baseline in it: build and warm up all, compare, then make blocks in turns."""
    s, lanes = log.session, {}
    for name in ["baseline", *names]:
        try:
            lanes[name] = Lane(s, setup, name)
        except Exception as error:  # the variant cannot run here; it says so in its row
            if name == "baseline":
                raise
            log.refuse(f"stream/{name}", error)
    checks = _checked(log, setup, lanes)
    first, blocks = setup.config().window_blocks + 2, _blocks(s)
    order = random.Random(s.seed)
    for number in range(blocks):
        switch = f"a fox runs, {number}" if number in range(first, blocks, 2) else None
        for name in order.sample(list(lanes), len(lanes)):
            lanes[name].block(switch)
        if number % SAVED == SAVED - 1:
            for name, lane in lanes.items():
                log.rows.get(f"stream/{name}", {})["so_far_s"] = list(lane.walls)
            log.save()
    for name, lane in lanes.items():
        if f"stream/{name}" in log.rows and not log.done(f"stream/{name}"):
            log.rows[f"stream/{name}"].pop("so_far_s", None)
            _row(log, lane, lanes["baseline"], checks[name])
    for name in lanes:
        if log.done(f"stream/{name}") and name != "baseline":
            _compare(log, name)


def _checked(log: Log, setup: Setup, lanes: dict[str, Lane]) -> dict[str, Row]:
    """Parity in fp32 and drift in the stream's own type; a variant that fails here is taken out."""
    checks, found = Checks(setup, lanes["baseline"].engine), {}
    for name in list(lanes):
        try:
            parity, drift = checks.of(name, lanes[name].engine)
        except Exception as error:
            log.refuse(f"stream/{name}", error)
            del lanes[name]
            continue
        found[name] = {"parity": asdict(parity) if parity else None, "drift": asdict(drift)}
        _free(log.session)
    return found


def _row(log: Log, lane: Lane, baseline: Lane, checked: Row) -> None:
    switch_s, latency_s = lane.switches()
    parity = checked["parity"]
    log.measure(
        f"stream/{lane.name}",
        lane.steady(lane.walls),
        ok=parity is None or parity["relative"] <= EQUAL,
        **checked,
        block_device_s=lane.steady(lane.devices),
        baseline_s=baseline.steady(baseline.walls),
        all_blocks_s=lane.walls,
        switch_s=switch_s,
        switch_latency_s=latency_s,
        forwards_s=dict(lane.forwards),
        build_s=lane.build_s,
        warm_s=lane.warm_s,
        peak_bytes=lane.peak_bytes,
        frames_per_s=4 * lane.engine.c.block / median(lane.steady(lane.walls)),
        says=list(lane.engine.says),
    )


def _compare(log: Log, name: str) -> None:
    """The row of the optimisation log: what the change saved of what it is meant for."""
    row = log.rows[f"stream/{name}"]
    base = log.rows.get(f"stream/{row['before']}", {})
    if base.get("state") != "measured":
        row["keep"], row["why"] = None, f"{row['before']} was not measured"
        return
    of = "switch_latency_s" if row["of"] == "switch" else "samples_s"
    saved = [b - a for b, a in zip(base[of], row[of], strict=False)]
    row["saved_s"] = quantiles(saved, n=4, method="inclusive") if len(saved) > 1 else saved * 3
    row["keep"] = bool(row["ok"] and row["saved_s"][0] > 0)


# ------------------------------------------------------------------------------------ decoding


@torch.inference_mode()
def _decode(log: Log, setup: Setup, name: str) -> None:
    """Blocks of random latents through a decoder that remembers the frames before; the first two warm it up."""
    s, c, kind = log.session, setup.config(), name.removeprefix("decode/")
    make = partial(Engine.random, c, device=setup.device, dtype=setup.dtype, umt5=False)
    try:
        stream = make(vae=kind.split("-")[0], decoding=DECODERS[kind]).prepare(PROMPT)
        times = []
        for number in range(2 + max(s.samples, 2)):
            z_BCTHW = torch.randn(c.latent_shape(1), device=s.device)
            settle(s)
            start = mark(s)
            stream.decode(Block(number, z_BCTHW, (PROMPT,)))
            end = mark(s)
            settle(s)
            times.append(between(start, end))
    except Exception as error:  # no memory, or no such layout here
        log.refuse(name, error)
        return
    log.measure(name, times[2:], warm_s=times[:2], frames=4 * c.block)


def _free(s: Run) -> None:
    gc.collect()
    if s.cuda:
        torch.cuda.empty_cache()
