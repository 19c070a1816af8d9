"""`frameroof characterize`: a paper's tables and figures, predicted for a machine or measured on this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import typer

from .expected import EfficiencyFile, SoftwareState, expected_of
from .sizes import parse_sizes
from .stops import kept
from .streams import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..estimate import Expected
    from ..report.study import Study
    from ..study.characterize.source import Experiment, Source

SUITES = ("golden",)
DEFAULT_OUT = Path("study")
COMPARE = frozenset(("figure-7", "table-2", "figure-12"))
"""Experiments that need every model with both attentions: a measured source runs them model by model."""


@runtime_checkable
class Prepared(Protocol):
    """A source that can do its work beforehand."""

    def prepare(self) -> None:
        """Run every model with both attentions."""

    def fit(self) -> tuple[str, ...]:
        """Leave out what the machine's memory does not hold, and say so."""
        ...


def characterize(  # more than five arguments: each is an option of the command
    suite: Annotated[str | None, typer.Option(help="golden: the eight models of Golden et al. The default.")] = None,
    models: Annotated[
        str | None, typer.Option(help="Models by name, comma-separated, of the suite or the catalogue.")
    ] = None,
    predict: Annotated[bool, typer.Option("--predict", help="Predict; nothing is run and PyTorch not needed.")] = False,
    on: Annotated[
        str | None, typer.Option("--on", help="The device to predict for, with --predict; A100 by default.")
    ] = None,
    efficiency: EfficiencyFile = None,
    software: SoftwareState = None,
    only: Annotated[
        str | None,
        typer.Option(help="Experiments, comma-separated: table-1, figure-8 … or topics: attention, sequence …"),
    ] = None,
    figure: Annotated[str | None, typer.Option(help="One figure by its number.")] = None,
    size: Annotated[
        list[str], typer.Option(help="A size in place of the models' own, where they have it: NAME=NUMBER; repeatable.")
    ] = [],  # noqa: B006
    jobs: Annotated[str | None, typer.Option(help="Job records of a fleet for figure 1: CSV or Parquet.")] = None,
    counters: Annotated[
        list[str],
        typer.Option(help="Nsight Compute exports: temporal=FILE and spatial=FILE for figure 13, MODEL=FILE for 8."),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(help="Folder for data, figures and page.html; measured: study, unless given.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew in that folder, or replace another study; runs stay.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Characterize models: every table and figure of Golden et al., each claim of theirs beside our number.

    Measured on this machine (reduced models on a CPU, full ones with CUDA), or predicted for any with --predict. The
    same command takes up an interrupted study: what was measured is not measured again.
    """
    from ..report.progress import status
    from ..study.characterize.experiments import chosen

    needing = (("--on", on), ("--efficiency", efficiency), ("--software", software))
    for option in [name for name, given in needing if given and not predict]:
        raise ValueError(f"{option} needs --predict: without it the numbers are measured on this machine")
    expected = _expected(efficiency, software)
    names = _names(suite, models)
    ids = chosen(_listed(only, _figure(figure)))
    files = _inputs(jobs, counters, names)
    told = {**files, **{name: of for name, of in (("efficiency", efficiency), ("software", software)) if of}}
    folder = out if predict else out or DEFAULT_OUT
    _ready(not predict, folder, force)
    with _resumable(folder), status("characterizing") as say:
        sizes = parse_sizes(size)
        if folder is None or predict:
            source, asked = _predicted(names, on, expected, sizes)
        else:
            source, asked = _measured(names, folder, sizes, say)
        inputs = tuple(f"{name}: {path}" for name, path in told.items())
        study = _study(source, asked, inputs, folder, force)
        experiments = _run(source, ids, files, folder, say)
        if folder is not None:
            from ..report.study import write_page

            say("writing the page")
            write_page(folder, study)
    _show(study, experiments, folder, as_json)


def _expected(efficiency: str | None, software: str | None) -> Expected | None:
    """The model of expected time that was asked for; of a file's kernels as eager code runs them, unless said."""
    if efficiency is None and software is None:
        return None
    found = expected_of(None, efficiency, software)
    if software is None and hasattr(found, "software"):
        return expected_of(None, efficiency, "diffusers-eager")
    return found


@contextmanager
def _resumable(folder: Path | None) -> Iterator[None]:
    """Where a study has a folder, stopping it loses what is not finished and nothing else."""

    def what() -> str:
        if folder is None or not folder.exists():
            return "nothing was written"
        return f"{folder} has what is finished, and the same command goes on"

    with kept(what):
        yield


def _names(suite: str | None, models: str | None) -> tuple[str, ...]:
    """The models of a suite and those asked for by name."""
    from ..study.characterize.suite import suite as names_of

    if suite is not None and suite not in SUITES:
        raise ValueError(f"there is no suite {suite!r}; there is {', '.join(SUITES)}, and --models takes any model")
    return names_of(_listed(suite, models))


def _listed(*parts: str | None) -> str | None:
    """What was given of two options, as one list; None if nothing was."""
    return ",".join(part for part in parts if part) or None


def _study(
    source: Source, asked: Mapping[str, dict[str, int]], inputs: tuple[str, ...], folder: Path | None, force: bool
) -> Study:
    """What is studied; its folder is made, or taken up again."""
    from ..report.study import open_folder, study_of

    study = study_of(source.how, source.machine, source.models(), asked, inputs)
    return study if folder is None else open_folder(folder, study, force)


def _run(
    source: Source, ids: Sequence[str], files: Mapping[str, str], folder: Path | None, say: Callable[[str], None]
) -> list[Experiment]:
    """The experiments, each written as soon as it is there."""
    from ..study.characterize.experiments import run

    exports = {name: path for name, path in files.items() if name != "jobs"} or None
    found: list[Experiment] = []
    if isinstance(source, Prepared) and COMPARE.intersection(ids):
        source.prepare()
    for at, name in enumerate(ids, 1):
        say(f"{name}, {at} of {len(ids)}")
        found += run(source, (name,), files.get("jobs"), exports)
        if folder is not None:
            from ..report.study import write_experiment

            write_experiment(folder, found[-1])
    return found


def _show(study: Study, experiments: Sequence[Experiment], folder: Path | None, as_json: bool) -> None:
    if not as_json:
        from ..report.characterization import print_experiments

        print_experiments(experiments, folder)
        return
    import msgspec

    from ..report.json import print_json

    data = {"schema": "frameroof.characterize/1", **msgspec.to_builtins(study), "out": str(folder) if folder else None}
    print_json({**data, "experiments": [each.to_dict() for each in experiments]})


def _predicted(
    names: Sequence[str], on: str | None, expected: Expected | None, sizes: dict[str, int]
) -> tuple[Source, dict[str, dict[str, int]]]:
    """(a source that runs nothing, sizes it was given by model)."""
    from ..hardware import parse_node
    from ..study.characterize.predicted import Predicted, workload_of
    from ..study.characterize.sized import fitting, resize

    node = parse_node(on or "A100")
    if node.count != 1:
        raise ValueError(f"--on is one device, such as {node.device.name}: inference of the paper is on one")
    made = Predicted(node, names, expected)
    predicted: Any
    predicted, asked = resize(made, sizes, lambda m, s: workload_of(m, "flash").sizes(s))
    predicted, refused = fitting(predicted)
    _warn(refused)
    return predicted, {name: each for name, each in asked.items() if name in predicted.models()}


def _measured(
    names: Sequence[str], out: Path, sizes: dict[str, int], say: Callable[[str], None]
) -> tuple[Source, dict[str, dict[str, int]]]:
    """(a source that measures into a folder, sizes it was given by model)."""
    from ..lab.characterize import measured_source
    from ..study.characterize.sized import resize

    measured = measured_source(names, out, say)
    source, asked = resize(measured, sizes, measured.runs.sizes)
    if isinstance(source, Prepared):
        _warn(source.fit())
    return source, {name: each for name, each in asked.items() if name in source.models()}


def _warn(sentences: Sequence[str]) -> None:
    for text in sentences:
        complain(text)


def _figure(figure: str | None) -> str | None:
    """The id of a figure from its number."""
    if figure is None:
        return None
    number = figure.strip().lower().removeprefix("figure").strip(" -")
    if not number.isdigit():
        raise ValueError(f"--figure is a number of the paper, such as 8, not {figure!r}; --only takes other names")
    return f"figure-{number}"


def _inputs(jobs: str | None, counters: Sequence[str], models: Sequence[str]) -> dict[str, str]:
    """Files of measurements that the user brings: jobs, temporal, spatial, and of models by name."""
    from ..files import check_file
    from ..study.characterize.temporal import AXES

    found = {"jobs": jobs} if jobs else {}
    for text in counters:
        kind, equals, path = text.partition("=")
        if not equals or kind not in (*AXES, *models) or not path:
            raise ValueError(
                f"--counters is temporal=FILE, spatial=FILE or MODEL=FILE of a model studied, not {text!r}"
            )
        found[kind] = path
    if len(found.keys() & set(AXES)) == 1:
        raise ValueError("--counters is needed twice for figure 13: temporal=FILE and spatial=FILE")
    return {name: str(check_file(path)) for name, path in found.items()}


def _ready(measure: bool, folder: Path | None, force: bool) -> None:
    """`ValueError` where a package is missing or the folder holds something else, before anything is run."""
    from importlib.util import find_spec

    if measure and find_spec("torch") is None:
        raise ValueError(
            "measuring needs PyTorch: pip install 'frameroof[torch,study]'; --predict needs none and runs nothing"
        )
    if folder is None:
        return
    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        raise ValueError("figures and page need matplotlib and jinja2: pip install 'frameroof[study]'")
    from ..report.study import check_folder

    check_folder(folder, force)
