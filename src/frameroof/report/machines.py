"""Listings of machines: every value with its source, its confidence and whether it was re-read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..dtypes import COLUMNS as DTYPES
from ..hardware import Device, Provenance
from ..units import format_bandwidth, format_bytes, format_rate
from .console import console, table
from .json import print_json

COLUMNS = ("machine", "vendor", *DTYPES, "memory", "bandwidth", "TDP", "$/h", "confidence")


def print_devices(devices: Sequence[Device], seeds: Sequence[Device], as_json: bool) -> None:
    """Every machine: dense peaks, memory, price; those of the seed documents apart."""
    if as_json:
        print_json([_record(d) for d in (*devices, *seeds)])
        return
    out = console()
    out.print(table(COLUMNS, [_row(d) for d in devices], left=2))
    out.print("Dense peaks in TFLOP/s (TOP/s for int8). `frameroof hardware NAME` shows sources.", style="dim")
    rows = [(d.name, d.label, d.stands_for, format_rate(d.peak("bf16")), format_bandwidth(d.bandwidth)) for d in seeds]
    title = "As the seed documents assumed them (for `frameroof reproduce`)"
    out.print(
        table(("machine", "what the figure is", "the real one", "figure", "bandwidth"), rows, left=3, title=title)
    )


def _row(d: Device) -> tuple[str, ...]:
    return (
        d.name,
        d.vendor,
        *(f"{d.dense_flops[t] / 1e12:,.4g}" if t in d.dense_flops else "-" for t in DTYPES),
        format_bytes(d.memory_bytes),
        format_bandwidth(d.bandwidth),
        f"{d.tdp_w:,.0f} W" if d.tdp_w else "-",
        f"${d.usd_per_hour.low:g}-{d.usd_per_hour.high:g}" if d.usd_per_hour else "-",
        d.confidence,
    )


def _record(device: Device) -> dict[str, Any]:
    """The device as data, with `values`: each one's amount in SI, source, date, confidence, and if confirmed."""
    values = [msgspec.to_builtins(device.provenance(name)) for name in device.values]
    return {**msgspec.to_builtins(device), "values": {v.pop("name"): v for v in values}}


def print_device(device: Device, as_json: bool) -> None:
    """One machine with everything that is known and where each value comes from."""
    if as_json:
        print_json(_record(device))
        return
    out = console()
    out.print(f"{device.name}  {device.vendor}, {device.compute_units or device.kind}", style="bold")
    if device.label:
        out.print(f"{device.label}; the real one is {device.stands_for}")
    rows = [
        (dtype, format_rate(peak), f"{device.ridge(dtype):,.0f} FLOP/B", _sparse(device, dtype))
        for dtype, peak in device.dense_flops.items()
    ]
    kind = "figure" if device.label else "dense peak"
    out.print(table(("dtype", kind, "ridge point", "with sparsity (not used)"), rows))
    found = [device.provenance(name) for name in device.values]
    documents = list(dict.fromkeys((p.source, p.date) for p in found))
    lines: list[tuple[str, ...]] = [
        (
            p.name,
            _shown(p),
            "yes" if p.confirmed else "no",
            p.confidence,
            f"[{documents.index((p.source, p.date)) + 1}]",
        )
        for p in found
    ]
    out.print(table(("value", "amount", "confirmed", "confidence", "source"), lines))
    out.print("link and pcie in one direction; confirmed: re-read at the source on the day given.", style="dim")
    for at, (source, date) in enumerate(documents, 1):
        out.print(f"[{at}] {source} ({date})", style="dim")
    for p in found:
        for line in p.differs:
            out.print(f"elsewhere: {p.name} {line}", style="dim")
    if device.usd_per_hour:
        price = device.usd_per_hour
        out.print(f"price ${price.low:g} to ${price.high:g} per hour ({price.source}, {price.date})", style="dim")
    for line in device.flags:
        out.print(f"note: {line}", style="dim")
    if device.unconfirmed_values:
        out.print(f"unconfirmed: {', '.join(device.unconfirmed_values)}", style="dim")


def print_unconfirmed(devices: Sequence[Device], as_json: bool) -> None:
    """Every value that no one has re-read at a source, device by device, and how many were."""
    left = [d for d in devices if d.unconfirmed_values]
    if as_json:
        keys = ("unconfirmed", "confirmed", "source")
        print_json(
            [
                dict(zip(("name", *keys), (d.name, d.unconfirmed_values, d.confirmed, d.source), strict=True))
                for d in left
            ]
        )
        return
    rows = [(d.name, ", ".join(d.confirmed) or "-", ", ".join(d.unconfirmed_values)) for d in left]
    console().print(table(("machine", "confirmed", "unconfirmed"), rows, left=3))
    some = sum(bool(d.confirmed) for d in devices)
    vendor = sum(any(r.at == "vendor" for r in d.readings) for d in devices)
    copy = sum(any(r.at in ("vendor", "vendor copy") for r in d.readings) for d in devices)
    console().print(
        f"Values were re-read at a document for {some} of {len(devices)} machines: for {vendor} of them at the "
        f"vendor's own, for {copy - vendor} more at a copy of one; `frameroof hardware NAME` names the documents.",
        style="dim",
    )


def _shown(p: Provenance) -> str:
    """The amount in its unit."""
    if p.name == "tdp":
        return f"{p.value:g} W"
    if p.name == "price":
        return f"${p.value:,.3g}/h"
    if p.name in ("l2", "cache"):
        return f"{p.value / 2**20:,g} MiB"
    if p.name == "memory":
        return format_bytes(p.value)
    if p.name in ("mem_bandwidth", "link", "pcie"):
        return format_bandwidth(p.value)
    return f"{p.value / 1e9:g} GHz" if p.name == "clock" else format_rate(p.value)


def _sparse(device: Device, dtype: str) -> str:
    return format_rate(device.sparse_flops[dtype]) if dtype in device.sparse_flops else "-"
