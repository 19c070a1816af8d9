"""The two sides of a gap besides the run: the device whose limits count, and the workload to match with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .. import catalogue
from ..hardware import Device, device
from ..run import Run, probed_device
from ..workload.records import Workload


def device_of(run: Run, on: str | Device | None) -> Device:
    """The device that is named, else the trace's own, else what `profile` measured.

    Raises `ValueError`, a sentence, where none is known.
    """
    if on:
        return on if isinstance(on, Device) else device(on)
    if run.summary.hardware:
        return device(run.summary.hardware)
    probed = probed_device(run)
    if probed:
        return probed
    named = (
        f"{run.summary.device!r} is not in `frameroof hardware`" if run.summary.device else "the run names no device"
    )
    raise ValueError(f"{named}: say whose limits count with --on, for example --on H100 (in Python: on='H100')")


def workload_of(
    run: Run,
    path: str | os.PathLike[str] | None,
    against: str | os.PathLike[str] | Workload | None,
    sizes: Mapping[str, int] | None,
) -> tuple[Workload | None, Mapping[str, int] | None]:
    """(workload, its sizes) to match with: the one asked for, else the one that `profile` left beside the run.

    `path` is where the run lies, None for a run in memory. Raises `ValueError`, a sentence, for sizes of no workload
    and for a workload that cannot be read.
    """
    if against is not None:
        return against if isinstance(against, Workload) else catalogue.load(against), sizes
    if sizes:
        raise ValueError("sizes belong to the workload that a run is put beside, and none is named")
    if path is None:
        return None, None
    beside = (Path(path) if Path(path).is_dir() else Path(path).parent) / "workload.json"
    return (catalogue.load(beside), run.measured.sizes) if beside.is_file() else (None, None)
