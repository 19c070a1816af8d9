"""The bench as data: every variant beside the limits, and the optimisation log's rows with what to keep, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median, quantiles
from typing import Any

from frameroof.hardware import Node
from frameroof.profiler.environment import environment
from frameroof.study.stream import Part

from .bench import WATCHED, Measured, Plan
from .parity import Drift
from .variants import find
from .watch import cache_ns, per_block

SCHEMA = "frameroof.stream.bench/1"
NOTES = (
    "Steady blocks have a full window and no switch. Inter-frame latency: a block's time over its latent frames. "
    "Switch latency: the first block after a switch less the block before it.",
    "Limits are of what is needed, whatever the variant: ring cache, modulation looked up, recache of what is no sink; "
    "elementwise work fused. On a CPU the peaks are measured here.",
    "The baseline's quality is that of a second run of it: the noise from run to run.",
    "Parts of a forward are medians over the forwards of recorded blocks. A fused kernel that norms and rotates also "
    "writes the cache, which then cannot be told apart.",
    "Saved: before less after, block by block; kept where its middle half lies above 0.",
)


def report(
    plan: Plan, node: Node, needed: Mapping[str, Part], found: Sequence[Measured], left: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that was measured, as JSON (docs/reference/stream-json.rst)."""
    c, setup = plan.setup.config(), plan.setup
    by_name = {m.name: m for m in found}
    full = c.window_blocks
    rows = [row(m, by_name, full, setup.device) for m in found if m.name != "baseline"]
    rows += [{"change": find(name).change, "variant": name, "keep": None, "why": why} for name, why in left.items()]
    kept = {r["variant"] for r in rows if r["keep"]} | {"baseline"}
    best = min((m for m in found if m.name in kept), key=lambda m: median(m.steady_ns(full)))
    return {
        "schema": SCHEMA,
        "model": setup.model,
        "hardware": node.name,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "sizes": {name: getattr(c, name) for name in ("window", "sink", "block", "height", "width", "text_tokens")}
        | {"steps": len(c.steps), "blocks": plan.blocks, "layers": c.model.layers, "dim": c.model.dim},
        "kv_cache_bytes": c.cache_bytes(4 if "32" in str(setup.dtype) else 2),
        "decoder": setup.decoder,
        "switches": sorted(plan.switches),
        "variant": best.name,
        **timed(best, needed, full),
        "variants": [one(m, needed, full) for m in found],
        "rows": rows,
        "cache_operations": cache_ratios(found),
        "says": list(found[0].says),
        "notes": list(NOTES),
        "environment": environment(),
    }


def timed(m: Measured, needed: Mapping[str, Part], full: int) -> dict[str, Any]:
    """steps, block, switch, decode and end_to_end of one variant: counts, limit, all samples."""
    decode = [row.decode_ns / 1e9 for row in m.blocks if row.number >= full and row.decode_ns]
    samples = {
        "steps": _seconds(m.forwards.get("step", [])),
        "block": _seconds(m.steady_ns(full)),
        "switch": [block.generate_ns / 1e9 for block in m.blocks if block.switched],
        "decode": decode,
        "end_to_end": [m.end_to_end_ns / 1e9],
    }
    out: dict[str, Any] = {}
    for name, measured in samples.items():
        part = needed.get(name)
        counts = {n: getattr(part, n) if part else None for n in ("flops", "bytes", "limit_s")}
        out[name] = {**counts, "measured_s": measured}
    out["switch"]["latency_s"] = list(m.report.switch_s)
    return out


def one(m: Measured, needed: Mapping[str, Part], full: int) -> dict[str, Any]:
    """One variant, whole."""
    figures = asdict(m.report)
    parts = per_block(m.parts, WATCHED)
    total, cache = sum(parts.values()), cache_ns(m.parts, WATCHED)
    return {
        "name": m.name,
        "change": find(m.name).change,
        "parity": asdict(m.parity) if m.parity else None,
        "quality": _quality(m.drift),
        **timed(m, needed, full),
        "report": {**figures, "apart_s": dict(figures["apart_s"])},
        "forwards_s": {name: _seconds(times) for name, times in m.forwards.items()},
        "forward_parts_s": {
            name: {part: ns / 1e9 for part, ns in forwards.parts_ns.items()} for name, forwards in m.parts.items()
        },
        "block_parts_s": {part: ns / 1e9 for part, ns in parts.items()},
        "cache_share": cache / total if cache is not None and total else None,
    }


def row(m: Measured, by_name: Mapping[str, Measured], full: int, device: str) -> dict[str, Any]:
    """A row of the log: the latency that the change is meant for, before and after, and whether to keep it."""
    v = find(m.name)
    before = by_name.get(v.base) or by_name["baseline"]
    samples = [_latencies(x, v.of, full) for x in (before, m, by_name["baseline"])]
    saved = [b - a for b, a in zip(samples[0], samples[1], strict=True)]
    low, middle, high = quantiles(saved, n=4, method="inclusive") if len(saved) > 1 else saved * 3
    keep, why = _verdict(m, before, (low, high), v.of, device)
    return {
        "change": v.change,
        "variant": m.name,
        "before": before.name,
        "of": v.of,
        "parity": asdict(m.parity) if m.parity else None,
        "quality": _quality(m.drift),
        "before_s": median(samples[0]),
        "after_s": median(samples[1]),
        "baseline_s": median(samples[2]),
        "saved_s": [low, middle, high],
        "keep": keep,
        "why": why,
    }


def cache_ratios(found: Sequence[Measured]) -> dict[str, Any]:
    """Time in cache operations in a block, by variant, and how many times less that is than the baseline's."""
    spent = {m.name: ns / 1e9 for m in found if (ns := cache_ns(m.parts, WATCHED)) is not None}
    base = spent["baseline"]
    return {
        name: {"seconds": seconds, "times_less": base / seconds if seconds else None} for name, seconds in spent.items()
    }


def _latencies(m: Measured, of: str, full: int) -> list[float]:
    return list(m.report.switch_s) if of == "switch" else _seconds(m.steady_ns(full))


def _verdict(m: Measured, before: Measured, saved: tuple[float, float], of: str, device: str) -> tuple[bool, str]:
    low, high = saved
    exact = m.parity is not None
    if m.parity is not None and not m.parity.equal:
        return False, f"its numbers are not the baseline's: relative error {m.parity.relative:.2g}"
    error = "" if exact else f", at a {m.drift.text()}"
    if low > 0:
        return True, f"faster{error}"
    if high < 0:
        v = find(m.name)
        because = v.why_cpu if v.why_cpu and device == "cpu" else ""
        grown = _grown(m, before) if of == "block" else f"{len(m.report.switch_s)} switches were timed"
        return False, "; ".join(text for text in ("slower", because, grown) if text)
    if exact:
        return True, f"no difference of the {of} beyond the spread, and equal numbers"
    return False, f"no gain beyond the spread{error}"


def _grown(m: Measured, before: Measured) -> str:
    """The part of a block that grew most."""
    ours, theirs = (per_block(x.parts, WATCHED) for x in (m, before))
    growth = {name: ns - theirs.get(name, 0) for name, ns in ours.items()}
    name, ns = max(growth.items(), key=lambda pair: pair[1], default=("", 0))
    return f"most in {name}, {ns / 1e6:+.2f} ms a block in the trace" if ns > 0 else "no part grew in the trace"


def _quality(drift: Drift) -> dict[str, Any]:
    return {"relative": drift.relative, "cosine": drift.cosine, "psnr_db": _finite(drift.psnr_db)}


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _seconds(times_ns: Sequence[int]) -> list[float]:
    return [ns / 1e9 for ns in times_ns]
