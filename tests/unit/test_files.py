"""Reading what a user names, and only that: regular files of a bounded size."""

import gzip
import os

import pytest

from frameroof.files import check_file, read_whole
from frameroof.workload import file


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
