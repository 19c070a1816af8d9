"""`frameroof profile`: run something here, timed and recorded, and say where its time went."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..dtypes import BUILT, check
from ..public import need_torch
from .device import torch_device
from .sizes import parse_sizes

if TYPE_CHECKING:
    from ..profiler import Profile
    from ..run import Run
    from .work import Asked, Job


def profile(  # more than five arguments: each is an option of the command
    what: Annotated[
        str,
        typer.Argument(help="my_script.py, my_file.py:name, my_pkg.mod:name, a diffusers folder or a model's name."),
    ],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of a script, after --.")] = None,
    size: Annotated[list[str], typer.Option(help="A size of a builder or model: NAME=NUMBER; repeatable.")] = [],  # noqa: B006
    stage: Annotated[list[str], typer.Option(help="Run only this stage of a model; repeatable.")] = [],  # noqa: B006
    dtype: Annotated[
        str | None, typer.Option(help="bf16, fp16 or fp32: the type it is built in; or a unit: tf32, fp16_acc.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default cuda where there is one.")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Runs before the timed ones: 1, for a script 0.")] = None,
    repeat: Annotated[int | None, typer.Option(min=0, help="Timed runs without the profiler: 5, a script 0.")] = None,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Capture a graph; time and record its replay.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for trace.json.gz and run.json; made if missing.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Rows of the longer tables.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a script, function or model here: time it, record it with stages and module paths, and account for it."""
    check(dtype, BUILT, "a module is built in")
    need_torch("profile")
    from msgspec.structs import replace

    from ..profiler.build import multiplied_in
    from ..profiler.recorder import check_folder
    from ..report.progress import status
    from .work import Asked, job_of

    if out is not None:
        check_folder(out, force)
    asked = Asked(what, arguments or (), parse_sizes(size), stage, dtype, torch_device(device))
    script = what.endswith(".py") and ":" not in what
    quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with status(f"profiling {what}") as say, quiet, multiplied_in(dtype, asked.device):
        job = job_of(asked, say)
        recorded = _record(job, asked, (0 if script else 1) if warmup is None else warmup,
                           (0 if script else 5) if repeat is None else repeat, cuda_graph, say)  # fmt: skip
        say("analyzing")
        run = recorded.result
        run.source = replace(run.source, **job.source)
        if out is not None:
            say("writing")
            recorded.save(out, force, _workload(job, run))
    _show(run, out, top, as_json)


def _record(job: Job, asked: Asked, warmup: int, repeat: int, graph: bool, say: Any) -> Profile:
    """Time and record a job; six: what is run, and how often."""
    from ..profiler import Profile

    recorded = Profile([module for _, module in job.roots] if job.roots is not None else None)
    try:
        recorded.measure(job.run, warmup=warmup, repeat=repeat, graph=graph, say=say)
    except (ValueError, KeyboardInterrupt):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{asked.what} failed: {type(error).__name__}: {text[:300]}; nothing was written") from error
    found = recorded.measured
    if job.cold_ns is not None:
        found.cold_ns = job.cold_ns
    found.sizes, found.notes, found.device = job.sizes or None, job.notes or None, asked.device
    repeats = {work.name: work.repeat for work in job.works}
    stages = found.stages or []
    for row in stages:
        row.repeat = repeats.get(row.name, 1)
    if repeats and len(stages) == len(repeats):
        found.pipeline_ns = sum((row.median_ns or 0) * (row.repeat or 1) for row in stages)
    return recorded


def _workload(job: Job, run: Run) -> dict[str, bytes]:
    """The file `workload.json`, which `gap` matches a run with; a run without one is still a run."""
    if job.workload is None:
        return {}
    from tempfile import TemporaryDirectory

    from ..workload.file import save

    try:
        with TemporaryDirectory() as folder:
            return {"workload.json": save_path(save, job.workload(), Path(folder) / "workload.json")}
    except ValueError as error:
        run.measured.workload = f"could not be counted: {error}"
        return {}


def save_path(save: Any, workload: Any, path: Path) -> bytes:
    """What `save` writes."""
    save(workload, path)
    return path.read_bytes()


def _show(run: Run, out: Path | None, top: int, as_json: bool) -> None:
    if as_json:
        from ..report.json import print_json

        print_json({**run.to_dict(), "out": str(out) if out else None})
        return
    from ..report.analysis import print_run
    from ..report.measured import print_measured

    print_run(run, top)
    print_measured(run, out)
