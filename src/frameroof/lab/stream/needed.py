"""What a stream must compute at any of its sizes, and the limits of that on the machine it runs on.

Counted from the engine's own forwards over the ring with tabulated modulation: copies that only the baseline makes are
not needed. What the baseline copies beside it has limits of its own, at the memory's full bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import nn

from ...dtypes import item_bytes, torch_name
from ...estimate import OpEstimate, StageEstimate, Utilization, estimate
from ...hardware import Node, device
from ...profiler.probe import probe
from ...stream import StreamConfig
from ...stream.cost import workload
from ...stream.engine import Files, Maker
from ...study.characterize.classes import class_of
from ...study.predict import asked_of, prepare
from ...study.stream import PARTS, Part, copied, copies, part_of
from ...trace.resolve.classify import CLASSES
from ...workload.records import Op
from .variants import Variant
from .watch import DECODE, at_fill


def machine(where: str) -> Node:
    """The device as `frameroof hardware` knows it; a CPU's peaks are measured now."""
    if where.startswith("cuda"):
        return Node(device(torch.cuda.get_device_name()))
    return Node(probe())


_recorded = lru_cache(maxsize=32)(workload)


@dataclass(frozen=True)
class Needed:
    """Counts and limits of a stream of these settings on a machine; `decoder` as in `Setup`."""

    c: StreamConfig
    node: Node
    dtype: str
    batch: int = 1
    decoder: str | None = None

    @property
    def lean(self) -> StreamConfig:
        return replace(self.c, cache="ring", context="after", recache="needed", tabulate=True, moving_sinks=False)

    def counted(self, stage: str, c: StreamConfig | None = None, **how: str | None) -> StageEstimate:
        """One run of a stage of `stream.cost`; `how` goes to `prepare` (dtype, elementwise)."""
        made, _ = prepare(_recorded(c or self.lean, stage, self.batch, self.dtype), **how)  # type: ignore[arg-type]
        bound = asked_of(elementwise=how.get("elementwise")).bound
        return estimate(made, self.node, bound=bound).total

    @cached_property
    def step(self) -> StageEstimate:
        return self.counted("step")

    @cached_property
    def recache(self) -> StageEstimate:
        """Of what is no sink; a step where all of the window but the block is sinks."""
        return self.counted("recache") if self.c.window > self.c.sink else self.step

    @cached_property
    def decoding(self) -> StageEstimate:
        """A block through the decoder that the engine would make."""

        def vae() -> nn.Module:
            made = Maker(self.c, Files(), "cpu", getattr(torch, torch_name(self.dtype))).decoder(self.decoder, {})
            return made().vae.to("meta")  # type: ignore[misc]

        made, _ = prepare(workload(self.lean, "decode", self.batch, self.dtype, vae))
        return estimate(made, self.node).total

    def filling(self, frames: int) -> StageEstimate:
        """A step while so many frames are attended."""
        return self.counted("step", replace(self.lean, window=frames, sink=0))

    def parts(self, blocks: int, switches: int) -> dict[str, Part]:
        """A step, a block, a switch, a decoded block (where there is a decoder), and of so many blocks and switches."""
        forwards = len(self.c.steps) + 1
        step, switch = Part.of("steps", self.step), Part.of("switch", self.recache)
        found = {"steps": step, "block": replace(step, name="block").plus(step, forwards - 1), "switch": switch}
        if self.decoder:
            found["decode"] = Part.of("decode", self.decoding)
        whole = replace(step, name="end_to_end").plus(step, forwards * max(0, blocks - self.c.window_blocks + 1) - 1)
        for filled in range(1, min(self.c.window_blocks, blocks + 1)):
            whole = whole.plus(Part.of("filling", self.filling(filled * self.c.block)), forwards)
        whole = whole.plus(switch, switches)
        if "decode" in found:
            whole = whole.plus(found["decode"], blocks)
        return {**found, "end_to_end": whole}

    def forwards(self) -> dict[str, dict[str, Part]]:
        """By name of forward (`watch`), each part's limit, and "all"; what the baseline copies too.

        Of a decoded block by classes of work, for its layers are of many kinds.
        """
        c = self.c
        step = self._taken_apart(self.step)
        first = {"cache.roll": c.model.layers * self.copies["cache.roll"]}
        later = {n: c.model.layers * self.copies[n] for n in ("cache.clone", "cache.insert", "cache.concatenate")}
        update = {"cache.update": self.copies["cache.update"]}
        more = {"cache.update": self.copies["cache.update, first step"]}
        found = {
            "step 1": {**step, **self.moved({**later, **first, **more})},
            "step": {**step, **self.moved({**later, **update})},
            "context": {**step, **self.moved({**later, **update})},
            "folded step 1": self._taken_apart(self.counted("fold", replace(self.lean, context="fold"))),
            "recache": {**self._taken_apart(self.recache), **self.moved(self.recache_copies)},
        }
        for frames in range(c.block, c.window + 1, c.block):
            attended = self._taken_apart(self.filling(frames))
            found |= {at_fill(kind, frames): attended for kind in ("step 1", "step", "context")}
            if c.sink < frames < c.window:
                found[at_fill("recache", frames)] = self._taken_apart(
                    self.counted("recache", replace(self.lean, window=frames))
                )
        if self.decoder:
            decoding = self.decoding
            found[DECODE] = _split(decoding.ops, class_of, CLASSES) | {"all": Part.of("all", decoding)}
        return found

    def _taken_apart(self, found: StageEstimate) -> dict[str, Part]:
        layers = [op for op in found.ops if "blocks." in op.op.path]
        return {**_split(layers, part_of, PARTS), "all": Part.of("all", found)}

    @property
    def copies(self) -> dict[str, float]:
        c, item = self.c, item_bytes(self.dtype)
        frame = 2.0 * self.batch * c.frame_tokens * c.model.dim * item
        return copied(frame, c.window, c.sink, c.block, c.model.layers)

    @property
    def recache_copies(self) -> dict[str, float]:
        """Bytes that the baseline copies in a recache of a full window: nothing is rolled, all but the sinks put in."""
        layers, blocks = self.c.model.layers, (self.c.window - self.c.sink) // self.c.block
        return {
            "cache.clone": layers * self.copies["cache.clone"],
            "cache.insert": blocks * layers * self.copies["cache.insert"],
            "cache.concatenate": layers * self.copies["cache.concatenate"],
            "cache.update": blocks * self.copies["cache.update"],
        }

    def moved(self, sizes: Mapping[str, float]) -> dict[str, Part]:
        return {part.name: part for part in copies(sizes, self.node, Utilization(1.0))}


def _split(ops: Sequence[OpEstimate], of: Callable[[Op], str], names: Iterable[str]) -> dict[str, Part]:
    """The parts of these names that operations belong to."""
    return {n: Part.of(n, StageEstimate(n, 1, tuple(op for op in ops if of(op.op) == n))) for n in names}


def predicted(needed: Needed, c: StreamConfig, v: Variant) -> dict[str, float | None]:
    """Limits of a steady block and of a switch's latency as this variant computes them; None without a peak for it.

    Plain operations read and write each in turn; fused and compiled ones are fused into their producers (ideal).
    Launches are in no limit: what graphs and folding save of them is not predicted here.
    """
    how: dict[str, str | None] = {"elementwise": "eager" if v.ops == "plain" else "fused"}
    eight = [f"linear={v.scheme.partition('-')[0]}"] if v.scheme else []
    if not v.exact:
        eight += ["attention=fp8"] if "fp8" in v.attention else []
        how["dtype"] = ",".join(eight)
    lean = replace(c, cache="ring", context="after", moving_sinks=False)
    try:
        step = _mixed(needed, v, lean, "step", how)
        fold = _mixed(needed, v, replace(lean, context="fold"), "fold", how) if c.context == "fold" else 0.0
        recache = _mixed(needed, v, lean, "recache", how)
    except ValueError:  # the machine has no peak for such products
        return {"block": None, "switch": None}
    steps = len(c.steps)
    block = fold + (steps - 1) * step if c.context == "fold" else (steps + 1) * step
    # a switch makes the context pass of the block before it needless, unless that has run already
    switch = {"after": recache, "before": recache - step, "fold": recache + step - fold}[c.context]
    if c.cache == "baseline":
        each = {name: moved.limit_s for name, moved in needed.moved(needed.copies).items()}
        copies = c.model.layers * (each["cache.clone"] + each["cache.insert"] + each["cache.concatenate"])
        block += (steps + 1) * copies + steps * each["cache.update"]
        block += c.model.layers * each["cache.roll"] + each["cache.update, first step"]
        switch += sum(moved.limit_s for moved in needed.moved(needed.recache_copies).values())
    return {"block": block, "switch": switch}


def _mixed(needed: Needed, v: Variant, c: StreamConfig, stage: str, how: Mapping[str, str | None]) -> float:
    """Seconds at the limit of a stage whose linears may be quantized in part: only the MLPs'."""
    found = needed.counted(stage, c, **how)
    if v.exact or v.only == ("blocks.*",):
        return found.limit_s
    whole = needed.counted(stage, c, elementwise=how["elementwise"])
    pairs = zip(found.ops, whole.ops, strict=True)
    return sum((a if "ffn" in a.op.path else b).limit_s for a, b in pairs)
