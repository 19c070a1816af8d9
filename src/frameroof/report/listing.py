"""Listings of models and machines, with every source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..catalogue import Entry
from ..hardware import Device
from ..units import format_bandwidth, format_bytes, format_count, format_rate
from ..workload.records import Workload
from .console import console, table
from .json import print_json


def print_models(entries: Sequence[Entry], aliases: Mapping[str, str], as_json: bool) -> None:
    """Every model: name, aliases, title, sources."""
    short: dict[str, list[str]] = {}
    for alias, name in aliases.items():
        short.setdefault(name, []).append(alias)
    if as_json:
        print_json([{**msgspec.to_builtins(e), "aliases": short.get(e.name, [])} for e in entries])
        return
    rows = [(e.name, ", ".join(short.get(e.name, [])), e.title) for e in entries]
    console().print(table(("model", "also", "what it is"), rows, left=3))
    console().print("`frameroof models NAME` shows sizes, stages, assumptions and sources.", style="dim")


def print_model(workload: Workload, as_json: bool) -> None:
    """One model: sizes, stages, assumptions, sources."""
    data = _model(workload)
    if as_json:
        print_json(data)
        return
    out = console()
    out.print(f"{workload.title or workload.name}", style="bold")
    sizes = [(n, str(s.default), _admissible(s), s.doc) for n, s in workload.params.items()]
    out.print(table(("size", "default", "admissible", ""), sizes, left=4))
    stages = [(s["name"], s["repeat"], format_count(s["params"]), str(s["operations"])) for s in data["stages"]]
    out.print(table(("stage", "runs", "parameters", "operations"), stages, left=2))
    for heading, lines in (
        ("assumed", workload.notes),
        ("source", workload.source),
        ("passes", workload.passes),
    ):
        for line in lines:
            out.print(f"{heading}: {line}", style="dim")
    if workload.uncounted:
        out.print(f"without a FLOP rule: {workload.uncounted}", style="dim")


def _model(workload: Workload) -> dict[str, Any]:
    return {
        "name": workload.name,
        "title": workload.title,
        "item": workload.item,
        "dtype": workload.dtype,
        "sizes": {n: {"default": s.default, "admissible": _admissible(s)} for n, s in workload.params.items()},
        "stages": [
            {
                "name": s.name,
                "repeat": s.repeat + (f" for {s.loop[0]} in 0..{s.loop[1]}" if s.loop else ""),
                "params": sum(s.weights.values()),
                "operations": len(s.ops),
            }
            for s in workload.stages
        ],
        "notes": list(workload.notes),
        "source": list(workload.source),
        "uncounted": workload.uncounted,
        "made_by": dict(workload.made_by),
    }


def _admissible(size: Any) -> str:
    if size.most == size.lowest:
        return "fixed"
    form = (
        f"{size.offset} + k * {size.step}" if size.offset else f"multiples of {size.step}" if size.step > 1 else "any"
    )
    most = f" to {size.most}" if size.most is not None else ""
    return f"{form}, from {size.lowest}{most}"


def print_devices(devices: Sequence[Device], as_json: bool) -> None:
    """Every machine: dense peaks, memory, price."""
    if as_json:
        print_json([msgspec.to_builtins(d) for d in devices])
        return
    rows = [
        (
            d.name,
            d.vendor,
            *(f"{d.dense_flops[t] / 1e12:,.4g}" if t in d.dense_flops else "-" for t in ("bf16", "fp8", "int8", "fp4")),
            format_bytes(d.memory_bytes),
            format_bandwidth(d.bandwidth),
            f"{d.tdp_w:,.0f} W" if d.tdp_w else "-",
            f"${d.usd_per_hour.low:g}-{d.usd_per_hour.high:g}" if d.usd_per_hour else "-",
            d.confidence,
        )
        for d in devices
    ]
    columns = (
        "machine",
        "vendor",
        "bf16",
        "fp8",
        "int8",
        "fp4",
        "memory",
        "bandwidth",
        "TDP",
        "$/h",
        "confidence",
    )
    console().print(table(columns, rows, left=2))
    console().print("Dense peaks in TFLOP/s (TOP/s for int8). `frameroof hardware NAME` shows sources.", style="dim")


def print_device(device: Device, as_json: bool) -> None:
    """One machine with everything that is known and where it comes from."""
    if as_json:
        print_json(msgspec.to_builtins(device))
        return
    out = console()
    out.print(f"{device.name}  {device.vendor}, {device.compute_units or device.kind}", style="bold")
    rows = [
        (dtype, format_rate(peak), f"{device.ridge(dtype):,.0f} FLOP/B", _sparse(device, dtype))
        for dtype, peak in device.dense_flops.items()
    ]
    out.print(table(("dtype", "dense peak", "ridge point", "with sparsity (not used)"), rows))
    out.print(f"memory {format_bytes(device.memory_bytes)} at {format_bandwidth(device.bandwidth)}")
    for label, value in (
        ("link, one direction", device.link_bandwidth),
        ("PCIe, one direction", device.pcie_bandwidth),
    ):
        if value:
            out.print(f"{label} {format_bandwidth(value)}")
    if device.tdp_w:
        out.print(f"TDP {device.tdp_w:g} W")
    if device.usd_per_hour:
        p = device.usd_per_hour
        out.print(f"price ${p.low:g} to ${p.high:g} per hour ({p.source}, {p.date})")
    for line in device.flags:
        out.print(f"note: {line}", style="dim")
    for line in device.source:
        out.print(f"source: {line} ({device.date}, confidence {device.confidence})", style="dim")
    if device.confirmed:
        out.print(f"confirmed: {', '.join(device.confirmed)}", style="dim")
    for line in device.confirmed_by:
        out.print(f"confirmed by {line}", style="dim")
    if device.unconfirmed_values:
        out.print(f"unconfirmed: {', '.join(device.unconfirmed_values)}", style="dim")


def print_unconfirmed(devices: Sequence[Device], as_json: bool) -> None:
    """Every value that no one has re-read at a source, device by device, and how many were."""
    left = [d for d in devices if d.unconfirmed_values]
    if as_json:
        print_json(
            [
                {"name": d.name, "unconfirmed": d.unconfirmed_values, "confirmed": d.confirmed, "source": d.source}
                for d in left
            ]
        )
        return
    rows = [(d.name, ", ".join(d.confirmed) or "-", ", ".join(d.unconfirmed_values)) for d in left]
    console().print(table(("machine", "confirmed", "unconfirmed"), rows, left=3))
    some = sum(bool(d.confirmed) for d in devices)
    vendor = sum(any(line.startswith("vendor:") for line in d.confirmed_by) for d in devices)
    console().print(
        f"Values were re-read at a document for {some} of {len(devices)} machines, for {vendor} of them at one of the "
        "vendor's own; `frameroof hardware NAME` names the documents.",
        style="dim",
    )


def _sparse(device: Device, dtype: str) -> str:
    return format_rate(device.sparse_flops[dtype]) if dtype in device.sparse_flops else "-"
