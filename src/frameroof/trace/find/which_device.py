"""Which device did the work: by the name in the file, or by its properties where ROCm left the name empty.

A device that is two chips in one package appears in a trace as two devices, each with half of the memory: what it can
do is then half of what the package can.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from ...hardware import Device, device
from ..read.columns import Problem
from ..read.events import WAVEFRONT, DeviceProperties
from ..resolve.work_table import WorkTable


class _Chip(NamedTuple):
    """One device as ROCm lists it, with all devices that look like it."""

    units: int
    """Compute units."""
    memory_gib: int
    names: tuple[str, ...]
    like: str = ""
    """The one of them whose figures all of them have."""


_CHIPS = (
    _Chip(304, 192, ("MI300X",)),
    _Chip(304, 256, ("MI325X",)),
    _Chip(256, 288, ("MI350X", "MI355X")),
    _Chip(228, 128, ("MI300A",)),
    _Chip(110, 64, ("MI250X",)),
    _Chip(104, 64, ("MI210", "MI250"), "MI210"),  # an MI250 is two MI210 in one package
    _Chip(120, 32, ("MI100",)),
)
"""AMD's table of its accelerators, rocm.docs.amd.com/en/latest/reference/gpu-specs.html, read 2026-11-30; of an MI250
and an MI250X one of the two dies, which ROCm lists by themselves."""
_NEAR = 0.05
"""A virtual machine sees a little less memory than there is (a part of 0.003 of an MI300X VF)."""


def device_name(work_table: WorkTable) -> str | None:
    """The name in the file of the device that did the work."""
    listed = _listed(work_table)
    return listed.name or None if listed else None


def known_device(work_table: WorkTable) -> Device | None:
    """The device that did the work, as `frameroof hardware` knows it; None if it does not.

    How a device without a name was recognized, or why it was not, is written down as a problem.
    """
    listed = _listed(work_table)
    if listed is None:
        return None
    name = listed.name or _by_properties(work_table, listed)
    try:
        found = device(name) if name else None
    except ValueError:
        return None
    return _one_chip(found, listed) if found else None


def _listed(work_table: WorkTable) -> DeviceProperties | None:
    """What the file lists of the device that did the work; ROCm numbers devices otherwise than it lists them."""
    listed = work_table.trace.header.devices
    if work_table.on_cpu or not listed:
        return None
    used = {int(d) for d in work_table.device.tolist()}
    return next((d for d in listed if d.id in used and d.name), listed[0])


def _by_properties(work_table: WorkTable, listed: DeviceProperties) -> str:
    """The name of a device by its compute units, memory and wavefronts; "" where they tell none or several."""
    units, memory = listed.units, listed.total_memory
    if listed.warp != WAVEFRONT or not isinstance(units, int) or not memory:
        return ""
    found = [c for c in _CHIPS if c.units == units and abs(memory / (c.memory_gib << 30) - 1) < _NEAR]
    names = [name for chip in found for name in chip.names]
    name = (found[0].like or (names[0] if len(names) == 1 else "")) if found else ""
    seen = f"{units} compute units, {memory / 1e9:.0f} GB and wavefronts of {WAVEFRONT}"
    unknown = "no peak is compared with; name the device with --on"
    if not names:
        action = f"no device is known by them: {unknown}"
    elif not name:
        action = f"{' or '.join(names)}: {unknown}"
    elif _has_no_figures(name):
        action = f"{name}, of which no figures are known: {unknown}"
    else:
        action = f"taken for {name}" + (f", which has the figures of {' and '.join(names[1:])}" if names[1:] else "")
    work_table.trace.problems.append(Problem(f"a device without a name, with {seen}", 1, action))
    return name


def _has_no_figures(name: str) -> bool:
    try:
        device(name)
    except ValueError:
        return True
    return False


def _one_chip(found: Device, listed: DeviceProperties) -> Device:
    """One of a device's chips, where the file lists no more memory than one has."""
    if found.chips == 1 or not listed.total_memory or listed.total_memory > 0.75 * found.memory_bytes:
        return found
    count = found.chips

    def part(value: float | None) -> float | None:
        return None if value is None else value / count

    return replace(
        found,
        name=f"{found.name.partition(' (')[0]} (1 of {count} chips)",
        dense_flops={dtype: peak / count for dtype, peak in found.dense_flops.items()},
        sparse_flops={dtype: peak / count for dtype, peak in found.sparse_flops.items()},
        memory_bytes=found.memory_bytes // count,
        bandwidth=found.bandwidth / count,
        vector_peak=part(found.vector_peak),
        l2_bytes=None if found.l2_bytes is None else found.l2_bytes // count,
        cache_bytes=None if found.cache_bytes is None else found.cache_bytes // count,
        chips=1,
    )
