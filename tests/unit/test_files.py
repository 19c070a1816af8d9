"""Reading what a user names, and only that: regular files of a bounded size. Folders stand whole or not at all."""

import gzip
import os

import pytest

from frameroof.files import check_file, read_whole
from frameroof.workload import file
from frameroof.written import folder_beside


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_whole(path, 5) == b"12345"
    with pytest.raises(ValueError, match="it has 5 bytes, and at most 4 are read"):
        read_whole(path, 4)


def test_what_is_no_file_is_a_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a pipe, socket or device"):
        check_file(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a folder, not a file"):
        check_file(tmp_path)
    with pytest.raises(ValueError, match="No such file"):
        check_file(tmp_path / "none")
    with pytest.raises(ValueError, match="cannot be read"):
        check_file("a\0b")


def test_a_sparse_giant_is_not_read(tmp_path):
    path = tmp_path / "big.workload.json"
    with open(path, "wb") as out:
        out.truncate(1 << 40)
    with pytest.raises(ValueError, match="1,099,511,627,776 bytes"):
        file.load(path)


def test_a_gzipped_workload_unfolds_up_to_a_limit(tmp_path, tiny, monkeypatch):
    path = tmp_path / "tiny.workload.json.gz"
    path.write_bytes(gzip.compress(file.dumps(tiny)))
    assert file.load(path) == tiny
    monkeypatch.setattr(file, "MOST_BYTES", len(file.dumps(tiny)) - 1)
    with pytest.raises(ValueError, match="unfolds to more than"):
        file.load(path)


def test_a_cut_gzip_is_a_sentence(tmp_path, tiny):
    path = tmp_path / "tiny.workload.json.gz"
    path.write_bytes(gzip.compress(file.dumps(tiny))[:-20])
    with pytest.raises(ValueError, match="cannot be read"):
        file.load(path)


def test_a_folder_is_filled_beside_its_place_and_gone_where_that_fails(tmp_path):
    target = tmp_path / "above" / ("long" * 60)  # a name that leaves no room for a longer one
    with pytest.raises(FileNotFoundError), folder_beside(target) as beside:
        (beside / "half" / "file").write_text("there is no folder half")
    assert list(target.parent.iterdir()) == []
    with folder_beside(target) as beside:
        (beside / "whole").write_text("whole")
        os.replace(beside, target)
    assert [path.name for path in target.iterdir()] == ["whole"]
    assert list(target.parent.iterdir()) == [target]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file/run cannot be made: "), folder_beside(tmp_path / "file" / "run"):
        pass
