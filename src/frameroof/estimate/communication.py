"""Time of collectives between devices: a latency, and bytes over what a link reaches.

A ring passes (n-1)/n of the gathered bytes through every device; an all-reduce does so twice (NCCL's bus bandwidth,
github.com/NVIDIA/nccl-tests doc/PERFORMANCE.md). Devices beyond one node are joined by one network adapter each, so
that a ring over several nodes runs at the slower of the two links.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..hardware import Device, link_of
from ..roofline import larger
from ..workload.expr import total
from ..workload.records import Op

if TYPE_CHECKING:  # its curves need NumPy, which a collective does not
    from .expected.efficiency import Table

PASSES = {"all_gather": 1, "reduce_scatter": 1, "all_to_all": 1, "broadcast": 1, "all_reduce": 2}
"""Collective -> how often a ring passes the whole; the names that an operation of the kind `collective` may have."""
DEVICES_PER_NODE = 8  # HGX and DGX boards


def ring_bytes(collective: str, size: Any, devices: int) -> Any:
    """Bytes that a ring of `devices` passes through the link of each, of a whole (gathered) tensor of `size` bytes.

    `size` may be an array. Raises `ValueError`, a sentence, for an unknown collective.
    """
    if collective not in PASSES:
        raise ValueError(f"unknown collective {collective!r}; known: {', '.join(PASSES)}")
    return PASSES[collective] * size * (devices - 1) / devices


def gathered_bytes(op: Op, env: Mapping[str, Any]) -> Any:
    """Bytes of the whole tensor of one call of a collective: the larger of what a device has before and after it."""
    read, written = (total(tensor.bits for tensor in tensors)(env) for tensors in (op.reads, op.writes))
    return larger(read, written) / 8


@dataclass(frozen=True)
class Links:
    """What joins devices: bytes per second that collectives reach and seconds each costs, inside a node and across."""

    inside_bytes_s: float
    inside_latency_s: float
    across_bytes_s: float
    across_latency_s: float
    per_node: int = DEVICES_PER_NODE
    source: tuple[str, ...] = ()

    def seconds(self, collective: str, size: float, devices: int) -> float:
        """Seconds of one collective over `devices` whose whole (gathered) tensor has `size` bytes.

        Raises `ValueError` for an unknown collective, fewer than one device or a negative size.
        """
        passed = ring_bytes(collective, size, max(devices, 1))
        if devices < 1 or size < 0:
            raise ValueError(f"a collective needs at least 1 device and 0 bytes, not {devices} and {size:g}")
        if devices == 1:
            return 0.0
        rate, latency = self.inside_bytes_s, self.inside_latency_s
        if devices > self.per_node:
            rate, latency = min(rate, self.across_bytes_s), latency + self.across_latency_s
        return PASSES[collective] * latency + float(passed) / rate


def links_of(device: Device, table: Table) -> Links:
    """The links of a device's usual board: its own link (NVLink …) or PCIe inside, InfiniBand across.

    Across nodes every device has its own adapter, so a ring of n devices crosses on as many adapters as a node has
    devices. Raises `ValueError` for a device without a known link.
    """
    infiniband = table.links["infiniband"]
    link = link_of(device)
    inside = table.links[link.kind]
    adapters = (infiniband.gb_s_per_device or 0.0) * 1e9 * DEVICES_PER_NODE
    return Links(
        link.bandwidth * inside.share,
        inside.latency_us * 1e-6,
        adapters * infiniband.share,
        infiniband.latency_us * 1e-6,
        source=(inside.source, infiniband.source),
    )
