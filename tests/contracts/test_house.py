"""The house's own rules, read from the source: who imports what, by which name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src" / "frameroof").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))


def found(paths: list[Path], rule) -> list[str]:
    """`file:line text` of every node that breaks a rule."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}"
        for path in paths
        for node in rule(ast.parse(path.read_text("utf-8")))
    ]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


# -------------------------------------------------------------------------------- relative imports


def absolute(tree: ast.AST) -> Iterator[ast.AST]:
    """Imports that name the package, and modules named in a text to be imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "frameroof":
            yield node
        if isinstance(node, ast.Import) and any(a.name.split(".")[0] == "frameroof" for a in node.names):
            yield node
        text = ast.unparse(node) if isinstance(node, ast.Call) else ""
        if "import_module(" in text.partition("'")[0] and "'frameroof" in text:
            yield node


def test_the_package_imports_itself_relatively():
    assert found(SOURCE, absolute) == []


@pytest.mark.parametrize(
    "text",
    ["import frameroof", "from frameroof.run import Run", "import_module(f'frameroof.models.{x}')"],
)
def test_an_absolute_import_is_seen(text: str):
    assert list(absolute(ast.parse(text)))


# --------------------------------------------------------------------------------- private names


def of_ours(node: ast.ImportFrom) -> bool:
    return bool(node.level) or (node.module or "").split(".")[0] == "frameroof"


def private(tree: ast.AST) -> Iterator[ast.AST]:
    """Another file's names with an underscore: imported, or read from its module or from a class of it."""
    theirs: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and of_ours(node):
            theirs |= {a.asname or a.name for a in node.names}
            if any(is_private(a.name) for a in node.names):
                yield node
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in theirs:
            yield node


def test_nothing_private_crosses_files():
    assert found(SOURCE, private) == []


def test_nothing_private_crosses_files_of_the_benchmarks():
    def names(tree: ast.AST) -> Iterator[ast.AST]:  # their files are siblings, found by path
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and any(is_private(a.name) for a in node.names):
                yield node

    assert found(BENCHMARKS, names) == []
    assert found(BENCHMARKS, private) == []


@pytest.mark.parametrize(
    "text", ["from .record import _meta", "from . import record\nrecord._meta()", "from .run import Run\nRun._side"]
)
def test_a_private_name_is_seen(text: str):
    assert list(private(ast.parse(text)))
