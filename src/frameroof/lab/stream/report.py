"""The bench as data: every variant beside the limits, part by part, and the log (docs/reference/stream-json.rst)."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import TypedDict

import msgspec

from ...profiler.environment import surroundings
from ...study import stream_records as records
from ...study.stream import Part
from .batches import Batch
from .bench import WATCHED, Measured, Plan
from .breakdown import Forwards
from .log import row, seconds
from .needed import Needed
from .watch import DECODE
from .where import Here, configuration, parity_of, quality_of

NOTES = (
    "Steady blocks have a full window and no switch. Inter-frame latency: a block's time over its latent frames. "
    "Switch latency: the first block after a switch less the block before it. FPS count frames of video, of one "
    "sample; percentiles are interpolated between the blocks that there are.",
    "Limits are of what is needed, whatever the variant: ring cache, modulation looked up, recache of what is no sink; "
    "elementwise work fused. Limits of what the baseline copies are beside it, at the memory's full bandwidth. On a "
    "CPU the peaks are measured here.",
    "Quality: latents beside the baseline's in fp32, same weights and noise; the floor is the baseline beside itself.",
    "Parts of a forward are medians over recorded ones, under the profiler, which makes a host slower: gaps are those "
    "of the recording. A fused kernel that norms and rotates also writes the cache, which then cannot be told apart. "
    "In a replayed graph both attentions are one, and layers and the cache have no names.",
    "Saved: before less after, block by block; kept where its middle half lies above 0, and of fewer than eight pairs "
    "all. Predicted: the same of the limits, launches left out.",
)


def report(
    plan: Plan, needed: Needed, found: Sequence[Measured], left: Mapping[str, str], batches: Sequence[Batch] = ()
) -> records.Bench:
    """Everything that was measured."""
    c, setup = plan.setup.config(), plan.setup
    by_name = {m.name: m for m in found}
    env, full = surroundings(), c.window_blocks
    parts, limits = needed.parts(plan.blocks, len(plan.switches)), needed.forwards()
    here = Here(setup, needed.node.name, env.versions or {})
    rows = [here.on(row(m, by_name, setup, needed), m.name) for m in found if m.name != "baseline"]
    for name, why in left.items():
        change = setup.variant(name).change
        rows.append(here.on(records.Row(change=change, variant=name, keep=None, why=why), name))
    best = kept(found, rows, full)
    sizes = {name: getattr(c, name) for name in ("window", "sink", "block", "height", "width", "text_tokens")}
    return records.Bench(
        model=setup.model,
        hardware=needed.node.name,
        dtype=str(setup.dtype).removeprefix("torch."),
        sizes=records.Sizes(
            **sizes, steps=len(c.steps), blocks=plan.blocks, layers=c.model.layers, dim=c.model.dim, batch=setup.batch
        ),
        kv_cache_bytes=setup.batch * c.cache_bytes(setup.dtype.itemsize),
        process_peak_bytes=_process_peak(),
        decoder=setup.decoder,
        switches=sorted(plan.switches),
        variant=best.name,
        **timed(best, parts, full),
        variants=[one(m, parts, limits, here) for m in found],
        rows=rows,
        cache_operations=cache_ratios(found),
        batches=[each.record(here) for each in batches],
        says=list(dict.fromkeys(text for m in found for text in m.says)),
        notes=list(NOTES),
        environment=env,
    )


def kept(found: Sequence[Measured], rows: Sequence[records.Row], full: int) -> Measured:
    """The variant to keep whose blocks are fastest; those that change decoding generate as another one does."""
    names = {r.variant for r in rows if r.keep and r.of != "decode"} | {"baseline"}
    return min((m for m in found if m.name in names), key=lambda m: median(m.steady_ns(full)))


class FiveParts(TypedDict):
    """What a stream is timed by."""

    steps: records.Timed
    block: records.Timed
    switch: records.Timed
    decode: records.Timed
    end_to_end: records.Timed


def timed(m: Measured, needed: Mapping[str, Part], full: int) -> FiveParts:
    """steps, block, switch, decode and end_to_end of one variant: counts, limit, all samples."""
    switch = _timed(needed.get("switch"), [block.generate_ns / 1e9 for block in m.blocks if block.switched])
    switch.flop_per_s = None  # whole blocks were measured, the recache alone counted
    switch.latency_s = list(m.report.switch_s)
    decoded = [row.decode_ns / 1e9 for row in m.blocks if row.number >= full and row.decode_ns]
    return {
        "steps": _timed(needed.get("steps"), seconds(m.forwards.get("step", []))),
        "block": _timed(needed.get("block"), seconds(m.steady_ns(full))),
        "switch": switch,
        "decode": _timed(needed.get("decode"), decoded),
        "end_to_end": _timed(needed.get("end_to_end"), [m.end_to_end_ns / 1e9]),
    }


def _timed(part: Part | None, measured: list[float]) -> records.Timed:
    return records.Timed(
        flops=part.flops if part else None,
        bytes=part.bytes if part else None,
        limit_s=part.limit_s if part else None,
        measured_s=measured,
        flop_per_s=part.flops / median(measured) if part and measured else None,
    )


def one(
    m: Measured, needed: Mapping[str, Part], limits: Mapping[str, Mapping[str, Part]], here: Here
) -> records.Variant:
    """One variant, whole."""
    apart, v = m.taken_apart, here.setup.variant(m.name)
    c = here.setup.config(m.name)
    parts, cache = apart.per_block(WATCHED), apart.cache_ns(WATCHED)
    total = sum(parts.values())
    return records.Variant(
        name=m.name,
        change=v.change,
        parity=parity_of(m.parity),
        quality=quality_of(m.quality),
        **timed(m, needed, c.window_blocks),
        report=msgspec.convert(asdict(m.report) | {"apart_s": dict(m.report.apart_s)}, records.Latencies),
        forwards=[
            _forward(name, forwards, m.forwards.get(name, []), limits.get(name, {}), c.model.layers)
            for name, forwards in apart.forwards.items()
        ],
        kernels=[
            records.KernelTime(name=k.name, part=k.part, calls=k.calls, seconds=k.ns / 1e9) for k in apart.kernels
        ],
        says=list(m.says),
        block_parts_s={part: ns / 1e9 for part, ns in parts.items()},
        cache_share=cache / total if cache is not None and total else None,
        configuration=configuration(here.setup, m.name),
        hardware=here.hardware,
        versions=dict(here.versions),
    )


def _forward(
    name: str, f: Forwards, clock_ns: Sequence[int], limits: Mapping[str, Part], layers: int
) -> records.Forward:
    """One name of forward: under the clock, from the trace, and beside its limits."""

    def limit(part: str) -> float | None:
        return limits[part].limit_s if part in limits else None

    attention = limit("self-attention")
    return records.Forward(
        name=name,
        measured_s=seconds(clock_ns),
        limit_s=limit("all"),
        gaps_s=f.gaps_ns / 1e9,
        gaps_per_layer_s=f.gaps_ns / 1e9 / layers if not name.startswith(DECODE) else None,
        self_attention=None
        if f.first_ns is None
        else records.SelfAttention(
            first_layer_s=f.first_ns / 1e9,
            later_layers_s=f.later_ns / 1e9 if f.later_ns is not None else None,
            limit_s=attention / layers if attention is not None else None,
        ),
        parts=[records.PartTime(part=part, seconds=ns / 1e9, limit_s=limit(part)) for part, ns in f.parts_ns.items()],
    )


def cache_ratios(found: Sequence[Measured]) -> dict[str, records.CacheTime]:
    """Time in cache operations in a block, by variant, and how many times less that is than the baseline's."""
    spent = {m.name: ns / 1e9 for m in found if (ns := m.taken_apart.cache_ns(WATCHED)) is not None}
    base = spent["baseline"]
    return {
        name: records.CacheTime(seconds=took, times_less=base / took if took else None) for name, took in spent.items()
    }


def _process_peak() -> int:
    """The most memory that this process has had, all variants together (getrusage; Linux counts in KiB)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
