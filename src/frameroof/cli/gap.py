"""`frameroof gap`: a measured run beside its limits, operation by operation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..written import check_new, check_place, together
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
    out: Annotated[str | None, typer.Option(help="Folder for gap.json; made if missing.")] = None,
    csv: Annotated[str | None, typer.Option(help="Folder for one CSV file a table.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a pull request.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Rows of the operations' table.")] = 15,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # one argument an option
    """Put a measured run beside its limits: time above the roofline, MFU, MBU, and the advice that follows."""
    from ..gap import check, device_of, gap_of, told, workload_of
    from ..trace.advice import advise

    if size and not against:
        raise ValueError("--size belongs to the workload of --against")
    if markdown and as_json:
        raise ValueError("--markdown and --json are two forms of one answer; choose one")
    for folder, name in ((out, "gap.json"), (csv, "operations.csv")):
        if folder:
            check_place(folder, folder=True)
            check_new(Path(folder) / name, force)
    measured = told(load(run, Asked(step, between)), maths)
    check(measured)
    device = device_of(measured, on)
    found = gap_of(measured, device, *workload_of(measured, run, against or None, parse_sizes(size)))
    measured.advice = advise(measured, device)
    _write(measured, found, out, csv, force)
    if markdown:
        from ..report.gap_files import markdown as as_markdown

        sys.stdout.write(as_markdown(found, measured.advice, top))
    else:
        _show(measured, found, top, as_json)


def _write(run: Run, found: Gap, out: str | None, csv: str | None, force: bool) -> None:
    """The folders that were asked for, all or none."""
    if not (out or csv):
        return
    from ..report.gap_files import write_csv, write_json

    with together():
        if out:
            write_json(found, run.advice, out, force)
        if csv:
            write_csv(found, run.advice, csv, force)


def _show(run: Run, found: Gap, top: int, as_json: bool) -> None:
    """Print a gap, for a person or as JSON."""
    if as_json:
        from ..report.gap_files import as_dict
        from ..report.json import print_json

        print_json(as_dict(found, run.advice))
        return
    from ..report.analysis import print_advice
    from ..report.distance import print_gap

    print_gap(found, top)
    print_advice(run)
