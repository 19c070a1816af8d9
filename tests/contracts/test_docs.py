"""The documentation says what the program does: verbs, options, commands, JSON keys, README."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import frameroof
from frameroof.workload.file import load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"


def command() -> Any:
    """The whole command line as one command."""
    from typer.main import get_command

    from frameroof.cli.app import command_line

    return get_command(command_line())


VERBS: dict[str, Any] = dict(command().commands)


# ------------------------------------------------------------------------------------ verbs


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str):
    assert VERBS[verb].help
    for param in VERBS[verb].params:
        assert param.help, f"{verb}: {param.name} has no help"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page_that_shows_it(verb: str):
    page = DOCS / "guide" / f"{verb}.rst"
    assert page.is_file(), f"write docs/guide/{verb}.rst"
    assert f"frameroof {verb}" in page.read_text("utf-8")
    assert f"guide/{verb}\n" in (DOCS / "index.rst").read_text("utf-8")
    assert f":doc:`{verb}`" in (DOCS / "guide" / "index.rst").read_text("utf-8")


@pytest.mark.parametrize("verb", VERBS)
def test_the_cli_reference_holds_every_option(verb: str):
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(DOCS))
    try:
        import made
    finally:
        sys.path.remove(str(DOCS))
    section = made.cli_reference().split(f".. _cli-{verb}:")[1].split(".. _cli-")[0]
    for param in VERBS[verb].params:
        for name in param.opts:
            assert re.search(rf"``{re.escape(name)}\b", section), f"{verb}: {name} is not in the reference"


# ------------------------------------------------------------------------------- commands shown


def shown() -> Iterator[tuple[str, str]]:
    """Every command in the pages and the README, with the file it stands in."""
    lines = {
        ".md": re.compile(r"^(?:.*&& [\w./-]*bin/)?(frameroof [a-z][^\n`|]*)$"),
        ".rst": re.compile(r"^(?:\.\. runs:: | +(?:\$ )?)(frameroof [a-z][^\n`|]*)$"),
    }
    inline = re.compile(r"``?(frameroof (?:--debug )?[a-z][^`\n]*)``?")
    for path in (README, *sorted(DOCS.rglob("*.rst"))):
        text = path.read_text("utf-8")
        found = [m[1] for m in map(lines[path.suffix].match, text.splitlines()) if m] + inline.findall(text)
        for words in dict.fromkeys(found):
            yield str(path.relative_to(ROOT)), words.split(" #")[0].strip()


def is_concrete(words: str) -> bool:
    """Whether a command is meant to be typed: no ellipsis, no PLACEHOLDER."""
    return "…" not in words and not re.search(r"\b[A-Z]{4,}\b", words)


@pytest.mark.parametrize(("where", "words"), [pair for pair in shown() if is_concrete(pair[1])])
def test_every_command_shown_can_be_typed(where: str, words: str):
    arguments = [w for w in shlex.split(words)[1:] if w != "--debug"]
    if not arguments or arguments[0].startswith("-"):
        return
    assert arguments[0] in VERBS, f"{where} shows `{words}`: there is no such verb"
    if len(arguments) == 1:
        return  # the verb is named, not run
    try:
        VERBS[arguments[0]].make_context(arguments[0], list(arguments[1:]))
    except Exception as error:
        pytest.fail(f"{where} shows `{words}`: {error}")


# ------------------------------------------------------------------------------------- JSON


def keys(data: Any, below: tuple[str, ...] = ()) -> set[str]:
    """Every key at every depth, but those below the names in `below`, which users choose."""
    if isinstance(data, list):
        return {key for item in data for key in keys(item, below)}
    if not isinstance(data, dict):
        return set()
    inner = (keys(value, below) for key, value in data.items() if key not in below)
    return set(data).union(*inner)


def test_the_json_of_predict_is_documented(tiny: Path):
    from frameroof.study.predict import predict
    from frameroof.study.target import reach

    found = predict(load(tiny), "2xH100")
    data = {**found.to_dict(ops=True), "target": reach(found, "10/h").to_dict()}
    check_documented("json-predict", data)


def test_the_json_of_count_is_documented(tiny: Path):
    from frameroof.study.counts import counts

    check_documented("json-count", {**msgspec.to_builtins(counts(load(tiny))), "out": None})


@pytest.mark.parametrize("document", ["movie-gen", "llama-3.2-vision"])
def test_the_json_of_reproduce_is_documented(document: str):
    from frameroof.study.reproduce import reproduce

    check_documented("json-reproduce", reproduce(document).to_dict(), below=("verdicts",))


def test_the_json_of_compare_is_documented():
    from frameroof.study.compare import compare
    from frameroof.study.thresholds import apply, parse_rules
    from frameroof.trace.to_run import analyze

    runs = [analyze(DOCS / "guide" / "examples" / name) for name in ("before.json", "after.json")]
    found = compare(*runs)
    checks = [check.to_dict() for check in apply(parse_rules("total>5%"), found)]
    assert found.brought
    check_documented("json-compare", {**found.to_dict(), "checks": checks})


def test_the_json_of_validate_is_documented():
    from frameroof.study.validate.validate import validate

    data = {**validate(model="mochi-1").to_dict(), "failed": []}
    check_documented("json-validate", {**data, "groups": list(data["groups"].values())})


def check_documented(label: str, data: dict[str, Any], below: tuple[str, ...] = ("sizes",)) -> None:
    """Every key is named, and the schema is the section's."""
    text = (DOCS / "reference" / "json.rst").read_text("utf-8")
    sums = text.split(".. _json-sums:")[1].split(".. _json-")[0]
    section = text.split(f".. _{label}:")[1].split(".. _json-")[0]
    named = set(re.findall(r"``(\w+)``", sums + section))
    assert keys(data, below) <= named
    assert data["schema"] in section


# ----------------------------------------------------------------------------------- Python

PAGE = (DOCS / "reference" / "python.rst").read_text("utf-8")


def test_the_reference_has_every_public_name_once_with_an_example():
    sections = re.split(r"^\.\. public:: ", PAGE, flags=re.MULTILINE)[1:]
    assert sorted(section.split()[0] for section in sections) == sorted(frameroof.__all__)
    for section in sections:
        assert "\n   >>> " in section, f"{section.split()[0]} has no example"


def test_the_examples_of_the_reference_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch")
    shutil.copytree(DOCS / "guide" / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    shown = doctest.DocTestParser().get_doctest(PAGE, {}, "python.rst", None, 0)
    said: list[str] = []
    found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(shown, out=said.append)
    assert found.failed == 0, "".join(said)
    assert found.attempted > 40


@pytest.mark.parametrize("name", frameroof.__all__)
def test_the_reference_is_made_from_the_docstrings(name: str):
    pytest.importorskip("sphinx")
    pytest.importorskip("torch")
    sys.path.insert(0, str(DOCS))
    try:
        import made
    finally:
        sys.path.remove(str(DOCS))
    entry = getattr(frameroof, name)
    text = (entry.__call__ if inspect.ismodule(entry) else entry).__doc__
    assert text.splitlines()[0].replace("`", "") in made.public_entry(name).replace("`", "")


# ----------------------------------------------------------------------------------- README


def test_the_readme_and_ci_run_the_tests_alike():
    last = (ROOT / ".ci" / "run").read_text("utf-8").rstrip().splitlines()[-1]
    assert last.endswith("pytest")
    assert f"\n{last}\n" in README.read_text("utf-8")


def test_the_outputs_in_the_readme_are_real():
    pytest.importorskip("sphinx")
    from frameroof import catalogue

    sys.path.insert(0, str(DOCS))
    try:
        import readme_output
    finally:
        sys.path.remove(str(DOCS))
    blocks = readme_output.blocks(README.read_text("utf-8"))
    assert blocks
    for words, body in blocks.items():
        name = shlex.split(words)[2]
        if name not in catalogue.names():
            pytest.skip(f"{name} is not in the catalogue yet")
        assert body == readme_output.block(words), "run: python docs/readme_output.py"


def test_the_readme_links_to_files_that_exist():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", README.read_text("utf-8"))
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_json_that_is_printed_is_what_is_documented(tiny: Path):
    program = [sys.executable, "-c", "from frameroof.cli import main; main()", "predict", str(tiny), "--json"]
    done = subprocess.run(program, capture_output=True, check=True)
    data = json.loads(done.stdout)
    assert data["schema"] == "frameroof.predict/1"
    assert data["total"]["flops"] == 2 * 64 * 64
    assert "ops" not in data
