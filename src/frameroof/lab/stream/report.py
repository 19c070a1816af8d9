"""The bench as data: every variant beside the limits, part by part, and the log (docs/reference/stream-json.rst)."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from ...profiler.environment import environment
from ...study.stream import Part
from .batches import Batch
from .bench import WATCHED, Measured, Plan
from .breakdown import Forwards
from .log import row, seconds
from .needed import Needed
from .variants import Setup
from .watch import DECODE

SCHEMA = "frameroof.stream.bench/2"
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
) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    c, setup = plan.setup.config(), plan.setup
    by_name = {m.name: m for m in found}
    env, full = environment(), c.window_blocks
    parts = needed.parts(plan.blocks, len(plan.switches))
    limits = needed.forwards()
    shared = {"hardware": needed.node.name, "versions": env["versions"]}
    rows = [
        row(m, by_name, setup, needed) | {"configuration": configuration(setup, m.name), **shared}
        for m in found
        if m.name != "baseline"
    ]
    for name, why in left.items():
        about = {"change": setup.variant(name).change, "variant": name, "keep": None, "why": why}
        rows.append(about | {"configuration": configuration(setup, name), **shared})
    best = kept(found, rows, full)
    return {
        "schema": SCHEMA,
        "model": setup.model,
        "hardware": needed.node.name,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "sizes": {name: getattr(c, name) for name in ("window", "sink", "block", "height", "width", "text_tokens")}
        | {"steps": len(c.steps), "blocks": plan.blocks, "layers": c.model.layers, "dim": c.model.dim}
        | {"batch": setup.batch},
        "kv_cache_bytes": setup.batch * c.cache_bytes(setup.dtype.itemsize),
        "process_peak_bytes": _process_peak(),
        "decoder": setup.decoder,
        "switches": sorted(plan.switches),
        "variant": best.name,
        **timed(best, parts, full),
        "variants": [
            {**one(m, parts, limits, plan), "configuration": configuration(setup, m.name), **shared} for m in found
        ],
        "rows": rows,
        "cache_operations": cache_ratios(found),
        "batches": [
            {**each.to_dict(), "configuration": configuration(each.setup, each.name), **shared} for each in batches
        ],
        "says": list(dict.fromkeys(text for m in found for text in m.says)),
        "notes": list(NOTES),
        "environment": env,
    }


def kept(found: Sequence[Measured], rows: Sequence[Mapping[str, Any]], full: int) -> Measured:
    """The variant to keep whose blocks are fastest; those that change decoding generate as another one does."""
    names = {r["variant"] for r in rows if r["keep"] and r["of"] != "decode"} | {"baseline"}
    return min((m for m in found if m.name in names), key=lambda m: median(m.steady_ns(full)))


def configuration(setup: Setup, name: str) -> dict[str, Any]:
    """Everything that a row was measured with but the machine and the versions."""
    c, v = setup.config(name), setup.variant(name)
    fields = ("cache", "context", "recache", "tabulate", "window", "sink", "block", "height", "width", "text_tokens")
    return {
        "model": setup.model,
        "variant": name,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "linears": v.scheme or "as dtype",
        "quantized": list(v.only) if v.scheme else [],
        "operations": v.ops,
        "attention": v.attention,
        "decoding": dict(v.decoding),
        "graphs": v.graphs,
        "batch": setup.batch,
        "decoder": setup.decoder,
        "weights": "real" if setup.files else "random",
        "steps": list(c.steps),
        "layers": c.model.layers,
        "dim": c.model.dim,
        **{name: getattr(c, name) for name in fields},
    }


def timed(m: Measured, needed: Mapping[str, Part], full: int) -> dict[str, Any]:
    """steps, block, switch, decode and end_to_end of one variant: counts, limit, all samples."""
    samples = {
        "steps": seconds(m.forwards.get("step", [])),
        "block": seconds(m.steady_ns(full)),
        "switch": [block.generate_ns / 1e9 for block in m.blocks if block.switched],
        "decode": [row.decode_ns / 1e9 for row in m.blocks if row.number >= full and row.decode_ns],
        "end_to_end": [m.end_to_end_ns / 1e9],
    }
    out: dict[str, Any] = {}
    for name, measured in samples.items():
        part = needed.get(name)
        counts = {n: getattr(part, n) if part else None for n in ("flops", "bytes", "limit_s")}
        rate = part.flops / median(measured) if part and measured else None
        out[name] = {**counts, "measured_s": measured, "flop_per_s": rate}
    out["switch"]["flop_per_s"] = None  # whole blocks were measured, the recache alone counted
    out["switch"]["latency_s"] = list(m.report.switch_s)
    return out


def one(
    m: Measured, needed: Mapping[str, Part], limits: Mapping[str, Mapping[str, Part]], plan: Plan
) -> dict[str, Any]:
    """One variant, whole."""
    figures = asdict(m.report)
    apart, v = m.taken_apart, plan.setup.variant(m.name)
    c = plan.setup.config(m.name)
    parts, cache = apart.per_block(WATCHED), apart.cache_ns(WATCHED)
    total = sum(parts.values())
    return {
        "name": m.name,
        "change": v.change,
        "parity": asdict(m.parity) if m.parity else None,
        "quality": m.quality.to_dict(),
        **timed(m, needed, c.window_blocks),
        "report": {**figures, "apart_s": dict(figures["apart_s"])},
        "forwards": [
            _forward(name, forwards, m.forwards.get(name, []), limits.get(name, {}), c.model.layers)
            for name, forwards in apart.forwards.items()
        ],
        "kernels": [{"name": k.name, "part": k.part, "calls": k.calls, "seconds": k.ns / 1e9} for k in apart.kernels],
        "says": list(m.says),
        "block_parts_s": {part: ns / 1e9 for part, ns in parts.items()},
        "cache_share": cache / total if cache is not None and total else None,
    }


def _forward(
    name: str, f: Forwards, clock_ns: Sequence[int], limits: Mapping[str, Part], layers: int
) -> dict[str, Any]:
    """One name of forward: under the clock, from the trace, and beside its limits."""

    def limit(part: str) -> float | None:
        return limits[part].limit_s if part in limits else None

    attention = limit("self-attention")
    return {
        "name": name,
        "measured_s": seconds(clock_ns),
        "limit_s": limit("all"),
        "gaps_s": f.gaps_ns / 1e9,
        "gaps_per_layer_s": f.gaps_ns / 1e9 / layers if not name.startswith(DECODE) else None,
        "self_attention": None
        if f.first_ns is None
        else {
            "first_layer_s": f.first_ns / 1e9,
            "later_layers_s": f.later_ns / 1e9 if f.later_ns is not None else None,
            "limit_s": attention / layers if attention is not None else None,
        },
        "parts": [{"part": part, "seconds": ns / 1e9, "limit_s": limit(part)} for part, ns in f.parts_ns.items()],
    }


def cache_ratios(found: Sequence[Measured]) -> dict[str, Any]:
    """Time in cache operations in a block, by variant, and how many times less that is than the baseline's."""
    spent = {m.name: ns / 1e9 for m in found if (ns := m.taken_apart.cache_ns(WATCHED)) is not None}
    base = spent["baseline"]
    return {name: {"seconds": took, "times_less": base / took if took else None} for name, took in spent.items()}


def _process_peak() -> int:
    """The most memory that this process has had, all variants together (getrusage; Linux counts in KiB)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
