"""Machines: what they can do at most, what they cost, and where each number comes from.

One TOML file per family holds the data, `records.py` says what it means, `load.py` reads and finds,
`nodes.py` and `spelled.py` read what people type.
To add a device, add a ``[[device]]`` to its family's file with its source and date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dtypes import PEAKS as DTYPES
from ..public import on_demand
from .load import device, devices, load_devices, seed_devices
from .nodes import parse_node
from .records import Device, Differing, Link, Node, Price, Provenance, Reading, link_of

if TYPE_CHECKING:
    from .whatif import parse_changes, what_if

__all__ = [
    "DTYPES",
    "Device",
    "Differing",
    "Link",
    "Node",
    "Price",
    "Provenance",
    "Reading",
    "device",
    "devices",
    "link_of",
    "load_devices",
    "parse_changes",
    "parse_node",
    "seed_devices",
    "what_if",
]
__getattr__ = on_demand(__name__, {"parse_changes": "whatif", "what_if": "whatif"})
