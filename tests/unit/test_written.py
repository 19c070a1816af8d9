"""What is written stands whole or not at all, alone and together; what cannot be written is named."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from frameroof import written
from frameroof.written import as_json, check_new, check_place, make_folder, together, write_whole, writing_whole


@contextmanager
def room(most: int) -> Iterator[None]:
    """No file may grow beyond `most` bytes: the system itself refuses, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_names_its_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text("old")
    with room(1000), pytest.raises(ValueError, match=r"data\.json cannot be written: File too large"):
        write_whole(path, b"x" * 100_000, force=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_files_none_is_there_where_the_last_finds_no_room(tmp_path: Path) -> None:
    old, new, big = tmp_path / "old", tmp_path / "made" / "deep" / "new", tmp_path / "big"
    old.write_text("before")

    def write() -> None:
        with room(1000), together():
            write_whole(old, "after", force=True)
            make_folder(new.parent)
            write_whole(new, "new")
            write_whole(big, b"x" * 100_000)

    with pytest.raises(ValueError, match="big cannot be written"):
        write()
    assert old.read_text() == "before"
    assert list(tmp_path.iterdir()) == [old]  # no temporary file, no folder


@pytest.mark.parametrize("links", [True, False])
def test_where_the_last_of_several_cannot_be_moved_the_others_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    first.write_text("before")
    if not links:
        monkeypatch.setattr(written.os, "link", lambda *_: (_ for _ in ()).throw(OSError("none here")))

    def write() -> None:
        with together():
            write_whole(first, "after", force=True)
            write_whole(second, "after")
            write_whole(third, "after")
            third.mkdir()  # somebody else was faster

    with pytest.raises(ValueError, match="third cannot be written: it is a folder"):
        write()
    assert first.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "third"]


def test_together_all_come_into_their_places_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with together():
        with together():  # a part of the whole
            write_whole(tmp_path / "a", "after", force=True)
        write_whole(tmp_path / "b", "after")
        assert (tmp_path / "a").read_text() == "before"
        assert not (tmp_path / "b").exists()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "after", "b": "after"}


def test_one_place_takes_one_of_several_files(tmp_path: Path) -> None:
    def write() -> None:
        with together():
            write_whole(tmp_path / "a", "1")
            write_whole(tmp_path / "." / "a", "2")

    with pytest.raises(ValueError, match="a is to be written twice"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with writing_whole(tmp_path / "a") as out:
            out.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_only_files_are_overwritten(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    for name, sentence in (
        ("pipe", "a pipe, socket or device"),
        (".", "a folder, not a file"),
        ("n" * 300, "too long"),
    ):
        with pytest.raises(ValueError, match=sentence):
            check_new(tmp_path / name, force=True)
    with pytest.raises(ValueError, match="device"):
        write_whole("/dev/null", b"", force=True)
    with pytest.raises(ValueError, match="file exists; --force overwrites it"):
        check_new(tmp_path / "file")
    check_new(tmp_path / "file", force=True)
    check_new(tmp_path / "none")


def test_a_place_that_takes_no_file_is_said_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_place(tmp_path / "a" / "b", folder=True)
    check_place(tmp_path / "a")
    with pytest.raises(ValueError, match="there is no folder"):
        check_place(tmp_path / "a" / "b")
    with pytest.raises(ValueError, match="file is a file, not a folder"):
        check_place(tmp_path / "file" / "run" / "deep", folder=True)
    with pytest.raises(ValueError, match="null is a file, not a folder"):
        check_place("/dev/null/x", folder=True)


def test_a_name_of_the_longest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)  # the temporary one beside it is no longer
    write_whole(path, "text")
    assert path.read_text() == "text"


def test_json_is_utf_8_that_steers_no_terminal() -> None:
    class Row(msgspec.Struct):
        name: str

    data = {"\ud800key": [Row("N\ud800VIDIA \x1b[31m\x9b \u202e\u2028 漢"), 1.5, None]}
    text = as_json(data)
    assert json.loads(text) == {"\ufffdkey": [{"name": "N\ufffdVIDIA \x1b[31m\x9b \u202e\u2028 漢"}, 1.5, None]}
    assert not {"\x1b", "\x9b", "\u202e", "\u2028"} & set(text.decode())
    assert as_json({"a": [1]}, 2) == b'{\n  "a": [\n    1\n  ]\n}'
