"""Nsight Systems exports that are old, odd, broken, locked or none at all."""

import os
import sqlite3

import pytest
from nsys_made import CALL, COPY, KERNEL, TABLES, Export, problems, text

from frameroof.trace.read.file import TraceError
from frameroof.trace.read.nsys.export import is_sqlite, read_nsys
from frameroof.trace.resolve.link import link


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path / "report.sqlite")


def test_an_older_layout_with_fewer_columns(tmp_path):
    db = sqlite3.connect(tmp_path / "old.sqlite")
    db.executescript(
        f"""CREATE TABLE {KERNEL} (start INT NOT NULL, end INT NOT NULL, shortName INT NOT NULL);
        CREATE TABLE {COPY} (start INT NOT NULL, end INT NOT NULL, bytes INT, copyKind INT);
        CREATE TABLE StringIds (id INT, value TEXT);
        INSERT INTO StringIds VALUES (1, 'gemm'); INSERT INTO {KERNEL} VALUES (0, 5, 1), (6, 9, 404);
        INSERT INTO {COPY} VALUES (10, 20, 7, 2);"""
    )
    db.close()
    trace = read_nsys(tmp_path / "old.sqlite")
    assert text(trace, trace.work) == ["gemm", "(unnamed kernel)", "Memcpy DtoH"]
    assert (trace.work.device == -1).all()
    assert link(trace).launch.tolist() == [-1] * 3


def test_rows_without_believable_times_are_left_out_and_counted(export):
    export.kernel(0, 0).kernel(10, 5).kernel(1, 2**63 - 1).kernel(1, 2).call(9, 8, "cudaFree_v3020", 1)
    trace = export.read()
    assert trace.work.end.tolist() == [2]
    assert len(trace.host) == 0
    assert problems(trace) == {
        f"rows of {KERNEL} without believable times": 3, f"rows of {CALL} without believable times": 1,
    }  # fmt: skip


def test_what_is_no_export_gets_a_sentence(tmp_path):
    def refused(path, words):
        with pytest.raises(TraceError, match=words):
            read_nsys(path)

    other = tmp_path / "other.sqlite"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE books (id INTEGER)")
    db.commit()
    db.close()
    refused(other, "no Nsight Systems export")
    plain = tmp_path / "plain.json"
    plain.write_text("[]")
    refused(plain, "is no SQLite database")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "missing", "cannot be read")
    assert is_sqlite(other)
    assert not is_sqlite(plain)
    assert not is_sqlite(tmp_path)
    assert not is_sqlite("\0")
    os.mkfifo(tmp_path / "pipe")
    assert not is_sqlite(tmp_path / "pipe")
    bare = tmp_path / "bare.sqlite"
    db = sqlite3.connect(bare)
    db.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
    db.commit()
    db.close()
    refused(bare, "neither CUDA nor NVTX")


def test_a_table_without_its_times(tmp_path):
    path = tmp_path / "x.sqlite"
    db = sqlite3.connect(path)
    db.execute(f"CREATE TABLE {KERNEL} (start INTEGER)")
    db.commit()
    db.close()
    with pytest.raises(TraceError, match="has no column end"):
        read_nsys(path)


def test_broken_locked_and_unfinished_files(export, tmp_path):
    for i in range(2000):
        export.kernel(i * 10, i * 10 + 5, f"kernel number {i}")
    export.db.commit()
    whole = export.path.read_bytes()

    cut = tmp_path / "cut.sqlite"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TraceError, match="broken"):
        read_nsys(cut)
    torn = tmp_path / "torn.sqlite"  # its schema is no text
    torn.write_bytes(whole.replace(b"CREATE TABLE CUPTI", b"CREA\xdcE TABLE CUPTI"))
    with pytest.raises(TraceError, match="broken"):
        read_nsys(torn)
    noise = tmp_path / "noise.sqlite"
    noise.write_bytes(whole[:16] + b"\x07" * 8192)
    with pytest.raises(TraceError, match="broken"):
        read_nsys(noise)

    export.db.execute("PRAGMA locking_mode = EXCLUSIVE")
    export.db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TraceError, match="locked"):
        read_nsys(export.path)
    export.db.rollback()
    export.db.close()
    beside = tmp_path / "report.sqlite-journal"
    beside.write_bytes(b"x")
    with pytest.raises(TraceError, match="not finished"):
        read_nsys(export.path)


def test_odd_values_and_paths(tmp_path):
    """Text that is no UTF-8, text where a number should stand, and a path that means something in a URI."""
    export = Export(tmp_path / "a b?c#d%20.sqlite")
    export.db.execute("CREATE TABLE x (a)")
    export.db.execute(f"CREATE TABLE {KERNEL} ({TABLES[KERNEL]})")
    columns = "start, end, deviceId, streamId, shortName"
    export.db.execute(f"INSERT INTO {KERNEL} ({columns}) VALUES (1, '7', 'zero', 2.5, 1)")
    export.db.execute(f"CREATE TABLE StringIds ({TABLES['StringIds']})")
    export.db.execute("INSERT INTO StringIds VALUES (1, CAST(x'6bff' AS TEXT))")
    trace = export.read()
    assert text(trace, trace.work) == ["k\ufffd"]
    assert (trace.work.device[0], trace.work.stream[0], trace.work.end[0]) == (0, 2, 7)


def test_reading_leaves_the_file_and_its_folder_alone_and_reports_progress(export, tmp_path):
    export.kernel(0, 5)
    export.db.commit()
    before, seen = export.path.read_bytes(), []
    export.read(progress=seen.append)
    assert export.path.read_bytes() == before
    assert os.listdir(tmp_path) == ["report.sqlite"]
    assert seen == sorted(seen)
    assert seen[-1] == len(before)
