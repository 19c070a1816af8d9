"""`frameroof gap`: a measured run beside its limits, operation by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .runs import load
from .sizes import parse_sizes

if TYPE_CHECKING:
    from ..gap import Gap
    from ..hardware import Device
    from ..run import Run
    from ..workload.records import Workload


def gap(
    run: Annotated[
        str, typer.Argument(help="Folder of a run (from analyze --out or profile), its run.json, or a trace.")
    ],
    on: Annotated[str | None, typer.Option("--on", help="The device whose limits count; else the run's own.")] = None,
    against: Annotated[str | None, typer.Option(help="Model of the catalogue or workload file to match with.")] = None,
    size: Annotated[list[str], typer.Option(help="A size of that workload: NAME=NUMBER; repeatable.")] = [],  # noqa: B006
    top: Annotated[int, typer.Option(min=1, help="Rows of the operations' table.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # one argument an option
    """Put a measured run beside its limits: time above the roofline, MFU, MBU, and the advice that follows."""
    from ..gap import check, find_gap
    from ..trace.advice import advise

    if size and not against:
        raise ValueError("--size belongs to the workload of --against")
    measured = load(run)
    check(measured)
    device = device_of(measured, on)
    found = find_gap(measured, device, *workload_of(run, measured, against, parse_sizes(size)))
    measured.advice = advise(measured, device)
    show(measured, found, top, as_json)


def device_of(run: Run, on: str | None) -> Device:
    """The device named by --on, by the trace, or measured by `profile`; `ValueError` where none is known."""
    from ..hardware import device
    from ..run import probed_device

    if on:
        return device(on)
    if run.summary.hardware:
        return device(run.summary.hardware)
    probed = probed_device(run)
    if probed:
        return probed
    named = (
        f"{run.summary.device!r} is not in `frameroof hardware`" if run.summary.device else "the run names no device"
    )
    raise ValueError(f"{named}: say whose limits count with --on, for example --on H100")


def workload_of(
    path: str, run: Run, against: str | None, sizes: dict[str, int]
) -> tuple[Workload | None, dict[str, int] | None]:
    """(workload, its sizes) to match with: the one asked for, else the one that `profile` left beside the run."""
    from pathlib import Path

    from .. import catalogue

    if against:
        return catalogue.load(against), sizes
    beside = (Path(path) if Path(path).is_dir() else Path(path).parent) / "workload.json"
    return (catalogue.load(beside), run.measured.sizes) if beside.is_file() else (None, None)


def show(run: Run, found: Gap, top: int, as_json: bool) -> None:
    """Print a gap, for a person or as JSON."""
    if as_json:
        import msgspec

        from ..report.json import print_json

        print_json(
            {"schema": "frameroof.gap/1", **msgspec.to_builtins(found), "advice": msgspec.to_builtins(run.advice)}
        )
        return
    from ..report.analysis import print_advice
    from ..report.distance import print_gap

    print_gap(found, top)
    print_advice(run)
