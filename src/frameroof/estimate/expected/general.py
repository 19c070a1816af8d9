"""The curves of one device, put together: a user's own, those of its tables, of its generation, and of all devices.

``measured/DEVICE.json`` holds what was fitted to a device's own tables; ``general.json`` what holds for many: traffic,
convolutions, hosts, attention by generation, and which device stands for a generation. The formulas take
multiprocessors, clock, bandwidth and peaks from the device itself; `Curves.derived_from` says whose numbers they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .attention import SAME_AS, Attention
from .chip import chip_of
from .curves import Curves, shipped
from .gemm import Gemm
from .host import Host
from .traffic import Convolution, Traffic, slower_units

if TYPE_CHECKING:
    from ...hardware import Device

PATH = Path(__file__).with_name("general.json")


class General(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``general.json``: keys of generations, "" for all others; `host_of` also has devices."""

    stands_for: dict[str, str]
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
    """All curves of a device; of the user's own those parts that it has, where they are of this device."""
    every = general()
    name = device.name.partition(" with ")[0]
    tables = shipped(name)
    base = every.stands_for.get(device.generation) or every.stands_for[""]
    found = tables or shipped(base)
    assert found is not None, base
    mine = own if own is not None and own.device == name else None
    parts = [part for part in (mine, tables) if part]
    kernels = {**every.attention[""], **every.attention.get(device.generation, {})}
    products = found.gemm if tables else scaled(found.gemm, base, device)
    for part in reversed(parts):
        kernels |= part.attention
        products = {**products, **part.gemm}
    return msgspec.structs.replace(
        mine or found,
        device=name,
        gemm=products,
        attention=kernels,
        traffic=next((part.traffic for part in parts if part.traffic), every.traffic),
        convolution=next((part.convolution for part in parts if part.convolution), every.convolution),
        host=next((part.host for part in parts if part.host), every.hosts[_host(every, device)]),
        derived_from="" if tables or (mine and mine.gemm) else base,
    )


def gemm_of(curves: Curves, unit: str) -> Gemm:
    """The curve of a unit: its own, or that of 16-bit products at the unit's own peak."""
    return curves.gemm[unit] if unit in curves.gemm else msgspec.structs.replace(curves.gemm["bf16"], peak=unit)


def attention_of(curves: Curves, kernel: str, generation: str) -> Attention:
    """The numbers of a kernel, of this device or of all; those of one that is as fast where it has none."""
    other = SAME_AS.get(kernel)
    names = (kernel, other.get(generation) if isinstance(other, Mapping) else other, "fa2")
    return next(curves.attention[name] for name in names if name in curves.attention)


def scaled(gemm: Mapping[str, Gemm], base: str, device: Device) -> dict[str, Gemm]:
    """Curves of another device of the generation, whose matrix units do less (or more) in a clock.

    See `traffic.slower_units`.
    """
    from ...hardware import device as known

    chip, other = chip_of(device), chip_of(known(base))
    made = {}
    for name, curve in gemm.items():
        try:
            ratio = (chip.peak(curve.peak) / (chip.ticks or 0.0)) / (other.peak(curve.peak) / (other.ticks or 0.0))
        except (ValueError, ZeroDivisionError):
            ratio = 1.0
        made[name] = msgspec.structs.replace(curve, shares={t: slower_units(s, ratio) for t, s in curve.shares.items()})
    return made


def _host(every: General, device: Device) -> str:
    for name in (device.name.partition(" with ")[0], device.generation, ""):
        if name in every.host_of:
            return every.host_of[name]
    raise AssertionError("general.json names no host for unknown devices")
