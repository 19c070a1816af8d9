"""The curves of one device, put together: a user's own, those of its tables, of its generation, and of all devices.

``measured/DEVICE.json`` holds what was fitted to a device's own tables; ``general.json`` what holds for many: traffic,
convolutions, hosts and attention by generation. The formulas take multiprocessors, clock, bandwidth and peaks from the
device itself; products without a curve are `derived`, and `Curves.derived_from` says whose they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...dtypes import HALF
from .attention import SAME_AS, Attention
from .chip import chip_of
from .curves import KIND, SCHEMA, Curves, shipped
from .derived import gemm_for
from .gemm import Gemm
from .host import Host
from .traffic import Convolution, Traffic

if TYPE_CHECKING:
    from ...hardware import Device

PATH = Path(__file__).with_name("general.json")


class General(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``general.json``: keys of generations, "" for all others; `host_of` also has devices."""

    attention: dict[str, dict[str, Attention]]
    traffic: Traffic
    convolution: Convolution
    hosts: dict[str, Host]
    host_of: dict[str, str]


@cache
def general() -> General:
    """What holds for many devices."""
    return msgspec.json.decode(PATH.read_bytes(), type=General)


def curves_of(device: Device, own: Curves | None = None) -> Curves:
    """All curves of a device; of the user's own those parts that it has, where they are of this device.

    Products that have none here are `derived.gemm_for`'s; `derived_from` is the device whose products in sixteen bits
    stand for its own.
    """
    every = general()
    name = device.name.partition(" with ")[0]
    mine = own if own is not None and own.device in (name, *device.aliases) else None
    parts = [part for part in (mine, shipped(name)) if part]
    kernels = {**every.attention[""], **every.attention.get(device.generation, {})}
    products: dict[str, Gemm] = {}
    for part in reversed(parts):
        kernels |= part.attention
        products |= part.gemm
    none = Curves(schema=SCHEMA, kind=KIND, name=name, source=PATH.name, date="2026-12-01", device=name)
    found = msgspec.structs.replace(
        parts[0] if parts else none,
        gemm=products,
        attention=kernels,
        traffic=next((part.traffic for part in parts if part.traffic), every.traffic),
        convolution=next((part.convolution for part in parts if part.convolution), every.convolution),
        host=next((part.host for part in parts if part.host), every.hosts[_host(every, device)]),
    )
    sixteen = next((unit for unit in HALF if unit in device.dense_flops), next(iter(device.dense_flops)))
    from_ = gemm_for(chip_of(device), sixteen, found).derived_from.rpartition(" of ")[2]
    return msgspec.structs.replace(found, derived_from="" if from_ == name else from_)


def attention_of(curves: Curves, kernel: str, generation: str) -> Attention:
    """The numbers of a kernel, of this device or of all; those of one that is as fast where it has none."""
    other = SAME_AS.get(kernel)
    names = (kernel, other.get(generation) if isinstance(other, Mapping) else other, "fa2")
    return next(curves.attention[name] for name in names if name in curves.attention)


def _host(every: General, device: Device) -> str:
    for name in (device.name.partition(" with ")[0], device.generation, ""):
        if name in every.host_of:
            return every.host_of[name]
    raise AssertionError("general.json names no host for unknown devices")
