"""Advice about the decoder of latents: tiles, where its attention or its memory grows too large."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...hardware import Device
from ...recorded import Advice, concerns
from ...run import AttentionRow, Run, StageRow
from ...units import format_bytes
from .words import DEVICE, MEMORY, Said, ms, suggest

_NAMES = re.compile(r"vae|autoencoder|vqgan|decode", re.I)
TILE = 64 * 64
"""Positions of a latent tile: diffusers' smallest default (512 x 512 pixels of an 8x VAE)."""
FULL = 0.9
"""Share of the device's memory from which on a peak is near the end of it."""


def decoders(run: Run) -> list[StageRow]:
    """Stages of a VAE: named so by their module or the user, and made of convolutions."""
    return [stage for stage in run.stages if is_decoder(stage)]


def is_decoder(stage: StageRow) -> bool:
    """Whether a stage is a VAE's; the decoding of a language model has no convolutions to speak of."""
    convolution = stage.classes.get("convolution", 0)
    return bool(_NAMES.search(f"{stage.name} {stage.source}")) and convolution > stage.classes.get("linear", 0)


def tiles(run: Run, device: Device | None) -> Iterator[Advice]:
    """Attention over all positions of a picture grows with their square, in tiles only with their number."""
    for stage in decoders(run):
        wide = [a for a in run.attention if a.stage == stage.name and a.query_len == a.key_len > TILE]
        time = sum(a.time_ns for a in wide)
        saved = sum(a.time_ns * (1 - TILE / a.query_len) for a in wide)
        full = _memory(run, stage, device)
        if not wide and not full:
            continue
        said = [full] if full else []
        if wide:
            longest = max(a.query_len for a in wide)
            said.append(f"attention over up to {longest:,} positions in {stage.name} takes {ms(time)}")
        yield suggest(
            "decoder.tiles",
            concerns.Stage(stage.name),
            Said(
                "Run the VAE in tiles",
                "; ".join(said),
                "vae.enable_tiling() (diffusers), for batches also vae.enable_slicing(); overlapping tiles cost some "
                "convolution again and can leave seams: compare pictures"
                + ("" if wide else "; it saves memory and no time"),
                _shorter(wide),
            ),
            saved,
            MEMORY if full else DEVICE,
        )


def _shorter(wide: Sequence[AttentionRow]) -> str:
    """How the gain of tiles follows, by length."""
    lengths = dict.fromkeys(a.query_len for a in wide)
    times = {n: sum(a.time_ns for a in wide if a.query_len == n) for n in lengths}
    terms = [f"{ms(time)} x (1 - {TILE:,}/{n:,})" for n, time in times.items()]
    saved = sum(time * (1 - TILE / n) for n, time in times.items())
    return f"{' + '.join(terms)} = {ms(saved)}" if terms else ""


def _memory(run: Run, stage: StageRow, device: Device | None) -> str:
    """The peak of memory in a stage, where `profile` measured it near the end of the device's."""
    rows = {row.name: row.peak_bytes or 0 for row in run.measured.stages or ()}
    peak = rows.get(stage.name, 0)
    machine = run.environment.cpu if run.summary.on_cpu else run.environment.gpu
    there = (machine and machine.memory_bytes) or (device.memory_bytes if device and not run.summary.on_cpu else 0)
    if not there or peak < FULL * there or peak < max(rows.values(), default=0):
        return ""
    return f"{stage.name} needs {format_bytes(peak)} at its peak, of the {format_bytes(there)} there are"
