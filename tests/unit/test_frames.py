"""Polars frames and files of a run: every number once, flat, with its unit, whole or not at all."""

import csv
import json
import os

import pytest
from run_made import MS, made

pytest.importorskip("polars")

import polars
from polars.testing import assert_frame_equal

from frameroof.report.frames import frames, write_csv, write_parquet
from frameroof.run import DeviceRow

TABLES = {
    "classes", "operators", "shapes", "kernels", "modules", "attention", "sequence", "stages", "stage_calls",
    "stage_classes", "syncs", "idle", "outside", "problems", "advice",
}  # fmt: skip


def test_every_table_is_there_and_adds_up():
    run = made()
    tables = frames(run)
    assert set(tables) >= TABLES
    for name in ("classes", "operators", "kernels", "attention"):
        assert tables[name]["time_ns"].sum() == sum(row.time_ns for row in getattr(run, name))
    assert tables["idle"].rows() == [("host_launch", 30 * MS), ("synchronization", 10 * MS)]
    assert tables["outside"]["time_ns"].sum() == 5 * MS
    assert tables["stage_calls"].rows()[-1] == ("denoise", 3, 30 * MS)
    assert tables["stage_classes"]["time_ns"].sum() == tables["stages"]["time_ns"].sum() == 60 * MS


def test_each_device_has_its_own_idle_time():
    devices = [DeviceRow(0, "A", 60 * MS, 100 * MS, 40 * MS, 7, {"host_launch": 30 * MS, "copy": 10 * MS})]
    tables = frames(made(devices=devices))
    assert tables["device_idle"].rows() == [(0, "host_launch", 30 * MS), (0, "copy", 10 * MS)]
    assert tables["devices"]["idle_ns"].to_list() == [40 * MS]


def test_what_is_unknown_is_null_and_shapes_are_json():
    tables = frames(made())
    assert tables["classes"]["flops"].to_list() == [4e12, None]
    assert tables["operators"].columns[:2] == ["class", "name"]
    assert json.loads(tables["shapes"]["dims"][0]) == [[8, 64], [64, 64]]


def test_advice_has_its_id_and_what_it_concerns():
    told = frames(made())["advice"]
    assert told["id"].to_list() == ["host.launches", "device.fused-attention", "host.wait"]
    about = [json.loads(text) for text in told["concerns"]]
    assert about[0] == {"of": "idle", "cause": "host_launch"}
    assert about[2] == {"of": "wait", "operator": "aten::item", "line": "model.py(7): step"}


def test_a_table_without_rows_has_its_columns():
    empty = frames(made(attention=[], stages=[], idle={}))
    assert empty["attention"].schema == frames(made())["attention"].schema
    assert empty["sequence"].schema["start_ns"] == polars.Int64
    assert (empty["stage_calls"].height, empty["idle"].columns) == (0, ["cause", "time_ns"])


def test_csv_is_read_by_anything(tmp_path):
    run = made()
    paths = write_csv(run, tmp_path / "new" / "csv")
    assert {p.stem for p in paths} == set(frames(run))
    with open(tmp_path / "new" / "csv" / "kernels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["name"], int(r["time_ns"])) for r in rows] == [("gemm<float>", 40 * MS), ("gemm<bf16>", 20 * MS)]


def test_parquet_gives_the_same_frames(tmp_path):
    write_parquet(made(), tmp_path)
    for name, frame in frames(made()).items():
        assert_frame_equal(polars.read_parquet(tmp_path / f"{name}.parquet"), frame)


def test_nothing_is_overwritten_and_then_nothing_written(tmp_path):
    (tmp_path / "idle.csv").write_text("precious")
    with pytest.raises(ValueError, match=r"holds idle\.csv; --force overwrites it"):
        write_csv(made(), tmp_path)
    assert os.listdir(tmp_path) == ["idle.csv"]
    write_csv(made(), tmp_path, force=True)
    assert (tmp_path / "idle.csv").read_text().startswith("cause,time_ns\nhost_launch,30000000\n")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be made"):
        write_csv(made(), tmp_path / "file")
