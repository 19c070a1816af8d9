"""Curves of matrix products of devices and types without tables: a near one's, scaled, and said to be derived.

In this order: the device's own; its own of a type that the same kernels multiply (fp16 and tf32 as bf16); that of the
device of its generation whose multiprocessors are nearest in speed, scaled; that of the nearest device of any
generation; a stated default. What a scaled curve missed is measured where two devices of a generation have tables
(`benchmarks/efficiency.py`, its part ``sisters``).

Scaling keeps seconds where they are latencies (a launch, a split, filling the pipeline) and shares where they are of a
bandwidth. Within a generation, what a tile loses against the peak shrinks with the square of the speed of a
multiprocessor: a slower matrix unit waits less, and takes less power. L20, RTX 4090 and RTX 5060 Ti, whose matrix units
have half the rate, reach .88 to .96, 1.0 and .99 of their bf16 peaks (github.com/xlite-dev/LeetCUDA, hgemm;
github.com/tinygrad/tinygrad, pull request 13623; github.com/QuantumDrizzy/BLACKWALL; all read 2026-12-01), where L40S
and RTX PRO 6000 reach .79 and .89. Long products run at the clock that the power allows: less power a FLOP than the
sister's slows them by its cube root, as power goes with the cube of the clock; more of it frees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import log, log2

import msgspec

from ...dtypes import BITS, DTYPES, UNRECORDED
from ...hardware import device
from .chip import Chip, chip_of
from .curves import Curves, every_shipped, shipped
from .gemm import HOT_S, LONG_S, Gemm

BLOCK, WEIGHT = "_block", "_weight"
"""Ends of names: scales for blocks; weights alone of fewer bits, multiplied in sixteen."""
MOST_SHARE = 0.97
"""Of a peak, in a curve that was scaled."""
SISTER = (0.10, 0.30)
OTHER = (0.25, 0.60)
"""Errors (median, p90) of curves from the same generation, and from anywhere else: the nearest sisters of ten devices
miss by 3 to 10 % in the median and 9 to 25 % at p90 (benchmarks/results/efficiency-2026-12-01.json); the rest is
stated."""
DEFAULT = Gemm(
    peak="bf16",
    launch_us=5.0,
    memory=0.75,
    fill=200.0,
    split_us=5.0,
    heat=0.02,
    shares={"256x128": 0.75, "128x128": 0.7, "128x64": 0.6, "64x64": 0.45},
    source="a stated default, between what the largest products of other accelerators reach: MI300X .51 to .60, MI250X "
    ".77, Gaudi3 .77, Gaudi2 .99 (github.com/stas00/ml-engineering, compute/accelerator/README.md)",
    date="2026-12-01",
    rows=6,
    error_median=OTHER[0],
    error_p90=OTHER[1],
    derived_from="no device",
)


def gemm_for(chip: Chip, name: str, own: Curves | None = None) -> Gemm:
    """The curve of products in a type (`Curves.gemm`'s names, and units) on a device.

    `own` are curves to ask first, such as a user's. A kernel that has no curve (``fp8:trtllm``) is its type's. Its
    `derived_from` is "" where it was measured on the device in the type. Raises `ValueError` where the device states no
    peak of the unit.
    """
    if own is not None and (found := _named(own, name)) is not None:
        return found
    return _shipped_for(chip, name)


@lru_cache(maxsize=1024)
def _shipped_for(chip: Chip, name: str) -> Gemm:
    there = shipped(chip.name)
    if there is not None and (found := _named(there, name)) is not None:
        return found
    bare = name.partition(":")[0]
    unit = UNRECORDED if bare.endswith(WEIGHT) else bare.removesuffix(BLOCK)
    chip.peak(unit)
    for type in _alike(bare):
        if there is not None and type in there.gemm:
            return _as(there.gemm[type], unit, f"{type} of {chip.name}", SISTER)
    for far in (False, True):
        near = sorted(_others(chip, bare, far), key=lambda each: each[0])
        if near:
            _, curve, theirs = near[0]
            made = scaled(curve, theirs, chip, unit)
            return _as(made, unit, f"{curve.peak} of {theirs.name}", OTHER if far else SISTER)
    return msgspec.structs.replace(DEFAULT, peak=unit)


def _named(curves: Curves, name: str) -> Gemm | None:
    """The curve of a name, or of its type alone."""
    return curves.gemm.get(name) or curves.gemm.get(name.partition(":")[0])


def _alike(name: str) -> Iterator[str]:
    """Types whose curves are like that of `name`, nearest first."""
    if name.endswith(WEIGHT):
        yield UNRECORDED
    elif name.endswith(BLOCK):
        yield name.removesuffix(BLOCK)
        yield from _alike(name.removesuffix(BLOCK))
    elif name in DTYPES and DTYPES[name].alike:
        yield DTYPES[name].alike


def _others(chip: Chip, name: str, far: bool) -> Iterator[tuple[float, Gemm, Chip]]:
    """Curves of other devices for a type, each with the ratio of speeds: of its generation or, `far`, of its vendor.

    None where this device's generation is not known: its multiprocessors are not theirs.
    """
    for curves in every_shipped() if chip.generation else ():
        own = next((type for type in (name, *_alike(name)) if type in curves.gemm), None)
        mine = curves.device == chip.name.partition(" with ")[0]
        if own is None or mine or far is (curves.generation == chip.generation):
            continue
        theirs, curve = chip_of(device(curves.device)), curves.gemm[own]
        if not far or theirs.roofline.device.vendor == chip.roofline.device.vendor:
            yield abs(log(faster(curve, theirs, chip))), curve, theirs


def faster(curve: Gemm, theirs: Chip, own: Chip, unit: str = "") -> float:
    """How many times as fast a multiprocessor of a device is as one of another; 1 where their numbers are not known.

    Both in the type of the curve, unless `unit` is as wide.
    """
    here = unit if unit and BITS[unit] == BITS[curve.peak] else curve.peak
    if not own.sms or not theirs.sms or not own.roofline.states(here):
        return 1.0
    return (own.peak(here) / own.sms) / (theirs.peak(curve.peak) / theirs.sms)


def _as(curve: Gemm, unit: str, derived_from: str, error: tuple[float, float]) -> Gemm:
    median, p90 = max(error[0], curve.error_median), max(error[1], curve.error_p90)
    return msgspec.structs.replace(curve, peak=unit, derived_from=derived_from, error_median=median, error_p90=p90)


def scaled(curve: Gemm, theirs: Chip, own: Chip, unit: str) -> Gemm:
    """The curve of one device as that of another, in the type of `unit`. Raises `ValueError` without a peak of it."""
    ratio = faster(curve, theirs, own, unit)
    lost = ratio ** (2 if ratio < 1 else 1) if theirs.generation == own.generation else 1.0
    shares = {side: 1 / (1 + (1 / share - 1) * lost) for side, share in curve.shares.items()}
    shares = {side: min(max(MOST_SHARE, curve.shares[side]), share) for side, share in shares.items()}
    best, doublings = max(shares.values()), log2(HOT_S / LONG_S)
    long = max(curve.shares.values()) / (1 + curve.heat * doublings)
    power = _power(unit, own) / (_power(curve.peak, theirs) or 1.0) or 1.0
    kept = min(best, long * (power if power > 1 else power ** (1 / 3)))
    heat = min(1.0, (best / kept - 1) / doublings)
    return msgspec.structs.replace(curve, shares=shares, fill=curve.fill * ratio, heat=heat)


def _power(unit: str, chip: Chip) -> float:
    """Watts of a device for each FLOP/s of its peak; 0 where it does not state its power."""
    return float((chip.roofline.device.tdp_w or 0.0) * chip.roofline.limit(flops=1.0, unit=unit).compute_s)
