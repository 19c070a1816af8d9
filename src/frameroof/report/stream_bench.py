"""What `frameroof stream bench` prints, from its record: latencies, throughput, limits, parts, batches, the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from ..study.stream_records import Bench, Sizes, Variant
from ..units import format_bytes, format_flops, format_seconds
from .console import console, table

KERNELS = 16  # shown of a step; the JSON has all


def print_bench(data: Bench, out: object = None) -> None:
    """Print the latency report, the breakdown, and the log with what to keep."""
    page = console()
    s = data.sizes
    page.print(f"{data.model} as a stream on {data.hardware}, {data.dtype}", style="bold")
    page.print(
        f"window {s.window} (sinks and block included)  sink {s.sink}  block {s.block}  steps {s.steps}  "
        f"{s.width} x {s.height}  batch {s.batch}  blocks {s.blocks}  switches before "
        f"{', '.join(map(str, data.switches))}  decoder {data.decoder or 'none'}  "
        f"keys and values {format_bytes(data.kv_cache_bytes)}"
    )
    shown = [v for v in data.variants if v.name in ("baseline", data.variant)]
    page.print(_latencies(data))
    page.print(_throughput(data))
    page.print(_limits(data))
    for variant in shown:
        page.print(_parts(variant))
        page.print(_filling(variant, s))
        page.print(_kernels(variant))
    if data.batches:
        page.print(_batches(data))
    page.print(_log(data))
    for text in (*_reasons(data), *_cache(data), *findings(data)):
        page.print(text)
    page.print()
    for text in (*data.says, *data.notes):
        page.print(text, style="dim")
    if out is not None:
        page.print(f"wrote {out}: stream.json, and each variant's trace and run, for frameroof analyze, gap, compare")


def _latencies(data: Bench) -> Any:
    rows = []
    for v in data.variants:
        r = v.report
        rows.append(
            (v.name, str(r.blocks), _s(r.block_p50_s), _s(r.block_p90_s),
             _s(r.block_p99_s), _s(r.jitter_s), _s(r.inter_frame_s), _median(r.switch_s),
             _median(r.visible_s), _s(r.first_frame_s))
        )  # fmt: skip
    last = ("prompt to visible", "first frame") if data.decoder else ("prompt to latents", "first latents")
    columns = ("latency", "steady blocks", "p50", "p90", "p99", "jitter", "a frame", "switch", *last)
    return _filled(columns, rows)


def _throughput(data: Bench) -> Any:
    rows = []
    for v in data.variants:
        r = v.report
        apart = "  ".join(f"{name} {_s(seconds)}" for name, seconds in r.apart_s.items())
        rows.append(
            (v.name, f"{r.fps_generate:.1f}", _number(r.fps_decoded, ".1f"),
             _number(r.real_time_factor, ".2f"), format_bytes(r.peak_bytes) if r.peak_bytes else "",
             _number(v.cache_share, ".1%"), apart)
        )  # fmt: skip
    columns = ("throughput", "FPS, generation", "FPS, decoded", "of real time", "memory peak", "cache operations",
               "apart")  # fmt: skip
    return _filled(columns, rows, text=("apart",))


def _limits(data: Bench) -> Any:
    rows = []
    timed = (data.steps, data.block, data.switch, data.decode, data.end_to_end)
    for name, part in zip(("one step", "block", "switch", "decode", "end to end"), timed, strict=True):
        samples = part.latency_s or [] if name == "switch" else part.measured_s
        if not samples:
            continue
        limit, taken = part.limit_s, median(samples)
        counted = limit and part.flops is not None and part.bytes is not None
        counts = (format_flops(part.flops or 0), format_bytes(part.bytes or 0)) if counted else ("not counted", "")
        rate = f"{format_flops(part.flop_per_s)}/s" if part.flop_per_s else ""
        rows.append(
            (name, *counts, _s(limit), _s(taken),
             f"{limit / taken:.1%}" if limit and taken > 0 else "", rate, str(len(samples)))
        )  # fmt: skip
    title = f"{data.variant} beside the limits"
    return table((title, "FLOPs", "bytes", "limit", "measured", "reached", "rate", "samples"), rows)


def _parts(v: Variant) -> Any:
    """Each forward with a full window by its parts, beside their limits; one decoded block."""
    full = [f for f in v.forwards if "," not in f.name]
    order = list(dict.fromkeys(part.part for f in full for part in f.parts))
    cells = [{part.part: _beside(part.seconds, part.limit_s) for part in f.parts} for f in full]
    rows = [(name, *(cell.get(name, "") for cell in cells)) for name in order]
    rows.append(("gaps between them", *(_s(f.gaps_s) for f in full)))
    rows.append(("  of a layer", *(_s(f.gaps_per_layer_s) for f in full)))
    clock = [_beside(median(f.measured_s), f.limit_s) if f.measured_s else "" for f in full]
    rows.append(("all, by the clock", *clock))
    return table((f"{v.name}, a forward (limit)", *(f.name for f in full)), rows)


def _beside(seconds: float, limit: float | None) -> str:
    return f"{_s(seconds)} ({_s(limit)})" if limit is not None else _s(seconds)


def _filling(v: Variant, sizes: Sizes) -> Any:
    """Self-attention of a layer and the whole step against how full the window is; the recache before it."""
    by_name = {f.name: f for f in v.forwards}
    rows = []
    for frames in range(sizes.block, sizes.window + 1, sizes.block):
        step, recache = by_name.get(f"step, {frames} frames"), by_name.get(f"recache, {frames} frames")
        if step is None:
            continue
        of = step.self_attention
        layer = (_s(of.first_layer_s), _s(of.later_layers_s), _s(of.limit_s)) if of else ("", "", "")
        rows.append(
            (f"{frames} frames", *layer,
             _beside(median(step.measured_s), step.limit_s),
             _beside(median(recache.measured_s), recache.limit_s) if recache else "")
        )  # fmt: skip
    full = by_name.get("recache")
    if full is not None:
        rows.append(("full, later", "", "", "", "", _beside(median(full.measured_s), full.limit_s)))
    columns = (f"{v.name}, attended", "self-attention, first layer", "a later layer", "limit of one", "step (limit)",
               "recache (limit)")  # fmt: skip
    return table(columns, rows)


def _kernels(v: Variant) -> Any:
    kernels = v.kernels
    whole = sum(k.seconds for k in kernels) or 1.0
    rows = [(k.name[:70], k.part, str(k.calls), _s(k.seconds), f"{k.seconds / whole:.1%}") for k in kernels[:KERNELS]]
    if rest := kernels[KERNELS:]:
        taken = sum(k.seconds for k in rest)
        calls = str(sum(k.calls for k in rest))
        rows.append((f"{len(rest)} others", "", calls, _s(taken), f"{taken / whole:.1%}"))
    return table((f"{v.name}, kernels of a step", "part", "calls", "time", "share"), rows, left=2)


def _batches(data: Bench) -> Any:
    rows = [
        (b.variant, str(b.batch), _s(median(b.block_s)), _s(b.limit_s), _s(b.inter_frame_s),
         f"{b.fps:.1f}", f"{b.fps_a_stream:.1f}", f"{format_flops(b.flop_per_s)}/s",
         _median(b.switch_all_s), _median(b.switch_one_s), format_bytes(b.kv_cache_bytes),
         format_bytes(b.peak_bytes) if b.peak_bytes else "")
        for b in data.batches
    ]  # fmt: skip
    columns = ("against batch", "batch", "block", "limit", "a frame", "FPS of all", "of one stream", "rate",
               "switch of all", "of one", "keys and values", "memory peak")  # fmt: skip
    return _filled(columns, rows)


def _log(data: Bench) -> Any:
    rows = []
    for r in data.rows:
        o = r.outcome
        if o is None:
            continue
        parity = "not meant" if o.parity is None else "equal" if o.parity.equal else "NOT EQUAL"
        taught = "" if o.quality.taught_relative is None else f" ({o.quality.taught_relative:.1e})"
        rows.append(
            (r.change, o.before, o.of, _s(o.before_s), _s(o.after_s),
             f"{_s(o.saved_s[0])} to {_s(o.saved_s[2])}", _s(o.predicted.saved_s),
             f"{o.after_s / o.baseline_s:.0%}", parity, f"{o.quality.relative:.1e}{taught}",
             "keep" if r.keep else "drop")
        )  # fmt: skip
    columns = ("change", "against", "of", "before", "after", "saved", "predicted", "cumulative", "parity",
               "error (taught)", "")  # fmt: skip
    return table(columns, rows, left=3, text=("parity", ""))


def _reasons(data: Bench) -> Iterator[str]:
    """Why each change is kept or dropped; what was not run, by reason."""
    left: dict[str, list[str]] = {}
    for r in data.rows:
        if r.keep is None:
            left.setdefault(r.why, []).append(r.change)
        else:
            yield f"{'keep' if r.keep else 'drop'}  {r.change}: {r.why}"
    for why, changes in left.items():
        yield f"not run  {', '.join(changes)}: {why}"
    yield ""


def _cache(data: Bench) -> Iterator[str]:
    for name, cache in data.cache_operations.items():
        share = next(v.cache_share for v in data.variants if v.name == name)
        less = f", {cache.times_less:.1f} times less than the baseline" if name != "baseline" else ""
        yield f"cache operations of {name}: {format_seconds(cache.seconds)} a block, {share:.1%} of it{less}"
    yield f"memory of this process at its peak, all variants in it: {format_bytes(data.process_peak_bytes)}"


def findings(data: Bench) -> Iterator[str]:
    """What the latency report of LongLive left open, answered by this run's baseline."""
    forwards = {f.name: f for f in data.variants[0].forwards}
    sizes = data.sizes
    least, most = (forwards.get(f"step, {frames} frames") for frames in (sizes.block, sizes.window))
    if least and most and most.self_attention and least.self_attention:
        first, later = most.self_attention.first_layer_s, most.self_attention.later_layers_s
        early = least.self_attention.later_layers_s
        if later and early:
            yield (
                f"self-attention: the first layer takes {first / later:.2f} times a later one's time (all have one "
                f"shape); with {sizes.window} frames {later / early:.1f} times that with {sizes.block}"
            )
    recached = [(n, median(f.measured_s)) for n, f in forwards.items() if n.startswith("recache, ")]
    if recached and "recache" in forwards:
        begun = ", ".join(f"{_s(taken)} at {name.removeprefix('recache, ')}" for name, taken in recached)
        yield (
            f"a switch depends on when until the window is full: the baseline's recache takes {begun}, and "
            f"{_s(median(forwards['recache'].measured_s))} later"
        )


def _filled(columns: Sequence[str], rows: Sequence[Sequence[str]], **how: Any) -> Any:
    """A table without the columns of which nothing is known here: without a decoder, or memory on a CPU."""
    shown = [at for at, _ in enumerate(columns) if any(row[at] for row in rows)]
    return table([columns[at] for at in shown], [[row[at] for at in shown] for row in rows], **how)


def _s(seconds: float | None) -> str:
    return "" if seconds is None else ("-" if seconds < 0 else "") + format_seconds(abs(seconds))


def _median(samples: Sequence[float]) -> str:
    return _s(median(samples)) if samples else ""


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
