"""What users may rely on: the public names, the version, and what is in the wheel."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest

import frameroof
from frameroof import catalogue

PUBLIC = [
    "Engine",
    "Prediction",
    "Run",
    "Utilization",
    "Workload",
    "analyze",
    "compare",
    "count",
    "device",
    "devices",
    "estimate_grid",
    "find_gap",
    "load_run",
    "load_workload",
    "models",
    "parse_node",
    "predict",
    "profile",
    "similarity_matrix_bytes",
    "stage",
]


def test_the_public_names_are_these():
    assert sorted(frameroof.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name: str):
    assert getattr(frameroof, name).__doc__


def test_a_type_checker_sees_the_same_names(root: Path):
    tree = ast.parse((root / "src" / "frameroof" / "__init__.py").read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = [a.asname or a.name for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert sorted(imported) == PUBLIC


# --------------------------------------------------- a room and a function of one name are one thing

ORDERS = {
    "the function first": "frameroof.count, frameroof.models(); import frameroof.count.load",
    "the room first": "import frameroof.count.load, frameroof.models.folder",
    "a name of the room first": "from frameroof.count import load_builder; from frameroof.models import FAMILIES",
    "the name imported": "from frameroof import count, models; assert count is frameroof.count",
}


@pytest.mark.parametrize("order", ORDERS)
def test_count_and_models_can_be_called_whatever_was_imported_before(order: str):
    fresh(
        f"""
        import sys, frameroof
        {ORDERS[order]}
        assert "sdxl-base" in [one.name for one in frameroof.models()]
        try:
            frameroof.count(print, dtype="int4")
        except ValueError as error:
            assert "not 'int4'" in str(error), error
        else:
            raise AssertionError("an inadmissible type")
        import frameroof.count.load as load
        from frameroof import models
        assert frameroof.count.load is load and models.FAMILIES
        assert "torch" not in sys.modules
        """
    )


def test_without_torch_names_are_listed_and_what_needs_it_says_so():
    fresh(
        """
        import sys, pydoc
        sys.modules["torch"] = None
        import frameroof
        assert "predict" in dir(frameroof) and "Engine" not in dir(frameroof)
        assert "estimate_grid" in pydoc.render_doc(frameroof, renderer=pydoc.plaintext)
        assert len(frameroof.models()) > 50 and frameroof.devices()
        for name in ("Engine", "profile"):
            try:
                getattr(frameroof, name)
            except ImportError as error:
                assert "pip install 'frameroof[torch]'" in str(error), error
            else:
                raise AssertionError(name)
        try:
            frameroof.count(lambda: None)
        except ValueError as error:
            assert "pip install 'frameroof[torch]'" in str(error), error
        else:
            raise AssertionError("count")
        """
    )


def test_help_on_the_package_names_all_of_it():
    shown = pydoc.render_doc(frameroof, renderer=pydoc.plaintext)
    assert [name for name in frameroof.__all__ if not re.search(rf"\b{name}\b", shown)] == []
    assert list(inspect.signature(frameroof.count).parameters)[:2] == ["model", "inputs"]
    assert inspect.signature(frameroof.models) == inspect.signature(catalogue.entries)


def fresh(text: str) -> None:
    """Run lines in a process that has imported nothing."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
