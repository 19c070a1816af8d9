"""The streaming engine, baseline and every variant: parity first, then blocks, switches, forwards and decoding.

A group of variants and the baseline stand on the device together and make their blocks in turns, in another order each
round; the device is waited for before and after a block. A block's forwards are timed by events, without waiting.
(`frameroof stream bench` has the whole report; it needs msgspec, which a bare machine does not have.)
Shapes: latents are (B batch, C channels, frames, rows, columns).
"""

from __future__ import annotations

import gc
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from frameroof.dtypes import name_of
from frameroof.lab.stream.parity import EQUAL, Checks
from frameroof.lab.stream.variants import SLOW_TO_BUILD, VARIANTS, Setup, find, refused
from frameroof.lab.stream.verdict import Saved, saved
from frameroof.stream import Engine, Session, StreamConfig
from frameroof.stream.denoiser import Forward

from . import counted, decode
from .clock import between, mark, settle
from .record import Log, Row
from .record import Session as Run

NOTES = (
    "samples_s: steady blocks (full window, no switch), host seconds with the device waited for before and after; "
    "block_device_s: the same between events. baseline_s: the baseline's, made in turns with this variant.",
    "switch_s: the first block after a switch; switch_latency_s: that less the block before it.",
    "forwards_s: device seconds of each forward of the steady and switched blocks, by kind.",
    "saved_s: lower quartile, median and upper quartile of the variant `before` less this one, sample by sample, of "
    "what the change is meant for; keep: the lower quartile is above 0 (of fewer than eight samples all), or numbers "
    "are equal and it is not slower beyond the spread. log: the row of the optimization log, for `frameroof stream "
    "log`.",
    "quality: latents beside the baseline's in the stream's own dtype, in a free run and taught (each block is given "
    "the baseline's past); floor: the baseline beside itself.",
    "published/…: the denoising steps of a block at 21 frames of keys, beside what others measured on an H100.",
    "peak_bytes: the most memory from before the engine was built until its stream is warm; the L2 cache is not "
    "overwritten between blocks.",
    "Predictions: counted by hand (counted.py), limit at 100 % of the peaks, expected through one utilization.",
)
STREAMS = tuple(name for name, v in VARIANTS.items() if v.of != "decode")
GROUP = 8  # variants beside the baseline on the device
ROUNDS = 26  # blocks of each; fewer where time is short, but ENOUGH steady ones
ENOUGH = 6
SAVED = 4  # rounds after which what is there is written
PUBLISHED = "published/steps-kv21"


def run(session: Run) -> Log:
    """Variants in groups, then decoders."""
    log = Log.open(session, "stream", NOTES + decode.NOTES)
    setup = Setup(
        model="tiny" if session.tiny else "longlive-1.3b",
        device=session.device.type,
        dtype=torch.bfloat16 if session.cuda else torch.float32,
    )
    c = setup.config()
    log.about["stream"] = {
        "model": setup.model, "dtype": str(setup.dtype).removeprefix("torch."), "window": c.window, "sink": c.sink,
        "height": c.height, "width": c.width, "layers": c.model.layers, "dim": c.model.dim, "batch": setup.batch,
        "blocks": _blocks(session),
    }  # fmt: skip
    _predict(log, setup)
    names = [name.removeprefix("stream/") for name in log.todo([f"stream/{name}" for name in STREAMS])]
    left = []
    for name in names:
        why = refused(name, setup.device, None) or (
            name in SLOW_TO_BUILD and not session.cuda and "compiles for minutes"
        )
        if why:
            log.refuse(f"stream/{name}", f"on {setup.device} it {why}")
        else:
            left.append(name)
    others = sorted((name for name in left if name != "baseline"), key=lambda name: name in SLOW_TO_BUILD)
    groups = [others[at : at + GROUP] for at in range(0, len(others), GROUP)] or ([[]] if left else [])
    for group in groups:
        if session.late:
            return log
        _measure(log, setup, group)
        for name in STREAMS:  # a variant's base may have come in a later group
            if log.done(f"stream/{name}") and name != "baseline":
                _compare(log, name)
        log.save()
        _free(session)
    if log.todo([PUBLISHED] if PUBLISHED in log.rows else []) and not session.late:
        _published(log, setup)
        log.save()
        _free(session)
    for kind in [name for name in log.rows if name.startswith("decode/")]:
        if not log.done(kind) and not session.late:
            decode.measure(log, setup, kind)
            log.save()
            _free(session)
    return log


def _predict(log: Log, setup: Setup) -> None:
    s = log.session
    for name in STREAMS:
        if s.wanted(f"stream/{name}"):
            v, c = find(name), setup.config(name)
            found = counted.block(s.machine, c, name_of(setup.dtype), v)
            log.predict(f"stream/{name}", found, change=v.change, before=v.base or None, of=v.of)
    if s.wanted("stream/estimate"):
        log.predict("stream/estimate", {}, about="limits by frameroof.estimate, counted from the engine's own code")
        try:
            log.measure("stream/estimate", parts=_estimated(s, setup), ok=True)
        except (ImportError, ValueError) as error:  # without msgspec, or a device without a record
            log.refuse("stream/estimate", error)
    if s.wanted(PUBLISHED):
        c = _wide(setup)
        flops = len(c.steps) * sum(counted.forward_flops(c, c.block_tokens, c.window * c.frame_tokens))
        moved = len(c.steps) * counted.forward_bytes(c, c.block_tokens, c.window * c.frame_tokens, 2)
        log.predict(PUBLISHED, s.machine.whole(flops, moved), published_s={"H100": {"flashdreams": 0.344}},
                    source="github.com/NVIDIA/flashdreams: 4 steps at 21 frames of keys, 470 TFLOP/s")  # fmt: skip
    decode.predict(log)
    log.save()


def _estimated(s: Run, setup: Setup) -> Row:
    from frameroof.lab.stream.needed import Needed, machine

    dtype = name_of(setup.dtype)
    needed = Needed(setup.config(), machine(setup.device), dtype, decoder=None if s.tiny else "wan")
    return {name: asdict(part) for name, part in needed.parts(_blocks(s), 0).items()}


def _wide(setup: Setup) -> StreamConfig:
    """The settings at which others published: 21 frames of keys, without sinks."""
    return replace(setup, changes={"window": 21, "sink": 0}).config("fused-graph")


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
        self.session: Session = setup.session(self.engine)
        self.session.warm()
        self.warm_s = self._now() - start
        self.peak_bytes = torch.cuda.max_memory_allocated() - before if s.cuda else None
        self.session.around_forward.append(self._marked)
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

    @contextmanager
    def _marked(self, what: Forward) -> Iterator[None]:
        start = mark(self.s)
        yield
        self.marks.append((what.kind, start, mark(self.s)))

    def _now(self) -> float:
        settle(self.s)
        return time.perf_counter()


def _blocks(s: Run) -> int:
    return 10 if s.tiny else ROUNDS


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
        if s.late and number >= first + 2 * ENOUGH:
            break
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


def _checked(log: Log, setup: Setup, lanes: dict[str, Lane]) -> dict[str, Row]:
    """Parity in fp32 and quality in the stream's own type; a variant that fails here is taken out."""
    checks, found = Checks(setup, lanes["baseline"].engine, own_dtype=True), {}
    for name in list(lanes):
        try:
            parity, quality = checks.of(name, lanes[name].engine)
        except Exception as error:
            log.refuse(f"stream/{name}", error)
            del lanes[name]
            continue
        found[name] = {"parity": asdict(parity) if parity else None, "quality": quality.to_dict()}
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
        baseline_latency_s=baseline.switches()[1],
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
    """The row of the optimization log: what the change saved of what it is meant for, and what was predicted."""
    row = log.rows[f"stream/{name}"]
    base = log.rows.get(f"stream/{row['before']}", {})
    if base.get("state") != "measured":
        row["keep"], row["why"] = None, f"{row['before']} was not measured"
        return
    of = "switch_latency_s" if row["of"] == "switch" else "samples_s"
    pairs = min(len(base[of]), len(row[of]))  # time may have been short for one of them
    gain = saved(base[of][:pairs], row[of][:pairs])
    row["saved_s"] = list(gain.quartiles)
    row["keep"] = bool(row["ok"] and (gain.faster or (row["parity"] is not None and not gain.slower)))
    row["why"] = _why(row, base, gain)
    limits = [x["prediction"].get("limit_s") for x in (base, row)]
    known = row["of"] == "block" and None not in limits
    row["log"] = {
        **{key: row[key] for key in ("change", "before", "of", "parity", "quality", "saved_s", "keep", "why")},
        "before_s": median(base[of]),
        "after_s": median(row[of]),
        "baseline_s": median(row["baseline_latency_s" if row["of"] == "switch" else "baseline_s"]),
        "predicted": {
            "saved_s": limits[0] - limits[1] if known else None,
            "what": "limit against limit" if known else "not predicted here",
        },
    }


def _why(row: Row, base: Row, gain: Saved) -> str:
    if not row["ok"]:
        return f"its numbers are not the baseline's: relative error {row['parity']['relative']:.2g}"
    if gain.faster:
        return "faster"
    if not gain.slower:
        return f"no gain of the {row['of']} beyond the spread" + (", and equal numbers" if row["parity"] else "")
    if row["of"] == "switch":
        return f"slower; {len(row['switch_latency_s'])} switches were timed"
    growth = {
        kind: median(times) - median(base["forwards_s"][kind])
        for kind, times in row["forwards_s"].items()
        if kind in base["forwards_s"]
    }
    kind, grown = max(growth.items(), key=lambda pair: pair[1], default=("", 0.0))
    return f"slower; most in a {kind}, {grown * 1e3:+.2f} ms of device time" if grown > 0 else "slower on the host"


def _published(log: Log, setup: Setup) -> None:
    """The steps of a block at 21 frames of keys, in CUDA graphs where there are any."""
    s = log.session
    try:
        wide = replace(setup, changes={"window": 21, "sink": 0})
        lane = Lane(s, wide, "fused-graph" if s.cuda else "fold")
        for _ in range(lane.engine.c.window_blocks + 2 + ENOUGH):
            lane.block(None)
        step_s = lane.forwards["step"]
    except Exception as error:
        log.refuse(PUBLISHED, error)
        return
    steps = len(lane.engine.c.steps)
    samples = [sum(step_s[at : at + steps - 1]) / (steps - 1) * steps for at in range(0, len(step_s), steps - 1)]
    row = log.measure(PUBLISHED, samples)
    row["flop_per_s"] = row["prediction"]["flops"] / row["median_s"]


def _free(s: Run) -> None:
    gc.collect()
    if s.cuda:
        torch.cuda.empty_cache()
