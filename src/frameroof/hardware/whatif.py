"""A device with some of its values changed, named so that no one takes it for the real one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from ..dtypes import PEAKS
from ..outside import MOST_QUOTED, clean, quoted
from ..units import format_bandwidth, format_bytes, format_rate
from .records import Node

_UNITS = {
    "mem_bandwidth": "B/s",
    "link": "B/s",
    "pcie": "B/s",
    "memory": "B",
    "cache": "B",
    "vector_fp32": "FLOP/s",
    "tdp": "W",
    **dict.fromkeys(PEAKS, "FLOP/s"),
}
KEYS = tuple(_UNITS)
LEAST_VALUE, MOST_VALUE = 1e-6, 1e24
"""What a value may be set to, in SI."""
_SPELLINGS = {
    "B/s": ("b/s", "bps", "b"),
    "B": ("b",),
    "FLOP/s": ("flop/s", "flops", "flops/s", "ops", "op/s", "ops/s"),
    "W": ("w",),
}
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
_VALUE_RE = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*([a-z/]*)", re.IGNORECASE)


def what_if(node: Node, changes: Mapping[str, float]) -> Node:
    """`node` with the values in `changes` (SI, of one device) in place of its own.

    Keys: `KEYS`; a dtype sets its dense peak, also where the device has none. The name says what was
    changed (``"H100-SXM5-80GB with mem_bandwidth=4 TB/s"``), and nothing of it counts as confirmed.
    Raises `ValueError`, a sentence, for an unknown key or a value that is not above zero and finite.
    """
    if not changes:
        return node
    for key, value in changes.items():
        if key not in _UNITS:
            raise ValueError(f"{key!r} cannot be set; what can: {', '.join(KEYS)}")
        if not LEAST_VALUE <= value <= MOST_VALUE:
            raise ValueError(
                f"{key} must be above zero and finite, from {LEAST_VALUE:g} to {MOST_VALUE:g}, not {value:g}"
            )
    for key in ("memory", "cache"):
        if key in changes and changes[key] < 1:
            raise ValueError(f"{key} must be at least one byte, not {changes[key]:g}")
    was = node.device
    cache = changes.get("cache", was.cache_bytes)
    peaks = {**was.dense_flops, **{key: float(value) for key, value in changes.items() if key in PEAKS}}
    said = ", ".join(f"{key}={_said(value, _UNITS[key])}" for key, value in changes.items())
    now = msgspec.structs.replace(
        was,
        name=f"{was.name} with {said}",
        aliases=(),
        dense_flops={dtype: peaks[dtype] for dtype in PEAKS if dtype in peaks},
        sparse_flops={dtype: peak for dtype, peak in was.sparse_flops.items() if dtype not in changes},
        bandwidth=float(changes.get("mem_bandwidth", was.bandwidth)),
        memory_bytes=round(changes.get("memory", was.memory_bytes)),
        cache_bytes=None if cache is None else round(cache),
        vector_peak=changes.get("vector_fp32", was.vector_peak),
        link_bandwidth=changes.get("link", was.link_bandwidth),
        pcie_bandwidth=changes.get("pcie", was.pcie_bandwidth),
        tdp_w=changes.get("tdp", was.tdp_w),
        flags=(f"what-if: {said} set by the user, all else as {was.name}", *was.flags),
        readings=(),
        differing=(),
    )
    return msgspec.structs.replace(node, device=now)


def parse_changes(texts: Iterable[str]) -> dict[str, float]:
    """What `what_if` changes, from ``KEY=VALUE`` texts: SI numbers, or with a unit (4TB/s, 96GB, 600W).

    Raises `ValueError`, with a sentence that quotes the text, for another form, key or unit, for a key
    that stands twice and for a value that is not above zero.
    """
    changes: dict[str, float] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, such as mem_bandwidth=4TB/s, not {quoted(text)}")
        shown = clean(text, MOST_QUOTED)
        key = key.lower()
        if key not in _UNITS:
            raise ValueError(f"--set {shown}: {quoted(key)} cannot be set; what can: {', '.join(KEYS)}")
        if key in changes:
            raise ValueError(f"--set {shown}: {key} is set twice")
        changes[key] = _number(shown, value, _UNITS[key])
    return changes


def _number(text: str, value: str, unit: str) -> float:
    match = _VALUE_RE.fullmatch(value)
    factor = _factor(match[2].lower(), unit) if match else None
    if match is None or factor is None:
        raise ValueError(
            f"--set {text}: {quoted(value)} is no value; write a number in {unit}, or with a unit such as T{unit}"
        )
    found = float(match[1]) * factor
    if not LEAST_VALUE <= found <= MOST_VALUE:
        raise ValueError(
            f"--set {text}: the value must be above zero and finite, from {LEAST_VALUE:g} to {MOST_VALUE:g} {unit}"
        )
    return found


def _factor(written: str, unit: str) -> float | None:
    """How many `unit` one of `written` is, None when it is another kind of unit."""
    if not written:
        return 1.0
    for spelling in _SPELLINGS[unit]:
        prefix = written.removesuffix(spelling)
        if prefix != written and prefix in _PREFIXES:
            return _PREFIXES[prefix]
    return None


def _said(value: float, unit: str) -> str:
    """`value` for a name: short, without the zeros of a table."""
    if unit == "W":
        return f"{value:g} W"
    if unit == "B":
        text = format_bytes(float(value), 6)
    else:
        text = format_bandwidth(value, 6) if unit == "B/s" else format_rate(value, 6)
    number, _, word = text.partition(" ")
    return f"{float(number):g} {word}"
