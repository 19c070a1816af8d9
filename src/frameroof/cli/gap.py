"""`frameroof gap`: a measured run beside its limits, operation by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .maths import Maths
from .runs import load
from .sizes import parse_sizes
from .window import Asked, BetweenOption, StepOption

if TYPE_CHECKING:
    from ..gap import Gap
    from ..run import Run


def gap(
    run: Annotated[
        str, typer.Argument(help="Folder of a run (from analyze --out or profile), its run.json, or a trace.")
    ],
    on: Annotated[str | None, typer.Option("--on", help="The device whose limits count; else the run's own.")] = None,
    against: Annotated[str | None, typer.Option(help="Model of the catalogue or workload file to match with.")] = None,
    size: Annotated[list[str], typer.Option(help="A size of that workload: NAME=NUMBER; repeatable.")] = [],  # noqa: B006
    maths: Maths = None,
    step: StepOption = None,
    between: BetweenOption = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of the operations' table.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # one argument an option
    """Put a measured run beside its limits: time above the roofline, MFU, MBU, and the advice that follows."""
    from ..gap import check, device_of, gap_of, told, workload_of
    from ..trace.advice import advise

    if size and not against:
        raise ValueError("--size belongs to the workload of --against")
    measured = told(load(run, Asked(step, between)), maths)
    check(measured)
    device = device_of(measured, on)
    found = gap_of(measured, device, *workload_of(measured, run, against or None, parse_sizes(size)))
    measured.advice = advise(measured, device)
    show(measured, found, top, as_json)


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
