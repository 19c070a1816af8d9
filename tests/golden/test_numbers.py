"""Numbers of all parts against `numbers.json`: a refactoring changes none of them, and a change says why.

A part of them in every run, all of them with ``-m full`` or ``python tests/golden/golden_numbers.py check``.
"""

from __future__ import annotations

import pytest
from golden_numbers import SECTIONS, differences, read

GOLDEN = read()
QUICK = {
    "predict": ("amused-256", "llama2-7b", "longlive-1.3b", "pixart-alpha-1024", "wan2.1-t2v-1.3b"),
    "characterize": ("table-1", "figure-5", "table-2", "figure-10", "beyond-cost"),
    "stream": ("H100", "MI300X kv=fp8"),
    "traces": None,
}
NAMES = [(section, name) for section, (names, _) in SECTIONS.items() for name in names()]


def _is_quick(section: str, name: str) -> bool:
    chosen = QUICK[section]
    return chosen is None or name in chosen


def _check(section: str, name: str) -> None:
    assert list(differences(GOLDEN[section][name], SECTIONS[section][1](name))) == []


def test_every_name_stands_in_the_file_and_no_other() -> None:
    assert {section: sorted(found) for section, found in GOLDEN.items()} == {
        section: sorted(names()) for section, (names, _) in SECTIONS.items()
    }


def test_a_difference_is_seen_wherever_it_is() -> None:
    golden = {"a": {"b": [1, [2.5, None]], "c": "x"}, "d": 3}
    assert list(differences(golden, {"a": {"b": [1, [2.25, None]], "c": "x"}, "e": 3})) == [
        "a / b [1] [0]: 2.5 -> 2.25",
        "d: 3 -> None",
        "e: None -> 3",
    ]


@pytest.mark.parametrize(("section", "name"), [each for each in NAMES if _is_quick(*each)])
def test_quick(section: str, name: str) -> None:
    _check(section, name)


@pytest.mark.full
@pytest.mark.parametrize(("section", "name"), [each for each in NAMES if not _is_quick(*each)])
def test_all(section: str, name: str) -> None:
    _check(section, name)
