"""What a stream must compute at any of its sizes, and the limits of that on the machine it runs on."""

from __future__ import annotations

from dataclasses import replace

import torch

from frameroof.estimate import Estimate, estimate
from frameroof.hardware import Node, device
from frameroof.profiler.probe import probe
from frameroof.stream import StreamConfig
from frameroof.stream.cost import workload
from frameroof.study.predict import prepare
from frameroof.study.stream import Part

FULL_CHANNELS = 16  # latent channels of the decoder that `stream.cost` counts


def machine(where: str) -> Node:
    """The device as `frameroof hardware` knows it; a CPU's peaks are measured now."""
    if where.startswith("cuda"):
        return Node(device(torch.cuda.get_device_name()))
    return Node(probe())


def parts(c: StreamConfig, node: Node, dtype: str, decoder: str | None, run: tuple[int, int]) -> dict[str, Part]:
    """Counts and limits of a step, a block, a switch, a decoded block, and of a whole `run` (blocks, switches).

    Counted from the engine's own forwards over the ring with tabulated modulation: copies that only the baseline
    makes are not needed. `decode` is missing where its decoder is not counted.
    """
    lean = replace(c, cache="ring", context="after", recache="needed", tabulate=True)

    def part(name: str, settings: StreamConfig, stage: str) -> Part:
        made, _ = prepare(workload(settings, stage, dtype=dtype))
        found: Estimate = estimate(made, node)
        return Part.of(name, found.total)

    step = part("steps", lean, "step")
    forwards = len(c.steps) + 1
    block = replace(step, name="block").plus(step, forwards - 1)
    switch = part("switch", lean, "recache") if c.window > c.sink else replace(step, name="switch")
    found = {"steps": step, "block": block, "switch": switch}
    if decoder == "wan" and c.model.latent_channels == FULL_CHANNELS:
        found["decode"] = part("decode", lean, "decode")
    blocks, switches = run
    whole = replace(step, name="end_to_end").plus(step, forwards * max(0, blocks - c.window_blocks + 1) - 1)
    for filled in range(1, min(c.window_blocks, blocks + 1)):
        whole = whole.plus(part("filling", replace(lean, window=filled * c.block, sink=0), "step"), forwards)
    whole = whole.plus(switch, switches)
    if "decode" in found:
        whole = whole.plus(found["decode"], blocks)
    return {**found, "end_to_end": whole}
