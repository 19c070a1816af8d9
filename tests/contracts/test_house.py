"""The house's own rules, read from the source: imports, errors that are documented, texts that can be followed."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import frameroof

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src" / "frameroof").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def found(paths: list[Path], rule) -> list[str]:
    """`file:line text` of every node that breaks a rule."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}" for path in paths for node in rule(tree_of(path))
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
        called = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
        if called == "import_module" and "'frameroof" in ast.unparse(node):
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
        if isinstance(node, ast.Attribute) and is_private(node.attr) and getattr(node.value, "id", "") in theirs:
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


# ------------------------------------------------------------------------------- errors are documented

FAULTS = {"AttributeError", "AssertionError", "NotImplementedError", "SystemExit", "StopIteration"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parts(function: Function) -> Iterator[ast.AST]:
    """What belongs to a function, without the functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def raised(function: Function) -> set[str]:
    """Names of the errors that a function makes and raises; those of a fault in the program are left out."""
    made = (node.exc for node in parts(function) if isinstance(node, ast.Raise) and node.exc)
    names = {ast.unparse(error.func if isinstance(error, ast.Call) else error) for error in made}
    return {name for name in names if name[0].isupper()} - FAULTS


def is_command(function: Function) -> bool:
    """Whether its docstring is the help of a command: errors of all commands are one sentence and exit code 2."""
    return any(arg.annotation and "typer." in ast.unparse(arg.annotation) for arg in function.args.args)


def is_called(name: str) -> bool:
    """Whether a user calls a function by its name or its class's; other special methods follow Python's own rules."""
    return name in ("__init__", "__post_init__", "__call__") or not name.startswith("_")


def public_functions(tree: ast.Module) -> Iterator[tuple[Function, str]]:
    """Functions and methods that others may call, each with its text; a class speaks for its constructor."""
    owners = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and not is_private(node.name))]
    for owner in owners:
        for function in owner.body:
            if isinstance(function, Function) and is_called(function.name) and not is_command(function):
                made = function.name.startswith("__") and isinstance(owner, ast.ClassDef)
                text = ast.get_docstring(function) or ""
                yield function, text + ((ast.get_docstring(owner) or "") if made else "")


def silent(tree: ast.Module) -> Iterator[ast.AST]:
    """Public functions that raise without saying so."""
    for function, text in public_functions(tree):
        errors = raised(function)
        if errors and not any(word in text for word in (*errors, "Raises")):
            yield ast.Name(f"{function.name} raises {', '.join(errors)}", lineno=function.lineno)


def test_public_functions_say_what_they_raise():
    assert found(SOURCE, silent) == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('def f():\n "Work."\n raise ValueError("no")', 1),
        ('def f():\n "Raises `ValueError`."\n raise ValueError("no")', 0),
        ('class A:\n def __init__(self):\n  raise ValueError("no")', 1),
        ('class A:\n "`ValueError` for x."\n def __init__(self):\n  raise ValueError("no")', 0),
        ('def _f():\n raise ValueError("no")', 0),
        ('def f():\n "Work."\n def g():\n  raise ValueError("no")', 0),
    ],
)
def test_a_silent_function_is_seen(text: str, seen: int):
    assert len(list(silent(ast.parse(text)))) == seen


LISTED = ("Prediction", "Run", "Workload", "devices", "models")  # records that are read, and listings


@pytest.mark.parametrize("name", sorted(set(frameroof.__all__) - set(LISTED)))
def test_every_public_name_says_what_it_raises(name: str):
    entry = getattr(frameroof, name)
    documented = {"Engine": lambda: entry.prepare, "count": lambda: entry.__call__}.get(name, lambda: entry)()
    assert re.search(r"`\w*Error`", documented.__doc__)


# ------------------------------------------------------------------------- texts that a reader can follow

KINDS = {"src": "py toml json j2 html css js", "docs": "rst md py", "benchmarks": "py md"}
SHIPPED = [
    *(
        path
        for folder, kinds in KINDS.items()
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix[1:] in kinds.split() and not {"_build", "results"} & {*path.parts}
    ),
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
]
UNSEEN = re.compile(
    r"shared/|\bfacts/|\bseeds/|index ids?\b|\blent\b|\b[Ii]ssue \d|/work/|(?<!torch)\.library|/tmp/wt|issues show"
)


def test_no_shipped_text_cites_what_a_reader_cannot_see():
    seen = [
        f"{path.relative_to(ROOT)}: {text[max(0, m.start() - 40) : m.end() + 40]!r}"
        for path in SHIPPED
        for text in [path.read_text("utf-8")]
        for m in UNSEEN.finditer(text)
    ]
    assert seen == []


@pytest.mark.parametrize("text", ["(shared/seeds/000)", "file index id 4711", "a lent machine", "what issue 5 says"])
def test_a_text_that_cites_the_unseen_is_seen(text: str):
    assert UNSEEN.search(text)


POINTER = re.compile(r"(?<![\w./@-])(?:docs|benchmarks|tests)/[\w./-]*\w")
MADE = ("docs/_build", "-DATE.json")  # by who reads


def test_files_that_texts_point_to_are_there():
    gone = {
        f"{path.relative_to(ROOT)}: {pointed}"
        for path in SHIPPED
        if path.suffix in (".py", ".md", ".rst")
        for pointed in POINTER.findall(path.read_text("utf-8"))
        if not (ROOT / pointed).exists() and not pointed.endswith(MADE)
    }
    assert gone == set()


# ----------------------------------------------------------------------------------- dependencies

RUN = {  # what is run, or imported by what is
    "hatchling": "hatchling",
    "httpx2": "starlette.testclient",
    "import-linter": "lint-imports",
    "mypy": "bin/mypy",
    "pytest-xdist": "pytest_xdist_auto_num_workers",
    "ruff": "bin/ruff",
    "sphinx": "bin/sphinx-build",
}
MODULES = {"pillow": "PIL", "prometheus-client": "prometheus_client"}


def is_used(name: str, text: str) -> bool:
    """Whether a development dependency is imported, or run."""
    if name in RUN:
        return RUN[name] in text
    module = MODULES.get(name, name)
    imported = rf"^\s*(?:from|import) {module}\b|(?:importorskip|import_module|find_spec)\(\W{module}\b"
    return re.search(imported, text, re.MULTILINE) is not None


def test_every_development_dependency_is_used():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [re.split(r"[<>=!~;\[ ]", text)[0] for text in project["optional-dependencies"]["dev"]]
    files = [*SOURCE, *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.py"), ROOT / ".ci" / "run"]
    text = "\n".join(path.read_text("utf-8") for path in files if path != Path(__file__).resolve())
    assert [name for name in wanted if not is_used(name, text)] == []
    assert not is_used("syrupy", text)
