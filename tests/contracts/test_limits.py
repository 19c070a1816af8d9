"""Every limit that a message speaks of stands in the help of a verb, with the number that the code goes by."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from frameroof.cli.app import command_line
from frameroof.cli.limits import _VERBS, limits

NAMES = re.compile(r"^(MOST|LEAST|SHORTEST|LONGEST|LARGEST|SMALLEST|LIMIT|STEADY)(_|$)")
OURS = {  # no limits of what a user gives, or those of another place
    "lab/characterize/training.py LIMIT_S": "how long processes of our own may take",
    "stream/text.py LONGEST_PROMPT": "as in serve/limits.py; its module loads torch",
}


def in_messages(root: Path) -> Iterator[tuple[str, str]]:
    """(file, constant) of every constant that the text of an error quotes; `MOST_QUOTED` cuts what it repeats."""
    source = root / "src" / "frameroof"
    for file in sorted(source.rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(call, ast.Call) and re.search(r"(Error|_Unfit)$", ast.unparse(call.func)):
                for part in ast.walk(call):
                    if isinstance(part, ast.Name) and NAMES.match(part.id) and part.id != "MOST_QUOTED":
                        yield file.relative_to(source).as_posix(), part.id


def shown(value: float) -> tuple[str, ...]:
    """The ways in which help writes a number."""
    power = f"2^{value.bit_length() - 1}" if isinstance(value, int) and value > 1e15 else ""
    return f"{value:,}", f"{value:g}", f"{value:.0e}", f"{value / 2**30:.3g} GiB", power


def test_what_a_message_quotes_stands_in_the_help(root: Path) -> None:
    told = " ".join(text for verb in _VERBS for text in limits(verb))
    found = set(in_messages(root)) - {tuple(each.split()) for each in OURS}
    assert len(found) >= 10  # the search finds what there is
    missing = []
    for file, name in sorted(found):
        value = getattr(importlib.import_module("frameroof." + file[:-3].replace("/", ".")), name)
        if not any(re.search(rf"(?<![\d,.]){re.escape(each)}(?![\d,]\d)", told) for each in shown(value) if each):
            missing.append(f"{file}: {name} = {value}")
    assert missing == []


@pytest.mark.parametrize("verb", sorted(_VERBS))
def test_help_shows_the_limits_of_its_verb(verb: str) -> None:
    done = CliRunner().invoke(command_line(), [*verb.split(), "--help"])
    said = " ".join(done.output.split())
    assert limits(verb)
    for text in limits(verb):
        assert f"{' '.join(text.split())}." in said


def test_limits_change_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frameroof.estimate.stages.MOST_TURNS", 77)
    assert any("at most 77 turns" in text for text in limits("predict"))


def test_the_longest_prompt_is_one_number() -> None:
    text = pytest.importorskip("frameroof.stream.text")
    from frameroof.serve.limits import LONGEST_PROMPT

    assert text.LONGEST_PROMPT == LONGEST_PROMPT
