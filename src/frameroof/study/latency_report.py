"""The latency report of LongLive v1.0 on an H100 that this engine answers: its numbers, and where they disagree.

Source: "Latency Analysis", a report on LongLive v1.0 (H100 SXM 80GB, FlashAttention 3, bf16, batch 1). Its numbers are
measured; beside a prediction for another machine or size they are only a reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..roofline import Roofline
from ..units import format_flops, format_seconds
from .stream import BLOCK, DIM, LAYERS, Part, Sizes, StreamPrediction, lora_flops, predict

MACHINE = "H100"
SETTING = "LongLive v1.0 on H100 SXM 80GB, FlashAttention 3, bf16, batch 1, window 12, sink 3"


@dataclass(frozen=True)
class Reported:
    """Seconds that the report gives, least to most."""

    least_s: float
    most_s: float
    what: str

    def text(self) -> str:
        least, most = format_seconds(self.least_s), format_seconds(self.most_s)
        return least if self.least_s == self.most_s else f"{least} to {most}"


REPORTED: Mapping[str, Reported] = {
    "step": Reported(0.110, 0.120, "a denoising step"),
    "block": Reported(0.51930, 0.51930, "block 53, without decoding"),
    "switch": Reported(0.36194, 0.36388, "first block after a switch less the one before; on average 363.88 ms"),
    "self-attention": Reported(220e-6, 800e-6, "~220 us in later layers, ~800 us in the first"),
    "cross-attention": Reported(41e-6, 41e-6, "a layer"),
    "cache.clone": Reported(100e-6, 100e-6, "a layer"),
    "cache.insert": Reported(180e-6, 180e-6, "direct insert, a layer"),
    "cache.update": Reported(860e-6, 860e-6, "after the last layer, all layers"),
}
ROLL_AND_INSERT_S = 170e-6  # a layer, the two together
DECODE_S = 22.0  # of a clip whose length the report does not give
LAUNCH_GAPS_S = 100e-6  # a layer, order of


@dataclass(frozen=True)
class Published:
    """A block's denoising steps, without a context pass, as others measured them with the same transformer."""

    who: str
    on: str
    window: int
    steps: int
    seconds: float


FLASHDREAMS = "github.com/NVIDIA/flashdreams, 1.3B Self-Forcing at 480 x 832, bf16, read 2026-11"
PUBLISHED = (
    Published("flashdreams: compiled, CUDA graphs, cuDNN attention", "H100", 21, 4, 0.344),
    Published("Self-Forcing's own code: compiled, cuDNN attention", "H100", 21, 4, 0.432),
    Published("FastVideo", "H100", 21, 4, 0.511),
)


class PublishedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A published block beside the limit of the same work on the same machine, and the rate that it reached."""

    who: str
    on: str
    window: int
    steps: int
    flops: float
    limit_s: float
    expected_s: float
    published_s: float
    flop_per_s: float
    source: str


def published() -> list[PublishedBlock]:
    """Every published block."""
    found = []
    for p in PUBLISHED:
        step = predict(p.on, Sizes(window=p.window, sink=0, steps=p.steps)).parts["step"]
        flops = p.steps * step.flops
        found.append(
            PublishedBlock(
                who=p.who,
                on=p.on,
                window=p.window,
                steps=p.steps,
                flops=flops,
                limit_s=p.steps * step.limit_s,
                expected_s=p.steps * step.expected_s,
                published_s=p.seconds,
                flop_per_s=flops / p.seconds,
                source=FLASHDREAMS,
            )
        )
    return found


@dataclass(frozen=True)
class Gain:
    """A change to a block or a switch: limits before and after, in seconds."""

    change: str
    of: str
    before_s: float
    after_s: float
    quality: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "change": self.change,
            "of": self.of,
            "before_s": self.before_s,
            "after_s": self.after_s,
            "parity": None,  # nothing was run: neither this nor whether to keep it is known
            "quality": self.quality,
            "keep": None,
        }


def remarks() -> tuple[str, ...]:
    """Where the report does not agree with itself or with the machine's limits; every number is computed here."""
    s = Sizes()
    p = predict(MACHINE, s)
    attention = p.layer[0]
    frame_s = attention.compute_s / s.window
    step, block = REPORTED["step"], REPORTED["block"].most_s
    forwards = s.steps + 1
    additive = Sizes(window=15, sink=3)
    wider = predict(MACHINE, additive)
    clip = DECODE_S / s.blocks
    copies = {part.name: part.limit_s for part in p.copies}
    both = copies["cache.roll"] + copies["cache.insert"]
    early = ", ".join(f"{frames} before block {number}" for number, frames, _ in p.when)
    return (
        f"Self-attention of later layers in 220 us is below what {s.window} frames need at the dense peak, "
        f"{format_seconds(attention.compute_s)}. 220 us suffices for {int(220e-6 / frame_s)} frames; {BLOCK} frames, "
        f"as in a stream's first block, need {format_seconds(BLOCK * frame_s)}. Probably blocks were mixed up.",
        f"800 us, reported for the first layer, is {attention.compute_s / 800e-6:.0%} of the peak with {s.window} "
        "frames: what every layer should take once the window is full, for all layers have one shape.",
        f"{forwards} forwards of {step.text()} make {format_seconds(forwards * step.least_s)} to "
        f"{format_seconds(forwards * step.most_s)}, more than the block's {format_seconds(block)}; {s.steps} make "
        f"{format_seconds(s.steps * step.least_s)} to {format_seconds(s.steps * step.most_s)}. "
        "A full block has steps that are faster than reported, or no context pass was timed.",
        f"Local window: the public code counts {s.sink} sinks and the block inside the {s.window} frames "
        f"({p.cache_bytes / 1e9:.2f} GB of keys and values, {_tera(p)} a step); sinks beside it would be "
        f"{wider.cache_bytes / 1e9:.2f} GB and {_tera(wider)}. The report does not say which.",
        "Switch latency is said not to depend on when. That holds once the window is full. Latent frames that "
        f"must be computed again: {early} and later. The public code takes the sinks in too "
        f"({format_flops(p.parts['recache-window'].flops)} instead of {format_flops(p.parts['recache'].flops)}), "
        "though they keep what they had.",
        f"VAE decoding takes 22 s of a clip whose length is not given: if it has {s.blocks} blocks "
        f"({BLOCK * s.blocks} latent frames), {format_seconds(clip)} a block, "
        f"{p.parts['decode'].compute_s / clip:.0%} of the dense peak.",
        f"Roll and insert together are reported as {format_seconds(ROLL_AND_INSERT_S)} a layer, less than the direct "
        f"insert alone with {REPORTED['cache.insert'].text()}, which moves a fifth as much; at the memory's peak the "
        f"two need {format_seconds(both)}, the insert {format_seconds(copies['cache.insert'])}.",
        f"Launch gaps of ~100 us a layer would be {format_seconds(LAYERS * LAUNCH_GAPS_S)} of each forward.",
    )


def _tera(p: StreamPrediction) -> str:
    return format_flops(p.parts["step"].flops)


def gains(p: StreamPrediction) -> tuple[Gain, ...]:
    """What each change could bring, limit against limit; a change that keeps the numbers says so."""
    s, block = p.sizes, p.parts["block"]
    equal, measure = "none: equal numbers", "to be measured"
    lora = (s.steps + 1) * Roofline(p.node.device).limit(flops=lora_flops(s), unit="bf16").compute_s
    found = [
        Gain("ring cache instead of clone, roll, insert, join", "block", p.baseline_block_s(), block.limit_s, equal),
        Gain(f"LoRA of rank 256 merged (it runs beside {_linears()} linears)", "block", block.limit_s + lora,
             block.limit_s, "none but rounding"),
        Gain("recache only what is no sink", "switch", p.parts["recache-window"].limit_s, p.parts["recache"].limit_s,
             equal),
    ]  # fmt: skip
    for dtype, text in (("linear=fp8", "fp8 linears"), ("linear=fp8,attention=fp8", "fp8 linears and attention")):
        try:
            after = predict(p.node, s, dtype=dtype, expected=p.expected).parts["block"]
        except ValueError:  # a machine without fp8
            continue
        found.append(Gain(text, "block", block.limit_s, after.limit_s, measure))
    for window in (9, 6):
        if s.sink + BLOCK <= window < s.window:
            size = Sizes(window=window, sink=s.sink, blocks=s.blocks, steps=s.steps, batch=s.batch,
                         height=s.height, width=s.width)  # fmt: skip
            after = predict(p.node, size, expected=p.expected).parts["block"]
            found.append(Gain(f"window {window}, sink {s.sink}", "block", block.limit_s, after.limit_s, measure))
    return tuple(found)


def _linears() -> int:
    return 8 * LAYERS


def as_dict(p: StreamPrediction) -> dict[str, Any]:
    """The documented JSON form (docs/reference/stream-json.rst)."""
    parts, s = p.parts, p.sizes
    switch = parts["recache"]

    def row(part: Part, name: str) -> dict[str, Any]:
        seen = REPORTED.get(name)
        return part.to_dict() | ({"reported_s": [seen.least_s, seen.most_s]} if seen else {})

    return {
        "schema": "frameroof.stream.predict/1",
        "model": "longlive-1.3b",
        "hardware": p.node.name,
        "sizes": {name: getattr(s, name) for name in Sizes.__dataclass_fields__} | {"block": BLOCK, "dim": DIM},
        "kv_cache_bytes": p.cache_bytes,
        "steps": row(parts["step"], "step"),
        "block": row(parts["block"], "block"),
        "switch": row(switch, "switch") | {"latency_s": {"limit": switch.limit_s, "expected": switch.expected_s}},
        "decode": parts["decode"].to_dict(),
        "end_to_end": parts["end_to_end"].to_dict(),
        "layer": [{"name": part.name, **row(part, part.name)} for part in p.layer],
        "cache_operations": [{"name": part.name, **row(part, part.name)} for part in p.copies],
        "baseline_block_limit_s": p.baseline_block_s(),
        "switch_when": [{"block": number, "frames": frames, **part.to_dict()} for number, frames, part in p.when],
        "rows": [gain.to_dict() for gain in gains(p)],
        "reported_by": SETTING,
        "published": msgspec.to_builtins(published()),
        "remarks": list(remarks()),
        "expected": p.expected.about.to_dict(),
        "assumptions": [*p.assumptions, *p.expected.assumptions()],
    }
