"""What `frameroof stream bench` found, as tables, from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from ..units import format_bytes, format_flops, format_seconds
from .console import console, table


def print_bench(data: Mapping[str, Any], out: object = None) -> None:
    """Print the latency report, the breakdown, and the log with what to keep."""
    page = console()
    s = data["sizes"]
    page.print(f"{data['model']} as a stream on {data['hardware']}, {data['dtype']}", style="bold")
    page.print(
        f"window {s['window']}  sink {s['sink']}  block {s['block']}  steps {s['steps']}  {s['width']} x {s['height']}"
        f"  blocks {s['blocks']}  switches before {', '.join(map(str, data['switches']))}"
        f"  decoder {data['decoder'] or 'none'}  keys and values {format_bytes(data['kv_cache_bytes'])}"
    )
    page.print(_latencies(data))
    page.print(_throughput(data))
    page.print(_limits(data))
    page.print(_parts(data))
    page.print(_log(data))
    for name, cache in data["cache_operations"].items():
        share = next(v["cache_share"] for v in data["variants"] if v["name"] == name)
        less = f", {cache['times_less']:.1f} times less than the baseline" if name != "baseline" else ""
        page.print(f"cache operations of {name}: {format_seconds(cache['seconds'])} a block, {share:.1%} of it{less}")
    page.print()
    for text in (*data["says"], *data["notes"]):
        page.print(text, style="dim")
    if out is not None:
        page.print(f"wrote {out}: stream.json, and a trace and a run for each variant")


def _latencies(data: Mapping[str, Any]) -> Any:
    rows = []
    for v in data["variants"]:
        r = v["report"]
        rows.append(
            (v["name"], _s(median(v["block"]["measured_s"])), _s(r["block_p50_s"]), _s(r["block_p90_s"]),
             _s(r["block_p99_s"]), _s(r["jitter_s"]), _s(r["inter_frame_s"]), _median(r["switch_s"]),
             _median(r["visible_s"]), _s(r["first_frame_s"]))
        )  # fmt: skip
    columns = ("latency", "steady block", "p50", "p90", "p99", "jitter", "a frame", "switch", "prompt to visible",
               "first frame")  # fmt: skip
    return table(columns, rows)


def _throughput(data: Mapping[str, Any]) -> Any:
    rows = []
    for v in data["variants"]:
        r = v["report"]
        apart = "  ".join(f"{name} {_s(seconds)}" for name, seconds in r["apart_s"].items())
        rows.append(
            (v["name"], f"{r['fps_generate']:.1f}", _number(r["fps_decoded"], ".1f"),
             _number(r["real_time_factor"], ".2f"), format_bytes(r["peak_bytes"]) if r["peak_bytes"] else "",
             _number(v["cache_share"], ".1%"), apart)
        )  # fmt: skip
    columns = ("throughput", "FPS, generation", "FPS, decoded", "of real time", "memory peak", "cache operations",
               "apart")  # fmt: skip
    return table(columns, rows, text=("apart",))


def _limits(data: Mapping[str, Any]) -> Any:
    rows = []
    for name in ("steps", "block", "switch", "decode", "end_to_end"):
        part = data[name]
        samples = part["latency_s"] if name == "switch" else part["measured_s"]
        if not samples:
            continue
        limit, taken = part["limit_s"], median(samples)
        counts = (format_flops(part["flops"]), format_bytes(part["bytes"])) if limit else ("not counted", "")
        rows.append(
            ({"steps": "one step"}.get(name, name.replace("_", " ")), *counts, _s(limit), _s(taken),
             f"{limit / taken:.1%}" if limit and taken > 0 else "", str(len(samples)))
        )  # fmt: skip
    title = f"{data['variant']} beside the limits"
    return table((title, "FLOPs", "bytes", "limit", "measured", "reached", "samples"), rows)


def _parts(data: Mapping[str, Any]) -> Any:
    """One denoising step by its parts, the first of a block and a later one."""
    names = list(dict.fromkeys(("baseline", data["variant"])))
    chosen = [v for v in data["variants"] if v["name"] in names]
    columns = [(v["name"], kind, parts) for v in chosen for kind, parts in v["forward_parts_s"].items()]
    order = list(dict.fromkeys(part for *_, parts in columns for part in parts))
    rows = [(part, *(_s(parts[part]) if part in parts else "" for *_, parts in columns)) for part in order]
    return table(("a forward, from the trace", *(f"{name}: {kind}" for name, kind, _ in columns)), rows)


def _log(data: Mapping[str, Any]) -> Any:
    rows = []
    for r in data["rows"]:
        if r["keep"] is None:
            rows.append((r["change"], "", "", "", "", "", "", "", "not run", r["why"]))
            continue
        parity = "not meant" if r["parity"] is None else "equal" if r["parity"]["equal"] else "NOT EQUAL"
        rows.append(
            (r["change"], r["before"], r["of"], _s(r["before_s"]), _s(r["after_s"]),
             f"{_s(r['saved_s'][0])} to {_s(r['saved_s'][2])}", parity,
             f"{r['quality']['relative']:.1e}", "keep" if r["keep"] else "drop", r["why"])
        )  # fmt: skip
    columns = ("change", "against", "of", "before", "after", "saved", "parity", "relative error", "", "why")
    return table(columns, rows, left=3, text=("parity", "", "why"))


def _s(seconds: float | None) -> str:
    return "" if seconds is None else ("-" if seconds < 0 else "") + format_seconds(abs(seconds))


def _median(samples: list[float]) -> str:
    return _s(median(samples)) if samples else ""


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def print_tuned(data: Mapping[str, Any]) -> None:
    """Print every choice beside its drift, fastest first, and the one to take."""
    page, ref = console(), data["reference"]
    page.print(f"{data['model']} as a stream on {data['hardware']}, {data['dtype']}", style="bold")
    rows = [
        (str(p["window"]), str(p["sink"]), p["variant"], _s(p["block_s"][1]), f"{_s(p['block_s'][0])} to "
         f"{_s(p['block_s'][2])}", format_bytes(p["cache_bytes"]), f"{p['relative']:.2g}", f"{p['cosine']:.5f}",
         "recommended" if p["recommended"] else "unbeaten" if p["unbeaten"] else "")
        for p in data["points"]
    ]  # fmt: skip
    columns = ("window", "sink", "variant", "block", "middle half", "keys and values", "relative error", "cosine", "")
    page.print(table(columns, rows, left=3, text=("",)))
    page.print(
        f"Recommended: the fastest whose latents drift by at most {data['most_error']:g} from the {ref['variant']} at "
        f"window {ref['window']}, sink {ref['sink']}. Unbeaten: none is faster and drifts less."
    )
    page.print("The weights are random: drift says how far the numbers move, not how a picture looks.", style="dim")
