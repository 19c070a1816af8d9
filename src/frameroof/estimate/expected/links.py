"""Expected seconds of collectives between devices: what was measured with NCCL, by device, collective and their number.

    t = latency + ramp sqrt(passed) + passed / rate

`passed` are the bytes that a ring passes through the link of each device (`communication.ring_bytes`); the middle term
is the size at which a link is not yet full. Devices without a table have that of one of their kind, its rates by what
their own link does; beyond one node every device has a network adapter, and the slower of the two links is the rate.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..communication import DEVICES_PER_NODE, PASSES, ring_bytes

if TYPE_CHECKING:
    from ...hardware import Device

SHIPPED = Path(__file__).with_name("links.json")
MEASURED_AS = {"broadcast": "all_gather"}
"""Collectives without a table, and whose numbers they have: a ring passes the whole once in both."""


class Pace(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One collective over one number of devices: microseconds, microseconds per square root of a MB, GB/s."""

    latency_us: float
    ramp_us: float
    gb_s: float


class Across(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What joins nodes: GB/s of the network adapter of each device, the share of it that is reached, microseconds."""

    gb_s: float
    share: float
    latency_us: float
    source: str
    date: str


class Links(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What joins devices of one kind: `paces` by collective and number of devices, and what joins their nodes.

    `link_gb_s` is what the vendor states of the measured device's link, in one direction. `derived_from` is the device
    whose tables these are, where they are another's. `error_median` and `error_p90` are what the curves missed of
    sizes that they had not seen.
    """

    kind: str
    link_gb_s: float
    paces: dict[str, dict[str, Pace]]
    across: Across
    source: str
    date: str
    rows: int
    error_median: float
    error_p90: float
    per_node: int = DEVICES_PER_NODE
    derived_from: str = ""
    note: str = ""

    def seconds(self, collective: str, size: Any, devices: int) -> Any:
        """Seconds of a collective over `devices` whose whole (gathered) tensor has `size` bytes, a number or an array.

        Raises `ValueError` for an unknown collective, fewer than one device or a negative size.
        """
        passed = ring_bytes(collective, size, max(devices, 1))
        if devices < 1 or (not hasattr(size, "shape") and size < 0):
            raise ValueError(f"a collective needs at least 1 device and 0 bytes, not {devices} and {size:g}")
        if devices == 1:
            return 0.0 * size
        paces = self.paces[MEASURED_AS.get(collective, collective)]
        if devices > self.per_node:
            return self._across(paces, collective, passed)
        known = sorted(map(int, paces))
        below = max((n for n in known if n <= devices), default=known[0])
        above = min((n for n in known if n >= devices), default=known[-1])
        low = _seconds(paces[str(below)], passed)
        if above == below:
            return low
        part = log2(devices / below) / log2(above / below)
        return (1 - part) * low + part * _seconds(paces[str(above)], passed)

    def _across(self, paces: dict[str, Pace], collective: str, passed: Any) -> Any:
        """Each device of a node crosses on its own adapter, so that a ring crosses on as many as a node has."""
        pace = paces[max(paces, key=int)]
        adapters = self.across.gb_s * self.per_node * self.across.share
        slower = msgspec.structs.replace(
            pace,
            gb_s=min(pace.gb_s, adapters),
            latency_us=pace.latency_us + PASSES[collective] * self.across.latency_us,
        )
        return _seconds(slower, passed)


def _seconds(pace: Pace, passed: Any) -> Any:
    return 1e-6 * (pace.latency_us + pace.ramp_us * (passed / 1e6) ** 0.5) + passed / (pace.gb_s * 1e9)


class Shipped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``links.json``: by device, and which of them stands for a kind of link and a generation."""

    schema: str
    stands_for: dict[str, str]
    most_share: float
    """What the fastest measured PCIe link reaches of what its vendor states."""
    across: dict[str, Across]
    devices: dict[str, Links]


@cache
def shipped() -> Shipped:
    """What was measured."""
    return msgspec.json.decode(SHIPPED.read_bytes(), type=Shipped)


@lru_cache(maxsize=256)
def links_of(device: Device) -> Links:
    """The links of a device's usual board: its own (NVLink …) or PCIe inside a node, one adapter a device across.

    A device with values changed (``L40S with memory=96 GB``) is still that device. Raises `ValueError` for a device
    without a known link.
    """
    from ...hardware import link_of

    table, link = shipped(), link_of(device)
    name = device.name.partition(" with ")[0]
    across = table.across.get(device.generation, table.across[""])
    stated = link.bandwidth / 1e9
    own = table.devices.get(name)
    if own is not None and (own.kind, own.link_gb_s) != (link.kind, stated):
        own = None
    base = table.stands_for.get(f"{link.kind} {device.generation}") or table.stands_for[link.kind]
    found = table.devices[base]
    ratio = stated / found.link_gb_s
    paces = {
        collective: {n: _scaled(pace, ratio, stated * table.most_share, link.kind) for n, pace in by_number.items()}
        for collective, by_number in found.paces.items()
    }
    if own is not None:  # numbers of devices that were not measured there are derived
        return msgspec.structs.replace(own, paces={name: {**paces[name], **own.paces[name]} for name in own.paces})
    return msgspec.structs.replace(
        found, kind=link.kind, link_gb_s=stated, paces=paces, across=across, derived_from=base, note=""
    )


def _scaled(pace: Pace, ratio: float, most: float, kind: str) -> Pace:
    """By what the link does; the paths between PCIe devices, not their links, bound them: only where it does less."""
    rate = min(pace.gb_s, most) if kind == "pcie" else pace.gb_s * ratio
    return msgspec.structs.replace(pace, gb_s=rate, ramp_us=pace.ramp_us * (pace.gb_s / rate) ** 0.5)
