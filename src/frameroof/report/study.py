"""The folder of a study: data (JSON, Parquet) and picture (PNG, SVG) of each experiment, and the page of them all.

`study.json` says what was studied. The same study may be taken up again: what is there and has not changed stays.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import msgspec

from ..files import read_whole
from ..outside import from_json
from ..study.characterize.experiments import EXPERIMENTS
from ..study.characterize.source import Experiment
from ..written import as_json, check_place, make_folder, together, write_whole

FILE, PAGE, KINDS = "study.json", "page.html", ("json", "parquet", "png", "svg")
PACKAGES = ("frameroof", "numpy", "polars", "matplotlib", "torch", "diffusers", "transformers")
MOST_BYTES = 1 << 26
"""Bytes of one experiment."""
T = TypeVar("T")


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """What was studied. Two studies are the same if all but `versions` and `made` are equal."""

    how: str
    machine: str
    models: tuple[str, ...]
    sizes: dict[str, dict[str, int]]
    frameroof: str
    inputs: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    made: str = ""

    def same(self, other: Study) -> bool:
        """Whether the other is the same study, perhaps begun at another time."""
        left, right = (msgspec.structs.replace(each, versions={}, made="") for each in (self, other))
        return left == right

    def words(self) -> str:
        """What it is, for a message."""
        return f"{self.how}, {self.machine}, {', '.join(self.models)}, frameroof {self.frameroof}"


def study_of(
    how: str, machine: str, models: tuple[str, ...], sizes: Mapping[str, dict[str, int]], inputs: tuple[str, ...]
) -> Study:
    """A study that begins now, with the versions that are installed."""
    found = versions()
    if how == "predicted":
        found = {name: found[name] for name in found if name not in ("torch", "diffusers", "transformers")}
    return Study(
        how=how,
        machine=machine,
        models=models,
        sizes={name: dict(each) for name, each in sizes.items()},
        frameroof=found["frameroof"],
        inputs=inputs,
        versions=found,
        made=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def versions() -> dict[str, str]:
    """Python and the packages that a study depends on, those that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def check_folder(out: Path, force: bool = False) -> None:
    """`ValueError` where `out` cannot take a study: it is a file, or holds something that is no study."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, not a folder")
    check_place(out, folder=True)
    if out.is_dir() and not force and not (out / FILE).exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no study; choose another folder, or --force writes into it")


def open_folder(out: Path, study: Study, force: bool = False) -> Study:
    """Make the folder, or take up the same study in it; returns it. `ValueError` for another one without `force`.

    With `force` the experiments that are there are removed; measured runs stay, for they name their settings.
    """
    check_folder(out, force)
    if (out / FILE).exists():
        there = _read(out / FILE, Study)
        if there is not None and study.same(there) and not force:
            return there
        if not force:
            held = f"another study ({there.words()})" if there else "another version's study"
            raise ValueError(f"{out} holds {held}; choose another folder, or --force replaces it")
        for name in (*(f"{i}.{kind}" for i in EXPERIMENTS for kind in KINDS), PAGE):
            (out / name).unlink(missing_ok=True)
    make_folder(out)
    write_whole(out / FILE, as_json(study, 2), force=True)
    return study


def write_experiment(out: Path, experiment: Experiment) -> None:
    """JSON, Parquet, PNG and SVG of an experiment; nothing where they are there and the data is the same."""
    from .figures import draw, saved

    data = as_json(experiment)
    files = {kind: out / f"{experiment.id}.{kind}" for kind in KINDS}
    wanted = KINDS if experiment.rows else ("json",)
    if all(files[kind].is_file() for kind in wanted) and files["json"].read_bytes() == data:
        return
    figure = draw(experiment)
    content = {"json": data}
    if figure is not None:
        table = BytesIO()
        experiment.frame().write_parquet(table)
        content |= {"parquet": table.getvalue(), "png": saved(figure, "png"), "svg": saved(figure, "svg")}
    for kind in KINDS:
        if kind not in content:
            files[kind].unlink(missing_ok=True)
    with together():
        for kind, each in content.items():
            write_whole(files[kind], each, force=True)


def write_page(out: Path, study: Study) -> Path:
    """The page of every experiment in the folder."""
    from .page import page

    experiments = tuple(read_experiments(out))
    pictures = {e.id: (out / f"{e.id}.svg").read_bytes() for e in experiments if (out / f"{e.id}.svg").is_file()}
    return write_whole(out / PAGE, page(study, experiments, pictures), force=True)


def read_experiments(out: str | os.PathLike[str]) -> Iterator[Experiment]:
    """The experiments in a study's folder, in the paper's order."""
    for name in EXPERIMENTS:
        found = _read(Path(out) / f"{name}.json", Experiment)
        if found is not None:
            yield found


def _read(file: Path, kind: type[T]) -> T | None:
    """The record in a JSON file; None where there is no such file, or another version's."""
    if not file.exists():
        return None
    data = read_whole(file, MOST_BYTES)
    try:
        return from_json(data, kind, str(file))
    except ValueError:
        return None
