"""`frameroof analyze`: where the time of a profiler trace went, and what to change first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ..written import check_new, check_place, together
from .maths import Maths
from .sizes import parse_sizes
from .window import Asked, BetweenOption, StepOption

if TYPE_CHECKING:
    from ..gap import Gap
    from ..hardware import Device
    from ..run import Run


def analyze(
    trace: Annotated[
        list[str],
        typer.Argument(
            help="Trace of the PyTorch profiler (.json, .json.gz) or of Nsight "
            "Systems (.sqlite); several: one per rank."
        ),
    ],
    capture: Annotated[str | None, typer.Option(help="The trace in which the replayed graphs were captured.")] = None,
    against: Annotated[str | None, typer.Option(help="A model or workload file to match with, as `gap` does.")] = None,
    size: Annotated[list[str], typer.Option(help="A size of that workload: NAME=NUMBER; repeatable.")] = [],  # noqa: B006
    on: Annotated[str | None, typer.Option("--on", help="The device to compare with; else the one it names.")] = None,
    maths: Maths = None,
    step: StepOption = None,
    between: BetweenOption = None,
    out: Annotated[str | None, typer.Option(help="Folder for run.json; made if missing.")] = None,
    csv: Annotated[str | None, typer.Option(help="Folder for one CSV file a table.")] = None,
    parquet: Annotated[str | None, typer.Option(help="Folder for one Parquet file a table.")] = None,
    perfetto: Annotated[
        str | None, typer.Option(help="Write the trace with stages, attention and gaps as tracks.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of the longer tables.")] = 12,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # one argument an option
    """Say where the time of a trace went: operators, attention, stages, idle causes, and the change to make first."""
    if len(trace) > 1 and (capture or against or perfetto):
        raise ValueError("--capture, --against and --perfetto belong to one trace; give one at a time")
    if size and not against:
        raise ValueError("--size belongs to the workload of --against")
    _check_distinct(trace)
    known = _device(on) if on else None
    _check_places(out, csv, parquet, perfetto, force)
    with together():
        beside = _Beside(known, maths, Asked(step, between))
        runs = [_analyzed(path, beside, capture, perfetto, force) for path in trace]
        found = _beside(runs[0], against, parse_sizes(size), on) if against else None
        _write(runs, out, csv, parquet, force)
    _show(runs, found, top, as_json)


def _device(name: str) -> Device:
    from ..hardware import device

    return device(name)


def _check_distinct(traces: list[str]) -> None:
    """Refuse a trace that is given twice, also under another name."""
    from filecmp import cmp
    from itertools import combinations

    files = [Path(path) for path in traces]
    for one, other in combinations(files, 2):
        if one.is_file() and other.is_file() and (one.samefile(other) or cmp(one, other, shallow=False)):
            raise ValueError(f"{one} and {other} are the same trace; give each rank's once")


def _check_places(  # one argument an option
    out: str | None, csv: str | None, parquet: str | None, perfetto: str | None, force: bool
) -> None:
    """Refuse what cannot be written, or would be overwritten, before anything is read.

    Of the tables it looks at one that every export has.
    """
    for folder, name in ((out, "run.json"), (csv, "classes.csv"), (parquet, "classes.parquet")):
        if folder:
            check_place(folder, folder=True)
            for file in (Path(folder) / name, *sorted(Path(folder).glob(f"rank*/{name}"))):
                check_new(file, force)
    if perfetto:
        check_place(perfetto)
        check_new(perfetto, force)


def _write(  # one argument an option
    runs: list[Run], out: str | None, csv: str | None, parquet: str | None, force: bool
) -> None:
    """The folders that were asked for, one a run."""
    if out:
        from ..run import save_run

        for run, folder in zip(runs, _folders(out, runs), strict=True):
            save_run(run, folder, force)
    if csv or parquet:
        from ..report.frames import write_csv, write_parquet

        for asked, write in ((csv, write_csv), (parquet, write_parquet)):
            for run, folder in zip(runs, _folders(asked, runs), strict=True) if asked else ():
                write(run, folder, force)


def _folders(out: str, runs: list[Run]) -> list[Path]:
    """Where each run goes: `out` itself for one, a folder a rank for several (counted where the files do not tell)."""
    if len(runs) == 1:
        return [Path(out)]
    ranks = [run.source.rank for run in runs]
    told = None not in ranks and len(set(ranks)) == len(ranks)
    return [Path(out) / f"rank{rank if told else i}" for i, rank in enumerate(ranks)]


class _Beside(NamedTuple):
    """What every trace is read with."""

    device: Device | None
    maths: str | None
    window: Asked


def _analyzed(path: str, beside: _Beside, capture: str | None, perfetto: str | None, force: bool) -> Run:
    """One trace as a run; five: what `analyze` was asked about it."""
    from .heap import suit_large_files

    suit_large_files()
    from ..trace.read.file import open_trace

    source = open_trace(path).begin()  # unpacked while NumPy and the rest are imported
    from ..report.progress import status
    from ..trace.read.decode import read

    with status(f"reading {Path(path).name}") as say:

        def progress(seen: int) -> None:
            say(f"reading {Path(path).name}: {seen >> 20} MiB of text")

        trace = read(source, progress=progress, meanwhile=_load_the_rest)
        from ..trace.to_run import analyze as run_analysis

        return run_analysis(
            trace,
            capture=capture,
            on=beside.device,
            maths=beside.maths,
            progress=progress,
            perfetto=perfetto,
            force=force,
            step=beside.window.step,
            between=beside.window.between,
        )


def _load_the_rest() -> None:
    """Load what a trace is analyzed with while a second process decodes it."""
    from ..trace import to_run  # noqa: F401


def _beside(run: Run, against: str, sizes: dict[str, int], on: str | None) -> Gap:
    """The run beside a workload's limits; its coverage goes into the run."""
    from ..gap import find_gap

    return find_gap(run, on, against, sizes)


def _show(runs: list[Run], found: Gap | None, top: int, as_json: bool) -> None:
    from ..trace.advice.first_lines import of_ranks
    from ..trace.find.ranks import overall

    if as_json:
        from ..report.json import print_json

        if len(runs) > 1:
            ranks = [r.to_dict() for r in runs]
            print_json(
                {
                    "schema": "frameroof.analyze-ranks/1",
                    "ranks": ranks,
                    "overall": overall(runs),
                    "first_lines": of_ranks(runs, overall(runs)),
                }
            )
        else:
            beside = {"gap": found} if found else {}
            print_json({"schema": "frameroof.analyze/1", **runs[0].to_dict(), **beside})
        return
    from ..report.analysis import print_first, print_ranks, print_run

    if len(runs) > 1:
        print_first(of_ranks(runs, overall(runs)))

    for run in runs:
        print_run(run, top)
    if len(runs) > 1:
        print_ranks(overall(runs), top)
    if found:
        from ..report.distance import print_gap

        print_gap(found, top)
