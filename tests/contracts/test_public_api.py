"""What users may rely on: the public names, the version, and what is in the wheel."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path

import pytest

import frameroof

PUBLIC = [
    "Prediction",
    "Run",
    "Utilization",
    "Workload",
    "analyze",
    "device",
    "load_workload",
    "parse_node",
    "predict",
    "profile",
    "similarity_matrix_bytes",
    "stage",
]


def test_the_public_names_are_these():
    assert sorted(frameroof.__all__) == PUBLIC
    assert len(frameroof.__all__) <= 12


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name: str):
    assert getattr(frameroof, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        frameroof.nothing_of_ours  # noqa: B018


def test_the_version_is_the_same_everywhere(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert frameroof.__version__ == project["version"]
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## \[{re.escape(frameroof.__version__)}\]", changes, re.MULTILINE)


def test_a_light_install_is_light(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[<>=!~\[ ]", text)[0] for text in project["dependencies"]}
    assert names == {"msgspec", "numpy", "polars", "rich", "typer"}
    everything = [text for group in project["optional-dependencies"].values() for text in group]
    assert not [text for text in everything if text.startswith("torchvision")]


def test_every_dependency_is_pinned_for_ci(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(t for g in project["optional-dependencies"].values() for t in g)]
    pinned = set(re.findall(r"^([\w.-]+)==", (root / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    assert {re.split(r"[<>=!~\[ ]", text)[0] for text in wanted} <= pinned


def test_the_wheel_holds_the_data(root: Path, tmp_path: Path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    (made,) = wheel.WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(made) as archive:
        inside = set(archive.namelist())
    source = root / "src"
    data = [p for pattern in ("*.toml", "*.json", "*.py") for p in (source / "frameroof").rglob(pattern)]
    missing = {p.relative_to(source).as_posix() for p in data} - inside
    assert not missing
    for kind in ("hardware/nvidia.toml", "models/configs/sdxl-base.json", "cli/app.py"):
        assert f"frameroof/{kind}" in inside
    assert [name for name in inside if name.endswith(".workload.json")]
    assert [name for name in inside if name.endswith("licenses/LICENSE")]
