"""Decoding of the section `stream`: each decoder alone, and Wan's beside the generation of the next block.

Shapes: latents are (B batch, C channels, frames, rows, columns).
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch

from frameroof.lab.stream.variants import Setup
from frameroof.stream import Block, Engine

from . import counted
from .clock import between, mark, settle
from .record import Log

DECODERS: dict[str, dict[str, Any]] = {
    "wan-frame": {"frames_at_once": 1},  # as LongLive decodes
    "wan": {},
    "wan-channels_last": {"channels_last": True},
    "wan-graph": {"channels_last": True, "graphs": True},
    "wan-compiled": {"channels_last": True, "compiled": True},
    "tiny": {},
}
OVERLAP = {"decode/after": {}, "decode/beside": {"own_stream": True}}  # the next block's generation
NOTES = (
    "decode/KIND: device seconds of a block of random latents through a decoder that remembers the frames before.",
    "decode/after, decode/beside: host seconds of a block generated and the block before it decoded, one after the "
    "other or on a stream of its own.",
)


def predict(log: Log) -> None:
    """What is to be measured: counted at full size, and generation with it where both are done."""
    s = log.session
    for name in (*(f"decode/{kind}" for kind in DECODERS), *OVERLAP):
        if not s.wanted(name):
            continue
        kind = "tiny" if name == "decode/tiny" else "wan"
        known = {"limit_s": None, "expected_s": None} if s.tiny else s.machine.whole(*counted.DECODED[kind])
        alone = {"of": "decoding alone, without the block generated beside it"} if name in OVERLAP else {}
        log.predict(name, known | alone)


def measure(log: Log, setup: Setup, name: str) -> None:
    """One row: "decode/wan", "decode/beside" …"""
    s = log.session
    if not s.cuda and (name == "decode/beside" or "compiled" in name):
        log.refuse(name, "needs a CUDA device, or minutes of compilation on a CPU")
        return
    try:
        with torch.inference_mode():
            (_beside if name in OVERLAP else _alone)(log, setup, name)
    except Exception as error:  # no memory, or no such layout here
        log.refuse(name, error)


def _alone(log: Log, setup: Setup, name: str) -> None:
    s, c, kind = log.session, setup.config(), name.removeprefix("decode/")
    make = partial(Engine.random, c, device=setup.device, dtype=setup.dtype, umt5=False)
    stream = setup.session(make(vae=kind.split("-")[0], decoding=DECODERS[kind]))
    times = []
    for number in range(3 + max(s.samples, 2)):  # the first three: memory begun, compiled or captured
        z_BCTHW = torch.randn(c.latent_shape(1), device=s.device)
        settle(s)
        start = mark(s)
        stream.decode(Block(number, z_BCTHW, ()))
        end = mark(s)
        settle(s)
        times.append(between(start, end))
    log.measure(name, times[3:], warm_s=times[:3], frames=4 * c.block)


def _beside(log: Log, setup: Setup, name: str) -> None:
    """Every sample: the next block is generated while the last one is decoded, if the decoder has its own stream."""
    s, c = log.session, setup.config("fold")
    how = {"device": setup.device, "dtype": setup.dtype, "vae": "wan", "decoding": OVERLAP[name]}
    stream = setup.session(Engine.random(c, umt5=False, graphs=s.cuda, **how))
    stream.warm()
    times: list[float] = []
    last = stream.generate_block()
    for _ in range(c.window_blocks + max(s.samples // 2, 2)):
        settle(s)
        start = time.perf_counter()
        pending = stream.decode_later(last)
        last = stream.generate_block()
        pending.wait()
        settle(s)
        times.append(time.perf_counter() - start)
    log.measure(name, times[c.window_blocks :], warm_s=times[: c.window_blocks], frames=4 * c.block)
