"""How fast a stream could be: limits of a step, a block, a switch, a decoded block and the whole, without a GPU.

The counts are those of the catalogue's `longlive-1.3b`, evaluated for one forward at a time; what the baseline copies
of its cache comes from its sizes alone. Beside them stand the numbers of the latency report that this engine answers
(`latency_report`). One stream is a sequence: nothing overlaps here, and one device runs all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from .. import catalogue
from ..dtypes import BITS
from ..estimate import Expected, StageEstimate, estimate
from ..estimate.expected import Bounds, Work
from ..hardware import Node, parse_node
from ..roofline import Roofline
from ..rules import matmul_flops
from ..workload.expr import Poly
from ..workload.records import Op, Stage, Tensor, Workload
from .predict import FLOP_CONVENTION, prepare

SCHEMA = "frameroof.stream.predict/1"
MODEL = "longlive-1.3b"
BLOCK = 3  # latent frames
LAYERS, DIM = 30, 1536
LORA_RANK = 256
NEEDLESS = ("pad", "cat", "clone", "_to_copy")  # of diffusers' decoder: a convolution or norm can do without them
LINEARS, OTHERS, WRITE = "linears", "norms, modulation, rotary", "cache.write"
PARTS = ("self-attention", "cross-attention", LINEARS, OTHERS, WRITE)  # of a layer, as traces are taken apart too
STEADY = 3  # from this block on a decoded block costs what the next one does


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A stream's sizes. `window` counts the latent frames attended, `sink` and the block itself included.

    Raises `ValueError`, a sentence, for windows, sinks and blocks that do not go together.
    """

    window: int = 12
    sink: int = 3
    blocks: int = 80
    steps: int = 4
    batch: int = 1
    height: int = 480
    width: int = 832

    def __post_init__(self) -> None:
        if self.window < BLOCK:
            raise ValueError(f"window is {self.window} frames, smaller than a block of {BLOCK}.")
        if self.sink < 0:
            raise ValueError(f"sink is {self.sink} frames; it cannot be negative.")
        for name in ("window", "sink"):
            if getattr(self, name) % BLOCK:
                raise ValueError(f"{name} is {getattr(self, name)} frames, not a multiple of the block ({BLOCK}).")
        if self.window < self.sink + BLOCK:
            raise ValueError(
                f"window is {self.window} frames; it must hold the sink ({self.sink}) and a block ({BLOCK}), "
                "both included in it."
            )
        if self.blocks < STEADY:
            raise ValueError(f"blocks is {self.blocks}; a steady decoded block needs at least {STEADY}.")

    @property
    def frame_tokens(self) -> int:
        return (self.height // 16) * (self.width // 16)

    @property
    def frames(self) -> int:
        """Frames of the video."""
        return 4 * (BLOCK * self.blocks - 1) + 1

    def recached(self, block: int) -> int:
        """Latent frames that a switch before this block must compute again: those of the window that are no sinks."""
        return min(self.window - self.sink, max(0, block * BLOCK - self.sink))

    def cache_bytes(self, bits: int = 16) -> int:
        """Keys and values of all layers and samples."""
        return 2 * LAYERS * self.batch * self.window * self.frame_tokens * DIM * bits // 8

    def workload_sizes(self, blocks: int) -> dict[str, int]:
        names = ("batch", "height", "width", "steps", "window")
        return {"blocks": blocks, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Part:
    """Something that a stream does: counts, its limit and what is expected, in FLOPs, bytes and seconds."""

    name: str
    flops: float
    bytes: float
    compute_s: float
    limit_s: float
    expected_s: float

    @classmethod
    def of(cls, name: str, e: StageEstimate) -> Part:
        return cls(name, e.flops, e.bytes, e.compute_s, e.limit_s, e.expected_s)

    def plus(self, other: Part, times: float = 1) -> Part:
        """This and so many times the other."""
        names = ("flops", "bytes", "compute_s", "limit_s", "expected_s")
        return replace(self, **{n: getattr(self, n) + times * getattr(other, n) for n in names})

    def to_dict(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in ("flops", "bytes", "compute_s", "limit_s", "expected_s")}


@dataclass(frozen=True)
class StreamPrediction:
    """Parts by name, the layer's parts, the baseline's copies, and where it would run."""

    sizes: Sizes
    node: Node
    expected: Expected
    choices: Mapping[str, str]
    cache_bytes: int
    parts: Mapping[str, Part]
    layer: tuple[Part, ...]
    copies: tuple[Part, ...]
    when: tuple[tuple[int, int, Part], ...]
    assumptions: tuple[str, ...]

    def copies_of(self, first: bool) -> float:
        """Limit seconds of the baseline's copies in one forward: the first of a block, which rolls, or a later one."""
        each = {part.name: part.limit_s for part in self.copies}
        layer = each["cache.clone"] + each["cache.insert"] + each["cache.concatenate"]
        if first:
            return LAYERS * (layer + each["cache.roll"]) + each["cache.update, first step"]
        return LAYERS * layer + each["cache.update"]

    def baseline_block_s(self) -> float:
        """The limit of a block with the baseline's copies: one forward rolls, the others do not."""
        return self.parts["block"].limit_s + self.copies_of(True) + self.sizes.steps * self.copies_of(False)


def predict(
    on: str | Node = "H100",
    sizes: Sizes | None = None,
    *,
    dtype: str | None = None,
    expected: Expected | None = None,
) -> StreamPrediction:
    """Limits and expected times of LongLive 1.3B on one device.

    `dtype` quantizes as `frameroof predict --dtype` does (``linear=fp8`` …); `expected` is the model of expected time
    (None: as `frameroof predict`'s). Raises ValueError, a sentence.
    """
    s = sizes or Sizes()
    node = on if isinstance(on, Node) else parse_node(on)
    if node.count > 1:
        raise ValueError(f"A stream runs on one device here; {node.name} has {node.count}.")
    workload, choices = prepare(_workload(s), dtype)
    run = estimate(workload, node, s.workload_sizes(s.blocks), expected)
    expected = run.expected
    found = {e.name: e for e in run.stages}
    parts = {name: Part.of(name, e) for name, e in found.items()}
    parts["block"] = replace(parts["step"], name="block").plus(parts["step"], s.steps)
    parts["decode"] = _steady_decode(workload, node, s, expected)
    ends = (parts[name] for name in ("text_kv", "denoise", "vae_decode"))
    whole = replace(parts["text_encoder"], name="end_to_end")
    for part in ends:
        whole = whole.plus(part)
    parts["end_to_end"] = whole
    bits = _cache_bits(workload)
    return StreamPrediction(
        sizes=s,
        node=node,
        expected=expected,
        choices=choices,
        cache_bytes=s.cache_bytes(bits),
        parts=parts,
        layer=_layer(found["step"]),
        copies=_copies(s, node, bits, expected),
        when=_when(s, parts),
        assumptions=(
            *_assumptions(s, choices),
            *run.assumptions,
        ),
    )


def _workload(s: Sizes) -> Workload:
    """The catalogue's stages, and single forwards made from its denoiser."""
    full = catalogue.load(MODEL)
    by_name = {stage.name: stage for stage in full.stages}
    denoise, decode = by_name["denoise"], by_name["vae_decode"]
    kept = tuple(op for op in decode.ops if op.name not in NEEDLESS)
    forwards = {"step": BLOCK, "recache-window": s.window} | {
        "recache" if frames == s.window - s.sink else f"recache-{frames}": frames
        for frames in range(BLOCK, s.window - s.sink + 1, BLOCK)
    }
    stages = [by_name["text_encoder"], by_name["text_kv"], denoise, replace(decode, ops=kept)]
    for name, frames in forwards.items():
        kv = min(s.window, frames + s.sink) if name.startswith("recache-") and frames < s.window else s.window
        stages.append(_forward(denoise, name, frames, kv))
    return replace(full, stages=tuple(stages))


def _forward(denoise: Stage, name: str, new: int, kv: int) -> Stage:
    """One forward over `new` frames that attend to `kv` of them, itself included."""
    limits = {**denoise.limits, "frames_new": replace(denoise.limits["frames_new"], most=None)}
    let = {**denoise.let, "frames_new_": str(new), "kv_frames_": str(kv)}
    return replace(denoise, name=name, let=let, limits=limits, loop=None, repeat="1", held=())


def _steady_decode(workload: Workload, node: Node, s: Sizes, expected: Expected) -> Part:
    """What one more block adds to decoding."""
    only = replace(workload, stages=tuple(stage for stage in workload.stages if stage.name == "vae_decode"))
    less, more = (
        Part.of("decode", estimate(only, node, s.workload_sizes(blocks), expected).stages[0])
        for blocks in (STEADY - 1, STEADY)
    )
    return more.plus(less, -1)


def _layer(step: StageEstimate) -> tuple[Part, ...]:
    """One layer of a step by what it does; what is fused into its producer moves no bytes."""
    groups: dict[str, list[Any]] = {}
    for op in step.ops:
        if op.op.path.startswith("blocks."):
            groups.setdefault(part_of(op.op), []).append(op)
    parts = [Part.of(name, StageEstimate(name, 1, tuple(groups.get(name, ())))) for name in PARTS]
    zero = replace(parts[0], flops=0, bytes=0, compute_s=0, limit_s=0, expected_s=0)
    return tuple(replace(zero, name=part.name).plus(part, 1 / LAYERS) for part in parts)


def part_of(op: Op) -> str:
    """Which of `PARTS` an operation of a forward belongs to; only the ring writes in place."""
    if op.kind == "attention":
        return f"{op.attrs['role']}-attention"
    if op.kind == "linear":
        return LINEARS
    return WRITE if op.name == "copy_" else OTHERS


def copied(frame: float, window: int, sink: int, block: int, layers: int) -> dict[str, float]:
    """Bytes that the baseline copies beside its computation, by kind; `frame` bytes are a frame's keys and values.

    Of one layer, but for the update, which is of all `layers` after the last. Each byte copied is read and written; a
    roll goes through a copy, so twice. It rolls in the first forward of a block alone.
    """
    roll, insert = 4 * (window - sink - block) * frame, 2 * block * frame
    return {
        "cache.clone": 2 * window * frame,
        "cache.roll": roll,
        "cache.insert": insert,
        "cache.concatenate": 2 * window * frame,
        "cache.update": layers * insert,
        "cache.update, first step": layers * (roll + insert),
    }


def _copies(s: Sizes, node: Node, bits: int, expected: Expected) -> tuple[Part, ...]:
    """`copied` at the memory's full bandwidth."""
    frame = 2 * s.batch * s.frame_tokens * DIM * bits / 8
    return copies(copied(frame, s.window, s.sink, BLOCK, LAYERS), node, expected)


def copies(sizes: Mapping[str, float], node: Node, expected: Expected) -> tuple[Part, ...]:
    """Copies of so many bytes each, read and written together, by name: their limits, and what is expected of them."""
    roofline, found = Roofline(node.device), []
    for name, size in sizes.items():
        work = Work(Op("", "copy", name, (Tensor((Poly({(): ceil(size)}),), "uint8"),), ()))
        bounds = Bounds.of(work, roofline)
        found.append(Part(name, 0, size, 0, float(bounds.limit_s), float(expected.call_s(work, bounds))))
    return tuple(found)


def _when(s: Sizes, parts: Mapping[str, Part]) -> tuple[tuple[int, int, Part], ...]:
    """(block, frames, recache) of a switch before each block until the window is full."""
    found = []
    for block in range(1, s.window // BLOCK + 1):
        frames = s.recached(block)
        name = "recache" if frames == s.window - s.sink else f"recache-{frames}"
        found.append((block, frames, parts[name] if frames else Part("none", 0, 0, 0, 0, 0)))
    return tuple(found)


def _cache_bits(workload: Workload) -> int:
    """Bits of a key in the cache: what self-attention reads."""
    step = next(stage for stage in workload.stages if stage.name == "step")
    attention = next(op for op in step.ops if op.kind == "attention" and op.attrs.get("role") == "self")
    return BITS[attention.reads[1].dtype]


def lora_flops(s: Sizes) -> int:
    """FLOPs that an unmerged LoRA adds to a forward: two thin products beside each linear of a layer but text's."""
    widths = 6 * (DIM + DIM) + 2 * (DIM + 8960)  # in and out of the eight linears
    return int(matmul_flops(s.batch * LAYERS, BLOCK * s.frame_tokens, widths, LORA_RANK))


def _assumptions(s: Sizes, choices: Mapping[str, str]) -> list[str]:
    return [
        f"FLOPs: {FLOP_CONVENTION}. Limit: roofline at 100 % of dense peaks, region by region, summed; what passes "
        "between regions costs what is beyond the last-level cache, other bytes have it taken off once a forward.",
        f"Attention {choices['attention']}. Elementwise {choices['elementwise']}. Precision {choices['dtype']}.",
        f"The window of {s.window} latent frames includes {s.sink} sink frames and the block of {BLOCK}.",
        f"block: {s.steps} denoising steps and the context pass at t=0, all with a full window.",
        "switch: recomputing what of a full window is no sink, in one forward; latency by the report's definition "
        "(first block after less last before), text encoder and text keys and values not in it.",
        "decode: what one more block adds to Wan's VAE decoder; diffusers' copies for padding, joining and casting are "
        "left out, for a convolution or norm can do without them.",
        f"end_to_end: one prompt, {s.blocks} blocks ({s.frames} frames) and their decoding, one after the other.",
        "The LoRA is merged; rotary embedding in fp32.",
    ]
