"""The one door for what comes in: text that is fit to be shown, numbers in range, records of the form asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameroof import outside
from frameroof.outside import clean

PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("void gemm<int, 4>(float const*)", "void gemm<int, 4>(float const*)"),
        ("Größe 漢字 👩\u200d🔬 a\u00a0b", "Größe 漢字 👩\u200d🔬 a\u00a0b"),
        ("\x1b[31mRED\x1b[0m", "RED"),
        ("a\x1b[1;38;2;1;2;3mb\x1b[2Jc", "abc"),
        ("\x1b]0;title\x07b\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "blink"),
        ("\x9b31mRED\x9dtitle\x9cx", "REDx"),
        ("\x1bPq#0\x1b\\sixel\x1bc\x1b(B", "sixel"),
        ("\x1b]0;never ends", "]0;never ends"),
        ("a\x00b\x07\x7f\x80\x9f", "ab"),
        ("one\r\n\ttwo\u2028three\x85", "one two three "),
        ("\u202ertl\u2066x\u2069\u200f\u061c\ufeff", "rtlx"),
        ("N\ud800VIDIA\udfff", "N\ufffdVIDIA\ufffd"),
        ("", ""),
    ],
)
def test_text_is_made_fit_to_be_shown(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\x9d[]m;\x07\\\ud800")))
def test_no_text_leaves_a_control_character_and_cleaning_twice_is_cleaning_once(text: str) -> None:
    cleaned = clean(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in cleaned)
    assert clean(cleaned) == cleaned
    cleaned.encode()


@given(PLAIN)
def test_plain_text_stays(text: str) -> None:
    assert clean(text) == text


def test_long_text_ends_in_an_ellipsis() -> None:
    assert clean("abcdef", 4) == "abc…"
    assert clean("abcd", 4) == "abcd"
    assert len(clean("\x1b[0m" * 5 + "x" * 40_000)) == outside.MOST_NAME
